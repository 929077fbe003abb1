"""Settings of photos over HTTP: what changes, when it counts, and that no secret comes out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import passwords, photo_providers
from makeready.config import Settings
from makeready.sealing import Sealer, about_key
from makeready.values import Secret
from tests.http.conftest import MakeMember
from tests.support.cluster import TEMPLATE, Cluster
from tests.support.photo_office import KEY, problems, put, put_slot, register
from tests.support.service import Member, Service, error_code

PATH = "/api/settings"
PASSWORD = "let the booth in"
MASTER = Secret("0f" * 32)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, secrets_key=MASTER)


async def shown(staff: Member) -> dict[str, Any]:
    found: dict[str, Any] = (await staff.get(PATH)).json()
    return found


async def test_ing_065_what_is_shown_has_no_secret(administrator: Member) -> None:
    answer = await administrator.get(PATH)
    found = answer.json()

    assert answer.headers["cache-control"] == "no-store"
    assert found.keys() == {"dslr_password", "provider_keys", "ingest", "media_cache"}
    unset = {"is_set": False, "updated_at": None, "updated_by": None}
    assert found["dslr_password"] == unset
    assert found["provider_keys"]["gemini"]["is_configured"] is False
    assert found["ingest"] == {"sync_response_timeout_sec": 48, "ingest_ttl_sec": 48}
    assert found["media_cache"] == {"processed_media_ttl_hours": 72, "public_link_ttl_sec": 48}


async def test_ing_064_who_may_read_and_who_may_write(
    service: Service, staff: MakeMember, administrator: Member
) -> None:
    for role in ("viewer", "operator"):
        member = await staff(role)
        assert (await member.get(PATH)).status_code == 200
        answer = await put(member, PATH, {})
        assert (answer.status_code, error_code(answer)) == (403, "forbidden")
        assert answer.json()["error"]["details"] == {"needs": "settings:write"}
    assert (await service.client.get(PATH)).status_code == 401
    assert (await service.client.put(PATH, json={})).status_code == 401
    assert (await put(administrator, PATH, {})).status_code == 200


async def test_ing_066_one_window_moves_with_what_hangs_on_it(
    administrator: Member, db: asyncpg.Connection
) -> None:
    """ING-065: what is not named stays, and the answer is the new state."""
    body = {"ingest": {"sync_response_timeout_sec": 55.5}}
    answer = await put(administrator, PATH, body)
    found = answer.json()

    assert answer.status_code == 200
    assert found == await shown(administrator)
    assert found["ingest"] == {"sync_response_timeout_sec": 55.5, "ingest_ttl_sec": 55.5}
    assert found["media_cache"] == {"processed_media_ttl_hours": 72, "public_link_ttl_sec": 55.5}

    more = await put(administrator, PATH, {"media_cache": {"processed_media_ttl_hours": 24.0}})
    assert more.json()["media_cache"]["processed_media_ttl_hours"] == 24
    assert more.json()["ingest"]["sync_response_timeout_sec"] == 55.5
    row = await db.fetchrow("select * from makeready.audit_log order by id desc limit 1")
    assert row is not None
    assert row["action"] == "ingest_settings_put"
    assert row["actor"].startswith("admin via ")
    assert row["request_id"] == more.headers["x-request-id"]


async def test_ing_026_another_window_is_422(administrator: Member) -> None:
    # ING-026
    for seconds in (44, 61, 0, -5, "48", None, True):
        body = {"ingest": {"sync_response_timeout_sec": seconds}}
        answer = await put(administrator, PATH, body)
        assert [path for _, path in problems(answer)] == ["ingest.sync_response_timeout_sec"]
    assert (await shown(administrator))["ingest"]["sync_response_timeout_sec"] == 48


class TestLongStatements:
    """Where a statement may take nearly as long as a booth waits."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return dataclasses.replace(settings, ingest_statement_timeout_ms=47_000)

    async def test_a_booth_waits_for_longer_than_a_statement(self, administrator: Member) -> None:
        """ING-024."""
        for seconds, status in ((46, 422), (47, 422), (47.5, 200)):
            body = {"ingest": {"sync_response_timeout_sec": seconds}}
            assert (await put(administrator, PATH, body)).status_code == status
        change = {"sync_response_s": 47}
        answer = await administrator.client.patch("/admin/ingest/policy", json=change)
        assert problems(answer) == [("out_of_range", "sync_response_s")]


async def test_ing_067_a_password_is_rotated(
    administrator: Member, db: asyncpg.Connection
) -> None:
    """ING-006, ING-079: kept is a hash, of the same algorithm as those of staff."""
    # ING-067
    with capture_logs() as lines:
        answer = await put(administrator, PATH, {"dslr_password": {"value": PASSWORD}})
    found = answer.json()["dslr_password"]

    assert found["is_set"]
    assert found["updated_by"] == "admin"
    digest = await db.fetchval("select password_hash from makeready.ingest_password")
    assert passwords.is_right(PASSWORD, digest)
    assert not passwords.is_outdated(digest)
    (action,) = await db.fetch("select * from makeready.audit_log where actor like 'admin via %'")
    assert action["action"] == "settings.rotate_ingest_password"
    assert PASSWORD not in answer.text + str(lines) + str(action)
    assert digest not in answer.text + str(lines) + str(action)

    await put(administrator, PATH, {"dslr_password": {"value": PASSWORD + "!"}})
    version = await db.fetchval("select version from makeready.ingest_password")
    assert version == 2


