"""Cards imposed on sheets: several up, with bleed, crop marks, backs, in the order of cutting.

    front of a sheet          its back, turned over sideways      turned over lengthways
    1 2 3                     3' 2' 1'                            4' 5' 6'  upside down
    4 5 6                     6' 5' 4'                            1' 2' 3'

A card whose pages are backs of each other is turned like a page of a book, so a sheet that is
turned over its upper edge carries its backs upside down.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards.assembly import Assembly, Seen, stamped
from makeready.cards.colours import numbers
from makeready.cards.geometry import (
    MM_PER_POINT,
    Box,
    Frame,
    Matrix,
    chained,
    common,
    frame,
    inverse,
    moved,
)
from makeready.cards.imposing import Face, Layout, even_size, faces, filled, lay_out
from makeready.cards.isolation import contents_of
from makeready.cards.press import Card, Press
from makeready.cards.settings import Sheet

_MARK_MM = (0.5, 5.0)
"""Where marks begin, from the bleed, and how long they are at most."""
_LINE_PT = 0.25
_DASH_MM = 1.5
_LEVEL = 6


def impose(
    press: Press, indexes: Sequence[int], sheet: Sheet, *, seen: Seen | None = None
) -> bytes:
    """One PDF of sheets with these cards in this order; raises CardsRefused."""
    if not indexes:
        raise ValueError("no card to print")
    frames = {page.number: frame(page) for page in press.facts.pages}
    width, height = even_size([(each.width, each.height) for each in frames.values()])
    layout = lay_out(sheet, width, height)
    assembly = Assembly(press, press.stamp(indexes[0]))
    try:
        sheets = _Sheets(assembly, frames, layout, sheet, has_cmyk=press.facts.has_cmyk)
        pages = sheets.pages(list(stamped(press, indexes, seen)))
        return assembly.finished(list(pages))
    finally:
        assembly.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """What one place takes on the two sides of a sheet."""

    card: Card
    front: Face
    back: Face | None = None


class _Sheets:
    """Draws sheets of one layout."""

    def __init__(
        self,
        assembly: Assembly,
        frames: dict[int, Frame],
        layout: Layout,
        sheet: Sheet,
        *,
        has_cmyk: bool,
    ) -> None:
        self._assembly, self._layout, self._sheet = assembly, layout, sheet
        self._frames = frames
        self._art = {number: self._as_form(number) for number in assembly.pages}
        self._forms: dict[tuple[int, int], Any] = {}
        self._turned_sideways = (layout.width < layout.height) == (sheet.duplex == "long-edge")
        marks = "\n".join(_marks(layout, sheet))
        self._inks = {}
        ink = "0 G"
        if has_cmyk:
            ink = "/Every CS 1 SCN"
            self._inks["/ColorSpace"] = Dictionary(Every=_registration(assembly.document))
        self._marks = f"q {ink} {_LINE_PT} w\n{marks}\nQ" if marks else ""

    def pages(self, cards: Sequence[Card]) -> Iterator[Any]:
        """The sheets, each followed by its back if there is one."""
        items = [item for card in cards for item in self._items(card)]
        has_backs = any(item.back for item in items)
        for places in filled(self._sheet, self._layout.places, len(items)):
            taken = [
                (place, items[index]) for place, index in enumerate(places) if index is not None
            ]
            yield self._page([(place, item.card, item.front) for place, item in taken])
            if has_backs:
                behind = [(self._behind(place), item.card, item.back) for place, item in taken]
                yield self._page(
                    [(place, card, face) for place, card, face in behind if face is not None],
                    is_turned=not self._turned_sideways,
                )

    def _items(self, card: Card) -> Iterator[_Item]:
        shown = faces(self._sheet, len(self._frames))
        if self._sheet.duplex == "none":
            for face in shown:
                yield _Item(card=card, front=face)
            return
        for front in range(0, len(shown), 2):
            back = shown[front + 1] if front + 1 < len(shown) else None
            yield _Item(card=card, front=shown[front], back=back)

    def _behind(self, place: int) -> int:
        return self._layout.behind(place, turned_sideways=self._turned_sideways)

    def _page(
        self, taken: Sequence[tuple[int, Card, Face]], *, is_turned: bool = False
    ) -> Dictionary:
        """One side of a sheet; `is_turned`: all that is on it stands upside down."""
        named: dict[str, Any] = {}
        drawn: list[str] = []
        for place, card, face in taken:
            for number, corner, is_upside_down in self._halves(place, face, is_turned=is_turned):
                forms = {f"/Art{number}": self._art[number]}
                operators = card.drawn.operators.get(number)
                if operators is not None:
                    forms[f"/Card{card.index}.{number}"] = self._form(card, number, operators)
                drawn.append(self._placed(number, corner, list(forms), is_upside_down))
                named |= forms
        content = "\n".join([*drawn, self._marks]).encode()
        stream = self._assembly.document.make_stream(zlib.compress(content, _LEVEL))
        stream.Filter = Name.FlateDecode
        box = Array(
            [
                0,
                0,
                *(
                    round(side / MM_PER_POINT, 3)
                    for side in (self._layout.width, self._layout.height)
                ),
            ]
        )
        page = Dictionary(Type=Name.Page, MediaBox=box, TrimBox=box, Contents=stream)
        page.Resources = Dictionary({**self._inks, "/XObject": Dictionary(named)})
        group = self._assembly.pages[1].get(Name.Group)
        if group is not None:
            page.Group = group  # colours blend on the sheet as they do on the card
        return page

    def _halves(
        self, place: int, face: Face, *, is_turned: bool
    ) -> Iterator[tuple[int, tuple[float, float], bool]]:
        """What a face consists of: page, upper left corner, and whether it is upside down."""
        x, y = self._layout.corner(place)
        if face.above is None:
            yield face.page, (x, y), is_turned
            return
        below = y + self._layout.place[1] / 2
        yield face.page, (x, y if is_turned else below), is_turned
        yield face.above, (x, below if is_turned else y), not is_turned

    def _form(self, card: Card, number: int, operators: bytes) -> Any:
        key = (card.index, number)
        if key not in self._forms:
            self._forms[key] = self._assembly.form(number, operators)
        return self._forms[key]

    def _placed(
        self, number: int, corner: tuple[float, float], names: Sequence[str], is_upside_down: bool
    ) -> str:
        """A page's forms at a place, clipped to their bleed."""
        page = self._frames[number]
        x, y = corner[0] / MM_PER_POINT, (self._layout.height - corner[1]) / MM_PER_POINT
        zoom = 1 / MM_PER_POINT
        matrix: Matrix = (zoom, 0, 0, -zoom, x, y)
        if is_upside_down:
            matrix = (-zoom, 0, 0, zoom, x + page.width * zoom, y - page.height * zoom)
        matrix = chained(inverse(page.matrix), matrix)
        x0, y0, x1, y1 = moved(self._visible(page), page.matrix)
        box = numbers(x0, y0, x1 - x0, y1 - y0)
        shown = " ".join(f"{name} Do" for name in names)
        return f"q {numbers(*matrix)} cm {box} re W n {shown} Q"

    def _visible(self, page: Frame) -> Box:
        """What is printed of a page: with its bleed, but at a fold."""
        bleed = self._sheet.bleed
        x0, y0, x1, y1 = common(
            page.bleed, (-bleed, -bleed, page.width + bleed, page.height + bleed)
        ) or (0, 0, 0, 0)
        top = 0 if self._sheet.fold else min(y0, 0)
        return min(x0, 0), top, max(x1, page.width), max(y1, page.height)

    def _as_form(self, number: int) -> Any:
        """A page of the template, without cards, to be drawn as often as need be."""
        page = self._assembly.pages[number]
        form = self._assembly.document.make_stream(zlib.compress(contents_of(page), _LEVEL))
        form.Filter, form.Type, form.Subtype = Name.FlateDecode, Name.XObject, Name.Form
        # Not the TrimBox: what hangs over it is what the bleed is made of.
        form.BBox, form.Resources = page.MediaBox, page.Resources
        if Name.Group in page:
            form.Group = Dictionary(page.Group)
            form.Group.I = True  # as the group of a page is, whatever it says
        return form


