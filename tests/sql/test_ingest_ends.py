"""How photos end, that each ends once, and what is left to do then."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from makeready import ingest, leases
from makeready.errors import Conflict, LeaseLost, NotFound, Rejected
from tests.sql.conftest import Heard
from tests.support.clock import Clock
from tests.support.photographing import Darkroom, a_file, told, upload

ENDS = ("succeeded", "failed", "timeout")


@pytest.fixture
async def dark(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


async def ends(dark: Darkroom) -> list[str]:
    """The lines of ends, of all photos."""
    rows = await dark.db.fetch(
        "select status from makeready.processing_logs where status = any ($1::text[])",
        list(ENDS),
    )
    return [row[0] for row in rows]


async def test_a_photo_that_nobody_took_in_time(dark: Darkroom, clock: Clock) -> None:
    """ING-032, ING-039: pending until the end; the chore finds it if its process does not."""
    admitted = await dark.admit()
    await clock.advance(48)
    assert await dark.claim() == []
    await dark.db.execute("select makeready.chore_run('expire')")
    assert await dark.state(admitted.job_id) == ("expired", "timeout")
    view = await dark.row("select * from makeready.ingest_job_view")
    assert (view["status"], view["is_finalized"]) == ("pending", True)
    assert await dark.log(admitted.job_id) == ["received", "timeout"]


async def test_a_photo_that_took_too_long(dark: Darkroom, clock: Clock) -> None:
    """ING-039: a photo past its deadline is swept up as a timeout, whoever has it."""
    admitted = await dark.admit()
    await dark.one()
    await clock.advance(48.1)
    await dark.db.execute("select makeready.reap()")
    assert await dark.state(admitted.job_id) == ("expired", "timeout")
    view = await dark.row("select * from makeready.ingest_job_view")
    assert (view["status"], view["failure_reason"]) == ("processing", "timeout")


async def test_a_lost_worker_is_a_timeout_and_nothing_is_done_again(
    dark: Darkroom, clock: Clock
) -> None:
    """ING-033: nothing is repeated for the provider."""
    admitted = await dark.admit()
    await dark.one()
    await clock.advance(11)
    await dark.db.execute("select makeready.reap()")
    assert await dark.state(admitted.job_id) == ("dead", "timeout")
    assert await dark.claim() == []
    assert (await dark.details(admitted.job_id, "timeout"))["failure_reason"] == "timeout"


async def test_a_provider_that_fails_says_why(dark: Darkroom) -> None:
    """ING-035, ING-056: one line of what it said, one of the end."""
    admitted = await dark.admit()
    claimed = await dark.one()
    said: dict[str, Any] = {
        "provider": "gemini",
        "provider_latency_ms": 1200,
        "http_status": 400,
        "keys": ["x"],
    }
    assert await dark.fail(claimed, message="m" * 3000, **said) == "dead"
    assert await dark.state(admitted.job_id) == ("dead", "provider_error")
    log = await dark.log(admitted.job_id)
    assert log == ["received", "dispatched", "provider_responded", "failed"]
    details = await dark.details(admitted.job_id, "failed")
    assert (details["provider_id"], details["reason"]) == ("gemini", "rejected")
    assert (details["http_status"], details["error"]) == (400, "m" * 2048)
    assert "keys" not in details
    row = await dark.row(
        "select message, provider_latency_ms, failure_reason from makeready.processing_logs"
        " where status = 'failed'"
    )
    assert tuple(row) == ("m" * 1024, 1200, "provider_error")


async def test_a_retry_is_the_business_of_the_one_attempt(dark: Darkroom) -> None:
    """ING-033: what a handler would have run again has failed."""
    admitted = await dark.admit()
    assert await dark.fail(await dark.one(), "retry") == "dead"
    assert await dark.state(admitted.job_id) == ("dead", "provider_error")


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_a_request_ends_its_photo(
    dark: Darkroom, heard: Heard, reason: ingest.Reason, is_running: bool
) -> None:
    """ING-032, ING-038: at once, and its place is free; its worker hears of it."""
    await dark.slot(max_open=1)
    job = (await dark.admit()).job_id
    claimed = await dark.one() if is_running else None
    state = {"timeout": "expired", "cancelled": "cancelled"}[reason]
    assert await dark.end(job, reason) == state
    assert await dark.state(job) == (state, reason)
    assert await dark.end(job, "timeout") == state
    messages = await heard()
    assert f"end ingest {job}" in messages
    assert (f"cancel ingest {job}" in messages) == is_running
    if claimed is not None:
        with pytest.raises(LeaseLost):
            await dark.finish(claimed)
        attempts = await dark.db.fetch("select outcome from makeready.attempts")
        assert [row[0] for row in attempts] == [state]
    assert await dark.state(job) == (state, reason)
    await dark.admit()


async def test_a_late_result_changes_nothing(dark: Darkroom, clock: Clock) -> None:
    """ING-034: dropped, whether the request has ended the photo or not yet."""
    first = await dark.admit()
    claimed = await dark.one()
    await dark.end(first.job_id, "timeout")
    before = await dark.photo(first.job_id)
    for late in (dark.finish, dark.fail):
        with pytest.raises(LeaseLost):
            await late(claimed)
    assert await dark.photo(first.job_id) == before
    await dark.admit()
    claimed = await dark.one()
    await clock.advance(48)
    with pytest.raises(LeaseLost):
        await dark.finish(claimed)
    assert await ends(dark) == ["timeout"]


async def test_a_result_of_the_last_moment_is_sent(dark: Darkroom) -> None:
    """ING-032, ING-043: whoever wanted to say timeout finds it done."""
    job = await dark.done()
    for reason in ("timeout", "cancelled"):
        assert await dark.end(job, reason) == "done"
    assert await dark.state(job) == ("done", None)
    assert await ends(dark) == ["succeeded"]


async def test_an_end_is_final(dark: Darkroom) -> None:
    """ING-034: not even an operator opens a photo again, and the log says so once."""
    jobs = [(await dark.admit()).job_id for _ in range(3)]
    (claimed,) = await dark.claim(1)
    await dark.fail(claimed)
    await dark.end(jobs[1], "timeout")
    await dark.end(jobs[2], "cancelled")
    before = [await dark.photo(job) for job in jobs]
    for job in jobs:
        with pytest.raises(Conflict) as refused:
            await dark.db.execute("select makeready.retry('ingest', $1)", job)
        assert refused.value.details["reason"] == "final"
        with pytest.raises(asyncpg.UniqueViolationError):
            await dark.db.execute(
                "insert into makeready.processing_logs (job_id, slot_id, status, occurred_at)"
                " values ($1, 'slot-001', 'succeeded', makeready.now())",
                job,
            )
    with pytest.raises(Conflict):
        await dark.db.fetch("select makeready.redrive('ingest', dry_run => false)")
    assert [await dark.photo(job) for job in jobs] == before
    assert sorted(await ends(dark)) == ["failed", "failed", "timeout"]


async def test_an_operator_cancels(dark: Darkroom) -> None:
    """A running one by its worker."""
    first, second = await dark.admit(), await dark.admit()
    (claimed,) = await dark.claim(1)
    await dark.db.execute("select makeready.cancel('ingest', $1)", second.job_id)
    assert await dark.state(second.job_id) == ("cancelled", "cancelled")
    await dark.db.execute("select makeready.cancel('ingest', $1)", first.job_id)
    assert await dark.state(first.job_id) == ("running", None)
    assert await dark.fail(claimed, "cancelled") == "cancelled"
    assert await dark.state(first.job_id) == ("cancelled", "cancelled")
    assert (await dark.details(first.job_id, "failed"))["failure_reason"] == "cancelled"


async def test_what_cannot_be(dark: Darkroom) -> None:
    job = (await dark.admit()).job_id
    with pytest.raises(Rejected):
        await dark.end(job, "bored")  # type: ignore[arg-type]
    with pytest.raises(NotFound) as unknown:
        await dark.end((await dark.waiter()), "timeout")
    assert unknown.value.details["code"] == "job_not_found"
    await dark.db.execute("delete from makeready.jobs")
    await dark.db.execute(  # by hand: no photo has it
        "select makeready.enqueue('ingest', deadline => makeready.now() + interval '1 minute')"
    )
    claimed = await dark.one()
    assert claimed.job.payload == {}
    with pytest.raises(NotFound):
        await dark.finish(claimed)
    await dark.fail(claimed)


async def test_a_shared_photo_is_cancelled_by_the_last_who_leaves(dark: Darkroom) -> None:
    """ING-038 with ING-083: who re-sends does not lose it to the one that hung up."""
    await dark.slot(joins_resent=True)
    job = (await dark.admit(content=b"same")).job_id
    other = await dark.process()
    assert (await dark.admit(content=b"same", waiter=other)).verdict == "joined"
    assert await dark.end(job, "cancelled") == "queued"
    assert await ingest.answered(dark.db, job, 499, waiter=dark.me) == []
    assert (await dark.photo(job))["waiters"] == [other]
    assert (await dark.photo(job))["answered_at"] is None
    assert await dark.end(job, "cancelled") == "cancelled"
    assert len(await ingest.answered(dark.db, job, 499, waiter=other)) == 1
    assert (await dark.photo(job))["answered_with"] == 499


async def test_a_photo_that_nobody_waits_for_any_more_is_cancelled(dark: Darkroom) -> None:
    """ING-038: also when both left without the other's knowing."""
    await dark.slot(joins_resent=True)
    job = (await dark.admit(content=b"same")).job_id
    await dark.admit(content=b"same")
    for _ in range(2):
        assert await dark.end(job, "cancelled") == "queued"
    await ingest.answered(dark.db, job, 499)
    assert await dark.state(job) == ("queued", None)
    await ingest.answered(dark.db, job, 499)
    assert await dark.state(job) == ("cancelled", "cancelled")
    assert await ingest.answered(dark.db, job, 200) == []
    assert (await dark.photo(job))["answered_with"] == 499


