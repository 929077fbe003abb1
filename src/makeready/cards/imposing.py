"""Where cards lie on sheets: pure arithmetic, in millimetres from a sheet's upper left corner.

A *place* is one spot of a sheet, filled by one *face* of a card: a page of it, or with `fold` two
halves of a tent. Places are counted in rows from the upper left. The block of all places lies in
the middle of the sheet, so that the backs of a sheet that is turned over meet its fronts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.settings import Sheet

MARKS_MM = 3.0
"""Room for crop marks on each side of the block, at least."""
_ROUNDING_MM = 0.1  # pages in whole points are this far from the millimetres that were meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The places of one sheet."""

    width: float
    height: float
    """Of the sheet as it is printed, turned if need be."""
    place: tuple[float, float]
    """Width and height of a place after cutting."""
    bleed: float
    columns: tuple[float, ...]
    """The left edges of places, trimmed."""
    rows: tuple[float, ...]
    """The upper edges."""

    @property
    def places(self) -> int:
        """How many."""
        return len(self.columns) * len(self.rows)

    def corner(self, place: int) -> tuple[float, float]:
        """The upper left corner of a place."""
        row, column = divmod(place, len(self.columns))
        return self.columns[column], self.rows[row]

    def behind(self, place: int, *, turned_sideways: bool) -> int:
        """The place of the back page that lies behind this one."""
        row, column = divmod(place, len(self.columns))
        if turned_sideways:
            column = len(self.columns) - 1 - column
        else:
            row = len(self.rows) - 1 - row
        return row * len(self.columns) + column


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What fills a place: pages of a card, from 1."""

    page: int
    above: int | None = None
    """Beyond the fold, upside down."""


def lay_out(sheet: Sheet, width: float, height: float) -> Layout:
    """The places for cards of this size; raises CardsRefused where the sheet is too small.

    Without `cols` or `rows`, which is 0, there are as many as fit, one at least.
    """
    sheet = _counted(sheet, width, height)
    upright = _laid_out(sheet, width, height)
    if sheet.is_named and not _has_room(upright, sheet):
        turned = _laid_out(replace(sheet, width=sheet.height, height=sheet.width), width, height)
        upright = turned if _has_room(turned, sheet) else upright
    if not _has_room(upright, sheet):
        block_width, block_height = _needed(upright, sheet)
        facts = {
            "cols": sheet.cols,
            "rows": sheet.rows,
            "width": round(block_width, 1),
            "height": round(block_height, 1),
            "sheet_width": upright.width,
            "sheet_height": upright.height,
        }
        raise CardsRefused(
            [Problem(code="sheet_too_small", path="output.impose.sheet", facts=facts)]
        )
    if sheet.start >= upright.places:
        most = upright.places - 1
        facts = {"start": sheet.start, "places": upright.places, "most": most}
        raise CardsRefused([Problem(code="sheet_start", path="output.impose.start", facts=facts)])
    return upright


def faces(sheet: Sheet, pages: int) -> list[Face]:
    """What a card of so many pages fills places with, in order."""
    if not sheet.fold:
        return [Face(page=page) for page in range(1, pages + 1)]
    return [Face(page=page, above=min(page + 1, pages)) for page in range(1, pages + 1, 2)]


def filled(sheet: Sheet, places: int, count: int) -> list[list[int | None]]:
    """For each sheet, which of so many things lies in which place; None: none does."""
    sheets = math.ceil((sheet.start + count) / places)
    found: list[list[int | None]] = [[None] * places for _ in range(sheets)]
    spots = [
        (number, place)
        for number in range(sheets)
        for place in range(places)
        if number or place >= sheet.start
    ]
    if sheet.order == "stack":
        spots.sort(key=lambda spot: (spot[1], spot[0]))
    for index, (number, place) in zip(range(count), spots, strict=False):
        found[number][place] = index
    return found


def even_size(sizes: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The size that all pages have; raises CardsRefused where they differ."""
    width, height = sizes[0]
    if any(abs(w - width) > 0.5 or abs(h - height) > 0.5 for w, h in sizes):
        raise CardsRefused([Problem(code="sheet_uneven_pages", path="output.impose")])
    return width, height


def _counted(sheet: Sheet, width: float, height: float) -> Sheet:
    """The sheet with columns and rows, turned to where more cards fit."""
    if sheet.cols and sheet.rows:
        return sheet
    height = 2 * height if sheet.fold else height
    ways = [sheet]
    if sheet.is_named:
        ways.append(replace(sheet, width=sheet.height, height=sheet.width))
    counted = [
        replace(
            way,
            cols=way.cols or _most(way.width, width, way),
            rows=way.rows or _most(way.height, height, way),
        )
        for way in ways
    ]
    return max(counted, key=lambda way: way.cols * way.rows)


def _most(whole: float, size: float, sheet: Sheet) -> int:
    room = whole - (2 * MARKS_MM if sheet.crop_marks else 0) + sheet.gutter + _ROUNDING_MM
    return max(int(room / (size + 2 * sheet.bleed + sheet.gutter)), 1)


def _laid_out(sheet: Sheet, width: float, height: float) -> Layout:
    height = 2 * height if sheet.fold else height
    return Layout(
        width=sheet.width,
        height=sheet.height,
        place=(width, height),
        bleed=sheet.bleed,
        columns=_edges(sheet.width, width, sheet.cols, sheet),
        rows=_edges(sheet.height, height, sheet.rows, sheet),
    )


def _edges(whole: float, size: float, count: int, sheet: Sheet) -> tuple[float, ...]:
    step = size + 2 * sheet.bleed + sheet.gutter
    first = (whole - count * step + sheet.gutter) / 2 + sheet.bleed
    return tuple(first + number * step for number in range(count))


def _needed(layout: Layout, sheet: Sheet) -> tuple[float, float]:
    """Width and height of the block with its bleed and marks."""
    around = 2 * (sheet.bleed + (MARKS_MM if sheet.crop_marks else 0))
    return (
        layout.columns[-1] - layout.columns[0] + layout.place[0] + around,
        layout.rows[-1] - layout.rows[0] + layout.place[1] + around,
    )


def _has_room(layout: Layout, sheet: Sheet) -> bool:
    width, height = _needed(layout, sheet)
    return width <= layout.width + _ROUNDING_MM and height <= layout.height + _ROUNDING_MM