async def test_a_password_that_cannot_be_is_not_quoted(administrator: Member) -> None:
    for value in ("brief!!", "x" * 129, 123456789, None, [PASSWORD]):
        answer = await put(administrator, PATH, {"dslr_password": {"value": value}})
        assert [path for _, path in problems(answer)] == ["dslr_password.value"]
        for secret in ("brief", "xx", "123", PASSWORD):
            assert secret not in answer.text
    assert not (await shown(administrator))["dslr_password"]["is_set"]


async def test_keys_are_kept_sealed(administrator: Member, db: asyncpg.Connection) -> None:
    """ING-065, ING-071."""
    with capture_logs() as lines:
        answer = await put(administrator, PATH, {"provider_keys": {"gemini": {"value": KEY}}})
    found = answer.json()["provider_keys"]["gemini"]

    assert found["is_configured"]
    assert found["updated_by"] == "admin"
    assert [key["label"] for key in found["keys"]] == [""]
    (row,) = await photo_rows(db)
    about = about_key("gemini", row["key_id"])
    opened = Sealer.of(MASTER).open(row["seal_nonce"], row["seal_text"], about)
    assert opened.reveal() == KEY
    audit = await db.fetch("select * from makeready.audit_log")
    assert KEY not in answer.text + str(lines) + str(audit)
    assert KEY not in (await administrator.get(PATH)).text
    assert KEY not in (await administrator.get("/api/providers")).text


async def photo_rows(db: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await db.fetch("select * from makeready.provider_keys_sealed()"))


async def test_keys_take_turns_come_and_go(administrator: Member, db: asyncpg.Connection) -> None:
    two = {"add": [{"value": "key-1", "label": "first"}, {"value": "key-2", "label": "second"}]}
    found = (await put(administrator, PATH, {"provider_keys": {"gemini": two}})).json()
    keys = found["provider_keys"]["gemini"]["keys"]
    assert [key["label"] for key in keys] == ["first", "second"]

    one = {"remove": [keys[0]["id"]], "add": [{"value": "key-3"}]}
    found = (await put(administrator, PATH, {"provider_keys": {"gemini": one}})).json()
    assert [key["label"] for key in found["provider_keys"]["gemini"]["keys"]] == ["second", ""]

    only = {"gemini": {"value": "key-4"}, "fal": {"value": "key-5"}}
    found = (await put(administrator, PATH, {"provider_keys": only})).json()
    assert len(found["provider_keys"]["gemini"]["keys"]) == 1
    gone = {"gemini": {"value": None}}
    found = (await put(administrator, PATH, {"provider_keys": gone})).json()
    assert not found["provider_keys"]["gemini"]["is_configured"]
    assert found["provider_keys"]["fal"]["is_configured"]
    assert [row["provider"] for row in await photo_rows(db)] == ["fal"]


async def test_a_key_that_cannot_be_is_not_quoted(administrator: Member) -> None:
    odd: list[Any] = [
        {"value": ""},
        {"value": "with space"},
        {"value": "кириллица"},
        {"value": 5},
        {"value": "x" * 4097},
        {"add": [{"label": "without"}]},
        {"remove": ["no id"]},
        {"hue": "red"},
        "sk-hidden-0123",
        None,
    ]
    for wanted in odd:
        body = {"provider_keys": {"gemini": wanted}, "dslr_password": {"value": PASSWORD}}
        answer = await put(administrator, PATH, body)
        assert all(path.startswith("provider_keys.gemini") for _, path in problems(answer))
        for secret in ("with space", "кириллица", "sk-hidden-0123", "xxxx"):
            assert secret not in answer.text
    assert not (await shown(administrator))["dslr_password"]["is_set"]  # all or nothing


async def test_a_key_of_nobody_is_404_and_nothing_changes(administrator: Member) -> None:
    body = {
        "provider_keys": {"nobody": {"value": KEY}},
        "ingest": {"sync_response_timeout_sec": 60},
    }
    answer = await put(administrator, PATH, body)
    assert (answer.status_code, error_code(answer)) == (404, "provider_not_found")
    assert (await shown(administrator))["ingest"]["sync_response_timeout_sec"] == 48


async def test_an_older_version_is_refused(administrator: Member) -> None:
    tag = (await administrator.get(PATH)).headers["etag"]
    body = {"ingest": {"sync_response_timeout_sec": 50}}
    first = await put(administrator, PATH, body, headers={"If-Match": tag})
    again = await put(administrator, PATH, body, headers={"If-Match": tag})
    assert (first.status_code, again.status_code) == (200, 409)
    assert error_code(again) == "stale_version"
    assert again.json()["error"]["details"]["version"] == 2


