"""Many QR symbols that differ in their payload alone, as fast as big integers go.

For one version, level, mode and length each module is an affine function, over GF(2), of the bits
of the payload: flipping a bit flips the same modules whatever the others are. What each bit flips
is learned from segno, once. A symbol is one integer, and so the eight masks are judged by a few
shifts each, by the rules that segno goes by: the symbols are the same, bit for bit.

An integer has its rows from the top down, the leftmost module highest; four light modules lie
between rows, since beyond a symbol's edge all is light to the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import segno

_GAP = 4
_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES = {letter: value for value, letter in enumerate(_ALPHANUMERIC)}


class BatchEncoder:
    """Encodes payloads as long as the first one; `level` is what it is after a boost."""

    def __init__(
        self, first: bytes, mode: str, level: str, version: int, mask: int | None = None
    ) -> None:
        self.level = level
        self._mode = mode
        self._length = len(first)
        self._plane = _plane(version, level, mode, len(first))
        self._first = _groups(first, mode)
        self._masks = tuple(range(8)) if mask is None else (mask,)
        self._finished = tuple(self._plane.made(first, each) for each in self._masks)
        judged = _Rules(17 + 4 * version)
        self._rules = judged
        self._open = tuple(symbol & judged.free for symbol in self._finished)

    def encode(self, payload: bytes) -> tuple[int, tuple[int, ...]]:
        """Mask and rows; the payload must have the mode and the length of the first."""
        groups = _groups(payload, self._mode)
        if len(payload) != self._length:
            raise ValueError(f"{len(payload)} bytes, not {self._length}")
        change = 0
        flips = self._plane.flips
        for place, (now, first) in enumerate(zip(groups, self._first, strict=True)):
            if now != first:
                key = (place, now ^ first)
                known = flips.get(key)
                change ^= self._plane.learn(*key) if known is None else known
        best = 0
        if len(self._masks) > 1:
            penalty = self._rules.penalty
            scores = [penalty(symbol ^ change) for symbol in self._open]
            best = scores.index(min(scores))
        return self._masks[best], self._rules.rows(self._finished[best] ^ change)


class _Plane:
    """What each bit of the payload flips: of one version, level, mode and length."""

    def __init__(self, version: int, level: str, mode: str, length: int) -> None:
        self._version, self._level, self._mode, self._length = version, level, mode, length
        self._zero = bytes(length) if mode == "byte" else b"0" * length
        self._origin = self.made(self._zero, 0)
        self._units: dict[tuple[int, int], int] = {}
        self.flips: dict[tuple[int, int], int] = {}
        """By place and by what is different there: known so far."""

    def made(self, payload: bytes, mask: int) -> int:
        """One symbol by segno."""
        code = segno.make_qr(
            payload,
            error=self._level,
            version=self._version,
            mode=self._mode,
            mask=mask,
            boost_error=False,
        )
        gap = "0" * _GAP
        return int(gap.join(bytes(row).hex()[1::2] for row in code.matrix), 2)

    def learn(self, place: int, difference: int) -> int:
        """What a difference at this place flips: the sum of what its bits flip."""
        flipped = 0
        for bit in range(difference.bit_length()):
            if difference >> bit & 1:
                unit = self._units.get((place, bit))
                if unit is None:
                    unit = self.made(self._with(place, 1 << bit), 0) ^ self._origin
                    self._units[place, bit] = unit
                flipped ^= unit
        self.flips[place, difference] = flipped
        return flipped

    def _with(self, place: int, value: int) -> bytes:
        """Zeroes, but for one group."""
        width = _WIDTHS[self._mode]
        start = place * width
        size = min(width, self._length - start)
        return self._zero[:start] + _spelled(value, size, self._mode) + self._zero[start + size :]


@lru_cache(maxsize=32)
def _plane(version: int, level: str, mode: str, length: int) -> _Plane:
    return _Plane(version, level, mode, length)


_WIDTHS = {"byte": 1, "alphanumeric": 2, "numeric": 3}
"""Characters that are encoded together."""


def _groups(payload: bytes, mode: str) -> tuple[int, ...] | bytes:
    """The numbers whose bits are the payload's."""
    if mode == "byte":
        return payload
    if mode == "numeric":
        return tuple(int(payload[at : at + 3]) for at in range(0, len(payload), 3))
    values = [_VALUES[letter] for letter in payload]
    pairs = [45 * one + two for one, two in zip(values[::2], values[1::2], strict=False)]
    return (*pairs, *values[len(pairs) * 2 :])


