"""A photo from its door to its answer, as SQL has it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from makeready import ingest
from makeready.errors import Closed, LeaseLost, NotFound
from tests.support.clock import Clock
from tests.support.photographing import Darkroom, a_file, told


@pytest.fixture
async def dark(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


async def test_a_photo_goes_in_is_processed_and_answered(dark: Darkroom) -> None:
    """ING-028, ING-056, ING-057."""
    admitted = await dark.admit()
    assert admitted.verdict == "created"
    claimed = await dark.one()
    begun = told(claimed)
    assert (begun.slot, begun.is_awaited, begun.templates) == ("slot-001", True, {})
    (step,) = begun.chain
    assert (step.provider, step.kind, step.operation, step.keys) == ("local", "local", "echo", ())
    assert begun.payload.media_type == "image/jpeg"
    assert await dark.finish(claimed) == "ok"
    assert await dark.finish(claimed) == "repeat"
    assert await dark.state(admitted.job_id) == ("done", None)
    assert await dark.log(admitted.job_id) == [
        "received",
        "dispatched",
        "provider_responded",
        "succeeded",
    ]
    received = await dark.details(admitted.job_id, "received")
    assert received["payload_path"] == begun.payload.path
    assert received["expires_at"]
    responded = await dark.details(admitted.job_id, "provider_responded")
    assert (responded["provider_reference"], responded["attempt"]) == ("r-1", 1)
    succeeded = await dark.details(admitted.job_id, "succeeded")
    assert succeeded["result_file_path"] == f"results/{admitted.job_id}.jpg"
    assert (len(succeeded["result_checksum"]), succeeded["inline_preview"]) == (64, False)
    photo = await dark.photo(admitted.job_id)
    assert photo["result_path"] == f"results/{admitted.job_id}.jpg"
    assert photo["result_expires_at"] - photo["finished_at"] == timedelta(hours=72)
    assert await ingest.pictured(dark.db, admitted.job_id, a_file("results/x", b"x"), None)
    gone = await ingest.answered(dark.db, admitted.job_id, 200)
    assert [each.path for each in gone] == [begun.payload.path]
    await ingest.forget(dark.db, gone)
    assert await dark.db.fetchval("select count(*) from makeready.media_objects") == 0


async def test_the_oldest_comes_first_and_to_one_alone(dark: Darkroom) -> None:
    """ING-028."""
    jobs = [(await dark.admit()).job_id for _ in range(4)]
    first, second = await dark.claim(1), await dark.claim(2)
    assert [one.job.id for one in first] == jobs[:1]
    assert {one.job.id for one in second} == set(jobs[1:3])


async def test_the_deadline_is_written_once(dark: Darkroom, clock: Clock) -> None:
    """ING-025: expires_at = created_at + T, whatever is set later."""
    admitted = await dark.admit()
    photo = await dark.photo(admitted.job_id)
    assert photo["expires_at"] - photo["created_at"] == timedelta(seconds=48)
    assert admitted.expires_at == photo["expires_at"]
    assert admitted.seconds_left == 48
    await dark.policy(sync_response_s=60.0)
    claimed = await dark.one()
    assert claimed.limit_s <= 48
    assert (await dark.photo(admitted.job_id))["expires_at"] == photo["expires_at"]
    await clock.advance(48)
    with pytest.raises(LeaseLost):
        await dark.finish(claimed)


async def test_an_unknown_or_disabled_slot_is_not_found(dark: Darkroom) -> None:
    """ING-002: exactly fifteen slots."""
    slots = await dark.db.fetch("select id from makeready.slots order by id")
    assert [row[0] for row in slots] == [f"slot-{number:03}" for number in range(1, 16)]
    await dark.slot("slot-002", is_enabled=False)
    for slot in ("slot-016", "slot-000", "slot-002", "'; --"):
        with pytest.raises(NotFound) as refusal:
            await ingest.door(dark.db, slot, "::1")
        assert refusal.value.details == {"code": "slot_not_found", "slot_id": slot}
        with pytest.raises(NotFound):
            await dark.admit(slot)


async def test_a_provider_that_was_disabled_is_not_asked(dark: Darkroom) -> None:
    fallbacks = '[{"provider_id": "openai", "operation_id": "edit"}]'
    await dark.slot(provider_id="gemini", operation_id="edit", fallbacks=fallbacks)
    await dark.admit()
    await dark.db.execute("update makeready.providers set is_enabled = false where id = 'gemini'")
    claimed = await dark.one()
    assert [step.provider for step in told(claimed).chain] == ["openai"]


async def test_a_stranger_lets_nothing_in(dark: Darkroom) -> None:
    """Nobody would be told, and a worker would drop it."""
    with pytest.raises(Closed) as refusal:
        await dark.admit(waiter=uuid4())
    assert refusal.value.details["reason"] == "not_registered"
