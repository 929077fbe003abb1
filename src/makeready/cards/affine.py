"""Many QR symbols that differ in their payload alone, as fast as big integers go.

For one version, level, mode and length each module is an affine function, over GF(2), of the bits
of the payload: flipping a bit flips the same modules whatever the others are. So segno makes the
first symbol, with each mask, and all others come of it by what their bits flip. The symbols are
segno's, bit for bit, the choice of the mask included.
"""

from __future__ import annotations

from functools import lru_cache

import segno

from makeready.cards.blocks import interleaved, shapes
from makeready.cards.masks import GAP, Rules
from makeready.cards.modules import data_path, size_of

_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES = {letter: value for value, letter in enumerate(_ALPHANUMERIC)}
_COUNT_BITS = {"numeric": (10, 12, 14), "alphanumeric": (9, 11, 13), "byte": (8, 16, 16)}
_MODE_BITS = 4
_KEPT_BITS = 64_000_000
"""Of what is remembered for one length; links need a hundredth of it, long texts have no end."""


class BatchEncoder:
    """Encodes payloads as long as the first one; `level` is what it is after a boost."""

    def __init__(
        self, first: bytes, mode: str, level: str, version: int, mask: int | None = None
    ) -> None:
        self.level = level
        self._mode = mode
        self._length = len(first)
        self._first = _groups(first, mode)
        self._flips = _flips(version, level, mode, len(first))
        self._rules = _rules(version)
        self._masks = tuple(range(8)) if mask is None else (mask,)
        self._finished = tuple(
            _by_segno(first, mode, level, version, each) for each in self._masks
        )
        free = self._rules.free
        self._unfinished = tuple(symbol & free for symbol in self._finished)

    def encode(self, payload: bytes) -> tuple[int, tuple[int, ...]]:
        """Mask and rows; the payload must have the mode and the length of the first."""
        if len(payload) != self._length:
            raise ValueError(f"{len(payload)} bytes, not {self._length}")
        change = 0
        groups = _groups(payload, self._mode)
        for place, (now, first) in enumerate(zip(groups, self._first, strict=True)):
            if now != first:
                change ^= self._flips[place, now ^ first]
        best = 0
        if len(self._masks) > 1:
            penalty = self._rules.penalty
            scores = [penalty(symbol ^ change) for symbol in self._unfinished]
            best = scores.index(min(scores))
        return self._masks[best], self._rules.rows(self._finished[best] ^ change)


class _Flips(dict[tuple[int, int], int]):
    """By a group of the payload and by the bits that differ there: the modules they flip."""

    def __init__(self, version: int, level: str, mode: str, length: int) -> None:
        super().__init__()
        grown = (version > 9) + (version > 26)
        self._start = _MODE_BITS + _COUNT_BITS[mode][grown]
        self._mode, self._length = mode, length
        self._codewords = _codewords(version, level)
        self._most = _KEPT_BITS // size_of(version) ** 2

    def __missing__(self, key: tuple[int, int]) -> int:
        place, difference = key
        end = self._start + _bits(place + 1, self._mode, self._length)
        flipped = 0
        for bit in range(difference.bit_length()):
            if difference >> bit & 1:
                codeword, from_high = divmod(end - 1 - bit, 8)
                flipped ^= self._codewords.flipped(codeword, 7 - from_high)
        if len(self) >= self._most:
            self.clear()
        self[key] = flipped
        return flipped


class _Codewords:
    """How a version and level spread data over blocks, and blocks over the symbol."""

    def __init__(self, version: int, level: str) -> None:
        blocks = shapes(version, level)
        bit = _rules(version).bit
        path = iter([bit(row, column) for row, column in data_path(size_of(version))])
        data = interleaved([count for count, _ in blocks], path)
        self._parity = interleaved([count for _, count in blocks], path)
        self._data = [
            (block, len(codewords) - 1 - place, modules)
            for block, codewords in enumerate(data)
            for place, modules in enumerate(codewords)
        ]
        """Of each codeword: its block, how many follow in it, and where its bits are."""
        self._remainders = [_remainders(*block) for block in blocks]

    def flipped(self, codeword: int, bit: int) -> int:
        """The modules that one bit of the data flips: its own, and some of its block's parity."""
        block, behind, own = self._data[codeword]
        flipped = 1 << own[7 - bit]
        for parity, cells in zip(
            self._remainders[block][behind], self._parity[block], strict=True
        ):
            value = _product(parity, 1 << bit)
            for number, cell in enumerate(cells):
                if value >> 7 - number & 1:
                    flipped ^= 1 << cell
        return flipped


@lru_cache(maxsize=64)
def _remainders(data: int, parity: int) -> list[list[int]]:
    """What a codeword of a block adds to its parity when it is 1: the last one, and so on back."""
    generator = [1]
    for root in range(parity):
        times = [_product(factor, _POWERS[root]) for factor in generator]
        generator = [one ^ two for one, two in zip([*generator, 0], [0, *times], strict=True)]
    rest = generator[1:]
    found = []
    for _ in range(data):
        found.append(rest)
        first, *others = rest
        reduced = (_product(first, factor) for factor in generator[1:])
        rest = [one ^ two for one, two in zip([*others, 0], reduced, strict=True)]
    return found


def _powers() -> list[int]:
    """Of 2 in the field of 256 numbers that QR codes reckon in, twice around."""
    found, value = [], 1
    for _ in range(510):
        found.append(value)
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return found


_POWERS = _powers()
_LOGARITHMS = {value: power for power, value in enumerate(_POWERS[:255])}


def _product(one: int, two: int) -> int:
    return _POWERS[_LOGARITHMS[one] + _LOGARITHMS[two]] if one and two else 0


@lru_cache(maxsize=64)
def _rules(version: int) -> Rules:
    return Rules(size_of(version))


@lru_cache(maxsize=16)
def _codewords(version: int, level: str) -> _Codewords:
    return _Codewords(version, level)


@lru_cache(maxsize=8)
def _flips(version: int, level: str, mode: str, length: int) -> _Flips:
    return _Flips(version, level, mode, length)


def _by_segno(payload: bytes, mode: str, level: str, version: int, mask: int) -> int:
    code = segno.make_qr(
        payload, error=level, version=version, mode=mode, mask=mask, boost_error=False
    )
    gap = "0" * GAP
    return int(gap.join(bytes(row).hex()[1::2] for row in code.matrix), 2)


def _groups(payload: bytes, mode: str) -> tuple[int, ...] | bytes:
    """The numbers whose bits are the payload's: of a byte each, or of two or three characters."""
    if mode == "byte":
        return payload
    if mode == "numeric":
        return tuple(int(payload[at : at + 3]) for at in range(0, len(payload), 3))
    values = [_VALUES[letter] for letter in payload]
    pairs = [45 * one + two for one, two in zip(values[::2], values[1::2], strict=False)]
    return (*pairs, *values[len(pairs) * 2 :])


def _bits(groups: int, mode: str, length: int) -> int:
    """How many bits the first groups take, of a payload of this many characters."""
    width, bits, shorter = _GROUPS[mode]
    rest = length - (groups - 1) * width
    return groups * bits if rest >= width else (groups - 1) * bits + shorter[rest]


_GROUPS: dict[str, tuple[int, int, dict[int, int]]] = {
    "byte": (1, 8, {}),
    "alphanumeric": (2, 11, {1: 6}),
    "numeric": (3, 10, {1: 4, 2: 7}),
}
"""Characters and bits of a group, and the bits of one that is shorter."""