async def test_ing_083_what_is_turned_less_often(administrator: Member, viewer: Member) -> None:
    path = "/admin/ingest/policy"
    before = await viewer.get(path)
    assert before.json()["policy"]["refuses_late"] is True
    changes = {"refuses_late": False, "max_in_flight": 16, "keep_days": 30, "replay_s": 0}
    tag = {"If-Match": before.headers["etag"]}
    assert (await viewer.client.patch(path, json=changes)).status_code == 403
    answer = await administrator.client.patch(path, json=changes, headers=tag)
    found = answer.json()["policy"]
    assert {name: found[name] for name in changes} == changes
    assert (found["version"], found["updated_by"]) == (2, "admin")
    stale = await administrator.client.patch(path, json=changes, headers=tag)
    assert (stale.status_code, error_code(stale)) == (409, "stale_version")
    odd = await administrator.client.patch(path, json={"max_in_flight": 0, "hue": 1})
    assert {place for _, place in problems(odd)} == {"max_in_flight", "hue"}


class TestWithoutMasterKey:
    """Where MAKEREADY_SECRETS_KEY is not set."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return dataclasses.replace(settings, secrets_key=None)

    async def test_no_key_is_taken(self, administrator: Member) -> None:
        answer = await put(administrator, PATH, {"provider_keys": {"gemini": {"value": KEY}}})
        assert problems(answer) == [("not_configured", "provider_keys")]
        assert "MAKEREADY_SECRETS_KEY" in answer.text
        gone = await put(administrator, PATH, {"provider_keys": {"gemini": {"value": None}}})
        assert gone.status_code == 200


async def test_keys_are_sealed_anew_under_another_master_key(db: asyncpg.Connection) -> None:
    old, new = Secret("aa" * 32), Secret("bb" * 32)
    for provider in ("gemini", "fal"):
        await photo_providers.key_put(db, Sealer.of(old), provider, Secret(KEY))
    assert await photo_providers.keys_shut(db, Sealer.of(new)) == ["fal", "gemini"]

    both = Sealer.of(Secret(f"{new.reveal()},{old.reveal()}"))
    assert await photo_providers.keys_shut(db, both) == []
    assert await photo_providers.keys_renew(db, both) == 2
    assert await photo_providers.keys_renew(db, both) == 0
    assert await photo_providers.keys_renew(db, Sealer.of(old)) == 0
    assert await photo_providers.keys_shut(db, Sealer.of(new)) == []
    assert await photo_providers.keys_shut(db, Sealer.of(old)) == ["fal", "gemini"]


async def test_settings_changed_at_once_are_all_kept(administrator: Member) -> None:
    """No write is lost between two that name different things."""
    bodies: list[dict[str, Any]] = [
        {"ingest": {"sync_response_timeout_sec": 51}},
        {"media_cache": {"processed_media_ttl_hours": 100}},
        {"provider_keys": {"fal": {"value": "key-1"}}},
        {"dslr_password": {"value": PASSWORD}},
    ]
    answers = await asyncio.gather(*(put(administrator, PATH, body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * 4
    found = await shown(administrator)
    assert found["ingest"]["sync_response_timeout_sec"] == 51
    assert found["media_cache"]["processed_media_ttl_hours"] == 100
    assert found["provider_keys"]["fal"]["is_configured"]
    assert found["dslr_password"]["is_set"]


class TestApart:
    """Where photos have a database of their own."""

    @pytest.fixture
    async def apart(self, cluster: Cluster, admin: asyncpg.Connection) -> AsyncIterator[str]:
        await admin.execute(f"create database settings_apart template {TEMPLATE}")
        yield cluster.dsn("settings_apart")
        await admin.execute("drop database settings_apart with (force)")

    @pytest.fixture
    def settings(self, settings: Settings, apart: str) -> Settings:
        return dataclasses.replace(settings, ingest_database_url=apart)

    async def test_staff_of_the_one_changes_the_other(
        self, administrator: Member, db: asyncpg.Connection, apart: str
    ) -> None:
        """ING-085."""
        changes = {
            "ingest": {"sync_response_timeout_sec": 50},
            "provider_keys": {"fal": {"value": KEY}},
        }
        assert (await put(administrator, PATH, changes)).status_code == 200
        assert (await put_slot(administrator, name="Hall")).status_code == 200
        assert (await register(administrator)).status_code == 201
        there = await asyncpg.connect(apart)
        try:
            audit = "select count(*) from makeready.audit_log where actor like 'admin via %'"
            assert await there.fetchval(audit) == 4
            assert await db.fetchval(audit) == 0
            names = "select name from makeready.slots where id = 'slot-001'"
            assert await there.fetchval(names) == "Hall"
            assert await db.fetchval(names) == "Slot 1"
        finally:
            await there.close()
