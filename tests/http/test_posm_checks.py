"""Trying settings out over HTTP: validation, previews, fonts and pictures, the policy.

Proves PSM-029, PSM-036.
"""

from __future__ import annotations

import io
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pymupdf
import pymupdf_fonts
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from makeready.cards.reading import read_codes
from makeready.posm_templates import policy
from makeready.storage import Storage
from tests.support.card_office import pressed, restaurant, seated, sent, template
from tests.support.card_templates import settings_for, turned
from tests.support.card_zoo import plain
from tests.support.generating import LINK, Cardroom
from tests.support.service import Member, error_code

pytestmark = pytest.mark.usefixtures("cardroom")  # links of tables lead somewhere
LONG = "летняя веранда с видом на реку, 12"


def strict() -> dict[str, Any]:
    """Settings whose label has no room for LONG."""
    settings = settings_for()
    settings["fields"][1]["min_size"] = 18
    return settings


async def nothing_stored(db: asyncpg.Connection, storage: Storage) -> None:
    """Of generations, that is; the template's own file is all there is."""
    assert await db.fetchval("select count(*) from makeready.posm_generations") == 0
    assert await db.fetchval("select count(*) from makeready.jobs where queue = 'posm'") == 0
    keys = [facts.key async for facts in storage.listing("posm/")]
    assert all(key.startswith("posm/templates/") for key in keys)


async def test_validation_says_everything_and_refuses_nothing(
    operator: Member, viewer: Member
) -> None:
    where, what = await restaurant(operator, 0), (await template(operator))["id"]
    await seated(operator, where, "1", LONG)
    path = f"/posm/templates/{what}/validate"
    fine = (await viewer.post(path, json={})).json()
    assert fine == {
        "ok": True,
        "is_valid": True,
        "errors": 0,
        "warnings": 0,
        "tables": 0,
        "findings": [],
    }
    sample = (await viewer.post(path, json={"settings": strict()})).json()
    assert sample["is_valid"]
    body = {"settings": strict(), "restaurant_id": where}
    real = (await viewer.post(path, json=body, headers={"Accept-Language": "ru"})).json()
    assert (real["is_valid"], real["errors"], real["tables"]) == (False, 1, 2)
    (found,) = real["findings"]
    assert (found["code"], found["level"], found["tables"]) == (
        "text_does_not_fit",
        "error",
        [LONG],
    )
    refused = await pressed(operator, what, settings=strict(), restaurant_id=where)
    assert refused.json()["error"]["details"][0]["code"] == found["code"]
    odd = (await viewer.post(path, json={"settings": {"fields": [{"id": 5}]}})).json()
    assert not odd["is_valid"]
    assert {each["code"] for each in odd["findings"]} == {"settings_schema"}
    unknown = await viewer.post(path, json={"restaurant_id": str(uuid4())})
    assert error_code(unknown) == "restaurant_not_found"


