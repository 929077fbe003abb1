"""Once per generation: a card is its template, but for the fields, and its codes are of one ink.

What is compared are the inks of both files, pixel by pixel, overprint as on a press included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pymupdf
from pymupdf import mupdf

from makeready.cards import sight
from makeready.cards.code_checks import place_for
from makeready.cards.drawing import PlacedCode
from makeready.cards.expected import turned
from makeready.cards.geometry import Box, apply, chained, moved
from makeready.cards.lattice import area
from makeready.cards.placing import shape
from makeready.cards.press import Card, Press
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import QrField, page_numbers
from makeready.cards.sight import Raster

_DPI = 100
_INKS = "CMYK"
_BARE = 250
"""Of 255: paper without ink, but for rounding."""
_AS_LIGHT = bytes(range(255, -1, -1))
_EDGE_PX = 2
"""Around fields: pixels of their edges show what is beside them, too."""
_MOST_OTHERS = 20
"""Pages without a stamp that are compared: what a card brings does not reach them."""


def untouched(press: Press, card: Card) -> int:
    """How many pages are as they were outside the fields; raises CardRefused if one is not."""
    template, made = sight.opened(press.pdf), sight.opened(press.whole(card))
    others = [page.number for page in press.facts.pages if page.number not in press.pages]
    pages = sorted([*press.pages, *others[:_MOST_OTHERS]])
    for number in pages:
        with_notes = not _loses_notes(press, number)
        before = _printed(template, number, with_notes=with_notes)
        after = _printed(made, number, with_notes=with_notes)
        changed = _changed(before, after, list(_polygons(press, made, number)))
        if changed:
            raise CardRefused("card_art_changed", {"page": number, "pixels": changed})
    return len(pages)


def inks(press: Press, card: Card) -> int:
    """How many codes are of one ink on bare paper; raises CardRefused if one is not.

    Only those that are to be black on white are looked at. Where the designer's program mixes in
    RGB, black comes out as four inks whatever is drawn: a warning told so when the template came.
    """
    document = sight.opened(press.whole(card))
    root = mupdf.pdf_dict_gets(mupdf.pdf_trailer(document), "Root")
    mupdf.pdf_dict_dels(root, "OutputIntents")  # else MuPDF mixes as that device would, say in RGB
    fields = {each.id: each for each in press.settings.fields}
    found = 0
    for code in card.drawn.codes:
        field, page = fields[code.field], press.facts.pages[code.page - 1]
        if isinstance(field, QrField) and _is_plain(field) and not page.blends_rgb:
            _check_inks(document, code, field, press.settings.origin)
            found += 1
    return found


def _is_plain(field: QrField) -> bool:
    paper = field.background
    return field.color.space == "black" and paper is not None and paper.space == "white"


def _check_inks(
    document: mupdf.PdfDocument, code: PlacedCode, field: QrField, origin: str
) -> None:
    displayed, turn = sight.displayed(document, code.page, origin), turned(field)
    zoom = sight.zoom_for((code.box[2] - code.box[0]) / code.symbol.size)
    clip = moved(area(code), chained(turn, displayed))
    picture = _printed(document, code.page, zoom=zoom, clip=clip)
    place = place_for(code, turn, displayed, Raster(picture=picture, zoom=zoom))
    samples = bytes(picture.samples_mv)
    plates = [samples[at :: picture.n].translate(_AS_LIGHT) for at in range(len(_INKS))]
    found = [
        name
        for name, plate in zip(_INKS, plates, strict=True)
        if place.lattice.darkest(plate) < _BARE
    ]
    seen = place.lattice.look(plates[-1], code.symbol.rows)
    if found != ["K"] or seen.wrong or min(seen.darkest_light, seen.quiet_zone) < _BARE:
        facts = {"field": code.field, "page": code.page, "inks": "".join(found)}
        raise CardRefused("card_inks", facts)


def _loses_notes(press: Press, number: int) -> bool:
    """Whether notes may be taken out of the page: those that mark places, and active ones."""
    facts = press.facts
    has_fields = any(each.page == number for each in facts.form_fields)
    return has_fields or "template_active_content" in facts.warnings


def _printed(
    document: mupdf.PdfDocument,
    number: int,
    *,
    zoom: float = _DPI / 72,
    clip: Box | None = None,
    with_notes: bool = True,
) -> pymupdf.Pixmap:
    """A page's cyan, magenta, yellow and black."""
    with sight.guarded():
        page = mupdf.pdf_load_page(document, number - 1).super()
        plates = mupdf.fz_page_separations(page)
        if plates.m_internal:
            for plate in range(mupdf.fz_count_separations(plates)):
                composite = mupdf.FZ_SEPARATION_COMPOSITE
                mupdf.fz_set_separation_behavior(plates, plate, composite)
        else:  # an empty set makes MuPDF overprint
            plates = mupdf.fz_new_separations(0)
        matrix = mupdf.FzMatrix(zoom, 0, 0, zoom, 0, 0)
        shown = mupdf.fz_bound_page(page)
        if clip:
            shown = mupdf.fz_intersect_rect(shown, mupdf.FzRect(*clip))
        pixels = mupdf.fz_round_rect(mupdf.fz_transform_rect(shown, matrix))
        picture = mupdf.fz_new_pixmap_with_bbox(pymupdf.csCMYK.this, pixels, plates, 0)
        mupdf.fz_clear_pixmap_with_value(picture, 0xFF)
        device = mupdf.fz_new_draw_device(matrix, picture)
        run = mupdf.fz_run_page if with_notes else mupdf.fz_run_page_contents
        run(page, device, mupdf.FzMatrix(), mupdf.FzCookie())
        mupdf.fz_close_device(device)
    return pymupdf.Pixmap("raw", picture)


