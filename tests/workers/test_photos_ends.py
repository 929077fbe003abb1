"""Photos that end badly: what is written, what is withdrawn, and what is left behind: nothing."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import ingest
from makeready.config import Settings
from makeready.media import StoredMedia
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from tests.support.photo_lab import RESULT, brings, hangs, photo_lab, scripted
from tests.support.photo_pictures import quarters, saved
from tests.support.waiting import until

PHOTO = saved(quarters())


async def refuses(_: Task, call: Call) -> Image:
    call.notes |= {"http_status": 400, "cost": 0.5}
    raise ProviderFailed("rejected", "safety")


async def test_ing_035_a_provider_that_fails_is_told_with_its_reason(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, refuses)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        row = await lab.processed(PHOTO)
        assert row["failure_reason"] == "provider_error"
        problem = await lab.problem(row["id"])
        assert (problem["code"], problem["reason"]) == ("provider_error", "rejected")
        assert (problem["message"], problem["http_status"]) == ("safety", 400)
        assert (await lab.log(row["id"]))[-1] == "failed"
        assert lab.ended == [row["id"]]
        usage = await until(
            lambda: db.fetch("select failures, cost::float8 from makeready.provider_usage")
        )
        assert [tuple(each) for each in usage] == [(1, 0.5)]
    assert lab.results() == []


async def test_a_photo_whose_providers_are_switched_off_meanwhile_fails_at_once(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    async with photo_lab(db, settings, tmp_path) as lab:
        async with lab.db.transaction():
            admitted = await lab.post(PHOTO)
            await lab.db.execute("update makeready.providers set is_enabled = false")
        lab.worker.kick()
        row = await lab.end_of(admitted.job_id)
        assert row["failure_reason"] == "provider_error"
        assert (await lab.problem(row["id"]))["reason"] == "upstream"


async def test_a_booth_gets_its_own_photo_when_that_is_the_last_resort(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, refuses)
    async with photo_lab(db, settings, tmp_path) as lab:
        echo = {"provider_id": "local", "operation_id": "echo", "settings": {}}
        await lab.slot("webhook", "call", {}, echo)
        row = await lab.processed(PHOTO)
        assert (row["done_by"], lab.result(row)) == ("local", PHOTO)


async def test_ing_032_a_provider_that_is_too_slow_is_left_before_the_deadline(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ING-032 and ING-033: polls stop, the order is withdrawn, nothing is tried again."""
    provider = scripted(monkeypatch, hangs)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        await lab.window(1)
        row = await lab.processed(PHOTO)
        assert row["failure_reason"] == "timeout"
        assert (await lab.log(row["id"]))[-1] == "timeout"
        tried = "select details -> 'attempt' from makeready.processing_logs where status = $1"
        assert await db.fetchval(tried, "timeout") == "1"  # ING-056
        await until(lambda: provider.cancelled, what="the order withdrawn")
    assert provider.cancelled == ["order-1"]
    assert len(provider.tasks) == 1
    assert lab.results() == []


