"""A logo in the middle of a code: how large it may be, and which modules it covers.

At level H a code reads with up to 30 % of its area hidden; less than half of that is spent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import segno.consts

from makeready.cards.geometry import Box

BUDGET = 0.12
"""Of the symbol's area, the white margin of one module counted in."""
LEAST = 3
"""Modules; a smaller logo is a stain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A white box of whole modules in the middle of a symbol, and the picture inside it."""

    column: int
    row: int
    width: int
    height: int
    picture: Box
    """In modules, from the symbol's top left corner."""

    @property
    def covered(self) -> frozenset[tuple[int, int]]:
        """Row and column of the modules below it."""
        return frozenset(
            (self.row + down, self.column + right)
            for down in range(self.height)
            for right in range(self.width)
        )


def place(size: int, area: float, ratio: float) -> Place | None:
    """Where a picture of this ratio of width to height goes; None where there is no room."""
    tall = math.sqrt(area * size * size / ratio)
    while True:
        width, height = (_odd(tall * ratio + 2), _odd(tall + 2))
        if min(width, height) < LEAST + 2:
            return None
        if width * height <= BUDGET * size * size and not _forbidden(size, width, height):
            break
        tall -= 0.5
        if tall <= 0 or tall * ratio <= 0:
            return None
    wide = min(width - 2.0, (height - 2) * ratio)
    middle, high = size / 2, wide / ratio
    return Place(
        column=(size - width) // 2,
        row=(size - height) // 2,
        width=width,
        height=height,
        picture=(middle - wide / 2, middle - high / 2, middle + wide / 2, middle + high / 2),
    )


def fixed(size: int) -> Iterator[tuple[int, int]]:
    """Row and column of what a reader finds and measures the code by."""
    for one in range(size):
        yield 6, one
        yield one, 6
    for row, column in product(range(9), repeat=2):
        yield row, column
        if column < 8:
            yield row, size - 1 - column
            yield size - 1 - column, row
    if size > 41:
        for one, other in product(range(6), range(9, 12)):
            yield one, size - other
            yield size - other, one
    for row, column in _alignments(size):
        for down, right in product(range(-2, 3), repeat=2):
            yield row + down, column + right


def _alignments(size: int) -> Iterator[tuple[int, int]]:
    """Centres of alignment patterns, without the one in the very middle that some versions have.

    That one is a help among several; without it no code above version 6 could carry a logo.
    """
    places = segno.consts.ALIGNMENT_POS[(size - 17) // 4 - 2] if size > 21 else ()
    for row in places:
        for column in places:
            if (row, column) != (size // 2, size // 2):
                yield row, column


def _forbidden(size: int, width: int, height: int) -> bool:
    across, down = (size - width) // 2, (size - height) // 2
    return any(
        down <= row < down + height and across <= column < across + width
        for row, column in fixed(size)
    )


def _odd(value: float) -> int:
    """The nearest odd number: symbols have an odd size, and the box lies on their modules."""
    return 2 * round((value - 1) / 2) + 1