def _polygons(
    press: Press, document: mupdf.PdfDocument, number: int
) -> Iterator[list[tuple[float, float]]]:
    """The corners of each field of the page, in pixels."""
    zoom = _DPI / 72
    displayed = sight.displayed(document, number, press.settings.origin)
    to_pixels = chained(displayed, (zoom, 0, 0, zoom, 0, 0))
    for field in press.settings.fields:
        if number in page_numbers(field.pages, len(press.facts.pages)):
            yield [apply(to_pixels, x, y) for x, y in shape(field)]


def _changed(
    before: pymupdf.Pixmap, after: pymupdf.Pixmap, polygons: list[list[tuple[float, float]]]
) -> int:
    """How many pixels differ outside of these polygons."""
    if (before.irect, before.n) != (after.irect, after.n):
        return int(after.width * after.height)
    one, two = (_blanked(each, polygons) for each in (before, after))
    if one == two:
        return 0
    pixels = range(0, len(one), before.n)
    return sum(one[at : at + before.n] != two[at : at + before.n] for at in pixels)


def _blanked(picture: pymupdf.Pixmap, polygons: list[list[tuple[float, float]]]) -> bytes:
    """The samples, nothing where the polygons are."""
    samples = bytearray(picture.samples_mv)
    for polygon in polygons:
        for row in range(picture.height):
            span = _span(polygon, picture.y + row)
            if span:
                first = min(max(span[0] - picture.x, 0), picture.width)
                end = min(max(span[1] - picture.x, first), picture.width)
                start = row * picture.stride
                samples[start + first * picture.n : start + end * picture.n] = bytes(
                    (end - first) * picture.n
                )
    return bytes(samples)


def _span(polygon: list[tuple[float, float]], row: int) -> tuple[int, int] | None:
    """First and last column of a convex polygon in this row of pixels, its edges included."""
    low, high = row - _EDGE_PX, row + 1 + _EDGE_PX
    found = []
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if min(y0, y1) > high or max(y0, y1) < low:
            continue
        for y in (max(min(y0, y1), low), min(max(y0, y1), high)):
            found += [x0, x1] if y0 == y1 else [x0 + (x1 - x0) * (y - y0) / (y1 - y0)]
    if not found:
        return None
    return math.floor(min(found) - _EDGE_PX), math.ceil(max(found) + _EDGE_PX)
