"""Everything that is wrong with cards is found before one is made. Proves PSM-007 and PSM-011."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymupdf_fonts
import pytest

from makeready.cards.checks import problems
from makeready.cards.inspection import inspect
from makeready.cards.settings import read_settings
from tests.support.card_checks import (
    ASSET,
    FACTS,
    IMAGE,
    PAGE,
    TEXT,
    found,
    labelled,
    one,
    settings,
    tables_with,
)
from tests.support.card_templates import heavy, light, rows, turned

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "table-card.json"


@pytest.mark.parametrize("pdf", [light, heavy, turned])
def test_sound_settings_have_no_problems(pdf: Any) -> None:
    assert found(settings(), facts=inspect(pdf())) == []


def test_the_example_of_the_page_fits_a_card_of_two_pages() -> None:
    assert found(json.loads(EXAMPLE.read_text("utf-8")), facts=inspect(heavy())) == []


def test_a_small_code_is_told_with_the_size_it_needs() -> None:
    """60 characters at level M: version 4, 41 modules with the quiet zone. 0.3 mm refuses."""
    small = one(settings(width=12, height=12), "qr_too_small")
    assert small.facts == {
        "field": "qr", "version": 4, "side": 12, "module": 0.29, "needed": 12.3,
    }  # fmt: skip
    assert small.is_error

    assert one(settings(width=12.3, height=53), "qr_module_warn").facts["needed"] == 16.4
    assert not one(settings(width=16.3), "qr_module_warn").is_error
    assert found(settings(width=16.4)) == []


def test_the_table_with_the_longest_link_is_named() -> None:
    long = tables_with(url="https://go.example.ru/" + "x" * 400)

    small = one(settings(width=20, height=20), "qr_too_small", long)
    assert (small.facts["version"], small.tables) == (16, ("2",))


def test_limits_are_those_of_the_settings() -> None:
    raw = settings(width=20) | {"limits": {"min_module_error_mm": 0.5}}

    assert one(raw, "qr_too_small").facts["needed"] == 20.5


def test_a_code_that_is_read_from_afar_is_a_tenth_of_the_distance() -> None:
    far = one(settings(scan_distance_mm=500), "qr_scan_distance")

    assert not far.is_error
    assert far.facts == {"field": "qr", "side": 42.7, "distance": 500, "needed": 62.2}
    assert found(settings(scan_distance_mm=420)) == []


@pytest.mark.parametrize("modules", [0, 1, 3, 3.9])
def test_a_quiet_zone_below_four_modules_is_an_error(modules: float) -> None:
    """PSM-007."""
    assert one(settings(quiet_zone=modules), "qr_quiet_zone").is_error
    assert found(settings(quiet_zone=4)) == []


@pytest.mark.parametrize(
    ("ink", "paper", "case"),
    [
        ("black", "white", None),
        ("black", {"gray": 0.7}, None),
        ("black", {"gray": 0.6}, "paper"),
        ({"cmyk": [1, 0.9, 0, 0.3]}, "white", None),
        ({"cmyk": [0, 0, 1, 0]}, "white", "low"),
        ({"cmyk": [0.2, 0.1, 0, 0]}, "white", "low"),
        ({"spot": {"name": "Blue", "cmyk": [1, 1, 0, 0]}}, "white", None),
        ({"spot": {"name": "Blue", "cmyk": [1, 1, 0, 0], "tint": 0.2}}, "white", "low"),
        ("white", "black", "inverted"),
        ({"gray": 0.9}, {"cmyk": [0, 0, 0, 1]}, "inverted"),
        ("black", "none", "clear"),
    ],
)
def test_a_code_stands_out_from_its_background(ink: Any, paper: Any, case: str | None) -> None:
    told = found(settings(color=ink, background=paper))

    assert [each.facts.get("case") for each in told] == ([] if case is None else [case])
    assert all(each.is_error == (case != "clear") for each in told)


def test_colours_of_screens_are_warned_of_where_they_stand() -> None:
    raw = settings(color={"rgb": "#000000"}, background={"rgb": "#ffffff"})
    raw["fields"][1]["color"] = {"rgb": "#333333"}

    warned = [each for each in found(raw) if each.code == "color_rgb"]
    assert [each.path for each in warned] == [
        "fields[0].color", "fields[0].background", "fields[1].color",
    ]  # fmt: skip
    assert not any(each.is_error for each in warned)


def test_a_code_of_another_value_may_not_be_empty_either() -> None:
    raw = settings(value="{row.link}")
    rows = [{**row, "row": {"link": ""}} for row in tables_with(url=None)]
    assert [each.code for each in found(raw, rows) if each.is_error] == ["value_empty"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "link_missing"),
        ("  ", "link_missing"),
        (None, "link_missing"),
        ("go.example.ru/t/1", "value_not_url"),
        ("ftp://go.example.ru/t/1", "value_not_url"),
        ("javascript:alert(1)", "value_not_url"),
        ("https://", "value_not_url"),
        ("https://go.example.ru/t 1", "value_not_url"),
        ("https://go.example.ru/t\n1", "value_not_url"),
        ("https://[go", "value_not_url"),
        ("https://go.example.ru:99999/", "value_not_url"),
        ("https://ёлки.рф/т/1", "value_not_ascii"),
        ("HTTPS://GO.EXAMPLE.RU/T/1", None),
    ],
)
def test_a_code_says_a_web_address_at_every_table(url: str | None, code: str | None) -> None:
    told = found(settings(), tables_with(url=url))

    if code is None:
        assert told == []
    else:
        assert [(each.code, each.path, each.tables) for each in told] == [
            (code, "fields[0].value", ("2",))
        ]
        assert told[0].is_error == (code != "value_not_ascii")


def test_a_problem_of_every_table_names_none() -> None:
    assert one(settings(value="x"), "value_not_url").tables == ()


def test_a_code_that_its_if_leaves_out_need_not_say_anything() -> None:
    raw = settings(**{"if": "{table.url}"})

    assert found(raw, tables_with(url="")) == []


def test_data_that_does_not_suit_a_filter_is_told_once_and_nothing_follows_from_it() -> None:
    raw = settings(value="https://a.ru/{table.name|b32}")
    told = found(raw)

    assert [(each.code, each.path) for each in told] == [("value_filter", "fields[0].value")]


def test_columns_that_the_tables_lack_are_told_with_those_they_have() -> None:
    tables = [{**row, "row": {"Гость": "Анна"}} for row in rows(2)]
    raw = labelled(value="{row.Гостья}")
    told = one(raw, "field_unknown_var", tables)

    assert told.facts["nearest"] == "row.Гость"
    assert told.facts["known"] == ["Гость"]
    assert found(labelled(value="{row.Гость}"), tables) == []
    assert one(raw, "field_unknown_var", rows(2)).facts["case"] == "no_columns"
    assert found(raw, (), is_sample=True) == []


@pytest.mark.parametrize(
    ("name", "height", "case"),
    [
        ("Летняя веранда, стол у самого окна № 12", 10, None),
        ("7", 3, "height"),
        ("1\n2\n3\n4", 10, "lines"),
    ],
)
def test_text_that_does_not_fit_is_told_with_its_numbers_and_tables(
    name: str, height: float, case: str | None
) -> None:
    """PSM-027."""
    raw = labelled(value="{table.number|default:x}", min_size=18, height=height)
    tables = tables_with(number=name)
    told = one(raw, "text_does_not_fit", tables[1:2])

    assert told.tables == (name,)
    assert told.facts.get("case") == case
    assert told.facts["text"] == name
    bounds = {None: "width", "height": "height", "lines": "most"}
    assert told.facts["needed"] > told.facts[bounds[case]]


def test_letters_without_a_glyph_are_named_with_their_tables() -> None:
    told = one(labelled(), "font_missing_glyph", tables_with(number="7 漢"))

    assert told.facts["chars"] == ["漢 U+6F22"]
    assert told.tables == ("7 漢",)


def test_scripts_that_have_to_be_shaped_are_refused() -> None:
    told = one(labelled(), "text_needs_shaping", tables_with(number="طاولة"))

    assert told.facts["script"] == ["Arabic"]


def test_uploaded_fonts_and_pictures_have_to_be_there_and_sound() -> None:
    assert one(labelled(font="noto-sanz"), "font_unknown").facts["nearest"] == "noto-sans"
    assert one(labelled(font=ASSET), "asset_unknown").path == "fields[1].font"
    assert one(labelled(font=ASSET), "font_unreadable", assets={ASSET: b"x"}).is_error
    assert one(settings(IMAGE), "asset_unknown").path == "fields[2].asset"
    assert one(settings(IMAGE), "image_unreadable", assets={ASSET: b"GIF89a"}).is_error
    sound = pymupdf_fonts.myfont("notos")
    assert found(labelled(font=ASSET), assets={ASSET: sound}) == []


def test_a_logo_wants_the_highest_level_and_little_room() -> None:
    logo = {"asset": ASSET, "area": 0.3}
    told = [each for each in found(settings(logo=logo, ecc="M")) if each.code == "qr_logo"]

    assert {each.facts["case"] for each in told} == {"ecc", "area"}


@pytest.mark.parametrize("version", [3, None])
def test_a_link_that_has_no_room_is_told(version: int | None) -> None:
    long = tables_with(url="https://go.example.ru/" + "x" * 2900)
    told = one(settings(version=version or "auto"), "qr_capacity", long)

    assert told.facts["bytes"] == 2922
    assert told.facts["version"] == (version or 40)
    assert "2" in told.tables


def test_a_text_without_end_is_told() -> None:
    told = one(labelled(), "value_too_long", tables_with(number="7" * 5000))

    assert told.facts["length"] == 5007


def test_fields_have_an_id_each() -> None:
    assert one(settings({**TEXT, "id": "qr"}), "field_duplicate_id").facts == {
        "field": "qr", "first": "fields[0]",
    }  # fmt: skip


def test_names_of_files_that_are_equal_are_warned_of() -> None:
    raw = settings() | {"output": {"name": "{table.section}.pdf"}}
    told = one(raw, "name_duplicate")

    assert not told.is_error
    assert told.tables == ("1", "3")
    assert one(settings(), "name_duplicate", tables_with(number="1")).tables == ("1", "1")


@pytest.mark.parametrize(
    ("impose", "code"),
    [
        ({"sheet": "SRA3", "cols": 4, "rows": 2}, None),
        ({"sheet": "A4", "cols": 2, "rows": 2, "bleed": 0, "crop_marks": False}, None),
        ({"sheet": "A4", "cols": 2, "rows": 2}, "sheet_too_small"),
        ({"sheet": {"width": 320, "height": 450}, "cols": 4, "rows": 2}, "sheet_too_small"),
        ({"sheet": "SRA3", "cols": 4, "rows": 2, "start": 8}, "sheet_start"),
    ],
)
def test_cards_have_to_find_room_on_their_sheet(impose: dict[str, Any], code: str | None) -> None:
    told = found(settings() | {"output": {"impose": impose}})

    assert [each.code for each in told] == ([] if code is None else [code])


def test_pages_of_different_sizes_cannot_be_imposed() -> None:
    larger = replace(PAGE, number=2, trim=PAGE.bleed)
    raw = settings() | {"output": {"impose": {"sheet": "SRA2", "cols": 1, "rows": 1}}}

    facts = replace(FACTS, pages=(PAGE, larger))
    assert [each.code for each in found(raw, facts=facts)] == ["sheet_uneven_pages"]


def test_no_tables_is_an_error_but_for_a_sample() -> None:
    assert [each.code for each in found(settings(), ())] == ["rows_empty"]
    assert found(settings(), (), is_sample=True) == []


def test_what_was_odd_about_the_template_is_warned_of_each_time() -> None:
    facts = replace(
        FACTS,
        warnings=("template_active_content", "template_rgb_group", "fonts_not_embedded"),
        active=("javascript",),
        fonts=(("Arial", False), ("PT Sans", True)),
        pages=(PAGE, replace(PAGE, number=2, blends_rgb=True)),
    )
    told = found(settings(), facts=facts)

    assert [(each.code, dict(each.facts)) for each in told] == [
        ("template_active_content", {"kinds": ["javascript"]}),
        ("template_rgb_group", {"page": 2}),
        ("fonts_not_embedded", {"fonts": ["Arial"]}),
    ]
    assert not any(each.is_error for each in told)
    assert {each.code for each in found({}, facts=facts)} >= {"settings_schema", facts.warnings[0]}


def test_all_problems_are_told_at_once() -> None:
    """PSM-007: of the form, of the place, of the code, of the text, of the tables: one answer."""
    raw = settings({**TEXT, "x": 200}, width=10, quiet_zone=2, color={"rgb": "#ffff00"})
    raw["fields"][1] |= {"value": "{table.nubmer}"}

    codes = {each.code for each in found(raw, tables_with(url="x"))}
    assert codes >= {
        "field_unknown_var", "field_outside_page", "qr_too_small", "qr_quiet_zone",
        "qr_contrast", "color_rgb", "value_not_url",
    }  # fmt: skip


def test_settings_that_were_read_are_judged_the_same() -> None:
    """PSM-011."""
    raw = settings(x=60)

    assert problems(FACTS, read_settings(raw), rows(3), {}) == found(raw)


def test_a_thousand_tables_are_judged_within_moments() -> None:
    """What is looked at once is not looked at a thousand times: each text, not each table."""
    assert found(settings(), rows(1000)) == []