async def test_psm_036_a_preview_is_the_card_itself_and_stores_nothing(
    operator: Member, viewer: Member, db: asyncpg.Connection, storage: Storage
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    uuids = await seated(operator, where, "1", "2", "Қымыз №3")
    wish = {"template_id": what, "restaurant_id": where, "table_id": uuids["Қымыз №3"]}
    answer = await viewer.post("/posm/preview", json=wish)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["cache-control"] == "no-store"
    assert read_codes(answer.content) == [[LINK.format(uuid=uuids["Қымыз №3"])]]
    with pymupdf.open("pdf", answer.content) as document:
        assert "Стол № Қымыз №3" in document[0].get_text()
    again = await viewer.post("/posm/preview", json=wish)
    assert again.content == answer.content  # PSM-029
    await nothing_stored(db, storage)


async def test_psm_036_a_preview_needs_no_restaurant(
    operator: Member, viewer: Member, db: asyncpg.Connection, storage: Storage
) -> None:
    made = await template(operator, plain(pages=2), settings=settings_for(pages=(1, 2)))
    what = made["id"]

    async def seen(**wish: Any) -> httpx2.Response:
        answer = await viewer.post("/posm/preview", json={"template_id": what, **wish})
        assert answer.status_code == 200, answer.text
        return answer

    assert [len(page) for page in read_codes((await seen()).content)] == [1, 1]
    bare = str(uuid4())
    found = read_codes((await seen(table={"uuid": bare, "number": "7"})).content)
    assert found == [[LINK.format(uuid=bare)]] * 2
    own = await seen(settings=settings_for(pages=(2,)))
    assert [len(page) for page in read_codes(own.content)] == [0, 1]
    picture = await seen(format="png", page=2, dpi=50, grid=True)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    await nothing_stored(db, storage)


async def test_a_preview_refuses_what_a_generation_would(operator: Member, viewer: Member) -> None:
    where, what = await restaurant(operator, 0), (await template(operator))["id"]
    uuids = await seated(operator, where, "1", LONG)
    wish = {"template_id": what, "restaurant_id": where, "settings": strict()}
    short = await viewer.post("/posm/preview", json={**wish, "table_id": uuids["1"]})
    assert short.status_code == 200  # another table's label is no concern of this card
    long = await viewer.post("/posm/preview", json={**wish, "table_id": uuids[LONG]})
    assert (long.status_code, error_code(long)) == (422, "validation_failed")
    unknown = [
        ({**wish, "table_id": str(uuid4())}, 404, "table_not_found"),
        ({"template_id": str(uuid4())}, 404, "template_not_found"),
        ({"template_id": what, "format": "png", "page": 2}, 400, "invalid_request"),
        ({"template_id": what, "format": "gif"}, 422, "validation_failed"),
    ]
    for body, status, code in unknown:
        answer = await viewer.post("/posm/preview", json=body)
        assert (answer.status_code, error_code(answer)) == (status, code), answer.text


@pytest.mark.parametrize("depth", [60, 940, 5000])
async def test_settings_that_are_nested_without_end_are_refused(
    operator: Member, depth: int
) -> None:
    where, what = await restaurant(operator), (await template(operator))["id"]
    deep = '{"fields": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    body = f'{{"template_id": "{what}", "restaurant_id": "{where}", "settings": {deep}}}'
    alone = f'{{"settings": {deep}}}'
    key = {"Idempotency-Key": "deep"}
    answers = [
        await operator.post("/posm/generations", content=body, headers=key),
        await operator.post("/posm/preview", content=body),
        await operator.post(f"/posm/templates/{what}/validate", content=alone),
        await operator.client.patch(f"/posm/templates/{what}", content=alone),
    ]
    expected = (400, "invalid_request") if depth == 5000 else (422, "validation_failed")
    for answer in answers:
        assert (answer.status_code, error_code(answer)) == expected, answer.text


def a_picture(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 30), (200, 30, 30)).save(out, kind)
    return out.getvalue()


def a_font(embedding: int = 0) -> bytes:
    font = TTFont(io.BytesIO(pymupdf_fonts.myfont("notosbo")), recalcTimestamp=False)
    font["OS/2"].fsType = embedding
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


async def brought(member: Member, content: bytes, **fields: Any) -> httpx2.Response:
    files = {"file": ("file.bin", content), **{name: (None, fields[name]) for name in fields}}
    return await member.post("/posm/assets", files=files)


async def test_fonts_and_pictures_are_brought_named_and_deleted(
    operator: Member, viewer: Member
) -> None:
    font = await brought(operator, a_font())
    assert font.status_code == 201, font.text
    letters = font.json()["asset"]
    assert (letters["kind"], letters["name"]) == ("font", "NotoSans-Bold")
    again = await brought(operator, a_font(), name="Другое имя")
    assert (again.status_code, again.json()["asset"]) == (200, letters)
    picture = (await brought(operator, a_picture(), name="Логотип")).json()["asset"]
    assert (picture["kind"], picture["name"]) == ("image", "Логотип")
    assert picture["facts"]["width"] == 60
    listed = (await viewer.get("/posm/assets?kind=image")).json()["assets"]
    assert listed == [picture]
    file = await viewer.get(f"/posm/assets/{picture['id']}/file")
    assert (file.headers["content-type"], file.content) == ("image/png", a_picture())

    settings = settings_for()
    settings["fields"][1]["font"] = letters["asset"]
    place = {"pages": [1], "x": 5, "y": 5, "width": 20, "height": 10}
    logo = {"id": "brand", "kind": "image", **place, "asset": picture["asset"]}
    settings["fields"].append(logo)
    made = await template(operator, settings=settings)
    answer = await operator.post("/posm/preview", json={"template_id": made["id"]})
    assert answer.status_code == 200, answer.text
    with pymupdf.open("pdf", answer.content) as document:
        assert len(document.get_page_images(0, full=True)) == 1
    used = await operator.client.delete(f"/posm/assets/{picture['id']}")
    assert (used.status_code, error_code(used)) == (409, "conflict")
    assert (await operator.client.delete(f"/posm/templates/{made['id']}")).status_code == 204
    gone = await operator.client.delete(f"/posm/assets/{picture['id']}")
    assert gone.status_code == 204
    lost = await sent(operator, settings=settings)
    assert {each["code"] for each in lost.json()["error"]["details"]} == {"asset_unknown"}


