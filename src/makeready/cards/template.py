"""What a designer's PDF is: read once when it comes, kept with it as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from makeready.cards.geometry import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """One page; boxes are in user space as MuPDF and others display them, corners in order."""

    number: int
    """From 1."""
    media: Box
    crop: Box
    trim: Box
    bleed: Box
    rotate: int
    """0, 90, 180 or 270, clockwise."""
    user_unit: float
    annotations: tuple[tuple[str, Box], ...] = ()
    """Kind and box, in user space, of what is painted above the page."""
    blends_rgb: bool = False
    """Its transparency is computed in RGB: black ink would come out as four inks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field of the PDF's own form, or an annotation that carries a `{value}`."""

    name: str
    page: int
    box: Box
    """In user space."""
    kind: str
    """text, button, …: as MuPDF names it."""
    size: float = 0
    """Font size in points; 0: automatic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """All that is known of a template without opening it again."""

    sha256: str
    byte_count: int
    pages: tuple[PageFacts, ...]
    has_cmyk: bool
    """CMYK in its content, images or output intent: black is then 0 0 0 1 k, else 0 g."""
    fonts: tuple[tuple[str, bool], ...] = ()
    """Name, and whether it is embedded."""
    form_fields: tuple[FormField, ...] = ()
    producer: str = ""
    pdf_version: str = ""
    warnings: tuple[str, ...] = ()
    """Codes of what is odd and stops nothing, such as a blending space of RGB."""
    active: tuple[str, ...] = ()
    """Kinds of active content, such as javascript; cards are made without it."""
