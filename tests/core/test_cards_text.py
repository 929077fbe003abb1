"""Text is set as large as there is room for, never cut off, never dropped (PSM-027)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makeready.cards.fonts import shipped
from makeready.cards.geometry import MM_PER_POINT
from makeready.cards.settings import TextField
from makeready.cards.text import Fitted, TooLarge, cleaned, fit, overflow, unshaped

FONT = shipped("noto-sans", "regular")
LONG = "Летняя веранда у пруда, стол № 12"


def field(**given: Any) -> TextField:
    usual = {"id": "label", "pages": (1,), "x": 0, "y": 0, "width": 60, "height": 20, "value": ""}
    return TextField(**{**usual, "size": 20, "min_size": 9, **given})


def fitted(text: str, **given: Any) -> Fitted:
    found = fit(text, field(**given), FONT)
    assert isinstance(found, Fitted), found
    return found


def width(line: str, size: float) -> float:
    return FONT.advance(line) * size * MM_PER_POINT


def test_what_has_room_keeps_its_size() -> None:
    found = fitted("Стол № 7")

    assert (found.size, found.text) == (20, "Стол № 7")


def test_what_is_too_long_shrinks_until_it_just_fits() -> None:
    """PSM-027."""
    found = fitted(LONG)

    assert 9 < found.size < 20
    assert width(LONG, found.size) <= 60 < width(LONG, found.size + 0.02)


def test_lines_come_before_shrinking_and_are_even() -> None:
    found = fitted(LONG, max_lines=2, height=25)

    assert found.text == "Летняя веранда\nу пруда, стол № 12"
    assert found.size > fitted(LONG).size


def test_a_number_stays_with_its_sign_and_hard_spaces_hold() -> None:
    for text in ("Стол № 12", "Стол\u00a012"):
        lines = fitted(text, width=21, height=30, max_lines=3).text.split("\n")
        assert lines in (["Стол", "№ 12"], ["Стол\u00a012"])


def test_lines_of_the_text_itself_are_kept() -> None:
    assert fitted("Стол\n7", max_lines=2).text == "Стол\n7"
    crowded = fit("Стол\n7\nзал", field(max_lines=2), FONT)
    assert isinstance(crowded, TooLarge)
    assert crowded.lines == 3


def test_below_the_smallest_size_it_says_how_much_room_is_wanting() -> None:
    """PSM-027."""
    found = fit("Летняя веранда", field(width=10), FONT)

    assert isinstance(found, TooLarge)
    assert found.size == 9
    assert found.width == pytest.approx(width("Летняя веранда", 9))


def test_without_shrinking_the_size_is_the_size() -> None:
    assert isinstance(fit(LONG, field(fit="none"), FONT), TooLarge)
    assert fitted(LONG, fit="none", max_lines=3, height=40).size == 20


def test_a_low_field_shrinks_text_too() -> None:
    found = fitted("Стол", height=5)
    above, below = FONT.ink("Стол")

    assert found.size < 20
    assert (above + below) * found.size * MM_PER_POINT <= 5
    assert isinstance(fit("Стол", field(height=1), FONT), TooLarge)


def test_capitals_are_in_the_middle_and_at_the_edges() -> None:
    capital = FONT.cap_height * 20 * MM_PER_POINT

    (middle,) = fitted("СТОЛ", valign="middle").lines
    (top,) = fitted("СТОЛ", valign="top").lines
    (bottom,) = fitted("СТОЛ", valign="bottom").lines

    assert middle.y - capital / 2 == pytest.approx(10)
    assert top.y == pytest.approx(FONT.ink("СТОЛ")[0] * 20 * MM_PER_POINT, abs=0.2)
    assert bottom.y == pytest.approx(20 - FONT.descent * 20 * MM_PER_POINT)


def test_lines_are_aligned() -> None:
    room = 60 - width("Стол", 20)

    assert fitted("Стол", align="left").lines[0].x == 0
    assert fitted("Стол", align="center").lines[0].x == pytest.approx(room / 2)
    assert fitted("Стол", align="right").lines[0].x == pytest.approx(room)


def test_letter_spacing_counts_between_letters_alone() -> None:
    plain, spaced = (fitted("Стол", align="right", letter_spacing=each) for each in (0, 3))

    assert plain.lines[0].x - spaced.lines[0].x == pytest.approx(3 * 3 * MM_PER_POINT)


WORDS = st.lists(st.text("Стол №12йЁр", min_size=1, max_size=9), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    WORDS.map(" ".join),
    st.tuples(st.floats(8, 90), st.floats(3, 40)),
    st.integers(1, 4),
    st.floats(0, 4),
    st.sampled_from(["top", "middle", "bottom"]),
)
def test_what_is_set_lies_in_its_field_and_nothing_is_lost(
    text: str, sides: tuple[float, float], most: int, spacing: float, valign: str
) -> None:
    """PSM-027."""
    wide, high = sides
    text = cleaned(text)
    given = {"width": wide, "height": high, "max_lines": most, "valign": valign}
    found = fit(text, field(**given, letter_spacing=spacing), FONT)

    if isinstance(found, TooLarge):
        assert found.width > wide or found.height > high or found.lines > most
        return
    assert found.text.replace("\n", " ").split() == text.split()
    assert len(found.lines) <= most
    assert 9 <= found.size <= 20
    scale = found.size * MM_PER_POINT
    for line in found.lines:
        above, below = FONT.ink(line.text)
        room = wide - width(line.text, found.size) - spacing * (len(line.text) - 1) * MM_PER_POINT
        assert room >= -1e-4
        assert line.y - above * scale >= -1e-4
        assert line.y + below * scale <= high + 1e-4


@pytest.mark.parametrize(
    ("raw", "case", "clean"),
    [
        ("и\u0306од", "none", "йод"),
        ("  Стол\t7 ", "none", "Стол 7"),
        ("ве\u00adран\u200bда\ufeff", "none", "веранда"),
        ("Стол", "upper", "СТОЛ"),
        ("СТОЛ Ё", "lower", "стол ё"),
        ("Стол\r\n7", "none", "Стол\n7"),
        ("a\u200db", "none", "a\u200db"),
    ],
)
def test_what_nobody_sees_is_taken_out(raw: str, case: str, clean: str) -> None:
    assert cleaned(raw, case) == clean


@pytest.mark.parametrize("text", ["طاولة", "שולחן", "मेज़", "โต๊ะ", "é̱", "👨\u200d👩", "🇷🇺", "ᄀ"])
def test_scripts_that_have_to_be_shaped_are_seen(text: str) -> None:
    assert unshaped(text)


@pytest.mark.parametrize(
    "text", ["Стол № 7", "Қазақша", "Ñandú", "Τραπέζι", "桌子", "テーブル", "한글"]
)
def test_letters_that_stand_alone_need_no_shaping(text: str) -> None:
    assert unshaped(text) == []


BOXES = st.builds(
    field,
    width=st.floats(8, 60),
    height=st.floats(3, 30),
    max_lines=st.integers(1, 4),
    letter_spacing=st.floats(-0.5, 2),
    min_size=st.floats(3, 20),
    fit=st.sampled_from(["shrink", "none"]),
)
WORDS = st.sampled_from(["Стол", "№", "12", "у", "окна", "\n", "Веранда"])


@settings(deadline=None)
@given(st.lists(WORDS, max_size=9), BOXES)
def test_a_text_overflows_exactly_where_it_does_not_fit(words: list[str], box: TextField) -> None:
    text = cleaned(" ".join(words))
    found = fit(text, box, FONT)

    assert overflow(text, box, FONT) == (found if isinstance(found, TooLarge) else None)
