"""Settings of cards: what their form allows. Proves PSM-011 as far as it is about their form."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makeready.cards.problems import CardsRefused
from makeready.cards.schema import SHEETS_MM
from makeready.cards.settings import (
    SCHEMA,
    CardSettings,
    Colour,
    ImageField,
    QrField,
    Sheet,
    TextField,
    page_numbers,
    read,
    read_settings,
)
from makeready.validation import check_schema
from tests.support.card_templates import settings_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "table-cards.md"
EXAMPLE = ROOT / "docs" / "examples" / "table-card.json"
ASSET = "sha256:" + "0a" * 32
IMAGE = {"id": "i", "kind": "image", "x": 0, "y": 0, "width": 9, "height": 9, "asset": ASSET}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def with_field(**changes: Any) -> dict[str, Any]:
    raw = settings_for()
    raw["fields"][0] |= changes
    return raw


def text_with(**changes: Any) -> dict[str, Any]:
    raw = settings_for()
    raw["fields"][1] |= changes
    return raw


def imposed(**impose: Any) -> dict[str, Any]:
    return settings_for() | {"output": {"impose": {"sheet": "A4", "cols": 2, "rows": 2} | impose}}


def qr_of(raw: Any) -> QrField:
    found = read_settings(raw).fields[0]
    assert isinstance(found, QrField)
    return found


def text_of(raw: Any) -> TextField:
    found = read_settings(raw).fields[1]
    assert isinstance(found, TextField)
    return found


def sheet_of(**impose: Any) -> Sheet:
    found = read_settings(imposed(**impose)).sheet
    assert found is not None
    return found


def test_the_schema_is_one_that_is_understood_whole() -> None:
    check_schema(SCHEMA)


def test_the_example_of_the_page_is_read() -> None:
    """PSM-011."""
    found = read_settings(json.loads(EXAMPLE.read_text("utf-8")))

    assert [each.id for each in found.fields] == ["qr", "label", "section", "back"]
    assert found.sheet == Sheet(
        width=320, height=450, is_named=True, cols=4, rows=2, duplex="long-edge"
    )
    assert found.name == "Стол {table.number|pad:3}.pdf"


def properties(schema: Any) -> set[str]:
    """The names of all properties, at any depth."""
    if isinstance(schema, list):
        return {name for each in schema for name in properties(each)}
    if not isinstance(schema, dict):
        return set()
    below = {name for each in schema.values() for name in properties(each)}
    return below | set(schema.get("properties", {}))


def test_the_page_names_every_property_and_sheet() -> None:
    told = set(re.findall(r"\w+", PAGE.read_text("utf-8")))

    assert (properties(SCHEMA) | set(SHEETS_MM)) - told == set()


def test_what_is_left_out_has_its_default() -> None:
    least = {"x": 1, "y": 2, "width": 30, "height": 30}
    raw = {
        "fields": [
            {"id": "a", "kind": "qr", "value": "{table.url}", **least},
            {"id": "b", "kind": "text", "value": "x", **least},
            IMAGE,
        ]
    }
    found = read_settings(raw)

    assert found == CardSettings(
        fields=(
            QrField(id="a", pages=(1,), x=1, y=2, width=30, height=30, value="{table.url}"),
            TextField(id="b", pages=(1,), x=1, y=2, width=30, height=30, value="x"),
            ImageField(id="i", pages=(1,), x=0, y=0, width=9, height=9, asset=ASSET),
        )
    )
    assert (found.min_module_mm, found.min_module_error_mm) == (0.40, 0.30)
    assert (found.origin, found.cold_every, found.check_text) == ("trim", 50, True)


def test_a_field_takes_what_it_does_not_say_from_the_defaults() -> None:
    defaults = {"color": {"gray": 0.2}, "font": ASSET}
    plain = settings_for()
    del plain["fields"][1]["font"]
    text = text_of(plain | {"defaults": defaults})

    assert (text.font, text.color) == (ASSET, Colour(space="gray", parts=(0.2,)))
    assert text_of(text_with(color="white") | {"defaults": defaults}).color.space == "white"
    assert qr_of(settings_for() | {"defaults": defaults}).color.space == "gray"


@pytest.mark.parametrize(
    ("raw", "colour"),
    [
        ("black", Colour()),
        ("white", Colour(space="white")),
        ({"gray": 1}, Colour(space="gray", parts=(1.0,))),
        ({"cmyk": [0, 0.5, 1, 0]}, Colour(space="cmyk", parts=(0.0, 0.5, 1.0, 0.0))),
        ({"rgb": "#FF0033"}, Colour(space="rgb", parts=(1.0, 0.0, 0.2))),
        (
            {"spot": {"name": "Gold", "cmyk": [0, 0, 1, 0], "tint": 0.5}},
            Colour(space="spot", parts=(0.0, 0.0, 1.0, 0.0), name="Gold", tint=0.5),
        ),
    ],
)
def test_a_colour_is_given_in_any_of_its_forms(raw: Any, colour: Colour) -> None:
    assert qr_of(settings_for(color=raw)).color == colour
    assert qr_of(settings_for(background=raw)).background == colour


def test_a_background_may_be_none() -> None:
    assert qr_of(settings_for(background="none")).background is None
    assert qr_of(settings_for(background=None)).background is None


def test_version_and_mask_are_numbers_or_chosen_later() -> None:
    assert (qr_of(settings_for()).version, qr_of(settings_for()).mask) == (None, None)
    found = qr_of(settings_for(version=7.0, mask=0))
    assert (found.version, found.mask) == (7, 0)
    assert isinstance(found.version, int)
    assert qr_of(settings_for(version="auto", mask="auto")).version is None


def test_a_logo_asks_for_the_highest_level_by_itself() -> None:
    assert qr_of(settings_for(logo={"asset": ASSET})).ecc == "H"
    assert qr_of(settings_for(logo={"asset": ASSET}, ecc="Q")).ecc == "Q"
    assert qr_of(settings_for(logo=None)).ecc == "M"


def test_a_small_text_has_a_small_least_size() -> None:
    raw = text_with(size=5)
    del raw["fields"][1]["min_size"]

    assert text_of(raw).min_size == 5


def test_warnings_begin_no_later_than_errors() -> None:
    found = read_settings(settings_for() | {"limits": {"min_module_error_mm": 0.5}})

    assert (found.min_module_mm, found.min_module_error_mm) == (0.5, 0.5)


@pytest.mark.parametrize("name", SHEETS_MM)
def test_named_sheets_lie_upright_until_cards_need_them_turned(name: str) -> None:
    sheet = sheet_of(sheet=name)

    assert (sheet.width, sheet.height) == SHEETS_MM[name]
    assert sheet.width < sheet.height
    assert sheet.is_named


def test_a_sheet_of_its_own_size_lies_as_it_says() -> None:
    sheet = sheet_of(sheet={"width": 450, "height": 320}, start=3.0, order="stack", fold=True)

    assert (sheet.width, sheet.height, sheet.is_named) == (450, 320, False)
    assert (sheet.start, sheet.order, sheet.fold) == (3, "stack", True)


@pytest.mark.parametrize(
    ("choice", "count", "numbers"),
    [
        ((1,), 2, [1]),
        ((-1, 1, 1), 3, [1, 3]),
        ((0, 4, -4), 3, []),
        ("all", 3, [1, 2, 3]),
        ("odd", 4, [1, 3]),
        ("even", 4, [2, 4]),
        ("even", 1, []),
    ],
)
def test_pages_are_chosen(choice: Any, count: int, numbers: list[int]) -> None:
    assert page_numbers(choice, count) == numbers


def without(name: str) -> dict[str, Any]:
    raw = settings_for()
    del raw["fields"][0][name]
    return raw


@pytest.mark.parametrize(
    ("raw", "path", "case"),
    [
        (None, "", "wrong_type"),
        ([], "", "wrong_type"),
        ({}, "fields", "missing_field"),
        ({"fields": []}, "fields", "too_few"),
        ({"fields": [settings_for()["fields"][0]] * 51}, "fields", "too_many"),
        ({"fields": [3]}, "fields[0]", "wrong_type"),
        ({"fields": [{"id": "a"}]}, "fields[0].kind", "missing_field"),
        (settings_for() | {"schema": 2}, "schema", "not_allowed"),
        (settings_for() | {"units": "inch"}, "units", "not_allowed"),
        (settings_for() | {"origin": {"box": "bleed"}}, "origin.box", "not_allowed"),
        (settings_for() | {"field": []}, "field", "unknown_field"),
        (settings_for() | {"limits": {"min_module_error_mm": 0.1}},
         "limits.min_module_error_mm", "out_of_range"),
        (settings_for() | {"verify": {"mode": "none"}}, "verify.mode", "not_allowed"),
        (settings_for() | {"output": {"name": 7}}, "output.name", "wrong_type"),
        (imposed(sheet="A0"), "output.impose.sheet", "not_allowed"),
        (imposed(sheet={"width": 9}), "output.impose.sheet.height", "missing_field"),
        (imposed(rows=0), "output.impose.rows", "out_of_range"),
        (imposed(rows=2.5), "output.impose.rows", "wrong_type"),
        (imposed(marks=True), "output.impose.marks", "unknown_field"),
        (without("value"), "fields[0].value", "missing_field"),
        (without("width"), "fields[0].width", "missing_field"),
        (with_field(kind="barcode"), "fields[0].kind", "not_allowed"),
        (with_field(id="a b"), "fields[0].id", "bad_format"),
        (with_field(id="a\x07"), "fields[0].id", "bad_character"),
        (with_field(x="26"), "fields[0].x", "wrong_type"),
        (with_field(x=True), "fields[0].x", "wrong_type"),
        (with_field(x=math.nan), "fields[0].x", "out_of_range"),
        (with_field(y=math.inf), "fields[0].y", "out_of_range"),
        (with_field(rotate=-math.inf), "fields[0].rotate", "out_of_range"),
        (with_field(width=0), "fields[0].width", "out_of_range"),
        (with_field(ecc="X"), "fields[0].ecc", "not_allowed"),
        (with_field(version=41), "fields[0].version", "out_of_range"),
        (with_field(version="7"), "fields[0].version", "not_allowed"),
        (with_field(mask=8), "fields[0].mask", "out_of_range"),
        (with_field(pages=1), "fields[0].pages", "wrong_type"),
        (with_field(pages=[]), "fields[0].pages", "too_few"),
        (with_field(pages=["1"]), "fields[0].pages[0]", "wrong_type"),
        (with_field(pages=[1.5]), "fields[0].pages[0]", "wrong_type"),
        (with_field(pages="first"), "fields[0].pages", "not_allowed"),
        (with_field(color="red"), "fields[0].color", "not_allowed"),
        (with_field(color={"cmyk": [0, 0, 0]}), "fields[0].color.cmyk", "too_few"),
        (with_field(color={"cmyk": [0, 0, 0, 2]}), "fields[0].color.cmyk[3]", "out_of_range"),
        (with_field(color={"rgb": "#12345"}), "fields[0].color.rgb", "bad_format"),
        (with_field(color={"spot": {"name": "a"}}), "fields[0].color.spot.cmyk", "missing_field"),
        (with_field(color={"hex": 1}), "fields[0].color.hex", "unknown_field"),
        (with_field(color={}), "fields[0].color", "colour"),
        (with_field(color={"gray": 0, "rgb": "#000000"}), "fields[0].color", "colour"),
        (with_field(background={}), "fields[0].background", "colour"),
        (with_field(logo={"asset": "logo.png"}), "fields[0].logo.asset", "bad_format"),
        (with_field(size=12), "fields[0].size", "unknown_field"),
        (with_field(value="x" * 1001), "fields[0].value", "too_long"),
        (text_with(min_size=21), "fields[1].min_size", "min_size"),
        (text_with(weight=700), "fields[1].weight", "wrong_type"),
        (text_with(quiet_zone=4), "fields[1].quiet_zone", "unknown_field"),
        ({"fields": [IMAGE | {"value": "x"}]}, "fields[0].value", "unknown_field"),
    ],
)  # fmt: skip
def test_settings_of_a_wrong_form_are_refused_with_the_place(
    raw: Any, path: str, case: str
) -> None:
    with pytest.raises(CardsRefused) as caught:
        read_settings(raw)

    found = {(each.path, each.facts["case"]) for each in caught.value.problems}
    assert (path, case) in found
    assert {each.code for each in caught.value.problems} == {"settings_schema"}


def test_all_wrong_values_are_told_at_once_and_the_rest_is_read() -> None:
    """PSM-011."""
    raw = settings_for(value="{table.nubmer}") | {"output": {"name": "{table.number"}}
    raw["fields"][1]["if"] = "{table.number|padd:2}"
    found, problems = read(raw)

    assert [(each.code, each.path) for each in problems] == [
        ("field_unknown_var", "fields[0].value"),
        ("value_syntax", "fields[1].if"),
        ("value_syntax", "output.name"),
    ]
    assert found is not None
    assert found.fields[0].width == 53


def test_a_misspelt_property_is_told_with_its_right_name() -> None:
    with pytest.raises(CardsRefused) as caught:
        read_settings(settings_for(widht=5))

    assert caught.value.problems[0].facts["nearest"] == "width"


@settings(deadline=None)
@given(st.data())
def test_settings_with_anything_in_any_place_are_read_or_refused(data: st.DataObject) -> None:
    raw: Any = copy.deepcopy(json.loads(EXAMPLE.read_text("utf-8")))
    place: Any = raw
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = inner
    found, problems = read(raw)
    assert found is not None or problems
    assert {each.code for each in problems} <= {
        "settings_schema", "value_syntax", "field_unknown_var",
    }  # fmt: skip
