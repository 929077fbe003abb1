"""The checks of data: what jsonschema would say, in bounded time and in words for people."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from makeready.documents.shipped import document_type, registry, sample
from makeready.documents.typesetting import check_data
from makeready.errors import Rejected
from makeready.shapes import MAX_PROBLEMS
from makeready.validation import check_schema, find_problems

PRINTABLE = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
)
KNOWN = ["2026-02-30", "2026-11-22", "table", "RUB", "#aabbcc", 0, 1, 1.0]
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | PRINTABLE | st.sampled_from(KNOWN)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=5,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key of a value."""
    steps: list[Any] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    return [(value, step) for step in steps] + [
        place for step in steps for place in _places(value[step])
    ]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_jsonschema_refuses_is_refused_and_nothing_else(data: st.DataObject) -> None:
    doc = document_type(data.draw(st.sampled_from(sorted(registry()))))
    value = copy.deepcopy(sample(doc, "en"))
    for _ in range(data.draw(st.integers(1, 2))):
        container, step = data.draw(st.sampled_from(_places(value)))
        match data.draw(st.sampled_from(["change", "remove", "add"])):
            case "change":
                container[step] = data.draw(VALUES)
            case "remove":
                del container[step]
            case _ if isinstance(container, dict):
                container[data.draw(PRINTABLE)] = data.draw(VALUES)
            case _:
                container.append(data.draw(VALUES))
    oracle = Draft202012Validator(doc.schema, format_checker=FormatChecker(["date", "email"]))

    assert (not find_problems(doc.schema, value)) == oracle.is_valid(value)


def _invoice(**changes: Any) -> dict[str, Any]:
    return sample(document_type("invoice"), "en") | changes


def _letter(paragraphs: list[Any]) -> dict[str, Any]:
    return sample(document_type("letter"), "en") | {"paragraphs": paragraphs}


def _report(blocks: list[Any]) -> dict[str, Any]:
    section = {"title": "t", "blocks": blocks}
    return sample(document_type("report"), "en") | {"sections": [section] * 10}


def _table(rows: int) -> dict[str, Any]:
    cells = [["1"] * 12] * rows
    return {"kind": "table", "title": "t", "columns": [{"title": "a"}], "rows": cells}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("invoice", lambda: _invoice(lines=[1] * 2_000_000)),
        ("invoice", lambda: _invoice(lines=[{}] * 1_300_000)),
        ("invoice", lambda: _invoice(lines=[{str(n): 1} for n in range(300_000)])),
        ("invoice", lambda: _invoice(number=[1] * 2_000_000)),
        ("invoice", lambda: _invoice(currency=[1] * 2_000_000)),
        ("invoice", lambda: _invoice(accent="#" * 4_000_000)),
        ("invoice", lambda: _invoice(**{f"k{n}": 1 for n in range(300_000)})),
        ("invoice", lambda: _invoice(**{"k" * 4_000_000: 1})),
        ("invoice", lambda: [1] * 2_000_000),
        ("letter", lambda: _letter([[""] * 50] * 99)),
        ("report", lambda: _report([_table(5000)])),
        ("report", lambda: _report([_table(5), {"kind": "bars", "rows": [1] * 1_900_000}] * 9)),
        ("report", lambda: _report([{"kind": "lines"}] * 100)),
    ],
)
def test_hostile_data_of_four_megabytes_takes_a_second(name: str, make: Callable[[], Any]) -> None:
    doc, data = document_type(name), make()
    started = time.process_time()
    found = find_problems(doc.schema, data)
    took_s = time.process_time() - started

    assert took_s < 1.5
    assert len(found) <= MAX_PROBLEMS
    assert len(json.dumps(found)) < 100_000


@pytest.mark.parametrize(
    "odd", ["\x01", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\ufffe", "\uffff"]
)
def test_characters_that_no_font_prints_are_named_by_field(odd: str) -> None:
    data = sample(document_type("invoice"), "en")
    data["buyer"]["name"] = f"ACME {odd} Ltd"
    with pytest.raises(Rejected) as caught:
        check_data(document_type("invoice"), data)
    (found,) = caught.value.details["problems"]

    assert (found["code"], found["path"]) == ("bad_character", "buyer.name")
    assert found["message"].startswith(f"U+{ord(odd):04X} at place 6 ")


def test_tabs_and_line_breaks_are_no_odd_characters() -> None:
    check_data(document_type("invoice"), _invoice(terms="one\r\n\ttwo\n"))


@pytest.mark.parametrize("field", ["accent", "bank.account"])
def test_a_line_break_after_a_pattern_is_refused(field: str) -> None:
    data = sample(document_type("invoice"), "en")
    data["accent"] = "#aabbcc"
    holder = data["bank"] if "." in field else data
    holder[field.rpartition(".")[2]] += "\n"
    (found,) = find_problems(document_type("invoice").schema, data)

    assert (found["code"], found["path"]) == ("bad_format", field)


def test_the_first_hundred_problems_are_enough() -> None:
    found = find_problems(document_type("invoice").schema, _invoice(lines=[{}] * 500))

    assert len(found) == MAX_PROBLEMS


def test_an_alternative_is_judged_by_its_type() -> None:
    data = _letter(["", [], [""], 1])
    problems = find_problems(document_type("letter").schema, data)
    found = {entry["path"]: entry["code"] for entry in problems}

    assert found == {
        "paragraphs[0]": "too_short",
        "paragraphs[1]": "too_few",
        "paragraphs[2][0]": "too_short",
        "paragraphs[3]": "wrong_type",
    }


def test_a_whole_number_is_an_integer_also_among_alternatives() -> None:
    schema = {"anyOf": [{"type": "integer", "maximum": 2}, {"type": "null"}]}

    assert find_problems(schema, 2.0) == []
    assert [entry["code"] for entry in find_problems(schema, 3.0)] == ["out_of_range"]
    assert [entry["code"] for entry in find_problems(schema, 1.5)] == ["wrong_type"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {"x": True}},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"type": "array", "maxItems": 3},
        {"maxLength": 3},
        {"anyOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]},
        {"not": {"type": "string"}},
        {"if": {"type": "string"}, "then": True, "else": True},
    ],
)
def test_a_keyword_that_is_not_known_is_never_ignored(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unsupported|additionalProperties|anyOf"):
        check_schema(schema)


def test_a_definition_may_refer_to_itself() -> None:
    schema = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    }
    assert find_problems(schema, [[], [[]]]) == []
    assert [entry["path"] for entry in find_problems(schema, [[], [[1]]])] == ["[1][0][0]"]


def test_true_is_not_one() -> None:
    schema = {"enum": [1]}
    assert find_problems(schema, 1) == []
    assert [entry["code"] for entry in find_problems(schema, True)] == ["not_allowed"]
