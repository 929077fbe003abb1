"""Fields as they are seen on the page, by MuPDF and by zxing-cpp (PSM-026, PSM-027, PSM-028)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pymupdf
import pytest

from makeready.cards.drawing import Drawn
from makeready.cards.settings import Colour, Logo
from tests.support.card_drawing import (
    DPI,
    asset,
    codes,
    drawn,
    inked,
    label,
    logo,
    painter,
    paper,
    picture,
    pixel,
    png,
    qr,
    read,
    seen,
    table,
)
from tests.support.card_fonts import opentype, truetype
from tests.support.card_templates import rows

RED = Colour(space="cmyk", parts=(0, 1, 1, 0))


def test_a_code_says_its_link_at_its_place_with_a_quiet_zone() -> None:
    """PSM-026."""
    pdf, card = drawn(qr())
    (code,) = card.codes
    (found,) = codes(pdf)

    assert found.text == rows(1)[0]["table"]["url"] == code.symbol.payload
    side = 40 / (33 + 8) * 33
    assert code.box == pytest.approx((45 - side / 2, 50 - side / 2, 45 + side / 2, 50 + side / 2))
    at = found.position.top_left
    assert (at.x / 10, at.y / 10) == pytest.approx(code.box[:2], abs=0.17)  # half a point
    assert inked(seen(pdf, dpi=DPI)) == pytest.approx(code.box, abs=0.1)


@pytest.mark.parametrize(
    ("align", "valign", "x", "y"),
    [("left", "top", 20, 30), ("right", "bottom", 30, 30), ("center", "middle", 25, 30)],
)
def test_the_square_goes_where_the_field_has_room(align: Any, valign: Any, x: int, y: int) -> None:
    _, card = drawn(qr(align=align, valign=valign))
    edge = 4 * 40 / 41

    assert card.codes[0].box[:2] == pytest.approx((x + edge, y + edge))


def test_a_code_is_one_path_of_black_ink_on_white() -> None:
    """PSM-026: vectors, of one ink, over whatever is printed below."""
    for has_cmyk, black, white in ((True, "0 0 0 1 k", "0 0 0 0 k"), (False, "0 g", "1 g")):
        _, card = drawn(qr(), has_cmyk=has_cmyk)
        lines = card.operators[1].decode().split("\n")

        assert lines[:4] == ["q", white, "25 30 40 40 re f", black]
        assert lines[4].endswith(" cm")
        assert all(re.fullmatch(r"\d+ \d+ \d+ 1 re", line) for line in lines[5:-3])
        assert lines[-3:] == ["f", "Q", ""]
        assert "rg" not in "".join(lines)


def test_the_modules_drawn_are_those_of_the_symbol() -> None:
    _, card = drawn(qr())
    (code,) = card.codes
    dark = {
        (int(row), int(column) + step)
        for column, row, run in re.findall(r"(\d+) (\d+) (\d+) 1 re", card.operators[1].decode())
        for step in range(int(run))
    }

    assert dark == {
        (row, column)
        for row, bits in enumerate(code.symbol.rows)
        for column in range(code.symbol.size)
        if bits >> code.symbol.size - 1 - column & 1
    }


def test_without_a_background_what_is_below_shows_through() -> None:
    _, card = drawn(qr(background=None))

    assert b" re f\n" not in card.operators[1]


@pytest.mark.parametrize("rotate", [0, 30, 90, 180, 270, 361.5, -15])
def test_fields_turn_clockwise_about_their_centre(rotate: float) -> None:
    pdf, card = drawn(qr(rotate=rotate))
    (found,) = codes(pdf)
    corners = found.position

    assert found.text == card.codes[0].symbol.payload
    across = (corners.top_left.x + corners.bottom_right.x) / 20
    down = (corners.top_left.y + corners.bottom_right.y) / 20
    assert (across, down) == pytest.approx((45, 50), abs=0.2)
    turned = abs(found.orientation - rotate) % 360
    assert min(turned, 360 - turned) < 2


def test_text_is_found_in_its_field_with_cyrillic_letters() -> None:
    """PSM-027."""
    pdf, card = drawn(label(align="center", valign="middle", weight="bold"))

    assert read(pdf).strip() == "Стол № 1" == card.texts[0].text
    left, top, right, bottom = inked(seen(pdf, dpi=DPI))
    assert 10 < left < right < 90
    assert (left + right) / 2 == pytest.approx(50, abs=0.4)
    assert (top + bottom) / 2 == pytest.approx(96, abs=0.3)
    with pymupdf.open(stream=pdf) as document:
        ((_, kind, _, name, *_),) = document.get_page_fonts(0)
    assert (kind, name[6:]) == ("ttf", "+NotoSans-Bold")


def test_text_that_is_turned_reads_downwards() -> None:
    """The field is 80 mm wide, and stands on its centre now."""
    pdf, _ = drawn(label(rotate=90))
    left, top, right, bottom = inked(seen(pdf, dpi=DPI))

    assert bottom - top > right - left
    assert 56 <= top < 60
    assert 44 <= left < right <= 56


def test_one_subset_holds_the_letters_of_all_cards() -> None:
    artist = painter(label(), label(id="small", y=110, size=8), count=30)
    (font,) = artist.resources

    assert font.category == "Font"
    assert sum(len(part.data or b"") for part in font.parts) < 4_000
    for number in (0, 9, 29):
        text = f"Стол № {number + 1}"
        assert read(paper(artist, artist.draw(number))).split("\n")[:2] == [text, text]


@pytest.mark.parametrize("made", [truetype, opentype])
def test_uploaded_fonts_are_embedded_and_read_back(made: Callable[[], bytes]) -> None:
    data = made()
    pdf, _ = drawn(label(font=asset(data), rotate=0), assets=[data])

    assert read(pdf).strip() == "Стол № 1"
    left, _, right, _ = inked(seen(pdf, dpi=DPI))
    assert right - left > 20
    with pymupdf.open(stream=pdf) as document:
        assert "+Probe-" in document.get_page_fonts(0)[0][3]


def test_letters_that_share_a_glyph_are_told_apart_when_copied() -> None:
    data = opentype("СтолА№ 1", twins="АA")
    pdf, _ = drawn(label(font=asset(data), value="АA"), assets=[data])

    assert read(pdf).strip() == "АA"


@pytest.mark.parametrize(
    ("colour", "operator", "seen_as"),
    [
        (Colour(), b"0 0 0 1 k", (35, 31, 32)),
        (Colour(space="gray", parts=(0.5,)), b"0.5 g", (128, 128, 128)),
        (RED, b"0 1 1 0 k", (237, 28, 36)),
        (Colour(space="rgb", parts=(1, 0, 0.5)), b"1 0 0.5 rg", (255, 0, 128)),
        (
            Colour(space="spot", parts=(0, 1, 1, 0), name="PANTONE 485 C", tint=1),
            b"/S1 cs 1 scn",
            (237, 28, 36),
        ),
    ],
    ids=["black", "gray", "cmyk", "rgb", "spot"],
)
def test_inks_are_those_that_were_asked_for(
    colour: Colour, operator: bytes, seen_as: tuple[int, int, int]
) -> None:
    pdf, card = drawn(qr(color=colour), has_cmyk=True)
    view = seen(pdf, dpi=DPI)
    (code,) = card.codes
    module = (code.box[2] - code.box[0]) / code.symbol.size

    assert operator + b"\n" in card.operators[1]
    middle = pixel(view, code.box[0] + 3.5 * module, code.box[1] + 3.5 * module)
    assert middle == pytest.approx(seen_as, abs=6)


def test_a_spot_colour_is_a_plate_of_its_own_once() -> None:
    spot = Colour(space="spot", parts=(0, 0.5, 1, 0), name="Gold {877} (metal)", tint=0.5)
    artist = painter(qr(color=spot), label(color=replace(spot, tint=1)))
    (space,) = (each for each in artist.resources if each.category == "ColorSpace")

    assert space.parts[0].head.startswith("[/Separation /Gold#20#7B877#7D#20#28metal#29 ")
    assert b"/S1 cs 0.5 scn" in artist.draw(0).operators[1]
    assert b"/S1 cs 1 scn" in artist.draw(0).operators[1]


def test_fields_stand_on_the_pages_that_were_chosen() -> None:
    """PSM-028: several fields, several pages."""
    artist = painter(
        qr(pages=(1, -1)), label(pages="even"), label(id="third", pages=(3,)), pages=4
    )
    card = artist.draw(0)

    assert artist.pages == (1, 2, 3, 4)
    assert [each.page for each in card.codes] == [1, 4]
    assert [(each.field, each.page) for each in card.texts] == [
        ("label", 2),
        ("label", 4),
        ("third", 3),
    ]
    pdf = paper(artist, card)
    assert [read(pdf, page).strip() for page in range(4)] == [
        "",
        "Стол № 1",
        "Стол № 1",
        "Стол № 1",
    ]


def test_a_field_whose_condition_is_empty_is_left_out() -> None:
    data = [table(section="Зал"), table(section=""), table(section=None)]
    artist = painter(label(condition="{table.section}"), label(id="also", y=110), data=data)

    assert [len(artist.draw(index).texts) for index in range(3)] == [2, 1, 1]


def test_a_text_that_is_empty_draws_nothing() -> None:
    _, card = drawn(label(value="{table.section}"), data=[table(section=" ")])

    assert card == Drawn(operators={1: b""}, codes=(), texts=())


@pytest.mark.parametrize(
    ("fit", "box"),
    [
        ("contain", (15, 110, 35, 130)),
        ("cover", (10, 110, 40, 130)),
        ("stretch", (10, 110, 40, 130)),
    ],
)
def test_pictures_fit_their_field(fit: Any, box: tuple[float, ...]) -> None:
    data = png((50, 50))
    pdf, _ = drawn(picture(asset=asset(data), fit=fit), assets=[data])

    assert inked(seen(pdf, dpi=DPI)) == pytest.approx(box, abs=0.11)


def test_a_picture_on_several_cards_and_fields_is_in_the_file_once() -> None:
    data = png()
    fields = [picture(asset=asset(data)), picture(id="two", asset=asset(data), y=20)]
    artist = painter(*fields, assets=[data])

    assert [each.name for each in artist.resources] == ["I1"]
    assert artist.draw(0).operators[1].count(b"/I1 Do") == 2


def test_equal_orders_draw_equal_bytes() -> None:
    """PSM-029."""
    data = logo(100, 60)
    fields = (qr(logo=Logo(asset=asset(data))), label(), picture(asset=asset(data)))
    one, two = (painter(*fields, count=12, assets=[data]) for _ in "12")

    assert one.resources == two.resources
    assert [one.draw(each) for each in range(12)] == [two.draw(each) for each in range(12)]
