"""Sheets: every code on them is read, and lies where it was meant to, in millimetres."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pikepdf
import pymupdf
import pytest
import zxingcpp
from pikepdf import Array, Name

from makeready.cards.geometry import MM_PER_POINT
from makeready.cards.press import Card, Order, Press
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.settings import Sheet
from makeready.cards.sheets import impose
from tests.support.card_templates import heavy, light, order_for, rows, settings_for, turned

DPI = 110
QR = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
SRA3 = Sheet(width=320, height=450, is_named=True, cols=4, rows=2)
EIGHT = [(col, row) for row in (9.0, 163.0) for col in (6.0, 117.0, 228.0, 339.0)]
"""Upper left corners of the trimmed cards of SRA3."""
CODE = (52.5, 72.5)
"""The middle of the code on the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A code that was read: of which table, where its middle is, and how it is turned."""

    table: int
    x: float
    y: float
    turned: int


def read(pdf: bytes, press: Press) -> list[list[Found]]:
    """The codes of each page in the order of reading."""
    tables = {row["table"]["url"]: place for place, row in enumerate(press.rows)}
    pages = []
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        assert not document.is_repaired
        for page in document:
            picture = page.get_pixmap(dpi=DPI, colorspace=pymupdf.csGRAY)
            pixels = memoryview(picture.samples).cast("B", (picture.height, picture.width))
            seen = zxingcpp.read_barcodes(pixels, formats=QR)
            found = [_found(code, tables) for code in seen]
            pages.append(sorted(found, key=lambda each: (round(each.y / 5), each.x)))
    return pages


def _found(code: Any, tables: dict[Any, int]) -> Found:
    corners = [
        code.position.top_left,
        code.position.top_right,
        code.position.bottom_right,
        code.position.bottom_left,
    ]
    x, y = (sum(getattr(each, axis) for each in corners) / 4 / DPI * 25.4 for axis in "xy")
    return Found(table=tables[code.text], x=x, y=y, turned=round(code.orientation / 90) % 4 * 90)


def at(found: Sequence[Found], corners: Sequence[tuple[float, float]]) -> None:
    """Each code lies in the middle of CODE below its corner."""
    for each, (x, y) in zip(found, corners, strict=True):
        assert each.x == pytest.approx(x + CODE[0], abs=0.5)
        assert each.y == pytest.approx(y + CODE[1], abs=0.5)


def gray(pdf: bytes, page: int = 0, dpi: int = 100) -> Callable[[float, float], int]:
    """The brightness of a page at a place in millimetres."""
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        picture = document[page].get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
    return lambda x, y: int(picture.pixel(int(x / 25.4 * dpi), int(y / 25.4 * dpi))[0])


@pytest.fixture(scope="module")
def plain() -> Press:
    return Press.open(order_for(light(), 20))


@pytest.fixture(scope="module")
def two_sided() -> Press:
    """Codes left of the middle, so that a mirrored back shows."""
    return Press.open(order_for(heavy(), 11, pages=(1, 2), x=10))


def test_cards_lie_in_rows_where_they_should(plain: Press) -> None:
    pages = read(impose(plain, range(20), SRA3), plain)

    assert [[each.table for each in page] for page in pages] == [
        list(range(8)), list(range(8, 16)), list(range(16, 20)),
    ]  # fmt: skip
    for page in pages:
        at(page, EIGHT[: len(page)])
        assert {each.turned for each in page} == {0}


def test_a_partly_used_sheet_is_used_up(plain: Press) -> None:
    pages = read(impose(plain, [4, 2, 9], replace(SRA3, start=6)), plain)

    assert [[each.table for each in page] for page in pages] == [[4, 2], [9]]
    at(pages[0], EIGHT[6:])
    at(pages[1], EIGHT[:1])


def test_stacks_are_in_order_once_they_are_cut(plain: Press) -> None:
    pages = read(impose(plain, range(20), replace(SRA3, order="stack")), plain)

    assert [[each.table for each in page] for page in pages] == [
        [0, 3, 6, 9, 12, 15, 18], [1, 4, 7, 10, 13, 16, 19], [2, 5, 8, 11, 14, 17],
    ]  # fmt: skip


def test_a_sheet_of_any_size_takes_gutters(plain: Press) -> None:
    sheet = Sheet(width=260, height=180, cols=2, rows=1, bleed=2, gutter=10)
    made = impose(plain, [0, 1], sheet)

    (page,) = read(made, plain)
    at(page, [(18, 16), (137, 16)])
    with pikepdf.open(io.BytesIO(made)) as document:
        assert document.check_pdf_syntax() == []
        for box in (document.pages[0].mediabox, document.pages[0].trimbox):
            assert [float(side) * MM_PER_POINT for side in box] == pytest.approx(
                [0, 0, 260, 180], abs=0.01
            )


@pytest.mark.parametrize("duplex", ["long-edge", "short-edge"])
def test_backs_meet_their_fronts_when_the_sheet_is_turned_over(
    two_sided: Press, duplex: Any
) -> None:
    """A sheet across: over its long edge it turns upwards, over its short edge sideways."""
    sheet = replace(SRA3, duplex=duplex)
    pages = read(impose(two_sided, range(11), sheet), two_sided)

    assert len(pages) == 4
    for front, back in (pages[:2], pages[2:]):
        behind = {each.table: each for each in back}
        assert len(behind) == len(front)
        for each in front:
            other = behind[each.table]
            if duplex == "long-edge":
                seen_through = (other.x, 320 - other.y)
                assert other.turned == 180
            else:
                seen_through = (450 - other.x, other.y)
                assert other.turned == 0
            corner = EIGHT[each.table % 8]
            # The card is turned like a page: what is left on its back is right, seen through.
            assert seen_through[0] == pytest.approx(corner[0] + 105 - 36.5, abs=0.5)
            assert seen_through[1] == pytest.approx(corner[1] + 72.5, abs=0.5)


def test_an_upright_sheet_turns_the_other_way(two_sided: Press) -> None:
    sheet = replace(SRA3, cols=2, rows=2, duplex="long-edge")
    _, back, *_ = read(impose(two_sided, range(3), sheet), two_sided)

    assert [each.table for each in back] == [1, 0, 2]
    assert {each.turned for each in back} == {0}
    assert back[2].x > 160


def test_without_duplex_every_page_takes_a_place_of_its_own(two_sided: Press) -> None:
    (page,) = read(impose(two_sided, range(3), SRA3), two_sided)

    assert [each.table for each in page] == [0, 0, 1, 1, 2, 2]


def test_one_page_has_no_backs(plain: Press) -> None:
    assert len(read(impose(plain, range(3), replace(SRA3, duplex="long-edge")), plain)) == 1


def test_a_tent_shows_the_same_card_on_both_sides_of_its_fold(plain: Press) -> None:
    sheet = Sheet(width=320, height=450, is_named=True, cols=2, rows=1, fold=True)
    (page,) = read(impose(plain, [0, 1], sheet), plain)

    x, y = (320 - 2 * 111) / 2 + 3, (450 - 302) / 2 + 3
    below, above = page[2:], page[:2]
    at(below, [(x, y + 148), (x + 111, y + 148)])
    assert [each.turned for each in page] == [180, 180, 0, 0]
    assert [each.table for each in page] == [0, 1, 0, 1]
    for each, other in zip(above, below, strict=True):
        assert y + 148 - each.y == pytest.approx(other.y - y - 148, abs=0.5)


def test_two_pages_are_the_two_sides_of_a_tent(two_sided: Press) -> None:
    sheet = Sheet(width=320, height=450, is_named=True, cols=1, rows=1, fold=True)
    made = impose(two_sided, [0], sheet)

    with pymupdf.open(stream=made, filetype="pdf") as document:
        assert document.page_count == 1
        (place,) = document[0].search_for("Добро пожаловать")
        assert place.y0 > document[0].rect.height / 2
    assert [each.turned for each in read(made, two_sided)[0]] == [180, 0]


def test_bleed_is_printed_and_nothing_beyond_it(two_sided: Press) -> None:
    """A form's box is not the TrimBox, or the bleed would be white."""
    sheet = replace(SRA3, cols=2, rows=2, gutter=8, crop_marks=False)
    shown = gray(impose(two_sided, range(2), sheet))
    left, top = (320 - 2 * 111 - 8) / 2, (450 - 2 * 154 - 8) / 2

    assert shown(left + 1, top + 80) < 250
    assert shown(left + 50, top + 1) < 250
    assert shown(left - 1, top + 80) == 255
    assert shown(left + 50, top - 1) == 255
    assert shown(left + 111 + 4, top + 80) == 255  # the gutter
    less = gray(impose(two_sided, range(2), replace(sheet, bleed=1)))
    left, top = (320 - 2 * 107 - 8) / 2, (450 - 2 * 150 - 8) / 2
    assert less(left + 0.5, top + 80) < 250
    assert less(left - 0.5, top + 80) == 255


