"""Whether letters look as they read: a file may say of any glyph that it is any letter.

What the stamp shows of a text is compared with the same letters of the font that was ordered, as
MuPDF draws them out of the whole font. A letter that was right once is right on all cards: they
have their fonts in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pymupdf
from pymupdf import mupdf

from makeready.cards.fonts import SHIPPED
from makeready.cards.geometry import MM_PER_POINT, Box, Matrix, apply, chained, moved
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import TextField
from makeready.cards.sight import Character, guarded
from makeready.cards.text_checks import Wanted

_EM_PX = 300
"""MuPDF moves letters of up to 256 pixels to whole pixels, and draws larger ones as paths."""
_AT_A_TIME = 12
"""Letters of one picture, so that it has room for them."""
_MAX_WRONG = 0.06
"""Of a letter's ink: how much of it may differ."""
_MOST_PIXELS = 16_000_000
_EVERYWHERE = mupdf.FzRect(mupdf.FzRect.Fixed_INFINITE)

Span: TypeAlias = tuple[int, int, int, int]


class Letterforms:
    """Knows which letters of which font were seen to be right."""

    def __init__(self, assets: Mapping[str, bytes]) -> None:
        self._assets = assets
        self._fonts: dict[tuple[str, str], pymupdf.Font | None] = {}
        self._known: dict[tuple[str, str], set[str]] = {}

    def check(
        self, stamp: mupdf.FzDisplayList, wanted: Wanted, found: Sequence[Character]
    ) -> None:
        """Looks at a text that has letters that were not seen yet; raises CardRefused."""
        key = (wanted.field.font, wanted.field.weight)
        known = self._known.setdefault(key, set())
        fresh = {letter for letter, *_ in found} - known
        font = self._font(wanted.field) if fresh else None
        if font is None:
            return
        some = [each for each in found if each[0] in fresh and font.has_glyph(ord(each[0]))]
        wrong = ""
        for first in range(0, len(some), _AT_A_TIME):
            with guarded():
                picture = _Picture(wanted, some[first : first + _AT_A_TIME])
                wrong += picture.unlike(picture.of_stamp(stamp), picture.of_font(font, found))
        if wrong:
            facts = {"field": wanted.field.id, "page": wanted.page, "found": wrong}
            raise CardRefused("card_text_wrong", {"case": "shapes", "text": wanted.text, **facts})
        known |= fresh

    def _font(self, field: TextField) -> pymupdf.Font | None:
        """The whole font; None: MuPDF cannot read it."""
        key = (field.font, field.weight)
        if key not in self._fonts:
            name = SHIPPED.get(key)
            data = None if name else self._assets[field.font]
            try:
                self._fonts[key] = pymupdf.Font(fontname=name, fontbuffer=data)
            except (mupdf.FzErrorBase, RuntimeError, ValueError):
                self._fonts[key] = None
        return self._fonts[key]


class _Picture:
    """Some letters of a text with what is beside them, upright and large, black or nothing."""

    def __init__(self, wanted: Wanted, found: Sequence[Character]) -> None:
        self._found = found
        size = wanted.size * MM_PER_POINT
        boxes = [moved(box, wanted.to_field) for _, box, *_ in found]
        x0, y0 = min(box[0] for box in boxes), min(box[1] for box in boxes)
        x1, y1 = max(box[2] for box in boxes), max(box[3] for box in boxes)
        scale = min(_EM_PX / size, (_MOST_PIXELS / max((x1 - x0) * (y1 - y0), 1)) ** 0.5)
        edge = 0.1 * size
        self._em = size * scale
        to_pixels = (scale, 0.0, 0.0, scale, (edge - x0) * scale, (edge - y0) * scale)
        self._matrix: Matrix = chained(wanted.to_field, to_pixels)
        self._width = round((x1 - x0 + 2 * edge) * scale) + 1
        self._height = round((y1 - y0 + 2 * edge) * scale) + 1

    def of_stamp(self, stamp: mupdf.FzDisplayList) -> bytes:
        """What a card has there."""
        picture, device = self._sheet()
        mupdf.fz_run_display_list(
            stamp, device, mupdf.FzMatrix(*self._matrix), _EVERYWHERE, mupdf.FzCookie()
        )
        return _finished(picture, device)

    def of_font(self, font: pymupdf.Font, found: Sequence[Character]) -> bytes:
        """The letters of the whole font, each where the card has it."""
        picture, device = self._sheet()
        text = mupdf.fz_new_text()
        for letter, *_, origin in found:
            x, y = apply(self._matrix, *origin)
            place = mupdf.FzMatrix(self._em, 0, 0, -self._em, x, y)
            glyph = font.has_glyph(ord(letter))
            mupdf.fz_show_glyph(
                text, font.this, place, glyph, ord(letter), 0, 0,
                mupdf.FZ_BIDI_NEUTRAL, mupdf.FZ_LANG_UNSET,
            )  # fmt: skip
        gray, black = pymupdf.csGRAY.this, [0.0]
        mupdf.fz_fill_text(device, text, mupdf.FzMatrix(), gray, black, 1.0, mupdf.FzColorParams())
        return _finished(picture, device)

    def unlike(self, shown: bytes, meant: bytes) -> str:
        """Those of the letters that do not look as they read."""
        return "".join(
            letter for letter, box, *_ in self._found if not self._is_alike(shown, meant, box)
        )

    def _is_alike(self, shown: bytes, meant: bytes, box: Box) -> bool:
        """Compares where one letter is."""
        x0, y0, x1, y1 = moved(box, self._matrix)
        left, right = max(int(x0) - 2, 0), min(int(x1) + 3, self._width)
        rows = range(max(int(y0) - 2, 0), min(int(y1) + 3, self._height))
        one, two = (
            b"".join([each[row * self._width + left : row * self._width + right] for row in rows])
            for each in (shown, meant)
        )
        differ = int.from_bytes(one, "big") ^ int.from_bytes(two, "big")
        return differ.bit_count() <= _MAX_WRONG * max(sum(one), sum(two))

    def _sheet(self) -> tuple[mupdf.FzPixmap, mupdf.FzDevice]:
        area = mupdf.FzIrect(0, 0, self._width, self._height)
        gray = pymupdf.csGRAY.this
        picture = mupdf.fz_new_pixmap_with_bbox(gray, area, mupdf.FzSeparations(0), 1)
        mupdf.fz_clear_pixmap(picture)
        return picture, mupdf.fz_new_draw_device(mupdf.FzMatrix(), picture)


def _finished(picture: mupdf.FzPixmap, device: mupdf.FzDevice) -> bytes:
    """One byte a pixel: 1 where there is something."""
    mupdf.fz_close_device(device)
    shown = pymupdf.Pixmap("raw", picture)  # its samples live as long as it does
    return bytes(shown.samples_mv)[1::2].translate(_IS_DARK)


_IS_DARK = bytes(value >= 128 for value in range(256))
