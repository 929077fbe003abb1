"""What is put on a template, and where: the settings as records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Align: TypeAlias = Literal["left", "center", "right"]
VAlign: TypeAlias = Literal["top", "middle", "bottom"]
PageChoice: TypeAlias = tuple[int, ...] | Literal["all", "odd", "even"]
"""Numbers from 1; negative ones count from the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """Ink: `black` is chosen by the template, the others are as they say."""

    space: Literal["black", "white", "gray", "cmyk", "rgb", "spot"] = "black"
    parts: tuple[float, ...] = ()
    """0 to 1 each: one of gray, four of cmyk and of a spot colour's substitute, three of rgb."""
    name: str = ""
    """Of a spot colour."""
    tint: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """What all fields have; lengths in mm, `rotate` in degrees clockwise about the centre."""

    id: str
    pages: PageChoice
    x: float
    y: float
    width: float
    height: float
    rotate: float = 0
    condition: str = ""
    """`if`: the field is left out where this value is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """A picture in the middle of a code."""

    asset: str
    """sha256:… of an uploaded picture."""
    area: float = 0.08
    """Its part of the symbol's area, its white margin of one module not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QrField(_Placed):
    """A code; the square that fits into the box is used, quiet zone included."""

    value: str
    ecc: Literal["L", "M", "Q", "H"] = "M"
    boost: bool = True
    version: int | None = None
    """None: one version for the whole generation, as large as its longest value needs."""
    mask: int | None = None
    quiet_zone: float = 4
    """Modules."""
    background: Colour | None = field(default_factory=lambda: Colour(space="white"))
    """None: what is printed below shows through."""
    color: Colour = field(default_factory=Colour)
    align: Align = "center"
    valign: VAlign = "middle"
    logo: Logo | None = None
    scan_distance_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextField(_Placed):
    """Text in one font; sizes in points."""

    value: str
    font: str = "noto-sans"
    """A shipped family, or sha256:… of an uploaded font."""
    weight: Literal["regular", "bold"] = "regular"
    size: float = 12
    min_size: float = 6
    fit: Literal["shrink", "none"] = "shrink"
    max_lines: int = 1
    line_height: float = 1.15
    letter_spacing: float = 0
    """Points."""
    align: Align = "left"
    valign: VAlign = "top"
    color: Colour = field(default_factory=Colour)
    case: Literal["none", "upper", "lower"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageField(_Placed):
    """An uploaded picture."""

    asset: str
    fit: Literal["contain", "cover", "stretch"] = "contain"


Field: TypeAlias = QrField | TextField | ImageField


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """How cards lie on printed sheets; lengths in mm."""

    width: float
    height: float
    cols: int
    rows: int
    gutter: float = 0
    bleed: float = 3
    crop_marks: bool = True
    duplex: Literal["none", "long-edge", "short-edge"] = "none"
    start: int = 0
    """Places of the first sheet that are used up already."""
    order: Literal["rows", "stack"] = "rows"
    """stack: cut stacks lie in order when put on top of each other."""
    fold: bool = False
    """A table tent: the same card again above the fold line, turned by 180°."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSettings:
    """Settings that were read and are sound in themselves; see `checks` for the rest."""

    fields: tuple[Field, ...]
    origin: Literal["trim", "crop", "media"] = "trim"
    min_module_mm: float = 0.40
    min_module_error_mm: float = 0.30
    name: str = "{table.number}.pdf"
    """Of a card's file: literals and values."""
    sheet: Sheet | None = None
    cold_every: int = 50
    """Each how-manieth card is verified from its final bytes alone."""
    check_text: bool = True
