"""A card as MuPDF sees it: the whole file, its stamp alone, and pictures of both.

All cards of a generation begin with the same bytes, so what lies below a stamp is drawn once and
kept. Of a card only the stamp is drawn: its objects are read from the card's final bytes and put
into a document that stays open. That this shows what the whole file shows is proved by `Verifier`
with those cards that it draws from their final bytes alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pymupdf
from pymupdf import mupdf

from makeready.cards.geometry import MM_PER_POINT, Box, Matrix, common, moved
from makeready.cards.refusal import CardRefused
from makeready.cards.template import PageFacts

MIN_DPI, MAX_DPI = 72, 300
PIXELS_A_MODULE = 4
_TEXT = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_ACCURATE_BBOXES
_EVERYWHERE = mupdf.FzRect(mupdf.FzRect.Fixed_INFINITE)

_ENTRY_BYTES, _OFFSET_DIGITS = 20, 10
_ROUNDING_PT = 0.01
_BOXES = ("media", "crop", "trim", "bleed")
_LENGTH = re.compile(rb"/Length \d+")

Character: TypeAlias = tuple[str, Box, bool, tuple[float, float]]
"""A letter, the box of its ink and its origin in points as displayed; and is it painted?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """A picture of a part of a page."""

    picture: pymupdf.Pixmap
    zoom: float

    @property
    def samples(self) -> bytes:
        """One byte a pixel of a gray picture, three of a coloured one."""
        return bytes(self.picture.samples_mv)

    def apart(self, other: Raster) -> int:
        """The largest difference of a pixel."""
        one, two = self.samples, other.samples
        if one == two:
            return 0
        if len(one) != len(two):
            return 255
        return max(map(abs, map(int.__sub__, one, two)))

    def to_pixels(self, displayed: Matrix) -> Matrix:
        """From what `displayed` leads from to pixels of this picture."""
        a, b, c, d, e, f = (self.zoom * part for part in displayed)
        return a, b, c, d, e - self.picture.x, f - self.picture.y


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Whatever MuPDF fails with is a file that is not sound."""
    try:
        yield
    except (mupdf.FzErrorBase, RuntimeError, ValueError) as error:
        raise CardRefused("card_damaged", {"reason": str(error)[:200]}) from error


def opened(pdf: bytes | memoryview) -> mupdf.PdfDocument:
    """The file, which must need no mending."""
    with guarded():
        stream = mupdf.fz_open_memory(mupdf.python_buffer_data(pdf), len(pdf))
        document = mupdf.pdf_open_document_with_stream(stream)
    document.source = pdf  # MuPDF reads from the bytes as long as the document lives
    sound(document)
    return document


def sound(document: mupdf.PdfDocument) -> None:
    """Refuses a file that had to be mended so far; MuPDF reads objects when it needs them."""
    if mupdf.pdf_was_repaired(document):
        raise CardRefused("card_damaged", {"reason": "repaired"})


def displayed(document: mupdf.PdfDocument, number: int, origin: str) -> Matrix:
    """From millimetres off the corner of a page's origin box to points as MuPDF displays it.

    It is not asked of those who placed the stamp: they may be wrong.
    """
    with guarded():
        page = mupdf.pdf_load_page(document, number - 1)
        whole, matrix = mupdf.FzRect(), mupdf.FzMatrix()
        mupdf.pdf_page_transform(page, whole, matrix)
        box = _box(page.obj(), origin)
    turned = (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)
    left, top, *_ = moved(box, turned)
    points = 1 / MM_PER_POINT
    return points, 0.0, 0.0, points, left, top


def _box(page: mupdf.PdfObj, name: str) -> Box:
    """`media`, `crop`, `trim` or `bleed`; one that is not there is the next larger one."""
    key = mupdf.pdf_new_name(f"{name.capitalize()}Box")
    value = mupdf.pdf_dict_get(page, key)
    if name in {"media", "crop"}:
        value = mupdf.pdf_dict_get_inheritable(page, key)
    if mupdf.pdf_array_len(value) == 4:
        x0, y0, x1, y1 = (mupdf.pdf_array_get_real(value, place) for place in range(4))
        box = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
        return box if name == "media" else common(box, _box(page, "media")) or box
    return _box(page, "crop" if name in {"trim", "bleed"} else "media")


def pages(document: mupdf.PdfDocument) -> int:
    """How many it has."""
    with guarded():
        return int(mupdf.pdf_count_pages(document))


def page_of(document: mupdf.PdfDocument, number: int) -> mupdf.PdfObj:
    """A page's dictionary."""
    with guarded():
        return mupdf.pdf_lookup_page_obj(document, number - 1)


