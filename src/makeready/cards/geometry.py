"""Millimetres as a designer sees them, and where they lie in a page's user space.

A designer measures from the top left corner of the trimmed page, as displayed, y downwards. PDF
measures from anywhere, upwards, in units of the page, before the page is turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 with x0 <= x1 and y0 <= y1."""
Matrix: TypeAlias = tuple[float, float, float, float, float, float]
"""As in PDF: x' = a x + c y + e, y' = b x + d y + f."""
MM_PER_POINT = 25.4 / 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One page in millimetres, as displayed, from the top left corner of its origin box."""

    width: float
    height: float
    """Of the origin box: the TrimBox unless settings say otherwise."""
    matrix: Matrix
    """From millimetres to the page's user space."""
    bleed: Box
    """The BleedBox in these millimetres: (-3, -3, width + 3, height + 3) with 3 mm of bleed."""
    media: Box
    """The visible page, MediaBox and CropBox together, in these millimetres."""


class Page(Protocol):
    """What of a page its frame is made of: `template.PageFacts`."""

    @property
    def media(self) -> Box:
        """MediaBox."""

    @property
    def crop(self) -> Box:
        """CropBox."""

    @property
    def trim(self) -> Box:
        """TrimBox."""

    @property
    def bleed(self) -> Box:
        """BleedBox."""

    @property
    def rotate(self) -> int:
        """0, 90, 180 or 270, clockwise."""

    @property
    def user_unit(self) -> float:
        """How many points its units are long."""


def frame(page: Page, origin: Literal["trim", "crop", "media"] = "trim") -> Frame:
    """The page as a designer measures it who starts at the corner of this box."""
    box: Box = {"trim": page.trim, "crop": page.crop, "media": page.media}[origin]
    x0, y0, x1, y1 = box
    scale = 1 / MM_PER_POINT / page.user_unit
    matrix: Matrix = {
        0: (scale, 0.0, 0.0, -scale, x0, y1),
        90: (0.0, scale, scale, 0.0, x0, y0),
        180: (-scale, 0.0, 0.0, scale, x1, y0),
        270: (0.0, -scale, -scale, 0.0, x1, y1),
    }[page.rotate]
    width, height = (x1 - x0) / scale, (y1 - y0) / scale
    if page.rotate in {90, 270}:
        width, height = height, width
    to_mm = inverse(matrix)
    return Frame(
        width=width,
        height=height,
        matrix=matrix,
        bleed=moved(page.bleed, to_mm),
        media=moved(common(page.media, page.crop) or page.media, to_mm),
    )


def apply(matrix: Matrix, x: float, y: float) -> tuple[float, float]:
    """The point where this one lands."""
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def chained(first: Matrix, then: Matrix) -> Matrix:
    """One matrix for two in a row."""
    a, b, c, d, e, f = first
    right, down = apply(then, 0, 0)
    a, b = apply(then, a, b)
    c, d = apply(then, c, d)
    e, f = apply(then, e, f)
    return a - right, b - down, c - right, d - down, e, f


def inverse(matrix: Matrix) -> Matrix:
    """The matrix that undoes this one, which must have an area."""
    a, b, c, d, e, f = matrix
    area = a * d - b * c
    return (
        d / area,
        -b / area,
        -c / area,
        a / area,
        (c * f - d * e) / area,
        (b * e - a * f) / area,
    )


def moved(box: Box, matrix: Matrix) -> Box:
    """The smallest upright box around where this one lands."""
    corners = [apply(matrix, x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def common(one: Box, other: Box) -> Box | None:
    """What two boxes share; None: no area."""
    x0, y0 = max(one[0], other[0]), max(one[1], other[1])
    x1, y1 = min(one[2], other[2]), min(one[3], other[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