def _registration(document: Pdf) -> Any:
    """The colour that prints on every plate."""
    inks = Dictionary(FunctionType=2, Domain=[0, 1], C0=[0, 0, 0, 0], C1=[1, 1, 1, 1], N=1)
    return document.make_indirect(
        Array([Name.Separation, Name.All, Name.DeviceCMYK, document.make_indirect(inks)])
    )


def _marks(layout: Layout, sheet: Sheet) -> Iterator[str]:
    """Lines outside the bleed that show where to cut, and dashed ones where to fold."""
    width, height = layout.place
    across = [edge + side for edge in layout.columns for side in (0, width)]
    down = [edge + side for edge in layout.rows for side in (0, height)]
    beside = _strokes(min(across) - layout.bleed, max(across) + layout.bleed, layout.width)
    beyond = _strokes(min(down) - layout.bleed, max(down) + layout.bleed, layout.height)
    if sheet.crop_marks:
        yield from (_line(layout, (x, low), (x, high)) for x in across for low, high in beyond)
        yield from (_line(layout, (low, y), (high, y)) for y in down for low, high in beside)
    if sheet.fold:
        yield f"[{numbers(_DASH_MM / MM_PER_POINT)}] 0 d"
        folds = [edge + height / 2 for edge in layout.rows]
        yield from (_line(layout, (low, y), (high, y)) for y in folds for low, high in beside)


def _strokes(low: float, high: float, whole: float) -> list[tuple[float, float]]:
    """From where to where marks run on both sides of the block, as far as there is room."""
    offset, length = _MARK_MM
    strokes = [
        (max(low - offset - length, 0), low - offset),
        (high + offset, min(high + offset + length, whole)),
    ]
    return [(start, end) for start, end in strokes if end - start >= 1]


def _line(layout: Layout, start: tuple[float, float], end: tuple[float, float]) -> str:
    points = [
        numbers(x / MM_PER_POINT, (layout.height - y) / MM_PER_POINT) for x, y in (start, end)
    ]
    return f"{points[0]} m {points[1]} l S"
