"""Types that strangers bring: what is wrong is named, what never ends is ended (RND-045)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from makeready.documents import foreign
from makeready.documents.designs import design_of, read_payload, type_of
from makeready.documents.shipped import document_type, registry, sample
from makeready.documents.typesetting import DocumentType, TemplateFailed, build_html
from makeready.errors import Rejected
from tests.support.designs import label, label_text, templated

IN_BOTH = {"samples.ru": "template_error", "samples.en": "template_error"}
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def made(**changes: Any) -> DocumentType:
    payload = read_payload(label_text(**changes))
    return type_of("parcel_label", f"v{hash(str(changes))}", payload.design, payload.contents)


async def proof(**changes: Any) -> dict[str, str]:
    """Code by path."""
    design = read_payload(label_text(**changes)).design
    found = await foreign.proofread("parcel_label", design)
    return {each["path"]: each["code"] for each in found}


async def test_a_sound_design_has_no_problem_and_prints() -> None:
    assert await proof() == {}
    doc = made()
    page = await foreign.set_document(doc, label()["samples"]["ru"], "ru")
    assert "Посылка RA-100" in page.html
    assert list(page.assets) == ["logo.png"]
    assert page.assets["logo.png"].content


@pytest.mark.parametrize("name", registry())
async def test_what_is_shipped_is_sound_as_a_design_too(name: str) -> None:
    doc = document_type(name)
    assert await foreign.proofread(name, design_of(doc)) == []
    again = type_of(name, "x", design_of(doc), {})
    assert again.options == doc.options
    data = sample(doc, "en")
    assert (await foreign.set_document(again, data, "en")).html == build_html(doc, data, "en").html


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"sources": templated("{% if %}")}, {"sources.template.html.j2": "template_syntax"}),
        ({"sources": {}}, {"sources": "missing_field"}),
        ({"sources": {"../x": "a", "template.html.j2": ""}}, {"sources.../x": "bad_name"}),
        ({"sources": templated("{{ t.nothing }}")}, IN_BOTH),
        ({"sources": templated("{{ asset('no.png') }}")}, IN_BOTH),
        ({"sources": templated("{{ ''.__class__ }}")}, IN_BOTH),
        ({"sources": templated("{{ asset.__globals__ }}")}, IN_BOTH),
        ({"sources": templated("{{ qr.__code__.co_consts }}")}, IN_BOTH),
        (
            {"sources": templated("{{ '{0.__class__}'.format(data) }}")},
            IN_BOTH,
        ),
        ({"print": {"paper": "A0"}}, {"print.paper": "not_allowed"}),
        ({"print": {"margins": 1}}, {"print.margins": "unknown_field"}),
        ({"samples": {}}, {"samples": "missing_field"}),
        ({"samples": {"en": {"number": "low", "to": "x"}}}, {"samples.en.number": "bad_format"}),
        ({"schema": {"type": "strange"}}, {"schema.type": "bad_schema"}),
        ({"schema": {"type": "object", "oneOf": []}}, {"schema.oneOf": "bad_schema"}),
        ({"schema": {"type": "object", "not": {}}}, {"schema": "unsupported"}),
        ({"schema": {"$ref": "#/$defs/none"}}, {"schema": "bad_reference"}),
        ({"schema": {"type": "string", "pattern": "("}}, {"schema.pattern": "bad_schema"}),
        ({"schema": {"type": "string", "pattern": "a" * 501}}, {"schema": "too_long"}),
    ],
)
async def test_what_is_wrong_is_named_with_its_place(
    changes: dict[str, Any], found: dict[str, str]
) -> None:
    assert await proof(**changes) == found


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
        },
        {"type": "object", "$defs": {"a": {"if": {"$ref": "#/$defs/a"}, "then": True}}},
    ],
)
async def test_a_reference_that_never_ends_is_named(schema: dict[str, Any]) -> None:
    assert await proof(schema=schema) == {"schema": "endless_reference"}


async def test_a_reference_into_the_data_may_come_back() -> None:
    tree = {
        "type": "object",
        "properties": {
            "number": {"type": "string"},
            "to": {"type": "string"},
            "inner": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
        },
    }
    assert await proof(schema={"$ref": "#/$defs/tree", "$defs": {"tree": tree}}) == {}


async def ended_soon(seconds: float, call: Any) -> Any:
    began = time.monotonic()
    try:
        return await call
    finally:
        assert time.monotonic() - began < seconds


@pytest.mark.parametrize(
    "body",
    [ENDLESS, "{{ 9 ** (9 ** 9) }}", "{{ 'x' * 9 ** 9 * 9 }}", "{{ [0] * 10 ** 10 }}"],
    ids=["loops", "power", "text", "list"],
)
async def test_a_template_that_never_ends_is_ended(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(foreign, "PROOF_TIMEOUT_S", 1.0)
    monkeypatch.setattr(foreign, "SET_TIMEOUT_S", 1.0)
    found = await ended_soon(8, proof(sources=templated(body)))
    assert set(found.values()) <= {"too_slow", "too_large", "template_error"}
    assert found
    with pytest.raises(TemplateFailed, match=r"parcel_label|MemoryError"):
        await ended_soon(
            8, foreign.set_document(made(sources=templated(body)), label()["samples"]["ru"], "ru")
        )
    monkeypatch.undo()
    page = await foreign.set_document(made(), label()["samples"]["ru"], "ru")  # the next one
    assert "Посылка" in page.html


async def test_a_pattern_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string", "pattern": "^(a+)+$"}}}
    doc = made(schema=schema)
    await foreign.check(doc, {"to": "aaa"})
    monkeypatch.setattr(foreign, "CHECK_TIMEOUT_S", 1.0)
    with pytest.raises(Rejected) as raised:
        await ended_soon(8, foreign.check(doc, {"to": "a" * 60 + "!"}))
    assert [each["code"] for each in raised.value.details["problems"]] == ["too_slow"]


async def test_data_that_does_not_fit_is_told_as_for_any_type() -> None:
    with pytest.raises(Rejected) as raised:
        await foreign.check(made(), {"number": "x"})
    assert {each["path"] for each in raised.value.details["problems"]} == {"number", "to"}
    with pytest.raises(Rejected):
        await foreign.set_document(made(), {"number": "x"}, "ru")


async def test_a_draft_is_judged_by_what_it_says_now() -> None:
    assert await proof() == {}
    assert await proof(sources=templated("{{ t.nothing }}")) == IN_BOTH


async def test_one_type_never_prints_with_the_template_of_another() -> None:
    first = made(sources=templated("first {{ data.to }}"))
    second = made(sources=templated("second {{ data.to }}"))
    data = label()["samples"]["en"]
    assert "first" in (await foreign.set_document(first, data, "en")).html
    assert "second" in (await foreign.set_document(second, data, "en")).html