async def test_what_was_sent_and_shown_goes_after_the_last_answer(dark: Darkroom) -> None:
    """ING-046, ING-018: on every path, and only then; the file first, its row after it."""
    await dark.slot(joins_resent=True)
    admitted = await dark.admit(content=b"same")
    await dark.admit(content=b"same")
    claimed = await dark.one()
    begun = told(claimed)
    shown = a_file(f"payloads/{admitted.job_id}/prepared.jpg", b"prepared")
    for _ in range(2):  # again, for the next provider
        await ingest.offer(dark.db, claimed.job.id, claimed.lease.token, shown)
    rows = await dark.db.fetch("select id, kind, expires_at from makeready.media_objects")
    assert {(row["kind"], row["expires_at"]) for row in rows} == {
        ("payload", admitted.expires_at),
        ("prepared", admitted.expires_at),
    }
    assert begun.public_id in {row["id"] for row in rows}
    await dark.finish(claimed)
    assert await ingest.answered(dark.db, admitted.job_id, 200) == []
    gone = await ingest.answered(dark.db, admitted.job_id, 200)
    assert {each.path for each in gone} == {shown.path, begun.payload.path}
    due = "select count(*) from makeready.media_objects where expires_at <= makeready.now()"
    assert await dark.db.fetchval(due) == 2
    await ingest.forget(dark.db, gone)
    assert await dark.db.fetchval(due) == 0
    with pytest.raises(LeaseLost):
        await ingest.offer(dark.db, claimed.job.id, claimed.lease.token, shown)