@pytest.mark.parametrize("fold", [False, True])
def test_marks_touch_no_card_and_point_at_its_edges(two_sided: Press, fold: bool) -> None:
    sheet = Sheet(width=320, height=450, cols=2, rows=1 if fold else 2, fold=fold)
    with_marks = gray(impose(two_sided, range(2), sheet), dpi=300)
    without = gray(
        impose(two_sided, range(2), replace(sheet, crop_marks=False, fold=fold)), dpi=300
    )
    height = 296 if fold else 148
    rows_mm = [(450 - height - 6) / 2] if fold else [(450 - 2 * 154) / 2, 225]
    block = (49, min(rows_mm), 271, max(rows_mm) + height + 6)
    for x in (49 + 3, 49 + 108, 160 + 3, 160 + 108):
        assert any(with_marks(x + near / 20, block[1] - 3) < 200 for near in (-1, 0, 1))
        assert any(with_marks(x + near / 20, block[3] + 3) < 200 for near in (-1, 0, 1))
        assert without(x, block[1] - 3) == 255
    for y in rows_mm:
        assert any(with_marks(block[0] - 3, y + 3 + near / 20) < 200 for near in (-1, 0, 1))
    inside = [
        (x, y) for x in range(50, 270, 7) for y in range(int(block[1]) + 1, int(block[3]), 9)
    ]
    assert [with_marks(*place) for place in inside] == [without(*place) for place in inside]
    if fold:
        middle = rows_mm[0] + 3 + 148
        dashes = [with_marks(block[0] - 0.6 - step / 10, middle) for step in range(45)]
        assert min(dashes) < 200
        assert max(dashes) == 255


