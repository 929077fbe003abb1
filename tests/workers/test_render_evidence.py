"""A failing render leaves evidence and alerts, whatever else is away.

Proves RND-029, RND-048.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import pytest
from structlog.testing import capture_logs

from makeready import evidence, leases
from makeready.config import Settings
from makeready.jobs import JobFailed
from makeready.leases import Claimed
from makeready.storage import open_storage
from makeready_workers import storing
from makeready_workers.chromium.records import Fault, RenderError
from makeready_workers.handler import Context
from makeready_workers.render import RenderHandler
from tests.support.hooks import alerts
from tests.support.room import Room


async def ended(room: Room, claimed: Claimed, failure: JobFailed) -> str:
    return await leases.fail(room.db, claimed.lease, failure.kind, failure.problem())


async def test_a_document_that_fails_leaves_what_was_printed_and_seen(room: Room) -> None:
    error = RenderError(Fault.RENDER_TIMEOUT, "so", evidence={"console": ["x is not defined"]})
    error.screenshot = b"\xff\xd8 a picture"
    room.engine.fault = error
    claimed = await room.claimed()
    with capture_logs() as logs:
        failure = await room.failure(claimed)
    assert await ended(room, claimed, failure) == "waiting"
    (found,) = await evidence.of_job(room.db, claimed.job.id)
    assert (found.attempt, found.code) == (1, "RENDER_TIMEOUT")
    archive = zipfile.ZipFile(io.BytesIO(await room.storage.get(found.key)))
    notes = json.loads(archive.read("evidence.json"))
    assert notes["evidence"] == {"console": ["x is not defined"]}
    assert (notes["printed"]["layout"], notes["printed"]["lang"]) == ("invoice", "ru")
    assert "<html" in archive.read("document.html").decode()
    assert archive.read("screenshot.jpg") == error.screenshot
    assert "evidence_kept" in [line["event"] for line in logs]


async def test_a_document_that_succeeds_leaves_none(room: Room) -> None:
    claimed = await room.claimed()
    assert await room.attempt(claimed) == "ok"
    assert await evidence.of_job(room.db, claimed.job.id) == []


async def test_an_upload_that_fails_alerts_once_and_is_retried_rnd_048(
    room: Room,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storing, "AFTERWORK_S", 10_000.0)  # no time to wait for storage
    away = dataclasses.replace(settings, s3_endpoint="http://127.0.0.1:9")
    async with open_storage(away) as storage:
        context = Context(settings=away, pool=room.pool, storage=storage)
        room.handler = RenderHandler(context, storage, room.engine)
        for _ in range(2):
            claimed = await room.claimed()
            with capture_logs() as logs:
                failure = await room.failure(claimed)
            assert (failure.kind, failure.code) == ("retry", "STORAGE_ERROR")
            assert "evidence_lost" in [line["event"] for line in logs]
            await leases.fail(room.db, claimed.lease, "cancelled", failure.problem())
    (alert,) = await alerts(room.db)
    assert (alert["event"], alert["severity"]) == ("s3_upload_error", "error")
    assert alert["context"]["reason"] == "StorageUnavailable"
    assert settings.s3_secret_key is not None
    assert settings.s3_secret_key.reveal() not in repr(logs)  # RND-029


async def test_an_alert_that_cannot_be_recorded_changes_no_failure_rnd_048(
    room: Room,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storing, "AFTERWORK_S", 10_000.0)
    await room.db.execute("drop table makeready.alerts cascade")
    away = dataclasses.replace(settings, s3_endpoint="http://127.0.0.1:9")
    async with open_storage(away) as storage:
        context = Context(settings=away, pool=room.pool, storage=storage)
        room.handler = RenderHandler(context, storage, room.engine)
        claimed = await room.claimed()
        with capture_logs() as logs:
            failure = await room.failure(claimed)
    assert failure.code == "STORAGE_ERROR"
    assert "alert_record_error" in [line["event"] for line in logs]
    # Neither does the alert of the end, which the database records by itself.
    assert await leases.fail(room.db, claimed.lease, "fatal", failure.problem()) == "dead"
    state = await room.press.document(room.user, room.pack, "invoice")
    assert state.status == "failed"
