"""What must be on a card: worked out of settings and data anew, not believed of who drew it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from makeready.cards.code_checks import check_numbers
from makeready.cards.drawing import Drawn, PlacedCode
from makeready.cards.filling import fill, label
from makeready.cards.geometry import Matrix, chained, inverse
from makeready.cards.press import Card
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import CardSettings, Field, QrField, TextField, page_numbers
from makeready.cards.text_checks import Wanted
from makeready.cards.values import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must be on one page of a card."""

    codes: tuple[PlacedCode, ...]
    texts: tuple[Wanted, ...]


class Expectations:
    """What must be on the cards of a generation."""

    def __init__(self, settings: CardSettings, rows: Sequence[Row], *, pages: int) -> None:
        self._settings = settings
        self._labels = [label(row) for row in rows]
        filled, _ = fill(settings, rows)
        self._filled = [(each, page_numbers(each.field.pages, pages)) for each in filled]
        self.pages = tuple(sorted({page for _, pages in self._filled for page in pages}))
        """Those that have something on them."""

    def label(self, index: int) -> str:
        """What people call the table."""
        return self._labels[index]

    def of(self, card: Card, displayed: Mapping[int, Matrix]) -> dict[int, Expected]:
        """By page; `displayed` leads from its millimetres to points. Raises CardRefused."""
        codes: dict[int, list[PlacedCode]] = {page: [] for page in self.pages}
        texts: dict[int, list[Wanted]] = {page: [] for page in self.pages}
        for filled, pages in self._filled:
            value, field = filled.texts[card.index], filled.field
            for page in pages if value else ():
                if isinstance(field, QrField):
                    codes[page].append(self._code(card.drawn, field, page, value or ""))
                elif isinstance(field, TextField) and self._settings.check_text:
                    to_field = inverse(chained(turned(field), displayed[page]))
                    texts[page].append(_text(card.drawn, field, page, value or "", to_field))
        if sum(map(len, codes.values())) != len(card.drawn.codes):
            raise CardRefused("card_code_wrong", {"case": "more"})
        return {
            page: Expected(codes=tuple(codes[page]), texts=tuple(texts[page]))
            for page in self.pages
        }

    def _code(self, drawn: Drawn, field: QrField, page: int, value: str) -> PlacedCode:
        for code in drawn.codes:
            if (code.field, code.page) == (field.id, page):
                check_numbers(
                    code, field, value=value, least_mm=self._settings.min_module_error_mm
                )
                return code
        raise CardRefused("card_code_missing", {"field": field.id, "page": page})


def _text(drawn: Drawn, field: TextField, page: int, value: str, to_field: Matrix) -> Wanted:
    for text in drawn.texts:
        if (text.field, text.page) == (field.id, page):
            return Wanted(field=field, page=page, text=value, size=text.size, to_field=to_field)
    raise CardRefused("card_text_missing", {"field": field.id, "page": page, "text": value})


def turned(field: Field) -> Matrix:
    """From unturned millimetres to where they are: clockwise about the field's centre."""
    angle = math.radians(field.rotate)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = field.x + field.width / 2, field.y + field.height / 2
    return cos, sin, -sin, cos, x - cos * x + sin * y, y - sin * x - cos * y
