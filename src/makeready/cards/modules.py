"""Which module of a QR symbol carries what (ISO/IEC 18004); places are row and column."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import TypeAlias

Place: TypeAlias = tuple[int, int]

QUIET_ZONE = 4
"""Light modules around a symbol, without which many phones find none."""


def size_of(version: int) -> int:
    """Modules a side."""
    return 17 + 4 * version


def alignments(size: int) -> Iterator[Place]:
    """Centres of the alignment patterns (Annex E)."""
    if size < 25:
        return
    first, last = 6, size - 7
    count = (size - 17) // 28 + 2
    # Even distances, the same between all but the first two; version 32 is the standard's whim.
    step = 26 if size == 145 else -(-(last - first) // (count - 1) // 2) * 2
    inner = [last - number * step for number in range(count - 1)]
    corners = {(first, first), (first, last), (last, first)}
    for row, column in product([first, *inner], repeat=2):
        if (row, column) not in corners:
            yield row, column


@lru_cache(maxsize=64)
def fixed(size: int) -> frozenset[Place]:
    """What a reader finds and measures the symbol by: the same in all of this size."""
    places: set[Place] = set()
    places |= {(6, along) for along in range(size)} | {(along, 6) for along in range(size)}
    for row, column in product(range(8), repeat=2):
        places |= {(row, column), (row, size - 1 - column), (size - 1 - row, column)}
    for row, column in alignments(size):
        places |= {(row + down, column + right) for down, right in _AROUND}
    return frozenset(places)


@lru_cache(maxsize=64)
def written_last(size: int) -> frozenset[Place]:
    """Format, version, and the one module that is always dark: written after the mask."""
    places = {(8, near) for near in range(9)} | {(near, 8) for near in range(9)}
    places |= {(8, size - far) for far in range(1, 9)} | {(size - far, 8) for far in range(1, 9)}
    if size > 41:
        for one, other in product(range(6), range(9, 12)):
            places |= {(one, size - other), (size - other, one)}
    return frozenset(places - fixed(size))


def data_path(size: int) -> Iterator[Place]:
    """The rest, in the order of the message's bits: two columns wide, up and down, from right."""
    taken = fixed(size) | written_last(size)
    is_up = True
    for right in (*range(size - 1, 6, -2), 5, 3, 1):
        for along in range(size):
            row = size - 1 - along if is_up else along
            for place in ((row, right), (row, right - 1)):
                if place not in taken:
                    yield place
        is_up = not is_up


_AROUND = tuple(product(range(-2, 3), repeat=2))
