"""Print options: what JSON may say, all problems at once, and that schema and record agree."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from makeready.errors import Rejected
from makeready.print_options import SCHEMA, Metadata, PrintOptions, from_json
from makeready.validation import check_schema


def refused(value: Any) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        from_json(value)
    return [(each["path"], each["code"]) for each in caught.value.details["problems"]]


def test_the_schema_knows_every_field_and_every_default() -> None:
    check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == [field.name for field in fields(PrintOptions)]
    defaults = {
        name: part["default"] for name, part in SCHEMA["properties"].items() if "default" in part
    }
    assert from_json(defaults) == from_json({}) == PrintOptions()


def test_options_of_json_become_a_record() -> None:
    assert from_json(
        {
            "paper": "A5",
            "margin_mm": 5,
            "pdf_a": "3b",
            "watermark": "ЧЕРНОВИК",
            "engine": "pyppeteer",
            "created_at": "2026-11-22T08:00:00Z",
            "metadata": {
                "author": "Анна",
                "keywords": ["счёт", "ноябрь"],
                "custom": {"Number": "17", "Contract": "4/2026"},
            },
        }
    ) == PrintOptions(
        paper="A5",
        margin_mm=5,
        pdf_a="3b",
        watermark="ЧЕРНОВИК",
        engine="pyppeteer",
        created_at=datetime(2026, 11, 22, 8, tzinfo=UTC),
        metadata=Metadata(
            author="Анна",
            keywords=("счёт", "ноябрь"),
            custom=(("Contract", "4/2026"), ("Number", "17")),
        ),
    )


def test_all_problems_are_told_with_their_places() -> None:
    assert refused({"paper": "B5", "scale": 9, "colour": 1, "metadata": {"author": 3}}) == [
        ("colour", "unknown_field"),
        ("metadata.author", "wrong_type"),
        ("paper", "not_allowed"),
        ("scale", "out_of_range"),
    ]
    assert refused(7) == [("", "wrong_type")]


@pytest.mark.parametrize(
    "value",
    [
        {"wait_for": "ready"},
        {"pdf_a": "1a"},
        {"engine": "prince"},
        {"watermark": "two\nlines"},
        {"watermark": "x" * 41},
        {"created_at": "yesterday"},
        {"created_at": "0001-01-01T00:00:00+14:00"},  # in UTC there is no such year
        {"created_at": "9999-12-31T23:59:59-14:00"},
        {"metadata": {"custom": {"Title": "x"}}},
        {"metadata": {"custom": {"a/b": "x"}}},
        {"metadata": {"custom": {"Number": 17}}},
        {"metadata": {"custom": {f"n{number}": "x" for number in range(21)}}},
        {"metadata": {"title": "x" * 501}},
    ],
    ids=repr,
)
def test_what_cannot_be_printed_is_refused(value: dict[str, Any]) -> None:
    assert refused(value)
