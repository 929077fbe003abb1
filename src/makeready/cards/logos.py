"""A logo in the middle of a code: how large it may be, and which modules it covers.

At level H a code reads with up to 30 % of its area hidden; less than half of that is spent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from makeready.cards.geometry import Box
from makeready.cards.modules import Place as Module
from makeready.cards.modules import alignments, fixed, written_last

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


@lru_cache(maxsize=64)
def _keeps_clear(size: int) -> frozenset[Module]:
    """Modules that a logo must not cover: what a reader finds and measures the code by.

    Left out is the alignment pattern in the middle that some versions have: it is one of several,
    and without it no code of versions 7 to 13 could carry a logo.
    """
    kept = fixed(size) | written_last(size)
    centres = sorted({row for row, _ in alignments(size)})
    if len(centres) % 2 and len(centres) > 1:
        middle = centres[len(centres) // 2]
        reach = range(middle - 2, middle + 3)
        kept -= set(product(reach, repeat=2))
    return kept


def _forbidden(size: int, width: int, height: int) -> bool:
    across, down = (size - width) // 2, (size - height) // 2
    covered = product(range(down, down + height), range(across, across + width))
    return not _keeps_clear(size).isdisjoint(covered)


def _odd(value: float) -> int:
    """The nearest odd number: symbols have an odd size, and the box lies on their modules."""
    return 2 * round((value - 1) / 2) + 1
