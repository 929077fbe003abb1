"""Pictures for people: a page of a template for the editor, a page of a card.

The grid is in millimetres from where fields are measured; with it come the edges of the trimmed
page and of its bleed, and the fields by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import pymupdf

from makeready.cards import sight
from makeready.cards.geometry import MM_PER_POINT, apply, frame
from makeready.cards.inspection import inspect
from makeready.cards.placing import shape
from makeready.cards.press import Card, Press
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.settings import CardSettings, page_numbers
from makeready.cards.template import PageFacts

MIN_DPI, MAX_DPI = 36, 300
_MOST_PIXELS = 25_000_000
_TRIM, _BLEED, _FIELD = (0.85, 0.1, 0.1), (0.1, 0.35, 0.9), (0.0, 0.5, 0.25)
_LINES = {1: ((0.8, 0.8, 0.83), 0.15), 5: ((0.65, 0.65, 0.7), 0.25), 10: ((0.4, 0.4, 0.5), 0.4)}
"""Colour and width in points of the grid's lines, by how many millimetres they are apart."""
_FINEST_DPI = 90
"""Below that, lines each millimetre would be gray all over."""
_LETTERS_PT = 5.0
_GRID_OPACITY = 0.6
"""The art is to be seen through it."""

Colour: TypeAlias = tuple[float, float, float]


def page_png(
    pdf: bytes,
    *,
    page: int = 1,
    dpi: float = 100,
    grid: bool = False,
    settings: CardSettings | None = None,
) -> bytes:
    """PNG of one page of a template, as displayed; the grid shows the fields of the settings.

    Raises CardsRefused where there is no such page, ValueError for a dpi out of range.
    """
    facts = inspect(pdf).pages if grid else ()
    return _png(pdf, facts, settings, page=page, dpi=dpi)


def card_png(
    press: Press, card: Card, *, page: int = 1, dpi: float = 100, grid: bool = False
) -> bytes:
    """PNG of one page of a card; errors as in `page_png`."""
    facts = press.facts.pages if grid else ()
    return _png(press.whole(card), facts, press.settings, page=page, dpi=dpi)


def _png(
    pdf: bytes,
    facts: Sequence[PageFacts],
    settings: CardSettings | None,
    *,
    page: int,
    dpi: float,
) -> bytes:
    """Without facts there is no grid."""
    if not MIN_DPI <= dpi <= MAX_DPI:
        raise ValueError(f"dpi must be from {MIN_DPI} to {MAX_DPI}")
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        if not 1 <= page <= len(document):
            missing = {"page": page, "pages": len(document)}
            raise CardsRefused([Problem(code="field_page_missing", path="page", facts=missing)])
        shown = document[page - 1]
        area = shown.rect.width * shown.rect.height / 72**2
        dpi = min(dpi, (_MOST_PIXELS / max(area, 1)) ** 0.5)
        matrix = pymupdf.Matrix(dpi / 72, dpi / 72)
        picture = shown.get_pixmap(matrix=matrix, colorspace=pymupdf.csRGB, alpha=False)
        if facts:
            with pymupdf.open() as sheet:
                face = sheet.new_page(width=shown.rect.width, height=shown.rect.height)
                face.insert_image(face.rect, pixmap=picture)
                _Ruler(face, pdf, facts, settings, page).draw(is_fine=dpi >= _FINEST_DPI)
                picture = face.get_pixmap(matrix=matrix, colorspace=pymupdf.csRGB, alpha=False)
        picture.set_dpi(round(dpi), round(dpi))
        return bytes(picture.tobytes("png"))


class _Ruler:
    """Draws the grid on a picture of a page, in millimetres."""

    def __init__(
        self,
        face: pymupdf.Page,
        pdf: bytes,
        facts: Sequence[PageFacts],
        settings: CardSettings | None,
        page: int,
    ) -> None:
        origin = settings.origin if settings else "trim"
        self._face = face
        self._frame = frame(facts[page - 1], origin)
        self._displayed = sight.displayed(sight.opened(pdf), page, origin)
        self._fields = [
            (each.id, shape(each))
            for each in (settings.fields if settings else ())
            if page in page_numbers(each.pages, len(facts))
        ]
        self._font = pymupdf.Font("notos")

    def draw(self, *, is_fine: bool) -> None:
        """Lines, numbers, edges, fields."""
        for step, (colour, width) in _LINES.items():
            if step > 1 or is_fine:
                self._lines(step, colour, width)
        self._numbers()
        whole = (0.0, 0.0, self._frame.width, self._frame.height)
        for box, colour in ((self._frame.bleed, _BLEED), (whole, _TRIM)):
            x0, y0, x1, y1 = box
            self._outline([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)
        for name, corners in self._fields:
            self._outline(corners, _FIELD)
            x, y = min(corners, key=lambda corner: (corner[1], corner[0]))
            self._write(name, x + 0.7, y + 2.4, _FIELD)

    def _lines(self, step: int, colour: Colour, width: float) -> None:
        shown = self._frame.media
        lines = self._face.new_shape()
        for x in range(math.ceil(shown[0] / step) * step, math.floor(shown[2]) + 1, step):
            lines.draw_line(self._at(x, shown[1]), self._at(x, shown[3]))
        for y in range(math.ceil(shown[1] / step) * step, math.floor(shown[3]) + 1, step):
            lines.draw_line(self._at(shown[0], y), self._at(shown[2], y))
        lines.finish(color=colour, width=width, stroke_opacity=_GRID_OPACITY)
        lines.commit()

    def _numbers(self) -> None:
        """Each centimetre along the top and the left edge."""
        colour = _LINES[10][0]
        for x in range(10, math.floor(self._frame.width) + 1, 10):
            self._write(str(x), x + 0.3, 2.1, colour)
        for y in range(10, math.floor(self._frame.height) + 1, 10):
            self._write(str(y), 0.3, y - 0.4, colour)

    def _outline(self, corners: Sequence[tuple[float, float]], colour: Colour) -> None:
        lines = self._face.new_shape()
        lines.draw_polyline([self._at(x, y) for x, y in (*corners, corners[0])])
        lines.finish(color=colour, width=0.7, closePath=True)
        lines.commit()

    def _write(self, text: str, x: float, y: float, colour: Colour) -> None:
        width = self._font.text_length(text, _LETTERS_PT) * MM_PER_POINT
        ground = self._face.new_shape()
        ground.draw_rect(
            pymupdf.Rect(self._at(x - 0.2, y - 1.6), self._at(x + width + 0.2, y + 0.4))
        )
        ground.finish(color=None, fill=(1, 1, 1), fill_opacity=_GRID_OPACITY)
        ground.commit()
        writer = pymupdf.TextWriter(self._face.rect)
        writer.append(self._at(x, y), text, font=self._font, fontsize=_LETTERS_PT)
        writer.write_text(self._face, color=colour)

    def _at(self, x: float, y: float) -> pymupdf.Point:
        return pymupdf.Point(apply(self._displayed, x, y))