def check_boxes(document: mupdf.PdfDocument, pages: Iterable[PageFacts]) -> None:
    """Refuses a card whose pages are not as large, or not as turned, as the template's."""
    for page in pages:
        with guarded():
            found = page_of(document, page.number)
            turn = mupdf.pdf_dict_get_inheritable(found, mupdf.PDF_ENUM_NAME_Rotate)
            unit = mupdf.pdf_dict_get_real_default(found, mupdf.PDF_ENUM_NAME_UserUnit, 1)
            boxes = [side for name in _BOXES for side in _box(found, name)]
        wanted = [side for name in _BOXES for side in getattr(page, name)]
        same = all(abs(one - two) < _ROUNDING_PT for one, two in zip(boxes, wanted, strict=True))
        if not same or mupdf.pdf_to_int(turn) % 360 != page.rotate or unit != page.user_unit:
            raise CardRefused("card_damaged", {"reason": "boxes", "page": page.number})


def zoom_for(module_mm: float) -> float:
    """So that a module is four pixels wide, if that is neither too coarse nor too fine."""
    dpi = min(max(PIXELS_A_MODULE * 25.4 / module_mm, MIN_DPI), MAX_DPI)
    return dpi / 72


def view(
    document: mupdf.PdfDocument,
    page: int,
    clip: Box | None,
    zoom: float,
    *,
    is_coloured: bool = False,
) -> Raster:
    """A part of the whole page, in points as displayed, annotations included."""
    with guarded():
        loaded = mupdf.pdf_load_page(document, page - 1).super()
        content = mupdf.fz_new_display_list_from_page(loaded)
        shown = pymupdf.DisplayList(content).get_pixmap(
            matrix=pymupdf.Matrix(zoom, zoom),
            clip=clip,
            colorspace=pymupdf.csRGB if is_coloured else pymupdf.csGRAY,
            alpha=0,
        )
    return Raster(picture=shown, zoom=zoom)


def over(below: Raster, stamp: mupdf.FzDisplayList) -> Raster:
    """A stamp drawn on what lies below it."""
    with guarded():
        picture = pymupdf.Pixmap(below.picture, 0)
        matrix = mupdf.FzMatrix(below.zoom, 0, 0, below.zoom, 0, 0)
        device = mupdf.fz_new_draw_device(matrix, picture.this)
        cookie = mupdf.FzCookie()
        mupdf.fz_run_display_list(stamp, device, mupdf.FzMatrix(), _EVERYWHERE, cookie)
        mupdf.fz_close_device(device)
    return Raster(picture=picture, zoom=below.zoom)


def characters(content: mupdf.FzDisplayList) -> list[Character]:
    """All letters in the order in which they are drawn, spaces left out."""
    with guarded():
        text = pymupdf.TextPage(pymupdf.DisplayList(content).get_textpage(_TEXT)).extractRAWDICT()
    return [
        (one["c"], one["bbox"], _is_painted(span), one["origin"])
        for block in text["blocks"]
        for line in block["lines"]
        for span in line["spans"]
        for one in span["chars"]
        if not one["c"].isspace()
    ]


def whole_page(document: mupdf.PdfDocument, page: int) -> mupdf.FzDisplayList:
    """All that a page draws, without annotations."""
    with guarded():
        loaded = mupdf.pdf_load_page(document, page - 1).super()
        return mupdf.fz_new_display_list_from_page_contents(loaded)


