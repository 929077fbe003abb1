"""Text that fits: as large as asked for where there is room, else smaller, in few lines.

Which characters can be printed at all is decided here too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from makeready.cards.fonts import Font
from makeready.cards.geometry import MM_PER_POINT
from makeready.cards.settings import TextField

_STEP = 0.01  # points, to which sizes are rounded down
_SLACK = 1e-6  # mm, for sums that are not exact
_BINDING = frozenset("№авикосуя")
"""Short words of Russian that do not end a line."""
_SCRIPTS = (
    (0x0900, 0x0DFF),  # India
    (0x0E00, 0x109F),  # Thai, Lao, Tibetan, Burmese
    (0x1100, 0x11FF),  # Hangul in parts
    (0x1700, 0x18AF),  # the Philippines, Khmer, Mongolian
    (0x1900, 0x1AAF),  # Limbu to Tai Tham
    (0x1B00, 0x1C7F),  # Bali, Sunda, Batak, Lepcha
    (0xA800, 0xA8FF),  # Syloti Nagri to Saurashtra
    (0xA930, 0xAAFF),  # Rejang, Java, Cham
    (0xABC0, 0xABFF),  # Meetei Mayek
    (0x11000, 0x11FFF),  # more of India
    (0x1F1E6, 0x1F1FF),  # flags
    (0x1F3FB, 0x1F3FF),  # skins
)
_Span: TypeAlias = tuple[int, int, int]
"""A line: paragraph, first word, and the word behind the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: where its base line begins, from the field's top left corner, in mm."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A text in its field."""

    size: float
    """In points."""
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """As it will be found on the card."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """A text that does not fit, with the numbers: at the smallest size, in its best lines."""

    text: str
    size: float
    width: float
    height: float
    """That it needs, in mm."""
    lines: int


def cleaned(text: str, case: str = "none") -> str:
    """Composed letters, one space for another, nothing invisible."""
    composed = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\t", " "))
    cased = {"upper": composed.upper, "lower": composed.lower}.get(case, composed.strip)()
    if cased.isprintable():
        return cased.strip()
    kept = (char for char in cased if char in "\n\u200c\u200d" or _category(char) != "Cf")
    return "".join(kept).strip()


def unshaped(text: str) -> list[str]:
    """The characters that only a shaping engine could set right: none is at hand."""
    return [] if text.isascii() else sorted({char for char in text if _needs_shaping(char)})


def fit(text: str, field: TextField, font: Font) -> Fitted | TooLarge:
    """Sets a cleaned text: the largest size, the fewest lines, then the most even ones."""
    if not text:
        return Fitted(size=field.size, lines=())
    setter = _Setter(text, field, font)
    size = setter.largest() if field.fit == "shrink" else field.size
    count = setter.lines(size)
    return setter.placed(size, count) if count else setter.too_large(size)


def overflow(text: str, field: TextField, font: Font) -> TooLarge | None:
    """What `fit` would say of a text that does not fit, without setting one that does."""
    if not text:
        return None
    setter = _Setter(text, field, font)
    if setter.lines(field.size):
        return None
    size = _stepped(field.min_size) if field.fit == "shrink" else field.size
    return None if setter.lines(size) else setter.too_large(size)


class _Setter:
    """One text, its field and font."""

    def __init__(self, text: str, field: TextField, font: Font) -> None:
        self._text, self._field, self._font = text, field, font
        self._paragraphs = [_words(paragraph) for paragraph in text.split("\n")]
        self._advances = [[font.advance(word) for word in words] for words in self._paragraphs]
        """At size 1: a line is measured often, its words once."""
        self._space = font.advance(" ")
        self._above, self._below = font.ink(text.replace("\n", ""))

    def largest(self) -> float:
        """The largest size at which it fits, in steps that nobody sees; else the smallest one."""
        if self.lines(self._field.size):
            return self._field.size
        low, high = (round(each / _STEP) for each in (self._field.min_size, self._field.size))
        while high - low > 1:
            middle = (low + high) // 2
            if self.lines(middle * _STEP):
                low = middle
            else:
                high = middle
        return _stepped(low * _STEP)

    def lines(self, size: float) -> int:
        """How many lines it takes at this size; 0 where it does not fit."""
        lines = self._broken(size, self._field.width)
        if lines is None or self._height(size, len(lines)) > self._field.height + _SLACK:
            return 0
        return len(lines)

    def placed(self, size: float, count: int) -> Fitted:
        """Aligned; vertically by capital letters, all ink inside the field."""
        field, font = self._field, self._font
        scale = size * MM_PER_POINT
        lines = self._even(size, count)
        leading = field.line_height * scale
        block = leading * (len(lines) - 1)
        capital = font.cap_height * scale
        first = {
            "top": capital,
            "middle": (field.height - block + capital) / 2,
            "bottom": field.height - block - font.descent * scale,
        }[field.valign]
        lowest = field.height - block - self._below * scale
        first = max(min(first, lowest), self._above * scale)
        return Fitted(
            size=size,
            lines=tuple(
                Line(text=line, x=self._indent(line, size), y=first + number * leading)
                for number, line in enumerate(lines)
            ),
        )

    def too_large(self, size: float) -> TooLarge:
        """What it needs at this size, in its best lines."""
        count = max(self._field.max_lines, len(self._paragraphs))
        lines = self._even(size, count)
        return TooLarge(
            text=self._text,
            size=size,
            width=max(self._width(line, size) for line in lines),
            height=self._height(size, len(lines)),
            lines=len(lines),
        )

    def _indent(self, line: str, size: float) -> float:
        room = self._field.width - self._width(line, size)
        return {"left": 0.0, "center": room / 2, "right": room}[self._field.align]

    def _width(self, line: str, size: float) -> float:
        spaces = self._field.letter_spacing * max(len(line) - 1, 0)
        return (self._font.advance(line) * size + spaces) * MM_PER_POINT

    def _height(self, size: float, count: int) -> float:
        leading = self._field.line_height * (count - 1)
        return (self._above + self._below + leading) * size * MM_PER_POINT

    def _broken(self, size: float, width: float) -> list[_Span] | None:
        """Greedily into lines of this width; None where a word or a line is too much."""
        room, spacing = (width + _SLACK) / MM_PER_POINT, self._field.letter_spacing
        lines: list[_Span] = []
        for paragraph, words in enumerate(self._paragraphs):
            start, length = 0, 0.0
            for place, word in enumerate(words):
                own = self._advances[paragraph][place] * size + spacing * max(len(word) - 1, 0)
                longer = length + self._space * size + 2 * spacing + own
                if place and longer <= room:
                    length = longer
                    continue
                if own > room:
                    return None
                if place:
                    lines.append((paragraph, start, place))
                start, length = place, own
            lines.append((paragraph, start, len(words)))
            if len(lines) > self._field.max_lines:
                return None
        return lines

    def _even(self, size: float, count: int) -> list[str]:
        """Into so many lines at most, the longest as short as can be."""
        whole = [(number, 0, len(words)) for number, words in enumerate(self._paragraphs)]
        best: list[_Span] = whole
        if count > len(whole):
            low, high = 0.0, max(self._width(line, size) for line in self._said(whole))
            for _ in range(24):
                middle = (low + high) / 2
                lines = self._broken(size, middle)
                if lines is None or len(lines) > count:
                    low = middle
                else:
                    high, best = middle, lines
        return self._said(best)

    def _said(self, lines: Sequence[_Span]) -> list[str]:
        return [" ".join(self._paragraphs[number][start:end]) for number, start, end in lines]


def _stepped(size: float) -> float:
    return round(round(size / _STEP) * _STEP, 2)


def _words(paragraph: str) -> list[str]:
    """What must not be torn apart: a № stays with its number, a short word with what follows."""
    words: list[str] = []
    for word in paragraph.split(" "):
        if words and words[-1].rpartition(" ")[2].lower() in _BINDING:
            words[-1] += f" {word}"
        elif word:
            words.append(word)
    return words or [""]


def _category(char: str) -> str:
    return unicodedata.category(char)


def _needs_shaping(char: str) -> bool:
    code = ord(char)
    return (
        unicodedata.bidirectional(char) in {"R", "AL", "RLE", "RLO", "RLI", "AN"}
        or _category(char) in {"Mn", "Mc", "Me"}
        or code in {0x200C, 0x200D}
        or any(first <= code <= last for first, last in _SCRIPTS)
    )


def alphabet(texts: Iterable[str]) -> set[str]:
    """All characters that have to be printed."""
    return {char for text in texts for char in text if char != "\n"}
