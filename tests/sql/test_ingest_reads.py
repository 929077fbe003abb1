"""What is shown of photos: to workers, to old queries, to whoever asks why."""

from __future__ import annotations

import asyncpg
import pytest

from makeready import ingest
from tests.support.clock import Clock
from tests.support.photographing import STORE, Darkroom, told


@pytest.fixture
async def dark(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


async def test_a_key_rests_and_others_are_taken(dark: Darkroom, clock: Clock) -> None:
    await dark.slot(provider_id="gemini", operation_id="edit")
    await dark.db.execute(
        "insert into makeready.provider_keys (id, provider_id, nonce, sealed, created_at,"
        " updated_at) select gen_random_uuid(), 'gemini', decode(repeat('0' || n, 12), 'hex'),"
        " decode(repeat('ab', 20), 'hex'), makeready.now() + n * interval '1 s',"
        " makeready.now() from generate_series(1, 2) n"
    )
    await dark.admit()
    (step,) = told(await dark.one()).chain
    first, second = step.keys
    assert (len(first.nonce), len(first.sealed)) == (12, 20)
    await ingest.key_rests(dark.db, first.id, 20, "quota")
    await ingest.key_rests(dark.db, first.id, 5, "quota")
    await clock.advance(6)  # the shorter rest does not end the longer one
    await dark.admit()
    (step,) = told(await dark.one()).chain
    assert [key.id for key in step.keys] == [second.id, first.id]
    assert 5 < step.keys[1].rests_s <= 14
    await ingest.key_rests(dark.db, first.id, 60, "quota")  # longer than the booth waits
    await dark.admit()
    (step,) = told(await dark.one()).chain
    assert step.keys == (second,)
    await clock.advance(61)
    await dark.admit()
    (step,) = told(await dark.one()).chain
    assert step.keys == (second, first)


async def test_the_view_shows_photos_as_the_first_system_had_them(dark: Darkroom) -> None:
    """ING-084: every column; result_inline_base64 is null, before and after the answer."""
    job = await dark.done()
    view = await dark.row("select * from makeready.ingest_job_view")
    photo = await dark.photo(job)
    path = await dark.db.fetchval("select path from makeready.media_objects")
    assert dict(view) == {
        "id": job,
        "slot_id": "slot-001",
        "status": "processing",
        "is_finalized": True,
        "failure_reason": None,
        "expires_at": photo["expires_at"],
        "created_at": photo["created_at"],
        "updated_at": photo["finished_at"],
        "finalized_at": photo["finished_at"],
        "payload_path": path,
        "provider_job_reference": "r-1",
        "result_file_path": photo["result_path"],
        "result_inline_base64": None,
        "result_mime_type": "image/jpeg",
        "result_size_bytes": photo["result_size_bytes"],
        "result_checksum": photo["result_sha256"].hex(),
        "result_expires_at": photo["result_expires_at"],
    }
    gone = await ingest.answered(dark.db, job, 200)
    assert [each.store for each in gone] == [STORE]
    await ingest.forget(dark.db, gone)
    after = await dark.row("select * from makeready.ingest_job_view")
    answered = await dark.db.fetchval("select answered_at from makeready.photos")
    assert dict(after) == dict(view) | {"payload_path": None, "updated_at": answered}


async def why(dark: Darkroom, job: object) -> list[str]:
    """The reasons."""
    rows = await dark.db.fetch("select reason, detail, fix from makeready.why($1)", job)
    assert all(row["detail"] and row["fix"] for row in rows)
    return [row["reason"] for row in rows]


async def test_why_tells_of_photos_too(dark: Darkroom, clock: Clock) -> None:
    """Long after their jobs are pruned."""
    done = await dark.done()
    failed = (await dark.admit()).job_id
    await dark.fail(await dark.one())
    late = (await dark.admit()).job_id
    assert await why(dark, late) == ["next"]
    await dark.end(late, "timeout")
    await dark.db.execute("delete from makeready.jobs")
    assert await why(dark, done) == ["done"]
    assert await why(dark, failed) == ["provider_error"]
    assert await why(dark, late) == ["timeout"]
    lone = await dark.process()
    waits = (await dark.admit(waiter=lone)).job_id
    await clock.advance(11)
    assert await why(dark, waits) == ["nobody_waits"]


async def test_an_operator_sees_what_is_open_and_what_failed(dark: Darkroom) -> None:
    """Bounded: the latest failures alone."""
    await dark.done()
    failed = (await dark.admit()).job_id
    await dark.fail(await dark.one())
    running = (await dark.admit()).job_id
    await dark.one()
    waits = (await dark.admit()).job_id
    rows = await dark.db.fetch("select * from makeready.photo_overview")
    assert {row["photo"]: (row["state"], row["is_awaited"]) for row in rows} == {
        failed: ("provider_error", None),
        running: ("running", True),
        waits: ("queued", True),
    }
    assert {row["worker"] for row in rows} == {None, str(dark.me)}
    assert {row["message"] for row in rows} == {None, "it said no"}
