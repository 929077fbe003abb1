"""The value language of cards: what it says, and that it says nothing else."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makeready.cards.values import (
    FILTERS,
    PATHS,
    BadValue,
    Row,
    card_names,
    known_paths,
    nearest,
    parse,
)
from tests.support.card_templates import rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "table-cards.md"
ROW: Row = {
    "table": {"number": "7a", "name": "У окна", "seats": 4, "uuid": str(UUID(int=2**128 - 1))},
    "restaurant": {"name": "Ёлки", "city": None},
    "generation": {"date": "2026-11-02", "version": 3},
    "row": {"Имя гостя": "Анна"},
}
PIECES = st.sampled_from(
    [
        "{",
        "}",
        "{{",
        "}}",
        "|",
        ":",
        ".",
        "table",
        "number",
        "row",
        "pad",
        "default",
        "b32",
        "date",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)
DATA = st.none() | st.integers() | st.text(max_size=20)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Стол № {table.number}", "Стол № 7a"),
        ("{ table.number | upper }", "7A"),
        ("{table.number|pad:3}", "007a"),
        ("{table.name|pad:9}", "У окна"),
        ("{table.seats} мест", "4 мест"),
        ("{restaurant.city|default:город: любой}", "город: любой"),
        ("{restaurant.city}", ""),
        ("{table.section|upper|default:зал}", "зал"),
        ("{restaurant.name|lower|short:2}", "ёл"),
        ("{table.uuid|short:8}", "ffffffff"),
        ("{table.uuid|b32}", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        ("{table.uuid|b58}", "YcVfxkQb6JRzqk5kF2tNLv"),
        ("{generation.date|date}", "02.11.2026"),
        ("{generation.date|date:D/M/YY}", "2/11/26"),
        ("{generation.date|date:YYYY-MM-DD HH:mm}", "2026-11-02 00:00"),
        ("{row.Имя гостя}", "Анна"),
        ("{{table.number}}", "{table.number}"),
        ("a{{{table.number}}}b", "a{7a}b"),
        ("", ""),
        ("{{}}", "{}"),
    ],
)
def test_a_value_is_filled_in(value: str, text: str) -> None:
    assert parse(value).text(ROW) == text


@pytest.mark.parametrize(
    ("value", "code", "facts"),
    [
        ("{table.nubmer}", "field_unknown_var", {"nearest": "table.number"}),
        ("{number}", "field_unknown_var", {"nearest": "table.number"}),
        ("{Table.URL}", "field_unknown_var", {"nearest": "table.url"}),
        ("{table}", "field_unknown_var", {}),
        ("{row.}", "field_unknown_var", {}),
        ("{table.__class__}", "field_unknown_var", {}),
        ("{table.number.real}", "field_unknown_var", {}),
        ("{table.number", "value_syntax", {"case": "brace", "brace": "{", "place": 1}),
        ("a } b", "value_syntax", {"case": "brace", "brace": "}", "place": 3}),
        ("{}", "value_syntax", {"case": "empty"}),
        ("{|upper}", "value_syntax", {"case": "empty"}),
        ("{table.number|uper}", "value_syntax", {"case": "filter", "nearest": "upper"}),
        ("{table.number|}", "value_syntax", {"case": "filter"}),
        ("{table.number|upper:1}", "value_syntax", {"case": "argument"}),
        ("{table.number|pad}", "value_syntax", {"case": "number"}),
        ("{table.number|pad:0}", "value_syntax", {"case": "number", "most": 20}),
        ("{table.number|pad:21}", "value_syntax", {"case": "number"}),
        ("{table.number|short:٣}", "value_syntax", {"case": "number"}),
        ("{table.number|default}", "value_syntax", {"case": "text"}),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(
    value: str, code: str, facts: dict[str, Any]
) -> None:
    with pytest.raises(BadValue) as caught:
        parse(value)

    assert caught.value.code == code
    assert facts.items() <= caught.value.facts.items()


@pytest.mark.parametrize("filters", ["b32", "b58", "date", "upper|date:DD"])
def test_data_that_does_not_suit_its_filter_is_named(filters: str) -> None:
    expression = parse(f"{{table.name|{filters}}}")

    with pytest.raises(BadValue) as caught:
        expression.text(ROW)
    assert caught.value.code == "value_filter"
    assert caught.value.facts["path"] == f"table.name|{filters}"
    assert expression.text({"table": {"name": None}}) == ""


def test_short_forms_of_a_uuid_keep_all_of_it() -> None:
    """26 characters of Crockford's alphabet and 22 of Bitcoin's, one for each uuid."""
    found = {
        (parse("{table.uuid|b32}").text(row), parse("{table.uuid|b58}").text(row))
        for row in rows(50)
    }

    assert len(found) == 50
    assert {tuple(map(len, pair)) for pair in found} == {(26, 22)}
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    code = parse("{table.uuid|b32}").text(rows(1)[0])
    number = sum(alphabet.index(char) * 32**place for place, char in enumerate(reversed(code)))
    assert str(UUID(int=number)) == rows(1)[0]["table"]["uuid"]


@settings(deadline=None)
@given(TEXTS, st.dictionaries(st.sampled_from(["table", "row"]), st.dictionaries(TEXTS, DATA)))
def test_whatever_is_written_is_read_or_refused(value: str, row: Row) -> None:
    with contextlib.suppress(BadValue):
        expression = parse(value)
        assert expression.source == value
        assert isinstance(expression.text(row), str)


@settings(deadline=None)
@given(st.text(max_size=50))
def test_any_text_can_be_written_as_a_literal(text: str) -> None:
    escaped = re.sub(r"([{}])", r"\1\1", text)

    assert parse(escaped).text({}) == text


@settings(deadline=None)
@given(st.text(max_size=50))
def test_data_is_never_read_as_a_value_again(text: str) -> None:
    assert parse("<{table.name}>").text({"table": {"name": text}}) == f"<{text}>"


def test_the_nearest_name_is_found_by_its_last_part_too() -> None:
    assert nearest("tabel.number", known_paths()) == "table.number"
    assert nearest("seats", known_paths()) == "table.seats"
    assert nearest("row.Имя гостья", known_paths(["Имя гостя"])) == "row.Имя гостя"
    assert nearest("xyzzy", known_paths()) == ""


def test_names_of_cards_end_in_pdf_and_are_there_once() -> None:
    tables = [{"table": {"number": number}} for number in ("1", "2", "1")]

    assert card_names("Стол {table.number|pad:2}", tables) == [
        "Стол 01.pdf", "Стол 02.pdf", "Стол 01 (2).pdf",
    ]  # fmt: skip
    assert card_names("{table.number}.PDF", tables[:1]) == ["1.PDF"]


def test_the_page_of_table_cards_names_every_value_and_filter() -> None:
    text = PAGE.read_text("utf-8")

    for path in known_paths():
        assert f"`{path}`" in text
    for name in FILTERS:
        assert f"`{name}" in text
    assert "`row." in text
    assert len(PATHS) == 3