def _spelled(value: int, size: int, mode: str) -> bytes:
    """A group as characters: the reverse of `_groups`."""
    if mode == "byte":
        return bytes((value,))
    if mode == "numeric":
        return b"%0*d" % (size, value)
    return bytes(_ALPHANUMERIC[each] for each in divmod(value, 45)[2 - size :])


class _Rules:
    """segno's penalties (ISO/IEC 18004, 7.8.3.1) for symbols of one size.

    Masks are judged before format and version are written: those modules count as light.
    """

    def __init__(self, size: int) -> None:
        stride = size + _GAP
        self._stride = stride
        self._offsets = tuple(stride * row for row in range(size - 1, -1, -1))
        self._row = (1 << size) - 1
        whole = sum(self._row << offset for offset in self._offsets)
        self._beside = sum((self._row & ~1) << offset for offset in self._offsets)
        """Modules with a neighbour to the right."""
        self._above = whole & ~self._row
        """Modules with a neighbour below."""
        self.free = whole
        """Modules that are not format or version."""
        for row, column in _reserved(size):
            self.free &= ~(1 << self._offsets[row] + size - 1 - column)
        area = size * size
        self._balance = tuple(
            10 * int(abs(float(dark) / area * 100 - 50) / 5) for dark in range(area + 1)
        )

    def rows(self, symbol: int) -> tuple[int, ...]:
        """The rows of a symbol."""
        row = self._row
        return tuple([symbol >> offset & row for offset in self._offsets])

    def penalty(self, symbol: int) -> int:
        """The sum of all four rules."""
        stride, beside, above = self._stride, self._beside, self._above
        across = ((symbol ^ (symbol << 1)) & beside) ^ beside
        down = ((symbol ^ (symbol << stride)) & above) ^ above
        blocks = across & (across << stride) & down
        return (
            _runs(across, 1)
            + _runs(down, stride)
            + 3 * blocks.bit_count()
            + _finders(symbol, 1)
            + _finders(symbol, stride)
            + self._balance[symbol.bit_count()]
        )


def _runs(equal: int, step: int) -> int:
    """Five or more alike in a line: their number less two, from pairs that are equal."""
    three = equal & (equal << step)
    five = three & (three << 2 * step)
    return 3 * five.bit_count() - 2 * (five & (five >> step)).bit_count()


def _finders(symbol: int, step: int) -> int:
    """What looks like a finder pattern, 1011101, with four light ones before or behind it."""
    one = symbol << step
    two = symbol << 2 * step
    any_two = symbol | one
    any_four = any_two | (any_two << 2 * step)
    ends = symbol & (two << 4 * step)
    middle = two & (one << 2 * step) & (two << 2 * step)
    found = ends & middle & ~(one | (one << 4 * step))
    found &= ~((any_four << 7 * step) & (any_four >> 4 * step))
    if found & ((found << 4 * step) | (found << 6 * step)):
        return 40 * _apart(found, step)
    return 40 * found.bit_count()


def _apart(found: int, step: int) -> int:
    """How many are counted when one that was counted hides those that begin inside it."""
    count = 0
    while found:
        first = 1 << found.bit_length() - 1
        found &= ~(first | (first >> 4 * step) | (first >> 6 * step))
        count += 1
    return count


def _reserved(size: int) -> Iterator[tuple[int, int]]:
    """Row and column of the modules that hold format and version."""
    for near in range(9):
        if near != 6:  # those two belong to the timing pattern
            yield near, 8
            yield 8, near
    for far in range(1, 9):
        yield size - far, 8
        yield 8, size - far
    if size > 41:
        for one in range(6):
            for other in range(9, 12):
                yield one, size - other
                yield size - other, one
