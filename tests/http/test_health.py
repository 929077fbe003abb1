"""Health: live, ready, and how storage is set up.

Proves RND-032.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from makeready.config import Secret, Settings
from makeready.storage import Storage
from makeready_http import health, services
from tests.support.service import Service, error_code, serving
from tests.support.waiting import until


@pytest.fixture
async def without_storage(settings: Settings) -> AsyncIterator[Service]:
    away = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    async with serving(away) as running:
        yield running


async def test_a_service_with_everything_is_ready(service: Service) -> None:
    answer = await service.client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {"ok": True, "checks": {"database": "ok", "storage": "ok"}}
    for path in ("/health", "/health/live"):
        assert (await service.client.get(path)).json() == {"ok": True}


async def test_readiness_is_checked_once_however_many_ask(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []

    async def check(_: Storage) -> None:
        checks.append(1)

    monkeypatch.setattr(Storage, "check", check)
    monkeypatch.setattr(health, "KEEP_S", 60.0)
    answers = await asyncio.gather(*(service.client.get("/health/ready") for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert len(checks) == 1


async def test_a_service_without_its_database_lives_and_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "START_PATIENCE_S", 0.1)
    away = dataclasses.replace(
        settings,
        database_url="postgresql://x@127.0.0.1:9/x",
        s3_endpoint="http://127.0.0.1:9",
        s3_access_key="a",
        s3_secret_key=Secret("b"),
    )
    async with serving(away) as service:
        assert (await service.client.get("/health/live")).status_code == 200
        answer = await service.client.get("/health/ready")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "queue_unavailable")
        assert set(error["details"]["checks"]) == {"database", "storage"}
        assert "ok" not in error["details"]["checks"].values()
        answer = await service.client.get("/me/packs", headers={"Authorization": "Bearer mk_x"})
        assert (answer.status_code, error_code(answer)) == (503, "queue_unavailable")
        assert answer.headers["retry-after"]


async def test_a_service_without_storage_is_not_ready_but_works(without_storage: Service) -> None:
    answer = await without_storage.client.get("/health/ready")
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (503, "storage_unavailable")
    assert error["details"]["checks"] == {"database": "ok", "storage": "StorageUnavailable"}
    assert (await without_storage.client.get("/me/packs")).status_code == 401


async def test_a_schema_that_is_behind_is_not_ready(
    service: Service, db: asyncpg.Connection
) -> None:
    await db.execute("update makeready.schema_files set checksum = 'old' where name ~ '^100'")

    answer = await service.client.get("/health/ready")
    assert answer.status_code == 503
    assert "100_render.sql" in answer.json()["error"]["details"]["checks"]["database"]


async def test_the_service_comes_back_with_its_database(
    service: Service, db: asyncpg.Connection
) -> None:
    async def status() -> int:
        return (await service.client.get("/health/ready")).status_code

    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    async def is_ready() -> bool:
        return await status() == 200

    assert await until(is_ready)


async def test_storage_settings_are_told_without_secrets_rnd_032(
    service: Service, settings: Settings
) -> None:
    answer = await service.client.get("/health/s3")
    body = answer.json()

    assert body == {
        "ok": True,
        "bucket": settings.s3_bucket,
        "endpoint": settings.s3_endpoint,
        "presign_endpoint": settings.s3_endpoint,
        "provider": "s3",
        "has_credentials": True,
    }
    assert settings.s3_secret_key is not None
    assert settings.s3_access_key is not None
    assert settings.s3_secret_key.reveal() not in answer.text
    assert settings.s3_access_key not in answer.text


async def test_storage_settings_need_no_network_rnd_032(without_storage: Service) -> None:
    answer = await without_storage.client.get("/health/s3")

    assert answer.json()["ok"] is True
    assert "head_bucket" not in answer.json()


@pytest.mark.parametrize("missing", ["s3_endpoint", "s3_bucket", "s3_access_key", "s3_secret_key"])
async def test_storage_that_is_not_set_up_is_not_ok_rnd_032(
    settings: Settings, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    monkeypatch.setattr(services, "START_PATIENCE_S", 0.0)
    changes: dict[str, Any] = {missing: "" if missing == "s3_bucket" else None}
    async with serving(dataclasses.replace(complete, **changes)) as running:
        answer = await running.client.get("/health/s3")

    assert (answer.status_code, answer.json()["ok"]) == (200, False)


@pytest.mark.usefixtures("s3")
async def test_debug_asks_the_bucket_rnd_032(settings: Settings) -> None:
    async with serving(dataclasses.replace(settings, debug=True)) as service:
        answer = await service.client.get("/health/s3")

    assert answer.json()["head_bucket"] == "ok"
