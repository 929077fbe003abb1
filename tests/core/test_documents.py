"""Document types: the registry, checks of data, the sandbox, and what the types say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from makeready import hiring
from makeready.documents import typesetting
from makeready.documents.shipped import document_type, registry, sample
from makeready.documents.templating import TemplateSandbox
from makeready.documents.typesetting import (
    ASSET_ORIGIN,
    Asset,
    DocumentType,
    TemplateFailed,
    build_html,
    check_data,
)
from makeready.errors import NotFound, Rejected
from makeready.print_options import PrintOptions
from makeready.validation import check_schema

GENERAL = ("invoice", "letter", "markdown", "report", "sections")
NAMES = tuple(registry())


def typed(template: str, **changes: Any) -> DocumentType:
    facts = {"sources": {"template.html.j2": template}, "version": template} | changes
    return replace(document_type("invoice"), **facts)


def problems(doc: DocumentType, data: Any) -> list[dict[str, str]]:
    with pytest.raises(Rejected) as caught:
        check_data(doc, data)
    found = caught.value.details["problems"]
    assert isinstance(found, list)
    return found


def test_the_registry_offers_types_with_titles_in_both_languages() -> None:
    assert set(NAMES) == {*GENERAL, *hiring.DOCUMENTS}
    for doc in registry().values():
        assert {"ru", "en"} == set(doc.titles) == set(doc.words)
        assert doc.enabled
        assert doc.tier in {"free", "paid"}
        assert doc.title("de") == doc.titles["en"]
        assert len(doc.version) == 32


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_say_the_same_things_and_all_of_them_are_asked_for(name: str) -> None:
    doc = document_type(name)
    template = "".join(doc.sources.values())
    assert doc.words["ru"].keys() == doc.words["en"].keys()
    assert [word for word in doc.words["en"] if not re.search(rf"\bt\.{word}\b", template)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one(name: str) -> None:
    check_schema(document_type(name).schema)


def test_what_two_types_include_is_compiled_once_in_each_language() -> None:
    shared = {"shared": "{{ 'a — b' | typo }}{{ 1.5 | number }}"}
    for lang, expected in (
        ("ru", "a\N{NO-BREAK SPACE}— b1,5"),
        ("en", "a\N{NO-BREAK SPACE}— b1.5"),
    ):
        for own in ("x{% include 'shared' %}", "y{% include 'shared' %}"):
            sandbox = TemplateSandbox({"own": own} | shared, lang)
            assert "".join(sandbox.pieces("own", {})) == own[0] + expected
    codes = [TemplateSandbox(shared, lang).get_template("shared") for lang in ("ru", "ru", "en")]
    first, again, other = (code.root_render_func.__code__ for code in codes)
    assert first is again
    assert first is not other


@pytest.mark.parametrize("lang", ["ru", "en"])
@pytest.mark.parametrize("name", NAMES)
def test_samples_fit_their_schema_and_become_html(name: str, lang: str) -> None:
    doc = document_type(name)
    data = sample(doc, lang)
    check_data(doc, data)
    made = build_html(doc, data, lang)
    assert f'<html lang="{lang}">' in made.html
    for asset in made.assets:
        assert f"{ASSET_ORIGIN}{asset}" in made.html
    assert "http://" not in made.html.replace("http://www.w3.org", "")


def test_an_unknown_type_is_not_found_and_the_known_ones_are_named() -> None:
    with pytest.raises(NotFound, match="invoice, letter, "):
        document_type("poem")


def test_all_problems_are_told_at_once_with_place_and_hint() -> None:
    doc = document_type("invoice")
    data = sample(doc, "en")
    del data["number"], data["seller"]["address"]
    data["date"] = "20.11.2026"
    data["lines"][1]["price"] = "cheap"
    data["lines"][2]["colour"] = "red"
    data["currency"] = "XXX"
    found = {entry["path"]: entry for entry in problems(doc, data)}
    assert {path: entry["code"] for path, entry in found.items()} == {
        "number": "missing_field",
        "seller.address": "missing_field",
        "date": "bad_format",
        "lines[1].price": "wrong_type",
        "lines[2].colour": "unknown_field",
        "currency": "not_allowed",
    }
    assert "price of one unit" in found["lines[1].price"]["hint"]
    assert "quantity" in found["lines[2].colour"]["hint"]
    assert all(entry.keys() == {"code", "path", "message", "hint"} for entry in found.values())


def test_data_that_is_no_object_or_too_large_is_refused() -> None:
    doc = document_type("letter")
    assert problems(doc, [1])[0]["code"] == "wrong_type"
    huge = {"x": "ы" * typesetting.DATA_LIMIT_BYTES}
    assert [entry["code"] for entry in problems(doc, huge)] == ["too_large"]


def test_everything_in_the_data_is_escaped() -> None:
    doc = document_type("invoice")
    data = sample(doc, "en")
    evil = "</style><script>alert(1)</script>\"'\\"
    data["seller"]["name"] = data["number"] = evil[:30]
    data["lines"][0]["name"] = evil
    data["terms"] = evil
    html = build_html(doc, data, "en").html
    assert "<script" not in html
    assert html.count("</style>") == 1


@pytest.mark.parametrize(
    "template",
    [
        "{{ data.missing }}",
        "{{ missing }}",
        "{{ data.seller.nothing.at.all }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ data.__class__ }}",
        "{{ t.update({}) }}",
        "{{ data.lines.append(1) }}",
        "{% include 'other' %}",
        "{{ asset('none.png') }}",
        "{{ 1 / 0 }}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{% broken",
        "{{ lipsum() }}",
    ],
)
def test_a_template_that_reaches_for_more_fails_for_good(template: str) -> None:
    with pytest.raises(TemplateFailed, match="invoice: "):
        build_html(typed(template), sample(document_type("invoice"), "en"), "en")


def test_html_above_the_cap_is_stopped_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "HTML_LIMIT_BYTES", 1000)
    with pytest.raises(TemplateFailed, match="above 1000 bytes"):
        build_html(typed("{% for x in range(99999) %}{{ x }}{% endfor %}"), {}, "en")


def test_a_language_without_words_is_refused() -> None:
    with pytest.raises(TemplateFailed, match="no words in 'de'"):
        build_html(document_type("letter"), {}, "de")


def test_fractions_are_exact_and_fields_come_before_methods() -> None:
    doc = typed("{{ data.a + data.b }} {{ data['items'] }}{{ data.items[0] }}")
    assert build_html(doc, {"a": 0.1, "b": 0.2, "items": [7]}, "en").html == "0.3 [7]7"


def test_only_the_assets_that_were_asked_for_travel() -> None:
    assets = {name: Asset(media_type="image/png", content=b"x") for name in ("a.png", "b.png")}
    made = build_html(typed("{{ asset('b.png') }}", assets=assets), {}, "en")
    assert made.html == "https://pack.invalid/b.png"
    assert list(made.assets) == ["b.png"]


def test_the_fingerprint_changes_with_all_that_changes_the_bytes() -> None:
    doc = document_type("report")
    made = build_html(doc, sample(doc, "en"), "en")
    other = replace(made.assets["cover.svg"], content=b"<svg/>")
    variants = [
        made.fingerprint(doc.options, "chromium 1"),
        made.fingerprint(doc.options, "chromium 2"),
        made.fingerprint(replace(doc.options, scale=0.9), "chromium 1"),
        replace(made, html=made.html + " ").fingerprint(doc.options, "chromium 1"),
        replace(made, assets={**made.assets, "cover.svg": other}).fingerprint(
            doc.options, "chromium 1"
        ),
    ]
    assert len(set(variants)) == len(variants)
    again = build_html(doc, sample(doc, "en"), "en")
    assert again.fingerprint(doc.options, "chromium 1") == variants[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"paper": "B7"},
        {"margin_mm": -1},
        {"margin_mm": 101},
        {"scale": 0.05},
        {"scale": 3},
        {"wait_for": "true"},
    ],
)
def test_print_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PrintOptions(**wrong)


def test_the_invoice_adds_up() -> None:
    doc = document_type("invoice")
    data = sample(doc, "ru")
    html = build_html(doc, data, "ru").html.replace("\N{NO-BREAK SPACE}", " ")
    assert "230 745,00 ₽" in html, "the sum of the lines"
    assert "219 207,75 ₽" in html, "less five percent"
    assert "39 529,27 ₽" in html, "the tax inside"
    assert "Двести девятнадцать тысяч двести семь рублей 75 копеек" in html
    del data["tax"], data["discount_percent"]
    html = build_html(doc, data, "ru").html
    assert "Без НДС" in html
    assert "Скидка" not in html


def test_optional_parts_may_be_left_out() -> None:
    for name in NAMES:
        doc = document_type(name)
        data = sample(doc, "en")
        needed = {key: data[key] for key in doc.schema["required"]}
        check_data(doc, needed)
        assert build_html(doc, needed, "en").html


def test_samples_name_no_real_address() -> None:
    for name in NAMES:
        text = json.dumps([sample(document_type(name), lang) for lang in ("ru", "en")])
        hosts = re.findall(r"(?:@|://)([\w.-]+)", text)
        assert [host for host in hosts if not host.endswith(".example")] == []


@pytest.mark.parametrize(("name", "bar"), [("ООО «А»", "|"), ("ООО «А|Б»", "~")])
def test_no_field_of_the_payment_code_has_its_separator(
    name: str, bar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads: list[str] = []
    monkeypatch.setattr("makeready.documents.figures.qr", payloads.append)
    doc = replace(document_type("invoice"), version=f"payment code of {name}")
    data = sample(doc, "ru")
    data["seller"]["name"] = name
    build_html(doc, data, "ru")
    (payload,) = payloads
    head, *fields = payload.split(bar)
    assert head == "ST00012"
    assert f"Name={name}" in fields
    assert all("=" in field for field in fields)
