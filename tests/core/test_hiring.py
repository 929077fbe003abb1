"""The hiring pack: its twelve types, and the data of a pack for any profession.

The list of documents and their tiers are those of the contract.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from makeready import hiring
from makeready.documents.shipped import document_type, sample
from makeready.documents.typesetting import build_html, check_data
from makeready.errors import Rejected
from tests.support.hiring import least, reworded, without

FREE = ("free_report", "budget_reality_check")
PAID = (
    "vacancy_profile",
    "scorecard",
    "screening_script",
    "sourcing_pack",
    "hiring_pack",
    "role_snapshot",
    "quality_report",
    "manifest",
    "interview_guide",
    "offer_template",
)
NAMES = hiring.DOCUMENTS
LANGUAGES = ("ru", "en")
ROLES = {"ru": "Бариста", "en": "Barista"}

each_document = pytest.mark.parametrize("name", NAMES)
in_each_language = pytest.mark.parametrize("lang", LANGUAGES)


def refused(profession: str) -> dict[str, str]:
    with pytest.raises(Rejected) as caught:
        hiring.pack(profession, "en")
    [found] = caught.value.details["problems"]
    assert found["path"] == "profession"
    return dict(found)


def test_the_twelve_documents_are_those_of_the_contract() -> None:
    assert hiring.DOCUMENTS == FREE + PAID


@each_document
def test_the_first_two_are_free(name: str) -> None:
    doc = document_type(name)
    assert doc.tier == ("free" if name in FREE else "paid")
    assert doc.enabled
    assert doc.titles == {lang: doc.words[lang]["title"] for lang in LANGUAGES}


@each_document
def test_all_of_them_carry_the_same_vacancy(name: str) -> None:
    for lang in LANGUAGES:
        data = sample(document_type(name), lang)
        assert data["vacancy"] == sample(document_type(NAMES[0]), lang)["vacancy"]


@each_document
def test_every_field_says_what_it_is(name: str) -> None:
    def check(schema: Any, path: str) -> None:
        if "$ref" in schema:
            return
        plain = schema.get("type", "string") not in {"object", "array"}
        assert not plain or "description" in schema, path
        for key, part in schema.get("properties", {}).items():
            check(part, f"{path}.{key}")
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False, path
        if schema.get("type") == "array":
            assert schema["maxItems"], path
            check(schema["items"], f"{path}[]")

    doc = document_type(name)
    check(doc.schema, name)
    for key, part in doc.schema["$defs"].items():
        check(part, key)


@each_document
@in_each_language
def test_what_is_not_required_may_be_left_out_at_every_depth(name: str, lang: str) -> None:
    doc = document_type(name)
    data = sample(doc, lang)
    for less in (least(doc, data), *without(doc, data)):
        check_data(doc, less)
        html = build_html(doc, less, lang).html
        assert data["vacancy"]["role"] in html
        assert "None" not in html


@each_document
def test_no_text_of_the_data_becomes_markup(name: str) -> None:
    doc = document_type(name)
    evil = "</style><script>alert(1)</script>\"'\\"
    data = reworded(doc, sample(doc, "en"), lambda _, limit: evil[:limit])
    check_data(doc, data)
    html = build_html(doc, data, "en").html
    assert "<script" not in html
    assert html.count("</style>") == 1


@in_each_language
def test_a_pack_fits_every_schema_and_names_the_profession_everywhere(lang: str) -> None:
    made = hiring.pack(ROLES[lang], lang)
    assert tuple(made) == NAMES
    for name, data in made.items():
        doc = document_type(name)
        check_data(doc, data)
        assert data["vacancy"]["role"] == ROLES[lang]
        assert ROLES[lang] in build_html(doc, data, lang).html
    text = json.dumps(made, ensure_ascii=False).lower()
    assert "менеджер" not in text
    assert "project manager" not in text


def test_a_pack_is_the_same_every_time_and_leaves_the_samples_alone() -> None:
    first = hiring.pack("Welder", "en")
    first[NAMES[0]]["vacancy"]["role"] = "changed"
    assert hiring.pack("Welder", "en") == hiring.pack("  welder ", "en")
    assert sample(document_type(NAMES[0]), "en")["vacancy"]["role"] != "Welder"


@in_each_language
def test_the_longest_profession_fits(lang: str) -> None:
    role = "Ж" * hiring.PROFESSION_LIMIT
    for name, data in hiring.pack(role, lang).items():
        check_data(document_type(name), data)


def test_professions_that_cannot_be_printed_are_refused() -> None:
    assert refused(" \n ")["code"] == "too_short"
    assert refused("x" * (hiring.PROFESSION_LIMIT + 1))["code"] == "too_long"
    assert refused("Cook\x00")["code"] == "bad_character"
    assert refused("Cook \ud800")["code"] == "bad_character"
    with pytest.raises(ValueError, match="'de'"):
        hiring.pack("Koch", "de")


def test_markup_in_a_profession_stays_text() -> None:
    data = hiring.pack("<b onclick='x'>Chef", "en")[NAMES[0]]
    html = build_html(document_type(NAMES[0]), data, "en").html
    assert "<b onclick" not in html
    assert "&lt;b onclick" in html


def test_the_masthead_shows_each_fact_that_is_there() -> None:
    doc = document_type("free_report")
    data = sample(doc, "en")
    for name, shown in (("employment", "3 years"), ("start", "People wanted")):
        less = {key: value for key, value in data["vacancy"].items() if key != name}
        assert shown in build_html(doc, data | {"vacancy": less}, "en").html


def test_the_budget_adds_up() -> None:
    doc = document_type("budget_reality_check")
    html = build_html(doc, sample(doc, "ru"), "ru").html.replace("\N{NO-BREAK SPACE}", " ")
    assert "2 855 162 ₽" in html, "a year"
    assert "325 000 ₽" in html, "once"
    assert "3 180 162 ₽" in html, "the first year"
    assert "6 360 324 ₽" in html, "of both people"


def test_the_scorecard_weighs_the_marks_and_passes_over_those_not_given() -> None:
    doc = document_type("scorecard")
    data = sample(doc, "en")
    data["criteria"] = [{"name": "a", "weight": 30}, {"name": "b", "weight": 10}]
    data["candidates"] = [
        {"name": "both", "scores": [5, 2]},
        {"name": "first", "scores": [3]},
        {"name": "second", "scores": [0, 4]},
        {"name": "none", "scores": []},
    ]
    row = build_html(doc, data, "en").html.split('<tr class="result">')[1].split("</tr>")[0]
    assert [cell.split("<")[0].strip() for cell in row.split("<td>")[2:]] == [
        "4.3",
        "3.0",
        "4.0",
        "0.0",
    ]


def html_of(name: str, lang: str, **changes: Any) -> str:
    doc = document_type(name)
    data = sample(doc, lang) | changes
    check_data(doc, data)
    return build_html(doc, data, lang).html.replace("\N{NO-BREAK SPACE}", " ")


@in_each_language
def test_the_manifest_names_every_document_as_it_names_itself(lang: str) -> None:
    listed = sample(document_type("manifest"), lang)["documents"]
    assert {entry["doc_id"] for entry in listed} == set(hiring.DOCUMENTS)
    for entry in listed:
        doc = document_type(entry["doc_id"])
        assert (entry["title"], entry["tier"]) == (doc.title(lang), doc.tier)


@in_each_language
def test_the_interview_marks_what_the_scorecard_weighs(lang: str) -> None:
    asked = sample(document_type("interview_guide"), lang)["competencies"]
    weighed = sample(document_type("scorecard"), lang)["criteria"]
    assert [(entry["name"], entry["weight"]) for entry in asked] == [
        (entry["name"], entry["weight"]) for entry in weighed
    ]
    assert html_of("interview_guide", lang).count(" / 100</b>") == 1


def test_the_plan_counts_its_weeks_and_adds_up_its_budget() -> None:
    html = html_of("hiring_pack", "ru")
    assert "8 недель" in html
    assert html.count("130 400 ₽") == 3, "in the goals, the key figures and the table"
    lines = [{"item": "a", "amount": 0.1}, {"item": "b", "amount": 0.2}]
    html = html_of("hiring_pack", "en", budget={"lines": lines})
    assert html.count("€0.30") == 2


@pytest.mark.parametrize(
    ("start", "end"),
    [("2026-11-23", "2026-11-23"), ("2026-12-01", "2026-11-01"), ("0001-01-01", "9999-12-31")],
)
def test_a_plan_may_have_any_dates(start: str, end: str) -> None:
    html = html_of("hiring_pack", "en", stages=[{"name": "Search", "start": start, "end": end}])
    widths = re.findall(r'class="bar" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', html)
    assert len(widths) == 1 + len(sample(document_type("hiring_pack"), "en")["funnel"])
    for left, wide in widths:
        assert float(wide) >= 3
        assert float(left) + float(wide) <= 643


def test_the_quality_of_the_whole_is_the_mean_by_weight() -> None:
    areas = [{"name": "a", "score": 90, "weight": 3}, {"name": "b", "score": 50}]
    mend = [{"action": "x", "priority": "high", "gain": 15}, {"action": "y", "priority": "low"}]
    html = html_of("quality_report", "en", areas=areas, recommendations=mend)
    assert 'aria-label="80 of 100"' in html
    assert "up to 95" in html
    html = html_of("quality_report", "en", areas=[{"name": "a", "score": 0}], recommendations=mend)
    assert 'aria-label="0 of 100"' in html
    html = html_of("quality_report", "en", areas=areas[:1], recommendations=mend)
    assert "up to 100" in html


def test_an_offer_leaves_room_for_what_is_not_known_yet() -> None:
    known = {"date": "2026-12-14", "valid_until": "2026-12-18", "candidate": {"name": "A. Byrne"}}
    empty, filled = html_of("offer_template", "en"), html_of("offer_template", "en", **known)
    assert empty.count('<span class="fill">') - filled.count('<span class="fill">') == 4
    assert "18 December 2026" in filled
    assert "<b>A. Byrne</b>" in filled
