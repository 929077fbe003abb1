"""Whether the texts of a card can be read out of it, and stand in their fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from makeready.cards.geometry import MM_PER_POINT, Box, Matrix, apply
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import TextField
from makeready.cards.sight import Character

MAX_EXCESS_MM = 0.5 * MM_PER_POINT
_OVERHANG = 0.06
"""Of the size: how far glyphs such as an italic f reach beyond what they take up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A text that has to be on a page."""

    field: TextField
    page: int
    text: str
    size: float
    to_field: Matrix
    """From points as displayed to millimetres of the page before the field is turned."""

    @property
    def box(self) -> Box:
        """The field's, before it is turned."""
        field = self.field
        return field.x, field.y, field.x + field.width, field.y + field.height

    @property
    def letters(self) -> str:
        """Without spaces: these are guessed by whoever reads a PDF."""
        return "".join(self.text.split())


def check_texts(
    wanted: Sequence[Wanted], found: Sequence[Character]
) -> list[tuple[Wanted, Sequence[Character]]]:
    """All letters of a page's stamp are those of its texts, in order and in place.

    Each text with its letters.
    """
    drawn = "".join(letter for letter, *_ in found)
    if drawn != "".join(each.letters for each in wanted):
        raise _difference(wanted, found, drawn)
    start, read = 0, []
    for each in wanted:
        end = start + len(each.letters)
        _check_place(each, found[start:end])
        read.append((each, found[start:end]))
        start = end
    return read


def check_in_page(wanted: Sequence[Wanted], found: Sequence[Character]) -> None:
    """The texts are found among all that the page says."""
    drawn = "".join(letter for letter, *_ in found)
    for each in wanted:
        if each.letters not in drawn:
            raise CardRefused("card_text_missing", _about(each))


def _check_place(wanted: Wanted, found: Sequence[Character]) -> None:
    if not all(is_painted for _, _, is_painted, _ in found):
        raise CardRefused("card_text_invisible", _about(wanted) | {"text": wanted.text})
    limit = MAX_EXCESS_MM + _OVERHANG * wanted.size * MM_PER_POINT
    boxes = [box for _, box, *_ in found]
    if _is_upright(wanted.to_field):
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        boxes = [(min(lefts), min(tops), max(rights), max(bottoms))]
    excess = max(_outside(box, wanted) for box in boxes)
    if excess > limit:
        facts = {"excess": round(excess, 2), "text": wanted.text}
        raise CardRefused("card_text_outside", _about(wanted) | facts)


def _is_upright(matrix: Matrix) -> bool:
    """Whether boxes stay boxes."""
    a, b, *_ = matrix
    return min(abs(a), abs(b)) < 1e-9


def _difference(wanted: Sequence[Wanted], found: Sequence[Character], drawn: str) -> CardRefused:
    """What of the texts is not as it should be."""
    for each in wanted:
        if each.letters not in drawn:
            inside = "".join(letter for letter, box, *_ in found if not _outside(box, each))
            code = "card_text_wrong" if inside else "card_text_missing"
            return CardRefused(code, _about(each) | {"text": each.text, "found": inside[:100]})
    page = wanted[0].page if wanted else 0
    return CardRefused("card_text_wrong", {"case": "more", "page": page, "found": drawn[:100]})


def _about(wanted: Wanted) -> dict[str, Any]:
    return {"field": wanted.field.id, "page": wanted.page}


def _outside(ink: Box, wanted: Wanted) -> float:
    """How far a letter certainly reaches beyond its field.

    It touches each side of its box somewhere, and where only, is not known: of a letter that is
    turned by 45° a corner of the box may be far from any ink.
    """
    field = wanted.field
    right, bottom = field.x + field.width, field.y + field.height
    x0, y0, x1, y1 = ink
    corners = [apply(wanted.to_field, *each) for each in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    excess = 0.0
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        beyond = (field.x - max(ax, bx), min(ax, bx) - right)
        above = (field.y - max(ay, by), min(ay, by) - bottom)
        excess = max(excess, *beyond, *above)
    return excess