async def test_who_lost_a_photo_or_its_time_shows_nothing_of_it(
    dark: Darkroom, clock: Clock
) -> None:
    """ING-034: neither with another's lease, nor in the moment before the deadline is acted on."""
    admitted = await dark.admit()
    claimed = await dark.one()
    shown = a_file(f"payloads/{admitted.job_id}/prepared.jpg", b"prepared")
    with pytest.raises(LeaseLost):
        await ingest.offer(dark.db, claimed.job.id, uuid4(), shown)
    await clock.advance(admitted.seconds_left + 1)
    with pytest.raises(LeaseLost):
        await ingest.offer(dark.db, claimed.job.id, claimed.lease.token, shown)
    kinds = await dark.db.fetch("select kind from makeready.media_objects")
    assert [row["kind"] for row in kinds] == ["payload"]


async def test_what_is_in_use_is_not_forgotten(dark: Darkroom) -> None:
    """ING-053: whatever a caller claims to have deleted."""
    payload = upload()
    await dark.admit()
    row = await dark.row("select store, path from makeready.media_objects")
    await ingest.forget(dark.db, [payload, a_file(row["path"], b"x", row["store"])])
    assert await dark.db.fetchval("select count(*) from makeready.media_objects") == 1


async def test_thumbnails_are_kept_with_a_result_only(dark: Darkroom) -> None:
    before, after = a_file("results/b.jpg", b"b"), a_file("results/a.jpg", b"a")
    job = await dark.done()
    assert await ingest.pictured(dark.db, job, before, after)
    await dark.db.execute("update makeready.photos set result_path = null, result_store = null")
    assert not await ingest.pictured(dark.db, job, before, after)


