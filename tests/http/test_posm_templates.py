"""Templates of table cards over HTTP.

Proves PSM-001, PSM-002, PSM-003, PSM-004, PSM-005, PSM-006, PSM-007, PSM-008.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pikepdf
import pytest
from pikepdf import Name

from makeready.storage import Storage
from makeready.storage_errors import StorageUnavailable
from tests.support.card_office import form, found_in, restaurant, sent, template
from tests.support.card_templates import light, settings_for, turned
from tests.support.card_zoo import plain, widget
from tests.support.service import Member, Person, Service, error_code

RUSSIAN = {"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.5"}


async def names(member: Member, query: str = "") -> list[str]:
    found = await member.get(f"/posm/templates{query}")
    assert found.status_code == 200, found.text
    return [row["name"] for row in found.json()["templates"]]


async def test_psm_001_a_template_lives_from_its_upload_to_its_end(
    operator: Member, viewer: Member, storage: Storage, db: asyncpg.Connection
) -> None:
    """PSM-002: a PDF in storage, name, description, settings, visibility."""
    answer = await sent(operator, name="Ёлки, зима", description="Для зала")
    assert answer.status_code == 201, answer.text
    made = answer.json()["template"]
    path = f"/posm/templates/{made['id']}"
    assert answer.headers["location"] == path
    assert (answer.json()["settings_from"], answer.json()["findings"]) == ("request", [])
    shown = await viewer.get(path)
    assert shown.json()["template"] == made
    assert shown.headers["etag"] == answer.headers["etag"] == '"1"'
    assert (made["author"], made["visibility"], made["settings"]) == (
        "operator",
        "global",
        settings_for(),
    )
    digest = hashlib.sha256(light()).hexdigest()
    assert made["file"]["sha256"] == digest
    (page,) = made["file"]["pages"]
    assert (page["width_mm"], page["height_mm"]) == (105, 148)
    (stored,) = [facts async for facts in storage.listing(f"posm/templates/{digest}/")]
    assert await storage.get(stored.key) == light()

    changed = await operator.client.patch(path, json={"description": "", "name": "Ёлки, лето"})
    assert changed.json()["template"]["name"] == "Ёлки, лето"
    assert changed.json()["template"]["settings"] == settings_for()
    assert await names(viewer) == ["Ёлки, лето"]
    assert (await operator.client.delete(path)).status_code == 204
    gone = await operator.get(path)
    assert (gone.status_code, error_code(gone)) == (404, "template_not_found")
    assert await names(viewer) == []
    assert await db.fetchval("select count(*) from makeready.posm_templates") == 1  # PSM-005
    audited = await db.fetch(
        "select action from makeready.audit_log where target = $1", made["id"]
    )
    assert {row[0] for row in audited} == {
        "posm_template_create",
        "posm_template_set",
        "posm_template_delete",
    }


async def test_psm_003_psm_004_a_restaurant_is_offered_what_is_for_it(operator: Member) -> None:
    pine = await restaurant(operator, 0, brand="Лес")
    fir = await restaurant(operator, 0, brand="Лес")
    sea = await restaurant(operator, 0)
    await template(operator, name="all")
    await template(operator, name="two", visibility="restaurant", restaurant_ids=[pine, sea])
    await template(operator, name="brand", visibility="brand", brand="Лес")
    assert await names(operator, f"?restaurant_id={pine}") == ["brand", "two", "all"]
    assert await names(operator, f"?restaurant_id={fir}") == ["brand", "all"]
    assert await names(operator, f"?restaurant_id={sea}") == ["two", "all"]
    assert await names(operator, "?q=tw") == ["two"]
    unknown = await operator.get(f"/posm/templates?restaurant_id={uuid4()}")
    assert (unknown.status_code, error_code(unknown)) == (404, "restaurant_not_found")
    nobody = await sent(operator, visibility="restaurant", restaurant_ids=[str(uuid4())])
    assert (nobody.status_code, error_code(nobody)) == (404, "restaurant_not_found")


async def test_psm_006_a_restaurant_is_linked_once_however_often_it_is_said(
    operator: Member, db: asyncpg.Connection
) -> None:
    here = await restaurant(operator, 0)
    made = await template(operator, visibility="restaurant", restaurant_ids=[here, here])
    assert made["restaurant_ids"] == [here]
    path = f"/posm/templates/{made['id']}"
    for visibility, ids in (("global", []), ("restaurant", [here])):
        body = {"visibility": visibility, "restaurant_ids": ids}
        changed = await operator.client.patch(path, json=body)
        assert changed.json()["template"]["restaurant_ids"] == ids
    links = await db.fetch("select deleted_at from makeready.posm_template_restaurants")
    assert [row["deleted_at"] is None for row in links].count(True) == 1
    assert len(links) == 2


async def test_templates_are_paged(operator: Member) -> None:
    for number in range(3):
        await template(operator, name=f"{number}")
    page = (await operator.get("/posm/templates?limit=2")).json()
    assert [row["name"] for row in page["templates"]] == ["2", "1"]
    assert await names(operator, f"?limit=2&after={page['next']}") == ["0"]
    assert page["templates"][0]["pages"] == 1
    assert "settings" not in page["templates"][0]


def locked() -> bytes:
    return plain(encryption=pikepdf.Encryption(user="secret", owner="secret"))


def restricted() -> bytes:
    no = pikepdf.Permissions(modify_other=False)
    return plain(encryption=pikepdf.Encryption(user="", owner="secret", allow=no))


def signed() -> bytes:
    def sign(document: pikepdf.Pdf, page: Any) -> None:
        widget(document, page, "Signature1", (0, 0, 50, 20)).FT = Name.Sig

    return plain(change=sign)


@pytest.mark.parametrize(
    ("pdf", "code"),
    [
        (lambda: b"", "template_empty"),
        (lambda: light()[:-300], "template_damaged"),
        (lambda: light()[:16_000], "template_damaged"),
        (lambda: b"%PDF-1.7\n" + bytes(5000), "template_damaged"),
        (locked, "template_encrypted"),
        (restricted, "template_restricted"),
        (signed, "template_signed"),
        (lambda: plain(pages=0), "template_no_pages"),
        (lambda: plain(page={"/MediaBox": [0, 0, 0, 0]}), "template_bad_box"),
    ],
)
async def test_psm_007_a_pdf_that_cannot_be_printed_on_is_refused_by_name(
    operator: Member, storage: Storage, pdf: Callable[[], bytes], code: str
) -> None:
    answer = await sent(operator, pdf(), headers=RUSSIAN)
    assert found_in(answer) == {"": code}
    (detail,) = answer.json()["error"]["details"]
    assert detail["level"] == "error"
    assert any("а" <= letter <= "я" for letter in detail["message"]), detail
    assert detail["hint"]
    assert await names(operator) == []
    assert [facts async for facts in storage.listing()] == []


@pytest.mark.parametrize(
    ("pdf", "kind"),
    [
        (b"<!doctype html><html><body>Hello</body></html>", "HTML"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG"),
        (b"words", "unknown"),
    ],
)
async def test_psm_007_what_is_no_pdf_at_all_is_415(
    operator: Member, pdf: bytes, kind: str
) -> None:
    answer = await sent(operator, pdf)
    assert (answer.status_code, error_code(answer)) == (415, "unsupported_media_type")
    details = answer.json()["error"]["details"]
    assert details == {"detected": kind, "allowed": ["application/pdf"]}


async def test_psm_007_a_pdf_above_the_policy_is_413(
    operator: Member, administrator: Member
) -> None:
    limit = {"max_template_bytes": len(light()) - 1}
    assert (await administrator.client.patch("/admin/posm/policy", json=limit)).status_code == 200
    answer = await sent(operator)
    assert (answer.status_code, error_code(answer)) == (413, "payload_too_large")
    assert answer.json()["error"]["details"]["max_bytes"] == len(light()) - 1
    made = await template(operator, plain(), settings=None)
    path = f"/posm/templates/{made['id']}/file"
    answer = await operator.client.put(path, content=light())
    assert (answer.status_code, error_code(answer)) == (413, "payload_too_large")


async def test_psm_007_all_that_is_wrong_with_settings_is_told_at_once(operator: Member) -> None:
    settings = settings_for(quiet_zone=2)
    qr, label = settings["fields"]
    qr["x"] = 90
    label |= {"font": "comic-sans", "value": "Стол {table.nubmer}"}
    settings["fields"].append({**label, "id": "far", "pages": [7]})
    for headers, is_russian in ((RUSSIAN, True), ({}, False)):
        answer = await sent(operator, settings=settings, headers=headers)
        found = found_in(answer)
        assert {"qr_quiet_zone", "field_outside_page", "font_unknown"} <= set(found.values())
        assert {"field_unknown_var", "field_page_missing"} <= set(found.values())
        details = answer.json()["error"]["details"]
        assert {bool(re.search("[а-я]{3}", each["message"])) for each in details} == {is_russian}
    assert await names(operator) == []


async def test_what_is_no_form_or_has_no_meta_is_refused(operator: Member) -> None:
    path = "/posm/templates"
    pdf = form({"name": "x"}, light())["pdf"]
    answers = [
        await operator.post(path, content=b"%PDF"),
        await operator.post(path, files={"pdf": pdf}),
        await operator.post(path, files={"meta": (None, '{"name": "x"}')}),
        await operator.post(path, files={"pdf": pdf, "meta": (None, "{")}),
        await operator.post(path, files={**form({"name": "x"}, light()), "odd": (None, "1")}),
    ]
    for answer in answers:
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request"), answer.text
    unnamed = await operator.post(path, files=form({"colour": "red"}, light()))
    assert found_in(unnamed) == {"name": "missing_field", "colour": "unknown_field"}
    as_file = {"pdf": pdf, "meta": ("meta.json", b'{"name": "x"}', "application/json")}
    assert (await operator.post(path, files=as_file)).status_code == 201


async def test_whom_a_template_is_for_is_told_in_two_languages_by_the_names_of_the_body(
    operator: Member,
) -> None:
    path = f"/posm/templates/{(await template(operator))['id']}"
    wrong = {"restaurant_ids": {"visibility": "restaurant"}, "brand": {"visibility": "brand"}}
    for place, change in wrong.items():
        answer = await operator.client.patch(path, json=change)
        (problem,) = answer.json()["error"]["details"]
        assert (answer.status_code, problem["path"]) == (422, place)
        assert place in problem["message"]
        assert problem["hint"]
        answer = await operator.client.patch(path, json=change, headers=RUSSIAN)
        assert answer.json()["error"]["message"].startswith("Макет для")
    uploaded = await sent(operator, headers=RUSSIAN, visibility="restaurant")
    assert found_in(uploaded) == {"restaurant_ids": "validation_failed"}


async def test_fields_come_from_the_form_of_the_pdf(operator: Member) -> None:
    def fields(document: pikepdf.Pdf, page: Any) -> None:
        widget(document, page, "{table.url}", (80, 150, 220, 290))
        widget(document, page, "table.number", (60, 60, 240, 90))

    answer = await sent(operator, plain(change=fields), settings=None)
    assert answer.status_code == 201, answer.text
    assert answer.json()["settings_from"] == "form_fields"
    found = answer.json()["template"]["settings"]["fields"]
    assert [(each["kind"], each["value"]) for each in found] == [
        ("qr", "{table.url}"),
        ("text", "{table.number}"),
    ]
    bare = await sent(operator, light(), settings=None)
    assert (bare.status_code, bare.json()["settings_from"]) == (201, "none")
    assert bare.json()["template"]["settings"] == {}


async def test_the_same_upload_makes_one_template(operator: Member) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first, again = await sent(operator, headers=key), await sent(operator, headers=key)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json()["template"]["id"] == again.json()["template"]["id"]
    other = await sent(operator, turned(), headers=key)
    assert (other.status_code, error_code(other)) == (422, "idempotency_mismatch")
    assert len(await names(operator)) == 1


async def test_who_changes_an_older_template_is_told(operator: Member) -> None:
    path = f"/posm/templates/{(await template(operator))['id']}"
    old = {"If-Match": '"1"'}
    first = await operator.client.patch(path, json={"name": "новее"}, headers=old)
    assert first.headers["etag"] == '"2"'
    answers = [
        await operator.client.patch(path, json={"name": "x"}, headers=old),
        await operator.client.patch(path, json={"settings": settings_for()}, headers=old),
        await operator.client.put(f"{path}/file", content=light(), headers=old),
        await operator.client.delete(path, headers=old),
    ]
    for answer in answers:
        assert (answer.status_code, error_code(answer)) == (409, "stale_version"), answer.text
    assert (await operator.client.delete(path, headers={"If-Match": '"2"'})).status_code == 204


async def test_settings_are_checked_when_they_change(operator: Member) -> None:
    path = f"/posm/templates/{(await template(operator))['id']}"
    odd = settings_for(quiet_zone=1)
    assert found_in(await operator.client.patch(path, json={"settings": odd})) == {
        "fields[0].quiet_zone": "qr_quiet_zone"
    }
    warned = await operator.client.patch(path, json={"settings": settings_for(x=2, width=50)})
    assert warned.status_code == 200, warned.text
    assert {each["level"] for each in warned.json()["findings"]} == {"warning"}
    assert warned.headers["etag"] == '"2"'


async def test_without_storage_nothing_is_entered(
    operator: Member, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await template(operator)

    async def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(Storage, "put", fail)
    answers = [
        await sent(operator, turned()),
        await operator.client.put(f"/posm/templates/{made['id']}/file", content=turned()),
    ]
    for answer in answers:
        assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
    assert await db.fetchval("select count(*) from makeready.posm_templates") == 1
    assert await db.fetchval("select count(*) from makeready.posm_template_files") == 1


async def test_viewers_read_and_operators_write(
    service: Service, anna: Person, viewer: Member, operator: Member
) -> None:
    made = await template(operator)
    path = f"/posm/templates/{made['id']}"
    for readable in ("/posm/templates", path, f"{path}/file", f"{path}/pages/1.png"):
        assert (await viewer.get(readable)).status_code == 200
        assert (await service.client.get(readable)).status_code == 401
        assert (await anna.get(readable)).status_code == 401
    refused = [
        await sent(viewer),
        await viewer.client.patch(path, json={"name": "x"}),
        await viewer.client.put(f"{path}/file", content=light()),
        await viewer.post(f"{path}/copy-fields", json={"template_id": made["id"]}),
        await viewer.client.delete(path),
    ]
    for answer in refused:
        assert (answer.status_code, error_code(answer)) == (403, "forbidden")
