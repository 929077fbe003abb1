"""How a QR code's data and parity are cut into blocks, and blocks dealt out over the symbol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from segno.consts import ECC

_SHAPES: Any = ECC
"""By version and by level, which segno counts as M, L, H, Q."""
_Bit = TypeVar("_Bit")


class Shape(NamedTuple):
    """Codewords of one block; as many as half of its parity may be wrong."""

    data: int
    parity: int


def shapes(version: int, level: str) -> list[Shape]:
    """All blocks, in the order of their data."""
    return [
        Shape(shape.num_data, shape.num_total - shape.num_data)
        for shape in _SHAPES[version]["MLHQ".index(level)]
        for _ in range(shape.num_blocks)
    ]


def interleaved(counts: list[int], path: Iterator[_Bit]) -> list[list[list[_Bit]]]:
    """Where each bit of each codeword of each block goes: first come all first codewords."""
    blocks: list[list[list[_Bit]]] = [[] for _ in counts]
    for place in range(max(counts)):
        for codewords, count in zip(blocks, counts, strict=True):
            if place < count:
                codewords.append([next(path) for _ in range(8)])
    return blocks
