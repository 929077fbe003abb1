"""Millimetres as a designer sees them, and where they lie in a page's user space.

A designer measures from the top left corner of the trimmed page, as displayed, y downwards. PDF
measures from anywhere, upwards, in units of the page, before the page is turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

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