def test_marks_are_in_every_ink_of_a_cmyk_sheet_and_in_black_alone_of_another(
    two_sided: Press, plain: Press
) -> None:
    for press, spaces in ((two_sided, ["/All"]), (plain, [])):
        with pikepdf.open(io.BytesIO(impose(press, [0], SRA3))) as document:
            found = document.pages[0].Resources.get(Name.ColorSpace)
            assert [str(space[1]) for space in (found or {}).values()] == spaces
            content = document.pages[0].Contents.read_bytes()
            assert (b"0 G" in content) == (not spaces)


def framed(rotate: int, unit: float) -> bytes:
    """A page whose boxes begin below zero, turned and in units of its own; displayed it is A6."""
    width, height = (105, 148) if rotate % 180 == 0 else (148, 105)
    sides = [side / MM_PER_POINT / unit for side in (width, height)]
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(300, 300))
    page.obj.MediaBox = Array([-50, -70, sides[0] + 20, sides[1] + 40])
    page.obj.TrimBox = Array([-20, -30, sides[0] - 20, sides[1] - 30])
    page.obj.BleedBox = Array([-25, -35, sides[0] - 15, sides[1] - 25])
    page.obj.Rotate = rotate
    page.obj.UserUnit = unit
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


@pytest.mark.parametrize("unit", [1, 2])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_pages_that_are_turned_or_in_units_of_their_own_lie_right(
    rotate: int, unit: float
) -> None:
    press = Press.open(order_for(framed(rotate, unit), 3))
    (page,) = read(impose(press, range(3), SRA3), press)

    at(page, EIGHT[:3])
    assert {each.turned for each in page} == {0}


def test_a_page_that_leaks_its_state_and_is_cropped_lies_right() -> None:
    press = Press.open(order_for(turned(), 2))
    (page,) = read(impose(press, range(2), SRA3), press)
    at(page, EIGHT[:2])


def test_what_is_painted_above_the_page_stays_on_it() -> None:
    with pymupdf.open(stream=light(), filetype="pdf") as document:
        document[0].add_rect_annot(pymupdf.Rect(250, 380, 280, 410)).update(fill_color=(0, 0, 0))
        noted = bytes(document.tobytes())
    press = Press.open(order_for(noted, 2))
    shown = gray(impose(press, range(2), replace(SRA3, bleed=0, cols=2, rows=1)))

    left, top = (320 - 210) / 2, (450 - 148) / 2
    for card in (0, 1):
        assert shown(left + 105 * card + 265 * MM_PER_POINT, top + 395 * MM_PER_POINT) < 30


def test_sheets_share_the_background_and_come_out_the_same_each_time(two_sided: Press) -> None:
    made = impose(two_sided, range(11), replace(SRA3, duplex="long-edge"))

    assert made == impose(two_sided, range(11), replace(SRA3, duplex="long-edge"))
    assert len(made) < len(heavy()) + 60_000


def test_pages_of_two_sizes_find_no_place() -> None:
    with pikepdf.open(io.BytesIO(heavy())) as document:
        box = [float(side) for side in document.pages[1].trimbox]
        document.pages[1].trimbox = Array([box[0], box[1], box[2] - 30, box[3]])
        out = io.BytesIO()
        document.save(out)
    press = Press.open(order_for(out.getvalue(), 1))
    with pytest.raises(CardsRefused) as refused:
        impose(press, [0], SRA3)
    assert [problem.code for problem in refused.value.problems] == ["sheet_uneven_pages"]


def test_each_card_is_shown_to_the_caller_before_it_goes_in(plain: Press) -> None:
    seen: list[int] = []
    impose(plain, [3, 1], SRA3, seen=lambda card: seen.append(card.index))
    assert seen == [3, 1]

    def refuse(card: Card) -> None:
        raise CardsRefused([Problem(code="card_damaged", tables=(str(card.index),))])

    with pytest.raises(CardsRefused):
        impose(plain, [3, 1], SRA3, seen=refuse)
    with pytest.raises(ValueError, match="no card"):
        impose(plain, [], SRA3)


def test_a_code_may_lie_on_one_page_only() -> None:
    order = Order(pdf=heavy(), settings=settings_for(pages=(2,)), rows=rows(2))
    press = Press.open(order)
    front, back = read(impose(press, range(2), replace(SRA3, duplex="long-edge")), press)
    assert [len(front), len(back)] == [0, 2]
