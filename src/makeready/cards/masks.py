"""The rules by which a QR symbol's mask is chosen, on symbols that are one integer each.

An integer has its rows from the top down, the leftmost module highest; four light modules lie
between rows, since beyond a symbol's edge all is light to the rules. A few shifts then do for the
whole symbol what they say of each line. The penalties are segno's, in all details that the
standard leaves open: the same mask is chosen.
"""

from __future__ import annotations

from makeready.cards.modules import written_last

GAP = 4
"""Light modules between two rows."""


class Rules:
    """segno's penalties (ISO/IEC 18004, 7.8.3.1) for symbols of one size.

    Masks are judged before format and version are written: those modules count as light.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        stride = size + GAP
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
        for row, column in written_last(size):
            self.free &= ~(1 << self.bit(row, column))
        area = size * size
        self._balance = tuple(
            10 * int(abs(float(dark) / area * 100 - 50) / 5) for dark in range(area + 1)
        )

    def bit(self, row: int, column: int) -> int:
        """The number of a module's bit in the integer."""
        return self._offsets[row] + self._size - 1 - column

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
