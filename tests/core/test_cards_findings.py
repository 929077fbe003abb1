"""What cannot be printed is refused with its code, its place and its tables, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from makeready.cards.problems import CardsRefused
from makeready.cards.settings import Field, Logo
from tests.support.card_drawing import (
    asset,
    label,
    painter,
    picture,
    png,
    qr,
    refused,
    table,
)
from tests.support.card_fonts import truetype


def test_what_cannot_be_printed_is_told_with_numbers_and_tables() -> None:
    data = [table(number="7"), table(number="Летняя веранда у пруда, второй ярус")]
    problem = refused(label(width=30, min_size=9), data=data)

    assert (problem.code, problem.path) == ("text_does_not_fit", "fields[0].value")
    assert problem.tables == ("Летняя веранда у пруда, второй ярус",)
    facts: Mapping[str, Any] = problem.facts
    assert facts["needed"] > facts["width"] == 30
    assert (facts["size"], facts["field"]) == (9, "label")


def test_letters_without_a_glyph_are_named_with_their_code_points() -> None:
    problem = refused(label(), data=[table(number="桌 1"), table(number="2")])

    assert problem.code == "font_missing_glyph"
    assert problem.facts["chars"] == ["桌 U+684C"]
    assert problem.facts["font"] == "NotoSans-Regular"
    assert problem.tables == ("桌 1",)


def test_scripts_that_need_shaping_are_refused_by_name() -> None:
    problem = refused(label(value="{table.name}"), data=[table(name="طاولة"), table(name="a")])

    assert (problem.code, problem.facts["script"]) == ("text_needs_shaping", ["Arabic"])
    assert problem.tables == ("1",)


@pytest.mark.parametrize(
    ("field", "code", "path"),
    [
        (label(font="notosans"), "font_unknown", "fields[0].font"),
        (label(font=asset(b"?")), "asset_unknown", "fields[0].font"),
        (label(font=asset(b"font")), "font_unreadable", "fields[0].font"),
        (None, "font_no_embedding", "fields[0].font"),
        (picture(asset=asset(b"?")), "asset_unknown", "fields[0].asset"),
        (picture(asset=asset(b"GIF89a")), "image_unreadable", "fields[0].asset"),
        (qr(logo=Logo(asset=asset(b"GIF89a"))), "image_unreadable", "fields[0].logo.asset"),
        (qr(logo=Logo(asset=asset(png()), area=0.2)), "qr_logo", "fields[0].logo.area"),
        (qr(logo=Logo(asset=asset(png((900, 3))))), "qr_logo", "fields[0].logo"),
        (qr(version=2), "qr_capacity", "fields[0].value"),
        (qr(value="https://a.ru/" + "x" * 3000), "qr_capacity", "fields[0].value"),
        (label(value="a\nb"), "text_does_not_fit", "fields[0].value"),
        (label(height=1), "text_does_not_fit", "fields[0].value"),
    ],
)
def test_each_fault_has_its_code_and_place(field: Field | None, code: str, path: str) -> None:
    kept = truetype(fs_type=2)
    files = [b"font", b"GIF89a", kept, png(), png((900, 3))]
    problem = refused(field or label(font=asset(kept)), assets=files)

    assert (problem.code, problem.path) == (code, path)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(CardsRefused) as caught:
        painter(qr(version=1), label(font="arial"), picture(asset=asset(b"?")))

    assert [each.code for each in caught.value.problems] == [
        "qr_capacity",
        "font_unknown",
        "asset_unknown",
    ]