class Stamps:
    """The stamps of a generation's cards, each drawn alone, page by page.

    `prefix`: how many bytes all cards have in common; the forms behind them are a card's own.
    """

    def __init__(self, first: bytes, *, prefix: int, numbers: Iterable[int]) -> None:
        self._document, self._backgrounds = opened(first), opened(first)
        self._forms = {number: _form(self._document, number, prefix) for number in numbers}
        self._table = self._table_of(first[prefix:])
        self._known = {number: self._facts(self._document, number) for number in self._forms}
        self._alone = {}
        for number, form in self._forms.items():
            self._empty(form)
            self._alone[number] = _stamp_alone(self._document, number)

    def compare(self, tail: bytes) -> None:
        """Refuses a card in whose table of objects more than its own forms differs."""
        if self._table_of(tail) != self._table:
            raise CardRefused("card_damaged", {"reason": "table"})

    def _table_of(self, tail: bytes) -> bytes:
        """The table and the trailer, without what is each card's own."""
        start = tail.rfind(b"xref\n0 ", 0, tail.rfind(b"startxref"))
        end = tail.rfind(b"/ID")
        first = tail.find(b"\n", start + len(b"xref\n"))
        if not 0 <= start < first < end:
            raise CardRefused("card_damaged", {"reason": "table"})
        table = bytearray(tail[start:end])
        for number in self._forms.values():
            entry = first + 1 - start + _ENTRY_BYTES * number
            table[entry : entry + _OFFSET_DIGITS] = b"-" * _OFFSET_DIGITS
        return bytes(table)

    def drawn(self, card: mupdf.PdfDocument, number: int) -> mupdf.FzDisplayList:
        """What a card's stamp draws on this page, and nothing else of the page."""
        with guarded():
            if self._facts(card, number) != self._known[number]:
                raise CardRefused("card_damaged", {"reason": "page", "page": number})
            form = self._forms[number]
            content = mupdf.pdf_load_raw_stream(mupdf.pdf_new_indirect(card, form, 0))
            mine = mupdf.pdf_new_indirect(self._document, form, 0)
            mupdf.pdf_update_stream(self._document, mine, content, 1)
            return mupdf.fz_new_display_list_from_page_contents(self._alone[number])

    def below(self, number: int, clip: Box, zoom: float, *, is_coloured: bool = False) -> Raster:
        """A part of the page without its stamp, annotations included."""
        return view(self._backgrounds, number, clip, zoom, is_coloured=is_coloured)

    def _empty(self, form: int) -> None:
        with guarded():
            blank = mupdf.pdf_new_indirect(self._backgrounds, form, 0)
            nothing = mupdf.fz_new_buffer_from_copied_data(b" ")
            mupdf.pdf_update_stream(self._backgrounds, blank, nothing, 0)

    def _facts(self, document: mupdf.PdfDocument, number: int) -> tuple[bytes, bytes]:
        """The page and its stamp as they stand in the file."""
        form = mupdf.pdf_resolve_indirect(mupdf.pdf_new_indirect(document, self._forms[number], 0))
        return _text_of(page_of(document, number)), _LENGTH.sub(b"", _text_of(form))


def _form(document: mupdf.PdfDocument, number: int, prefix: int) -> int:
    """The object that a card brings for this page."""
    with guarded():
        listed = _listed(page_of(document, number))
        for place in range(mupdf.pdf_dict_len(listed)):
            value = mupdf.pdf_dict_get_val(listed, place)
            found = int(mupdf.pdf_to_num(value))
            if found and mupdf.ll_pdf_get_xref_entry(document.m_internal, found).ofs >= prefix:
                return found
    raise CardRefused("card_damaged", {"reason": "stamp", "page": number})


def _listed(page: mupdf.PdfObj) -> mupdf.PdfObj:
    resources = mupdf.pdf_dict_gets(page, "Resources")
    return mupdf.pdf_dict_gets(resources, "XObject")


def _stamp_alone(document: mupdf.PdfDocument, number: int) -> mupdf.FzPage:
    """The page, of whose contents only the last is left: it draws the stamp."""
    with guarded():
        page = page_of(document, number)
        contents = mupdf.pdf_dict_gets(page, "Contents")
        last = mupdf.pdf_array_get(contents, mupdf.pdf_array_len(contents) - 1)
        mupdf.pdf_dict_puts(page, "Contents", last)
        return mupdf.pdf_load_page(document, number - 1).super()


def _text_of(thing: mupdf.PdfObj) -> bytes:
    """An object as it is written, what it refers to by number."""
    buffer = mupdf.fz_new_buffer(512)
    out = mupdf.FzOutput(buffer)
    mupdf.pdf_print_obj(out, thing, 1, 0)
    out.fz_close_output()
    return bytes(mupdf.fz_buffer_extract_copy(buffer))


def _is_painted(span: Mapping[str, Any]) -> bool:
    filled = span["char_flags"] & mupdf.FZ_STEXT_FILLED
    return bool(filled) and span["alpha"] > 0
