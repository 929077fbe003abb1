"""Fields become drawing operators, in millimetres as the designer sees them, y downwards.

What is drawn knows nothing of boxes and rotation: it becomes a form whose matrix turns
millimetres into the page's user space (`compile`). Text therefore brings its own mirroring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from makeready.cards.geometry import Box
from makeready.cards.qr import Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfPart:
    """One object of the file. In `head`, `{0}`, `{1}`, … stand for references to its fellows.

    With `data` it is a stream: `head` is then its dictionary without `/Length`, and `data` is
    already encoded as the dictionary's `/Filter` says.
    """

    head: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What operators name, the same for all cards of a generation; `parts[0]` is the thing."""

    category: Literal["Font", "XObject", "ColorSpace", "ExtGState"]
    name: str
    parts: tuple[PdfPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCode:
    """A code as it must be found on the card."""

    field: str
    page: int
    box: Box
    """Of the modules, without quiet zone, before rotation, in millimetres."""
    rotate: float
    quiet_zone: float
    symbol: Symbol
    covered: frozenset[tuple[int, int]] = frozenset()
    """Row and column of the modules below a logo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedText:
    """A text as it must be found on the card."""

    field: str
    page: int
    box: Box
    """The field's, before rotation."""
    rotate: float
    text: str
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One card's fields: operators a page, and what must be found there."""

    operators: dict[int, bytes]
    """By page number, from 1."""
    codes: tuple[PlacedCode, ...]
    texts: tuple[PlacedText, ...]
