"""Slots and providers over HTTP: what is shown, what is refused, and when a change counts."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import asyncpg
import pytest

from makeready.config import Settings
from makeready.values import Secret
from tests.support.photo_office import KEY, problems, put, put_slot, register
from tests.support.service import Member, Service, error_code

SLOT = "/api/slots/slot-001"
GEMINI: dict[str, Any] = {
    "provider_id": "gemini",
    "operation_id": "edit",
    "settings_json": {"prompt": "Make it a poster"},
}
WEBHOOK: dict[str, Any] = {
    "url": "https://booth.example.com/edit",
    "body": {"kind": "raw"},
    "answer": {"kind": "image"},
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, secrets_key=Secret("0f" * 32))


async def keyed(staff: Member, provider: str = "gemini") -> None:
    """Gives a provider a key."""
    body = {"provider_keys": {provider: {"value": KEY}}}
    assert (await put(staff, "/api/settings", body)).status_code == 200


async def test_ing_002_there_are_fifteen(viewer: Member) -> None:
    found = (await viewer.get("/api/slots")).json()
    assert found["meta"] == {"total": 15}
    assert [slot["id"] for slot in found["data"]] == [f"slot-{n:03}" for n in range(1, 16)]
    first = found["data"][0]
    assert (first["provider_id"], first["operation_id"]) == ("local", "echo")
    assert first["ingest_url"].endswith("/ingest/slot-001")
    one = (await viewer.get(SLOT)).json()
    assert one == first | {"recent_results": []}


async def test_slots_are_found(operator: Member) -> None:
    await put_slot(operator, "slot-003", name="Ёлка", operation_id="filter", settings_json=STEPS)

    async def found(**asked: str) -> list[str]:
        answer = await operator.get("/api/slots", params=asked)
        return [slot["id"] for slot in answer.json()["data"]]

    assert await found(operation_id="filter") == ["slot-003"]
    assert await found(search="ёлк") == ["slot-003"]
    assert await found(search="SLOT-00") == [f"slot-00{n}" for n in range(1, 10)]
    assert await found(search="%") == []
    assert len(await found(provider_id="local")) == 15
    assert await found(provider_id="gemini") == []
    assert (await operator.get("/api/slots", params={"search": "x" * 201})).status_code == 400


STEPS = {"steps": [{"operation": "grayscale"}]}


async def test_ing_064_who_may_read_and_who_may_write(
    service: Service, viewer: Member, operator: Member
) -> None:
    assert (await service.client.get("/api/slots")).status_code == 401
    refused = await put(viewer, SLOT, {})
    assert (refused.status_code, error_code(refused)) == (403, "forbidden")
    assert (await put_slot(operator, name="Mine")).status_code == 200
    assert (await put(operator, "/api/providers/gemini", {})).status_code == 403


async def test_ing_068_a_slot_is_saved_against_what_was_read(operator: Member) -> None:
    before = await operator.get(SLOT)
    body = {name: before.json()[name] for name in ("name", *GEMINI)} | {"name": "Left"}

    neither = await put(operator, SLOT, body)
    assert (neither.status_code, error_code(neither)) == (400, "invalid_request")
    assert neither.json()["error"]["details"] == {"field": "If-Match", "reason": "missing"}

    tag = before.headers["etag"]
    saved = await put(operator, SLOT, body, headers={"If-Match": tag})
    assert saved.status_code == 200
    assert saved.json().keys() == {"id", "updated_at"}
    assert saved.json()["updated_at"] > before.json()["updated_at"]
    assert saved.headers["etag"] == (await operator.get(SLOT)).headers["etag"] != tag

    late = await put(operator, SLOT, body, headers={"If-Match": tag})
    stated = body | {"updated_at": before.json()["updated_at"]}
    for stale in (late, await put(operator, SLOT, stated)):
        assert (stale.status_code, error_code(stale)) == (409, "stale_version")
        details = stale.json()["error"]["details"]
        assert (details["version"], details["slot_id"]) == (2, "slot-001")
    stated = body | {"updated_at": saved.json()["updated_at"]}
    assert (await put(operator, SLOT, stated)).status_code == 200
    anyway = await put(operator, SLOT, body, headers={"If-Match": "*"})
    assert anyway.status_code == 200


async def test_ing_068_of_two_who_save_at_once_one_is_told(operator: Member) -> None:
    answers = await asyncio.gather(*(put_slot(operator, name=f"N{n}") for n in range(6)))
    found = sorted(answer.status_code for answer in answers)
    assert found.count(200) >= 1
    assert set(found) <= {200, 409}
    version = (await operator.get(SLOT)).json()["version"]
    assert version == 1 + found.count(200)


async def test_ing_068_all_that_is_wrong_is_named(operator: Member, administrator: Member) -> None:
    unknown = await put_slot(operator, provider_id="nobody")
    assert problems(unknown) == [("unknown", "provider_id")]
    other = await put_slot(operator, operation_id="paint")
    assert problems(other) == [("not_allowed", "operation_id")]
    unfit = await put_slot(operator, settings_json={"hue": 3})
    assert problems(unfit) == [("unknown_field", "settings_json.hue")]
    lacking = await put_slot(operator, **GEMINI)
    assert problems(lacking) == [("not_configured", "provider_id")]
    await keyed(administrator)
    lacking = await put_slot(operator, **GEMINI | {"settings_json": {}})
    assert problems(lacking) == [("missing_field", "settings_json.prompt")]
    lacking = await put_slot(operator, **GEMINI | {"operation_id": "edit_with_reference"})
    assert problems(lacking) == [("missing_template", "settings_json.reference")]
    frame = await put_slot(operator, operation_id="frame", settings_json={"format": "gif"})
    assert [path for _, path in problems(frame)] == [
        "settings_json.format",
        "settings_json.frame",
    ]
    off = await put(administrator, "/api/providers/gemini", {"is_enabled": False})
    assert off.status_code == 200
    assert problems(await put_slot(operator, **GEMINI)) == [("disabled", "provider_id")]
    assert (await operator.get(SLOT)).json()["version"] == 1


async def test_ing_068_what_is_right_is_saved(operator: Member, administrator: Member) -> None:
    await keyed(administrator)
    assert (await put_slot(operator, **GEMINI)).status_code == 200
    assert (await register(operator, key="frame")).status_code == 201
    frame: dict[str, Any] = {
        "operation_id": "frame",
        "provider_id": "local",
        "settings_json": {"fit": "contain"},
    }
    frame["provider_id"] = "local"
    assert (await put_slot(operator, **frame, max_open=1, joins_resent=True)).status_code == 200
    found = (await operator.get(SLOT)).json()
    assert found["settings_json"] == {"fit": "contain"}
    assert (found["max_open"], found["joins_resent"], found["version"]) == (1, True, 3)
    assert [each["setting_key"] for each in found["template_media"]] == ["frame"]
    assert (await put_slot(operator, name="Kept")).status_code == 200
    assert (await operator.get(SLOT)).json()["max_open"] == 1  # what is left out stays


async def test_fallbacks_are_looked_at_the_same_way(
    operator: Member, administrator: Member
) -> None:
    step = {"provider_id": "gemini", "operation_id": "edit", "settings": {"prompt": "Poster"}}
    assert problems(await put_slot(operator, fallbacks=[step])) == [
        ("not_configured", "fallbacks[0].provider_id")
    ]
    await keyed(administrator)
    odd = {**step, "settings": {}}
    gone = {**step, "provider_id": "nobody"}
    assert problems(await put_slot(operator, fallbacks=[step, odd, gone])) == [
        ("missing_field", "fallbacks[1].settings.prompt"),
        ("unknown", "fallbacks[2].provider_id"),
    ]
    assert (await put_slot(operator, fallbacks=[step])).status_code == 200
    assert (await operator.get(SLOT)).json()["fallbacks"] == [step]


async def test_a_whole_number_may_have_a_point(operator: Member) -> None:
    """JSON has one kind of number."""
    numbers = {"max_bytes": 2e6, "max_pixels": 2000000.0, "max_open": 3.0}
    assert (await put_slot(operator, **numbers)).status_code == 200
    found = (await operator.get(SLOT)).json()
    assert {name: found[name] for name in numbers} == numbers


async def test_what_no_slot_can_be_is_422(operator: Member) -> None:
    odd: list[dict[str, Any]] = [
        {"name": ""},
        {"name": "two\nlines"},
        {"max_bytes": 3 << 30},
        {"max_bytes": 1.5},
        {"is_enabled": None},
        {"max_open": 0},
        {"fallbacks": [{"provider_id": "local"}]},
        {"settings_json": []},
        {"colour": "red"},
        {"updated_at": "yesterday"},
    ]
    for change in odd:
        (name,) = change
        answer = await put_slot(operator, **change)
        assert all(path.split("[")[0] == name for _, path in problems(answer)), answer.text


async def test_ing_003_no_other_slot_is_there(operator: Member) -> None:
    # ING-003
    for odd in ("slot-016", "slot-1", "SLOT-001", "%00", "slot-001%20", "x" * 300):
        for answer in (
            await operator.get(f"/api/slots/{odd}"),
            await put(
                operator,
                f"/api/slots/{odd}",
                {"name": "x", **GEMINI},
                headers={"If-Match": '"1"'},
            ),
        ):
            assert (answer.status_code, error_code(answer)) == (404, "slot_not_found")


async def test_a_change_is_audited(operator: Member, db: asyncpg.Connection) -> None:
    await put_slot(operator, name="Left")
    row = await db.fetchrow("select * from makeready.audit_log where action = 'slot_put'")
    assert row is not None
    assert row["target"] == "slot-001"
    assert row["actor"].startswith("operator via ")
    assert (await operator.get(SLOT)).json()["updated_by"] == "operator"


async def test_providers_say_what_they_can_do(viewer: Member, administrator: Member) -> None:
    found = (await viewer.get("/api/providers")).json()
    assert found.keys() == {"providers"}
    by_id = {each["id"]: each for each in found["providers"]}
    assert by_id.keys() == {
        *("fal", "gemini", "local", "openai", "replicate", "turbotext", "webhook")
    }
    assert (by_id["gemini"]["name"], by_id["gemini"]["max_parallel"]) == ("Gemini", 4)
    assert by_id["turbotext"]["requires_public_media"]
    assert "image/heic" not in by_id["turbotext"]["media_types"]
    (echo,) = (each for each in by_id["local"]["operations"] if each["id"] == "echo")
    assert echo["title"]["ru"] == "Фото без изменений"
    assert [each["id"] for each in found["providers"] if each["is_configured"]] == ["local"]
    await keyed(administrator)
    assert (await viewer.get("/api/providers")).json()["providers"][1]["is_configured"]


async def test_a_provider_is_changed(
    administrator: Member, viewer: Member, db: asyncpg.Connection
) -> None:
    path = "/api/providers/gemini"
    changes = {"options": {"model": "gemini-3-pro-image"}, "max_parallel": 2, "name": "Big"}
    answer = await put(administrator, path, changes, headers={"If-Match": '"1"'})
    assert answer.status_code == 200
    assert answer.json()["options"] == {"model": "gemini-3-pro-image"}
    lane = "select max_in_flight from makeready.lanes where queue = 'ingest' and lane = 'gemini'"
    assert await db.fetchval(lane) == 2

    stale = await put(administrator, path, changes, headers={"If-Match": '"1"'})
    assert (stale.status_code, error_code(stale)) == (409, "stale_version")
    odd = await put(administrator, path, {"options": {"modle": "x"}})
    assert problems(odd) == [("unknown_field", "options.modle")]
    private = await put(administrator, path, {"options": {"base_url": "https://10.0.0.1"}})
    assert problems(private) == [("bad_format", "options.base_url")]
    kind = await put(administrator, path, {"kind": "webhook"})
    assert (kind.status_code, error_code(kind)) == (409, "conflict")
    for odd_number in (-1, 1.5, 1001, 1e300, "2"):
        answer = await put(administrator, path, {"max_parallel": odd_number})
        assert [path for _, path in problems(answer)] == ["max_parallel"]
    unknown = await put(administrator, "/api/providers/nobody", {"name": "x"})
    assert (unknown.status_code, error_code(unknown)) == (404, "provider_not_found")
    for member, seen in ((viewer, None), (administrator, changes["options"])):
        every = (await member.get("/api/providers")).json()["providers"]
        assert [each["options"] for each in every if each["id"] == "gemini"] == [seen]
    (found,) = await db.fetch("select * from makeready.provider_list('gemini')")
    assert found["row_version"] == 2
    assert (await put(administrator, path, {"max_parallel": 3.0})).json()["max_parallel"] == 3


async def test_a_webhook_provider_is_made_used_and_deleted(
    administrator: Member, operator: Member, db: asyncpg.Connection
) -> None:
    path = "/api/providers/our-model"
    unfit = await put(administrator, path, {"kind": "webhook", "options": {"url": "ftp://x"}})
    assert unfit.status_code == 422
    body = {"kind": "webhook", "name": "Ours", "options": WEBHOOK}
    made = await put(administrator, path, body)
    assert made.status_code == 201, made.text
    assert made.json()["is_configured"]
    again = await put(administrator, path, body)
    assert (again.status_code, again.json()["version"]) == (200, 2)

    use: dict[str, Any] = {"provider_id": "our-model", "operation_id": "call", "settings_json": {}}
    headers = [{"name": "Authorization", "value": "Bearer {key}"}]
    named = await put(administrator, path, {"options": WEBHOOK | {"headers": headers}})
    assert (named.json()["needs_key"], named.json()["is_configured"]) == (True, False)
    assert problems(await put_slot(operator, **use)) == [("not_configured", "provider_id")]
    assert (await put(administrator, path, {"options": WEBHOOK})).json()["is_configured"]
    assert (await put_slot(operator, **use)).status_code == 200
    kept = await administrator.client.delete(path)
    assert (kept.status_code, error_code(kept)) == (409, "conflict")
    assert kept.json()["error"]["details"]["slots"] == ["slot-001"]
    await put_slot(operator, provider_id="local", operation_id="echo")
    assert (
        await administrator.client.delete(path, headers={"If-Match": '"1"'})
    ).status_code == 409
    assert (await administrator.client.delete(path)).status_code == 204
    assert (await administrator.client.delete(path)).status_code == 404
    actions = await db.fetch("select action from makeready.audit_log where target = 'our-model'")
    assert [row["action"] for row in actions] == ["provider_put"] * 4 + ["provider_delete"]


async def test_what_is_shipped_is_switched_off_not_deleted(administrator: Member) -> None:
    answer = await administrator.client.delete("/api/providers/fal")
    assert (answer.status_code, error_code(answer)) == (409, "conflict")
    assert answer.json()["error"]["details"]["reason"] == "shipped"
    for odd in ("Fal", "%00", "-x", "x" * 41):
        assert (await administrator.client.delete(f"/api/providers/{odd}")).status_code == 404


class TestFetchedPhotos:
    """Providers that fetch photos by a link."""

    async def test_ing_008_a_slot_of_one_needs_a_public_address(
        self, administrator: Member, operator: Member
    ) -> None:
        await keyed(administrator, "turbotext")
        use: dict[str, Any] = {
            "provider_id": "turbotext",
            "operation_id": "generate_image2image",
            "settings_json": {"prompt": "Poster"},
        }
        answer = await put_slot(operator, **use)
        assert problems(answer) == [("not_configured", "provider_id")]
        assert "PUBLIC_BASE_URL" in answer.text

    async def test_so_does_a_slot_that_asks_for_a_link(
        self, operator: Member, administrator: Member
    ) -> None:
        """ING-068: else each of its photos would fail when it is posted."""
        await keyed(administrator, "replicate")
        use: dict[str, Any] = {
            "provider_id": "replicate",
            "operation_id": "run",
            "settings_json": {"model": "booth/styler", "sends": "link"},
        }
        refused = await put_slot(operator, **use)
        assert problems(refused) == [("not_configured", "provider_id")]
        use["settings_json"] = {"model": "booth/styler"}
        assert (await put_slot(operator, **use)).status_code == 200

        body = {"kind": "json", "document": {"image": "{photo_link}"}}
        answer = {"kind": "image"}
        options = {"url": "https://booth.example.com/", "body": body, "answer": answer}
        path = "/api/providers/webhook"
        assert (await put(administrator, path, {"options": options})).status_code == 200
        use = {"provider_id": "webhook", "operation_id": "call", "settings_json": {}}
        refused = await put_slot(operator, **use)
        assert problems(refused) == [("not_configured", "provider_id")]


class TestPublicAddress:
    """Where there is one."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return dataclasses.replace(settings, public_url="https://booths.example.com/")

    async def test_links_lead_there(self, administrator: Member, operator: Member) -> None:
        found: dict[str, Any] = (await operator.get(SLOT)).json()
        assert found["ingest_url"] == "https://booths.example.com/ingest/slot-001"
        await keyed(administrator, "turbotext")
        use: dict[str, Any] = {
            "provider_id": "turbotext",
            "operation_id": "generate_image2image",
            "settings_json": {"prompt": "Poster"},
        }
        assert (await put_slot(operator, **use)).status_code == 200
