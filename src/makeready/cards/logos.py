"""A logo in the middle of a code: how large it may be, and which modules it covers.

Level H mends 30 % of a code, but of each of its blocks alone, and a block may have more than its
share of modules in the middle. So the block that is hit worst decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from makeready.cards.blocks import interleaved, shapes
from makeready.cards.geometry import Box
from makeready.cards.modules import Place as Module
from makeready.cards.modules import alignments, data_path, fixed, written_last

BUDGET = 0.12
"""Of the symbol's area, the white margin of one module counted in."""
MOST_SPENT = 0.5
"""Of what a block can mend; the rest is for what printing, light and wear do to a code."""
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
    """Where a picture of this ratio of width to height goes; None where there is no room.

    It is as large as its part of the area, or as large as can be borne if that is less.
    """
    tall = math.sqrt(area * size * size / ratio)
    while tall > 0:
        width, height = _odd(tall * ratio + 2), _odd(tall + 2)
        if min(width, height) < LEAST + 2:
            break
        if width * height <= BUDGET * size * size:
            found = _placed(size, width, height, ratio)
            covered = found.covered
            if _keeps_clear(size).isdisjoint(covered) and spent(size, covered) <= MOST_SPENT:
                return found
        tall -= 0.5
    return None


def spent(size: int, covered: frozenset[Module]) -> float:
    """How much of what level H can mend is used up by these modules, in the block hit worst."""
    hit = {_codewords(size).get(module, (-1, 0)) for module in covered}
    blocks = shapes((size - 17) // 4, "H")
    return max(
        sum(block == number for block, _ in hit) / (shape.parity // 2)
        for number, shape in enumerate(blocks)
    )


def _placed(size: int, width: int, height: int, ratio: float) -> Place:
    wide = min(width - 2.0, (height - 2) * ratio)
    middle, high = size / 2, wide / ratio
    return Place(
        column=(size - width) // 2,
        row=(size - height) // 2,
        width=width,
        height=height,
        picture=(middle - wide / 2, middle - high / 2, middle + wide / 2, middle + high / 2),
    )


@lru_cache(maxsize=4)
def _codewords(size: int) -> dict[Module, tuple[int, int]]:
    """The block and codeword of level H that each module belongs to."""
    blocks = shapes((size - 17) // 4, "H")
    path = data_path(size)
    data = interleaved([shape.data for shape in blocks], path)
    parity = interleaved([shape.parity for shape in blocks], path)
    return {
        module: (number, place)
        for number, codewords in enumerate(zip(data, parity, strict=True))
        for place, modules in enumerate([*codewords[0], *codewords[1]])
        for module in modules
    }


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


def _odd(value: float) -> int:
    """The nearest odd number: symbols have an odd size, and the box lies on their modules."""
    return 2 * round((value - 1) / 2) + 1
