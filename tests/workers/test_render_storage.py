"""What the render handler stores, under which keys, and how long it waits for storage.

Proves RND-025, RND-031.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from structlog.testing import capture_logs

from makeready import library
from makeready.config import Secret, Settings
from makeready.errors import LeaseLost, NotFound
from makeready.storage import ObjectFacts, open_storage
from makeready.storage_errors import ObjectMissing, StorageUnavailable
from makeready_workers.chromium.records import (
    RenderResult,
)
from makeready_workers.handler import Context
from makeready_workers.render import RenderHandler
from tests.support.objectstore import S3
from tests.support.paper import PaperEngine, small_pdf
from tests.support.room import Room


async def test_the_first_lease_stores_under_the_jobs_own_key_rnd_025(room: Room) -> None:
    claimed = await room.claimed()
    assert await room.attempt(claimed) == "ok"

    key = f"renders/{claimed.job.id}/invoice.pdf"
    assert await room.keys() == [key]
    assert (await room.storage.get(key)).startswith(b"%PDF")  # RND-021
    state = await room.press.document(room.user, room.pack, "invoice")
    assert state.status == "ready"
    assert state.file_id is not None
    file = await library.file(room.db, room.user, state.file_id)
    facts = await room.storage.head(key)
    assert (file.key, file.byte_count, file.sha256) == (key, facts.byte_count, facts.sha256)
    assert room.engine.packs == [str(room.pack)]
    assert room.engine.timeouts == [120]  # RND-019


async def test_a_later_lease_never_writes_over_an_earlier_one(room: Room) -> None:
    zombie = await room.claimed()
    await room.db.execute("select makeready.job_evict('render', $1)", zombie.job.id)
    held = await room.press.one()
    with pytest.raises(LeaseLost):
        await room.attempt(zombie)  # it goes on, stores, and may not publish
    room.engine.pdf = small_pdf() + b"\n%"
    assert await room.attempt(held) == "ok"

    first, second = (
        f"renders/{held.job.id}/{held.lease.token}/invoice.pdf",
        f"renders/{held.job.id}/invoice.pdf",
    )
    assert sorted(await room.keys()) == sorted([first, second])
    published = (await room.press.document(room.user, room.pack, "invoice")).file_id
    assert published is not None
    file = await library.file(room.db, room.user, published)
    assert file.key == first
    assert (await room.storage.get(first)).endswith(b"%")


async def test_a_lost_lease_has_its_own_key(room: Room) -> None:
    claimed = await room.claimed()
    lost = dataclasses.replace(claimed, job=dataclasses.replace(claimed.job, lost=1))
    assert await room.attempt(lost) == "ok"

    key = f"renders/{claimed.job.id}/{claimed.lease.token}/invoice.pdf"
    assert await room.keys() == [key]


async def test_what_was_printed_of_a_pack_that_is_deleted_meanwhile_does_not_stay(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*args: Any, **options: Any) -> RenderResult:
        await room.db.execute("delete from makeready.packs")
        return await PaperEngine.render(room.engine, *args, **options)

    monkeypatch.setattr(room.engine, "render", late)
    with pytest.raises(NotFound):
        await room.attempt(await room.claimed())
    assert [facts.key async for facts in room.storage.listing()] == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"%PDF-1.7\nnothing"])
async def test_what_is_no_pdf_is_never_stored_rnd_021(room: Room, body: bytes) -> None:
    room.engine.pdf = body
    failure = await room.failure()

    assert (failure.kind, failure.code) == ("retry", "render_invalid_pdf")
    assert await room.keys() == []
    state = await room.press.document(room.user, room.pack, "invoice")
    assert state.status == "rendering"


async def test_a_finished_document_waits_for_storage(room: Room) -> None:
    class Shaky:
        """Away twice, then there."""

        faults = 2
        ensure_bucket = room.storage.ensure_bucket

        async def put(self, key: str, body: bytes, **options: Any) -> ObjectFacts:
            self.faults -= 1
            if self.faults >= 0:
                raise StorageUnavailable("not now")
            return await room.storage.put(key, body, **options)

    shaky: Any = Shaky()
    context = Context(settings=Settings(), pool=room.pool, storage=shaky)
    room.handler = RenderHandler(context, shaky, room.engine)
    with capture_logs() as lines:
        assert await room.attempt(await room.claimed()) == "ok"

    assert [line["event"] for line in lines].count("storage_awaited") == 2
    assert len(room.engine.packs) == 1


async def test_storage_that_stays_away_is_a_retry(room: Room, settings: Settings) -> None:
    away = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    async with open_storage(away) as storage:
        context = Context(settings=away, pool=room.pool, storage=storage)
        room.handler = RenderHandler(context, storage, room.engine)
        claimed = dataclasses.replace(await room.claimed(), limit_s=20.0)
        failure = await room.failure(claimed)

    assert (failure.kind, failure.code) == ("retry", "STORAGE_ERROR")
    assert "127.0.0.1" not in failure.message


async def test_a_bucket_that_was_removed_is_made_again_rnd_031(room: Room, s3: S3) -> None:
    assert s3.call("DELETE", f"/{s3.bucket}") == 204
    with pytest.raises(ObjectMissing):
        await room.storage.check()

    assert await room.attempt(await room.claimed()) == "ok"