async def test_ing_034_an_image_that_comes_too_late_is_deleted_and_changes_nothing(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finish, found = ingest.finish, []

    async def late(connection: Any, job: UUID, *values: Any) -> str:
        found.extend(lab.results())
        assert await ingest.end(lab.worker._pool, job, "timeout") == "expired"
        return await finish(connection, job, *values)

    monkeypatch.setattr(ingest, "finish", late)
    async with photo_lab(db, settings, tmp_path) as lab:
        row = await lab.processed(PHOTO)
        await until(lambda: not lab.results(), what="the late result deleted")
        await lab.until_idle()
        row = await lab.end_of(row["id"])
        assert (row["failure_reason"], row["result_path"]) == ("timeout", None)
        assert lab.worker.statistics().ends == {"lost": 1}
    assert found == [f"{row['id']}.jpg"]
    assert "photo_late" in capsys.readouterr().out


async def test_ing_034_a_photo_that_ends_while_its_result_is_stored_leaves_none(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = asyncio.Event()
    async with photo_lab(db, settings, tmp_path) as lab:
        publish = lab.media.publish

        async def slow(*values: Any, **named: Any) -> StoredMedia:
            await publish(*values, **named)
            stored.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(type(lab.media), "publish", lambda _, *v, **n: slow(*v, **n))
        admitted = await lab.post(PHOTO)
        await stored.wait()
        assert len(lab.results()) == 1
        assert await ingest.end(db, admitted.job_id, "timeout") == "expired"
        await lab.until_idle()
        await until(lambda: not lab.results(), what="the late result deleted")


async def test_ing_038_a_photo_that_nobody_waits_for_is_dropped_and_withdrawn(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = scripted(monkeypatch, hangs)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        admitted = await lab.post(PHOTO)
        await until(lambda: provider.tasks, what="the provider asked")
        assert await ingest.end(db, admitted.job_id, "cancelled") == "cancelled"
        await lab.until_idle()
        await until(lambda: provider.cancelled, what="the order withdrawn")
        row = await lab.end_of(admitted.job_id)
        assert row["failure_reason"] == "cancelled"
    assert lab.results() == []


async def test_ing_036_a_process_that_stops_cancels_what_it_has_in_work(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # ING-036
    provider = scripted(monkeypatch, hangs)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        photos = [await lab.post(PHOTO) for _ in range(5)]
        await until(lambda: len(provider.tasks) == 4, what="four photos in work")
    assert sorted(lab.ended) == sorted(each.job_id for each in photos[:4])
    for each in photos[:4]:
        row = await lab.end_of(each.job_id)
        assert row["failure_reason"] == "cancelled"
    assert provider.cancelled == ["order-1"] * 4
    query = "select state from makeready.jobs where id = $1"
    assert await db.fetchval(query, photos[4].job_id) == "queued"


async def test_a_process_that_stops_gives_running_photos_their_grace(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = asyncio.Event()

    async def waits(_: Task, __: Call) -> Image:
        await free.wait()
        return RESULT

    provider = scripted(monkeypatch, waits)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        admitted = await lab.post(PHOTO)
        await until(lambda: provider.tasks, what="the provider asked")
        lab.worker.stop(grace_s=30)
        assert not lab.worker.kick()
        free.set()
        row = await lab.end_of(admitted.job_id)
        assert row["failure_reason"] is None


async def test_ing_033_a_photo_whose_process_is_gone_is_not_begun(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = scripted(monkeypatch, brings)
    awaited = ingest.Begun.of
    monkeypatch.setattr(
        ingest.Begun, "of", lambda payload: replace(awaited(payload), is_awaited=False)
    )
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        row = await lab.processed(PHOTO)
        assert row["failure_reason"] == "timeout"
    assert provider.tasks == []


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device")])
async def test_a_store_that_cannot_be_written_ends_the_photo_in_words(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: OSError,
) -> None:
    scripted(monkeypatch, brings)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")

        async def full(*_: Any) -> StoredMedia:
            raise fault

        admitted_before = lab.media.write
        monkeypatch.setattr(
            type(lab.media),
            "write",
            lambda _, path, *v: (
                full() if path.startswith("results/") else admitted_before(path, *v)
            ),
        )
        row = await lab.processed(PHOTO)
        problem = await lab.problem(row["id"])
        assert problem["code"] == "storage_unavailable"
        assert str(tmp_path) not in str(problem)
    assert lab.results() == []


async def test_a_payload_that_is_gone_ends_the_photo(
    db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    async with photo_lab(db, settings, tmp_path) as lab:
        job = uuid4()
        stored = await lab.media.write(f"payloads/{job}/IMG.JPG", PHOTO, "image/jpeg")
        await lab.media.delete([stored.path])
        await ingest.admit(db, job, "slot-001", stored, facts={}, waiter=lab.worker.id)
        lab.worker.kick()
        row = await lab.end_of(job)
        assert row["failure_reason"] == "provider_error"
        assert (await lab.problem(job))["code"] == "storage_unavailable"


async def test_a_photo_that_no_library_can_read_is_refused_before_it_is_sent(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = scripted(monkeypatch, brings)
    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.slot("webhook", "call")
        row = await lab.processed(b"\xff\xd8\xff" + b"\0" * 500)
        problem = await lab.problem(row["id"])
        assert problem["reason"] == "rejected"
        assert "cannot be prepared" in problem["message"]
    assert provider.tasks == []


async def test_ing_032_files_that_take_too_long_are_a_timeout_too(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slow(*_: Any, **__: Any) -> StoredMedia:
        await asyncio.Event().wait()
        raise AssertionError

    async with photo_lab(db, settings, tmp_path) as lab:
        await lab.window(0.4)
        monkeypatch.setattr(type(lab.media), "publish", slow)
        row = await lab.processed(PHOTO)
        assert row["failure_reason"] == "timeout"


async def test_a_link_that_comes_too_late_leaves_no_file_and_asks_nobody_else(
    db: asyncpg.Connection,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer = ingest.offer

    async def late(db: Any, job: UUID, *values: Any) -> None:
        await ingest.end(db, job, "timeout")
        await offer(db, job, *values)

    async def asks(_: Task, call: Call) -> Image:
        await call.public_url()
        return RESULT

    monkeypatch.setattr(ingest, "offer", late)
    provider = scripted(monkeypatch, asks)
    async with photo_lab(db, settings, tmp_path, public_url="https://here.example") as lab:
        await lab.slot("webhook", "call", {}, {"provider_id": "local", "operation_id": "echo"})
        row = await lab.processed(PHOTO)
        await lab.until_idle()
        payloads = tmp_path / "payloads" / str(row["id"])
        await until(lambda: [each.name for each in payloads.iterdir()] == ["IMG.JPG"])
    assert (len(provider.tasks), lab.results()) == (1, [])
