"""Where the modules of a code must lie on a raster, and what is there.

The places are worked out once a field: all cards of a generation have their codes in the same
place. Looking is then picking bytes, which Python does fast.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from makeready.cards.drawing import PlacedCode
from makeready.cards.geometry import Box, Matrix, apply
from makeready.cards.modules import QUIET_ZONE

_STEPS = 8
"""Samples a pixel where an edge is measured."""
_LINE = 1.4
"""Modules that a line across an edge is long; it ends in the middle of a finder's ring."""
_FINDER = 7
_INSET_PX = 1.5
"""Next to the edges of the quiet zone, pixels show what is beside it, too."""

Point = tuple[float, float]
Pick = Callable[[bytes], tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What lies where a code should be; brightness from 0 to 255."""

    wrong: int
    """Modules that are not as the encoder made them."""
    darkest_light: int
    lightest_dark: int
    quiet_zone: int
    """Its darkest pixel."""
    offset: float
    """How far the code is from its place, in modules."""

    @property
    def contrast(self) -> float:
        """Part of the whole range from black to white that is between dark and light modules."""
        return (self.darkest_light - self.lightest_dark) / 255


class Lattice:
    """A code's modules, quiet zone and edges as places in a raster's bytes."""

    def __init__(self, code: PlacedCode, *, to_raster: Matrix, width: int, height: int) -> None:
        """`to_raster` leads from unturned millimetres of the field to the raster's pixels."""
        self._width, self._height = width, height
        self._to_raster = to_raster
        self._size = size = code.symbol.size
        self._corner = code.box[:2]
        self._module = (code.box[2] - code.box[0]) / size
        a, b, *_ = to_raster
        self._pixels = math.hypot(a, b) * self._module
        places = [
            (row, column)
            for row in range(size)
            for column in range(size)
            if (row, column) not in code.covered
        ]
        self._kept: Pick = itemgetter(*(row * size + column for row, column in places))
        self._modules: Pick = itemgetter(
            *(self._index((column + 0.5, row + 0.5)) for row, column in places)
        )
        self._ring = _runs(self._index(point) for point in self._ring_points())
        self._edges = [(axis, itemgetter(*points)) for axis, points in self._edge_points()]
        self._expected = functools.lru_cache(maxsize=64)(self._bits)

    def look(self, samples: bytes, rows: tuple[int, ...]) -> Seen:
        """Compares a raster with a symbol."""
        wanted = self._expected(rows)
        found = bytes(self._modules(samples))
        middle = (max(found) + min(found) + 1) // 2
        shown = found.translate(_lighter(middle))
        if shown == wanted:
            lights = found.translate(None, _BELOW[middle])
            darks = found.translate(None, _NOT_BELOW[middle])
        else:
            lights = bytes(itertools.compress(found, wanted))
            darks = bytes(itertools.compress(found, wanted.translate(_SWAP)))
        light, dark = min(lights), max(darks)
        ring = b"".join([samples[start:end] for start, end in self._ring])
        return Seen(
            wrong=sum(map(int.__ne__, shown, wanted)) if shown != wanted else 0,
            darkest_light=light,
            lightest_dark=dark,
            quiet_zone=_darkest(ring, light),
            offset=self._offset(samples, sum(lights) / len(lights), sum(darks) / len(darks)),
        )

    def darkest(self, samples: bytes) -> int:
        """Of all modules and the quiet zone."""
        return min(self._looked_at(samples))

    def apart(self, one: bytes, other: bytes) -> int:
        """The largest difference of what is looked at; around it, pixels of edges are mixed."""
        pairs = zip(self._looked_at(one), self._looked_at(other), strict=True)
        return max(abs(a - b) for a, b in set(pairs))

    def _looked_at(self, samples: bytes) -> bytes:
        ring = b"".join([samples[start:end] for start, end in self._ring])
        return ring + bytes(self._modules(samples))

    def _bits(self, rows: tuple[int, ...]) -> bytes:
        """One byte a module that is looked at, 1 light."""
        size = self._size
        text = "".join(f"{row:0{size}b}" for row in rows).encode()
        return bytes(self._kept(text.translate(_FROM_DIGITS)))

    def _index(self, place: Point) -> int:
        """Of the pixel at a place counted in modules from the symbol's corner."""
        x, y = apply(
            self._to_raster,
            self._corner[0] + place[0] * self._module,
            self._corner[1] + place[1] * self._module,
        )
        column = min(max(int(x), 0), self._width - 1)
        return min(max(int(y), 0), self._height - 1) * self._width + column

    def _ring_points(self) -> Iterator[Point]:
        """Points of the quiet zone, no pixel far from the next."""
        step = 1 / max(2, math.ceil(self._pixels * 1.5))
        inset = _INSET_PX / self._pixels
        count = round((self._size + 2 * (QUIET_ZONE - inset)) / step)
        line = [inset - QUIET_ZONE + step * place for place in range(count)]
        inner = (-inset, self._size + inset)
        for y in line:
            for x in line:
                if not (inner[0] < x < inner[1] and inner[0] < y < inner[1]):
                    yield x, y

    def _edge_points(self) -> Iterator[tuple[int, list[int]]]:
        """Lines from the quiet zone into the finders' rings: 0 for those along x, 1 along y."""
        size, far = self._size, self._size - _FINDER
        count = max(16, round(_LINE * self._pixels * _STEPS))
        depths = [_LINE * (place + 0.5) / count + 0.5 - _LINE for place in range(count)]
        for across in (1.5, 3.5, 5.5):
            for start in (0, far):
                yield 0, [self._index((depth, start + across)) for depth in depths]
                yield 1, [self._index((start + across, depth)) for depth in depths]
            yield 2, [self._index((size - depth, across)) for depth in depths]
            yield 3, [self._index((across, size - depth)) for depth in depths]

    def _offset(self, samples: bytes, light: float, dark: float) -> float:
        """How far the edges of the finders are from their places: how much of a line is dark."""
        if light <= dark:
            return math.inf
        sides: list[list[float]] = [[], [], [], []]
        for axis, pick in self._edges:
            line = pick(samples)
            covered = (light * len(line) - sum(line)) / (light - dark) / len(line)
            sides[axis].append(covered * _LINE - 0.5)
        left, top, right, bottom = (sum(side) / len(side) for side in sides)
        return math.hypot(max(abs(left), abs(right)), max(abs(top), abs(bottom)))


def area(code: PlacedCode, *, margin: float = QUIET_ZONE) -> Box:
    """The code with so many modules around it, before rotation, in millimetres."""
    x0, y0, x1, y1 = code.box
    edge = margin * (x1 - x0) / code.symbol.size
    return x0 - edge, y0 - edge, x1 + edge, y1 + edge


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Start and end of each run of neighbours."""
    runs: list[tuple[int, int]] = []
    for index in sorted(set(indexes)):
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _darkest(ring: bytes, light: int) -> int:
    """Of a ring that is as light as it should be, only that is worked out, and fast."""
    darker = ring.translate(None, _NOT_BELOW[light])
    return min(darker) if darker else light


@functools.lru_cache(maxsize=256)
def _lighter(limit: int) -> bytes:
    return bytes(value >= limit for value in range(256))


_BELOW = [bytes(range(limit)) for limit in range(256)]
_NOT_BELOW = [bytes(range(limit, 256)) for limit in range(256)]
_SWAP = bytes([1, 0]) + bytes(254)
_FROM_DIGITS = bytes(1 if value == ord("0") else 0 for value in range(256))
