"""Every finding about cards has words in Russian and English, and a line on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makeready.cards import wording
from makeready.cards.problems import Problem
from makeready.cards.wording import codes, text

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "src" / "makeready" / "cards"
KINDS = "template|settings|fonts?|field|link|qr|value|text|name|image|asset|color|rows|sheet|card"
RAISED = {
    code
    for path in CARDS.glob("*.py")
    for code in re.findall(rf'"((?:{KINDS})_[a-z_]+)"', path.read_text("utf-8"))
} - {"card_refused", "qr_files", "sheet_height", "sheet_width"}
"""What looks like a code in the sources; these are facts, a module, and what HTTP tells."""
SENTENCES: dict[str, dict[str, list[str]]] = {
    lang: json.loads((CARDS / f"wording.{lang}.json").read_text("utf-8")) for lang in ("en", "ru")
}


def test_codes_are_found_in_the_sources() -> None:
    assert len(RAISED) > 40
    assert {"template_signed", "qr_too_small", "settings_schema", "value_not_url"} <= RAISED


@pytest.mark.parametrize("code", sorted(RAISED))
def test_a_code_that_is_raised_has_its_words(code: str) -> None:
    assert code in codes()


@pytest.mark.parametrize("code", sorted(RAISED | codes()))
def test_a_code_stands_on_the_page_of_table_cards(code: str) -> None:
    page = (ROOT / "docs" / "table-cards.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)

    assert any(f"`{code}`" in row for row in rows)


def test_no_words_are_left_of_codes_that_nobody_raises() -> None:
    assert codes() - RAISED == set()


@pytest.mark.parametrize("key", sorted(SENTENCES["en"].keys() | SENTENCES["ru"].keys()))
def test_both_languages_say_the_same_with_the_same_facts(key: str) -> None:
    """A sentence and a hint each; a fact may be told in either of the two."""
    english, russian = SENTENCES["en"][key], SENTENCES["ru"][key]

    assert len(english) == len(russian) == 2
    assert all(each.strip() == each and each for each in (*english, *russian))
    assert re.search("[а-яё]", russian[0])
    assert re.search("[а-яё]", russian[1])
    assert not re.search("[а-яё]", "".join(english))
    told = [set(re.findall(r"\{(\w+)\}", "".join(each))) for each in (english, russian)]
    assert told[0] - {"about", "edge", "side"} == told[1] - {"edge", "side"}


@pytest.mark.parametrize(
    ("problem", "english", "russian"),
    [
        (
            Problem(
                code="field_outside_page",
                facts={"field": "qr", "excess": 4.2, "side": "right", "box": "trim"},
            ),
            "qr sticks out 4.2 mm to the right of the trim edge",
            "qr выступает на 4,2 мм за правый край обрезного формата",
        ),
        (
            Problem(
                code="field_outside_page",
                facts={
                    "case": "margin", "field": "qr", "left": 1.5, "edge": "top", "wanted": 3.0,
                    "page": 2,
                },
            ),
            "qr is only 1.5 mm from the top trim edge on page 2",
            "qr всего в 1,5 мм от верхнего края обрезного формата на странице 2",
        ),
        (
            Problem(
                code="qr_too_small",
                facts={"version": 8, "side": 12.0, "module": 0.21, "needed": 17.1},
                tables=("4",),
            ),
            "version 8 in 12 mm → 0.21 mm per module; need ≥ 17.1 mm or a shorter link (table 4)",
            "версия 8 в 12 мм → 0,21 мм на модуль; нужно ≥ 17,1 мм или ссылка короче (стол 4)",
        ),
        (
            Problem(code="field_unknown_var", facts={"name": "table.nr", "nearest": "table.id"}),
            "there is no value table.nr: did you mean table.id?",
            "значения table.nr нет: может быть, table.id?",
        ),
        (
            Problem(code="field_unknown_var", facts={"name": "x", "nearest": ""}),
            "there is no value x",
            "значения x нет",
        ),
        (
            Problem(code="template_too_big", facts={"bytes": 30_000_000, "limit": 20_971_520}),
            "the template is too big: 30,000,000 bytes, at most 20,971,520 are allowed",
            "шаблон слишком велик: 30\xa0000\xa0000 байт, допустимо не больше 20\xa0971\xa0520",
        ),
        (
            Problem(code="value_empty", facts={"field": "qr"}, tables=tuple("123456789ABC")),
            "qr is empty (tables 1, 2, 3, 4, 5, 6, 7, 8, 9, A and 2 more)",
            "поле qr пусто (столы 1, 2, 3, 4, 5, 6, 7, 8, 9, A и ещё 2)",
        ),
        (
            Problem(code="value_empty", facts={"field": "qr"}, tables=("Терраса",)),
            "qr is empty (table Терраса)",
            "поле qr пусто (стол Терраса)",
        ),
    ],
)  # fmt: skip
def test_sentences_tell_the_numbers(problem: Problem, english: str, russian: str) -> None:
    assert text(problem, "en")[0] == english
    assert text(problem, "ru")[0] == russian
    assert text(problem, "de") == text(problem, "en")


def test_braces_in_data_are_only_data() -> None:
    wild = Problem(code="value_not_url", facts={"field": "qr", "value": "{field} [x] {{"})

    assert text(wild, "en")[0] == "qr: “{field} [x] {{” is no web address"


def test_words_of_the_schema_are_told_in_russian() -> None:
    facts = {"case": "wrong_type", "found": "3", "keyword": "type", "wanted": ["string", "null"]}

    assert text(Problem(code="settings_schema", facts=facts), "ru") == (
        "3 — не тот тип", "нужно: тип строка, null",
    )  # fmt: skip


FACTS = st.dictionaries(
    st.sampled_from(["case", "field", "name", "found", "wanted", "page", "reason", "excess"]),
    st.none() | st.integers() | st.floats() | st.text(max_size=300) | st.lists(st.text()),
)


@settings(deadline=None)
@given(st.sampled_from([*sorted(codes()), "unheard_of"]), FACTS, st.lists(st.text(), max_size=12))
def test_any_facts_make_a_sentence(code: str, facts: dict[str, Any], tables: list[str]) -> None:
    for lang in wording.LANGUAGES:
        message, hint = text(Problem(code=code, facts=facts, tables=tuple(tables)), lang)
        assert message
        assert isinstance(hint, str)


def test_a_column_is_suggested_as_it_is_written() -> None:
    facts = {"case": "column", "name": "row.a", "nearest": "row.b", "known": ["b"]}

    assert text(Problem(code="field_unknown_var", facts=facts), "en") == (
        "the data has no column row.a: did you mean row.b?", "columns: b",
    )  # fmt: skip


def test_what_a_pdf_does_is_told_in_words() -> None:
    facts = {"kinds": ["javascript", "embedded_files"]}
    active = Problem(code="template_active_content", is_error=False, facts=facts)

    assert "(" not in text(active, "en")[0]
    assert "scripts, attachments" in text(active, "en")[0]
    assert "скрипты, вложения" in text(active, "ru")[0]