async def test_a_font_that_forbids_it_and_what_is_neither_are_refused(
    operator: Member, viewer: Member, storage: Storage
) -> None:
    refused = [
        (a_font(embedding=0x0002), 422, "font_no_embedding"),
        (a_font()[:5000], 422, "font_unreadable"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), 422, "image_unreadable"),
    ]
    for content, status, code in refused:
        answer = await brought(operator, content)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["details"][0]["code"] == code
    for content in (b"", b"words", b"GIF89a" + bytes(40), b"<svg/>"):
        answer = await brought(operator, content)
        assert (answer.status_code, error_code(answer)) == (415, "unsupported_media_type")
    assert [facts async for facts in storage.listing()] == []
    assert (await brought(viewer, a_picture())).status_code == 403
    nameless = await operator.post("/posm/assets", files={"odd": ("x", a_picture())})
    assert (nameless.status_code, error_code(nameless)) == (400, "invalid_request")


async def test_the_policy_is_shown_and_changed(
    administrator: Member, operator: Member, db: asyncpg.Connection
) -> None:
    path = "/admin/posm/policy"
    before = (await operator.get(path)).json()["policy"]
    assert (before["max_active"], before["keep_generations"], before["keep_days"]) == (2, 10, 90)
    assert (before["max_tables"], before["link_template"]) == (1000, LINK)
    refused = await operator.client.patch(path, json={"max_active": 4})
    assert (refused.status_code, error_code(refused)) == (403, "forbidden")
    after = await administrator.client.patch(path, json={"max_active": 4})
    assert after.json()["policy"] == {**before, "max_active": 4}
    assert (await policy(db)).max_active == 4
    for odd in ({"link_template": "https://example.com/"}, {"keep_days": 0}, {"colour": 1}):
        answer = await administrator.client.patch(path, json=odd)
        assert (answer.status_code, error_code(answer)) == (422, "validation_failed")


async def test_too_many_tables_are_refused(
    operator: Member, administrator: Member, cardroom: Cardroom
) -> None:
    assert (await policy(cardroom.db)).max_tables == 1000
    await administrator.client.patch("/admin/posm/policy", json={"max_tables": 2})
    where, what = await restaurant(operator), (await template(operator))["id"]
    answer = await pressed(operator, what, restaurant_id=where)
    assert answer.json()["error"]["details"][0]["code"] == "too_many_tables"


async def test_fields_are_copied_from_another_template(operator: Member) -> None:
    source = await template(operator)
    target = await template(operator, turned(), settings=None)
    path = f"/posm/templates/{target['id']}/copy-fields"
    some = await operator.post(path, json={"template_id": source["id"], "field_ids": ["label"]})
    assert some.status_code == 200, some.text
    assert [each["id"] for each in some.json()["template"]["settings"]["fields"]] == ["label"]
    whole = await operator.post(path, json={"template_id": source["id"]})
    assert whole.json()["template"]["settings"] == settings_for()
    lost = await operator.post(path, json={"template_id": source["id"], "field_ids": ["x"]})
    assert lost.status_code == 422
    (problem,) = lost.json()["error"]["details"]
    assert (problem["path"], problem["code"]) == ("field_ids[0]", "unknown_field")
    unknown = await operator.post(path, json={"template_id": str(uuid4())})
    assert (unknown.status_code, error_code(unknown)) == (404, "template_not_found")


async def test_the_schema_of_settings_is_there_for_editors(viewer: Member) -> None:
    found = (await viewer.get("/posm/settings-schema")).json()
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "fields" in found["properties"]