async def test_photos_of_a_dead_process_end_as_timeouts(
    dark: Darkroom, clock: Clock, heard: Heard
) -> None:
    """ING-039: those that another process has taken, too; who else waits keeps its photo."""
    lone = await dark.process()
    await dark.slot("slot-002", joins_resent=True)
    queued = await dark.admit(waiter=lone)
    shared = await dark.admit("slot-002", content=b"same", waiter=lone)
    taken = await dark.admit(waiter=lone)
    await dark.db.execute("update makeready.jobs set priority = -1 where id = $1", taken.job_id)
    (claimed,) = await dark.claim(1)
    assert claimed.job.id == taken.job_id
    await clock.advance(9)
    await dark.waiter()
    await dark.admit("slot-002", content=b"same")
    await dark.db.execute("select * from makeready.tick()")
    await clock.advance(2)
    await dark.waiter()
    await dark.db.execute("update makeready.reaper set trusts_after = makeready.now()")
    due = await dark.db.fetch("select * from makeready.tick()")
    assert "ingest_abandoned" in {row[0] for row in due}
    (begun,) = await dark.claim(1)
    assert begun.job.id == queued.job_id
    assert told(claimed).is_awaited
    assert not told(begun).is_awaited
    assert await dark.db.fetchval("select makeready.chore_run('ingest_abandoned')") == 2
    for admitted in (queued, taken):
        assert await dark.state(admitted.job_id) == ("expired", "timeout")
    assert await dark.state(shared.job_id) == ("queued", None)
    assert f"cancel ingest {taken.job_id}" in await heard()
    due = await dark.db.fetch("select * from makeready.tick()")
    assert "ingest_abandoned" not in {row[0] for row in due}


async def test_an_outage_of_the_database_ends_no_photo(dark: Darkroom, clock: Clock) -> None:
    """Right after it no process has beaten yet: all of them look dead."""
    admitted = await dark.admit()
    await clock.advance(20)
    await dark.db.execute("select * from makeready.tick()")
    assert await dark.db.fetchval("select makeready.ingest_abandoned(10)") == 0
    assert await dark.state(admitted.job_id) == ("queued", None)


async def test_a_worker_that_claimed_unheard_gives_its_photo_back(dark: Darkroom) -> None:
    """The answer to its claim was lost: nobody has begun, so nobody does it again."""
    admitted = await dark.admit()
    await dark.one()
    assert dark.me
    assert await leases.return_strays(dark.db, dark.me, []) == 1
    assert await dark.state(admitted.job_id) == ("queued", None)
    await dark.finish(await dark.one())
    assert await dark.state(admitted.job_id) == ("done", None)
