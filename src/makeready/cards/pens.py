"""One field each as drawing operators: codes, texts and pictures."""

from __future__ import annotations

import functools
import math
import re

from makeready.cards.colours import Inks, number, numbers
from makeready.cards.fonts import Subset
from makeready.cards.geometry import MM_PER_POINT, Box
from makeready.cards.images import Picture
from makeready.cards.logos import Place
from makeready.cards.qr import Symbol
from makeready.cards.settings import Colour, Field, ImageField, QrField, TextField
from makeready.cards.text import Fitted


class CodePen:
    """Draws the symbols of one field, all of one version."""

    def __init__(
        self,
        field: QrField,
        size: int,
        inks: Inks,
        logo: tuple[str, Picture, Place] | None = None,
    ) -> None:
        whole = size + 2 * field.quiet_zone
        side = min(field.width, field.height)
        self.module = side / whole
        left = field.x + _share(field.align, field.width - side)
        top = field.y + _share(field.valign, field.height - side)
        edge = field.quiet_zone * self.module
        self.box: Box = (left + edge, top + edge, left + side - edge, top + side - edge)
        """Of the modules."""
        self.covered = logo[2].covered if logo else frozenset()
        before = ["q", *_turned(field)]
        if field.background is not None:
            before += [
                inks.fill(field.background),
                f"{numbers(left, top, side, side)} re f",
            ]
        before += [
            inks.fill(field.color),
            f"{_exact(self.module)} 0 0 {_exact(self.module)} {numbers(*self.box[:2])} cm\n",
        ]
        self._before = "\n".join(before)
        self._after = "f\n" + (_sticker(*logo, inks) if logo else "") + "Q\n"
        self._runs = _runs(size)
        self._form = f"0{size}b"

    def draw(self, symbol: Symbol) -> str:
        """Runs of dark modules, all of them in one path, with the module as unit."""
        form = self._form
        modules = "0".join([format(row, form) for row in symbol.rows])
        runs = "".join(map(self._runs.__getitem__, map(_SPAN, _DARK.finditer(modules))))
        return f"{self._before}{runs}{self._after}"


class TextPen:
    """Draws the texts of one field."""

    def __init__(self, field: TextField, name: str, subset: Subset, inks: Inks) -> None:
        self._field, self._name = field, name
        self._codes = {ord(char): f"{code:04x}" for char, code in subset.codes.items()}
        spacing = field.letter_spacing * MM_PER_POINT
        before = ["q", *_turned(field), inks.fill(field.color), "BT"]
        if spacing:
            before.append(f"{number(spacing)} Tc")
        self._before = "\n".join(before)

    def draw(self, fitted: Fitted) -> str:
        """Lines of glyphs; the matrix turns them over, since y runs downwards."""
        field = self._field
        lines = "".join(
            f"1 0 0 -1 {numbers(field.x + line.x, field.y + line.y)} Tm"
            f" <{line.text.translate(self._codes)}> Tj\n"
            for line in fitted.lines
        )
        size = number(fitted.size * MM_PER_POINT)
        return f"{self._before}\n/{self._name} {size} Tf\n{lines}ET\nQ\n"


def image(field: ImageField, name: str, picture: Picture) -> str:
    """A picture in its field: whole, or filling it and cut off, or distorted."""
    width, height = field.width, field.height
    if field.fit != "stretch":
        pick = min if field.fit == "contain" else max
        scale = pick(width / picture.width, height / picture.height)
        width, height = picture.width * scale, picture.height * scale
    left = field.x + (field.width - width) / 2
    top = field.y + (field.height - height) / 2
    frame = numbers(field.x, field.y, field.width, field.height)
    clip = [f"{frame} re W n"] if field.fit == "cover" else []
    placed = _placed(name, picture, (left, top, left + width, top + height))
    return "\n".join(["q", *_turned(field), *clip, placed, "Q\n"])


class _Runs(dict[tuple[int, int], str]):
    """Rectangles by where a run begins and ends in the rows, one light module between two."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._stride = size + 1

    def __missing__(self, span: tuple[int, int]) -> str:
        row, column = divmod(span[0], self._stride)
        run = self[span] = f"{column} {row} {span[1] - span[0]} 1 re\n"
        return run


_DARK = re.compile("1+")
_SPAN = re.Match.span


@functools.lru_cache(maxsize=8)
def _runs(size: int) -> _Runs:
    return _Runs(size)


def _sticker(name: str, picture: Picture, place: Place, inks: Inks) -> str:
    """A logo on white, in modules."""
    white = inks.fill(Colour(space="white"))
    return (
        f"{white}\n{place.column} {place.row} {place.width} {place.height} re f\n"
        f"{_placed(name, picture, place.picture)}\n"
    )


def _placed(name: str, picture: Picture, box: Box) -> str:
    """A picture in a box; as stored it may lie on its side."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    a, b, c, d, e, f = picture.turn
    # From the unit square, y upwards, to the box, y downwards.
    matrix = (
        a * width,
        -b * height,
        c * width,
        -d * height,
        left + e * width,
        bottom - f * height,
    )
    return f"q {numbers(*matrix)} cm /{name} Do Q"


def _turned(field: Field) -> list[str]:
    """Clockwise about the centre of the field."""
    angle = math.radians(field.rotate % 360)
    if not angle:
        return []
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = field.x + field.width / 2, field.y + field.height / 2
    move = numbers(x - cos * x + sin * y, y - sin * x - cos * y)
    return [f"{_exact(cos)} {_exact(sin)} {_exact(-sin)} {_exact(cos)} {move} cm"]


def _share(where: str, room: float) -> float:
    """How much of the room lies before."""
    return {"left": 0.0, "top": 0.0, "right": room, "bottom": room}.get(where, room / 2)


def _exact(value: float) -> str:
    """For factors, whose error grows with what they are multiplied by."""
    return f"{value:.8f}".rstrip("0").rstrip(".")
