"""What operators do: policy from the next call on, audited; retry, redrive, evict, drain."""

from __future__ import annotations

from typing import Literal
from uuid import uuid4

import asyncpg
import pytest

from makeready.errors import Busy, Conflict, LeaseLost, NotFound, Rejected, WrongIsolation
from tests.sql.conftest import Session
from tests.sql.test_workers import hold_session
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds


async def dead(core: Core, queue: str = "free", code: str = "broken", **options: object) -> object:
    """A job that died with this code."""
    job = await core.running(queue, **options)
    await core.fail(job, "fatal", {"code": code})
    return job["id"]


async def last_audit(core: Core) -> asyncpg.Record:
    """The newest line of the audit log."""
    row = await core.db.fetchrow("select * from makeready.audit_log order by id desc limit 1")
    assert row is not None
    return row


async def test_an_evicted_job_that_was_to_be_cancelled_is_cancelled(core: Core) -> None:
    job = await core.running("free")
    await core.cancel("free", job["id"])
    assert await core.call("job_evict", queue_name="free", job=job["id"]) == "cancelled"
    assert await core.state(job["id"]) == "cancelled"


async def test_an_evicted_job_past_its_deadline_expires(core: Core, clock: Clock) -> None:
    job = await core.running("free", deadline=await core.call("now") + seconds(30))
    await clock.advance(31)
    assert await core.call("job_evict", queue_name="free", job=job["id"]) == "expired"


async def test_a_changed_setting_is_audited_with_before_and_after(core: Core) -> None:
    """Promise 10: policy is data, changed by audited functions."""
    await core.db.execute("set makeready.actor = 'anna'; set makeready.request_id = 'r-1'")
    call = {"queue_name": "limited", "setting": "max_in_flight", "new_value": "8"}
    await core.call("queue_set", **call, because="new machine")
    row = await last_audit(core)
    assert (row["actor"], row["action"], row["target"]) == (
        "anna via postgres",
        "queue_set",
        "limited",
    )
    assert plain(row["before"]) == {"max_in_flight": 3}
    assert plain(row["after"]) == {"max_in_flight": 8}
    assert (row["reason"], row["request_id"]) == ("new machine", "r-1")


async def test_without_a_stated_actor_the_database_user_is_named(core: Core) -> None:
    await core.call("queue_pause", queue_name="free", because="lunch")
    row = await last_audit(core)
    assert row["actor"] == await core.db.fetchval("select session_user")
    assert (row["action"], row["reason"]) == ("queue_pause", "lunch")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_in_flight", "-1"),
        ("max_in_flight", "many"),
        ("max_in_flight", "1001"),
        ("max_open", "0"),
        ("attempt_limit", "0"),
        ("attempt_limit", "soon"),
        ("max_attempts", None),
        ("retry_jitter", "1.5"),
        ("retry_factor", "0.5"),
        ("max_lost", "99999999999"),
        ("is_fair", "perhaps"),
        ("paused_at", "2020-01-01"),
        ("queue", "other"),
        ("nonsense", "1"),
        (None, "1"),
    ],
)
async def test_an_impossible_setting_is_refused_and_changes_nothing(
    core: Core, setting: str | None, value: str | None
) -> None:
    text = "select q::text from makeready.queues q where queue = 'free'"
    before = await core.db.fetchval(text)
    with pytest.raises(Rejected) as refusal:
        await core.call("queue_set", queue_name="free", setting=setting, new_value=value)
    assert refusal.value.details["setting"] == setting
    assert await core.db.fetchval(text) == before
    assert await core.db.fetchval("select count(*) from makeready.audit_log") == 0


async def test_every_setting_can_be_changed(core: Core) -> None:
    values = {
        "max_in_flight": 7,
        "max_open": 70,
        "is_fair": "true",
        "attempt_limit": "7 minutes",
        "max_attempts": 7,
        "max_lost": 7,
        "retry_base": "7 seconds",
        "retry_factor": 7,
        "retry_cap": "7 hours",
        "retry_jitter": 0.7,
        "keep_done": "7 days",
        "keep_dead": "77 days",
        "keep_request": "7 hours",
    }
    await core.set("free", **values)
    row = await core.db.fetchrow("select * from makeready.queues where queue = 'free'")
    assert row is not None
    assert (row["max_in_flight"], row["max_open"], row["is_fair"]) == (7, 70, True)
    assert (row["attempt_limit"], row["retry_cap"]) == (seconds(420), seconds(7 * 3600))
    assert (row["retry_jitter"], row["keep_dead"].days) == (0.7, 77)


async def test_a_queue_that_exists_keeps_what_operators_set(core: Core) -> None:
    await core.set("limited", max_in_flight=9)
    await core.db.execute("""select makeready.queue_create('limited', '{"max_in_flight": 1}')""")
    text = "select max_in_flight from makeready.queues where queue = 'limited'"
    assert await core.db.fetchval(text) == 9


async def test_an_unknown_queue_cannot_be_changed(core: Core) -> None:
    for function in ("queue_pause", "queue_resume", "queue_close", "queue_open", "queue_drain"):
        with pytest.raises(NotFound):
            await core.call(function, queue_name="nowhere")
    with pytest.raises(NotFound):
        await core.set("nowhere", max_open=1)


async def test_a_drain_closes_and_counts_down(core: Core) -> None:
    await core.many("free", 2)
    assert await core.call("queue_drain", queue_name="free", because="moving") == 2
    for job in await core.claim("free", 2):
        await core.finish(job)
    assert await core.call("queue_drain", queue_name="free") == 0


async def test_pausing_twice_keeps_the_first_time(core: Core, clock: Clock) -> None:
    text = "select paused_at from makeready.queues where queue = 'free'"
    await core.call("queue_pause", queue_name="free")
    since = await core.db.fetchval(text)
    await clock.advance(5)
    await core.call("queue_pause", queue_name="free")
    assert await core.db.fetchval(text) == since


@pytest.mark.parametrize("state", ["dead", "cancelled", "expired"])
async def test_an_ended_job_can_be_retried(core: Core, state: str, clock: Clock) -> None:
    """R3: retry. It has all its attempts before it, and its history."""
    job = await core.running("free", deadline=await core.call("now") + seconds(60))
    if state == "dead":
        await core.fail(job, "fatal")
    elif state == "cancelled":
        await core.cancel("free", job["id"])
        await core.fail(job)
    else:
        await core.give_up("free", job["id"])
        await clock.advance(61)
    call = {"queue_name": "free", "job": job["id"]}
    assert await core.call("retry", **call, because="mended") == "queued"
    row = await core.job(job["id"])
    assert (row["attempt"], row["lost"], row["cancel_at"], row["finished_at"]) == (
        0,
        0,
        None,
        None,
    )
    assert row["deadline_at"] is None or state != "expired"
    assert core.me is not None
    await core.beat(core.me)
    (again,) = await core.claim("free")
    with pytest.raises(LeaseLost):
        await core.finish(job)
    assert await core.finish(again) == "ok"
    assert (await last_audit(core))["action"] == "retry"


async def test_a_waiting_job_can_be_made_due_now(core: Core) -> None:
    job = await core.enqueue("free", due=await core.call("now") + seconds(3600))
    assert await core.call("retry", queue_name="free", job=job) == "queued"


@pytest.mark.parametrize("state", ["done", "running", "queued"])
async def test_a_done_or_open_job_cannot_be_retried(core: Core, state: str) -> None:
    job = await core.enqueue("free")
    if state != "queued":
        (claimed,) = await core.claim("free")
        if state == "done":
            await core.finish(claimed)
    with pytest.raises(Conflict):
        await core.call("retry", queue_name="free", job=job)
    assert await core.state(job) == state


async def test_an_unknown_job_cannot_be_retried(core: Core) -> None:
    with pytest.raises(NotFound):
        await core.call("retry", queue_name="free", job=uuid4())


async def test_a_retry_needs_a_place_in_a_full_queue(core: Core) -> None:
    job = await dead(core, "bounded")
    await core.many("bounded", 5)
    with pytest.raises(Busy):
        await core.call("retry", queue_name="bounded", job=job)
    assert await core.count("bounded", "waiting", "queued", "running") == 5


async def test_redrive_shows_first_and_acts_when_told(core: Core) -> None:
    jobs = [await dead(core, code="timeout"), await dead(core, code="timeout")]
    await dead(core, code="bad_input")
    call = {"queue_name": "free", "error_code": "timeout"}
    shown = [row[0] for row in await core.rows("redrive", **call)]
    assert shown == jobs
    assert await core.count("free", "dead") == 3
    moved = await core.rows("redrive", **call, dry_run=False, because="provider is back")
    assert [row[0] for row in moved] == jobs
    assert (await core.count("free", "queued"), await core.count("free", "dead")) == (2, 1)
    row = await last_audit(core)
    assert (row["action"], plain(row["after"])) == ("redrive", {"jobs": 2})


async def test_redrive_is_bounded_and_takes_the_oldest(core: Core) -> None:
    jobs = [await dead(core) for _ in range(3)]
    moved = await core.rows("redrive", queue_name="free", max_jobs=2, dry_run=False)
    assert [row[0] for row in moved] == jobs[:2]


async def test_redrive_does_not_overfill_the_queue(core: Core) -> None:
    for _ in range(3):
        await dead(core, "bounded")
    await core.many("bounded", 3)
    with pytest.raises(Busy):
        await core.rows("redrive", queue_name="bounded", dry_run=False)
    assert await core.count("bounded", "dead") == 3
    moved = await core.rows("redrive", queue_name="bounded", max_jobs=2, dry_run=False)
    assert len(moved) == 2


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_a_frozen_snapshot_cannot_redrive(
    core: Core, level: Literal["repeatable_read", "serializable"]
) -> None:
    with pytest.raises(WrongIsolation):
        async with core.db.transaction(isolation=level):
            await core.rows("redrive", queue_name="free")


async def test_an_evicted_job_runs_again_and_its_worker_is_refused(core: Core) -> None:
    job = await core.running("limited")
    call = {"queue_name": "limited", "job": job["id"]}
    assert await core.call("job_evict", **call, because="looks stuck") == "queued"
    row = await core.job(job["id"])
    assert (row["attempt"], row["lost"], row["seat"]) == (0, 0, None)
    with pytest.raises(LeaseLost):
        await core.finish(job)
    with pytest.raises(Conflict):
        await core.call("job_evict", **call)


async def test_a_killed_worker_is_seen_as_lost_in_each_view(
    core: Core, session: Session, clock: Clock
) -> None:
    life = await session()
    worker = await core.worker("free", session=True)
    await hold_session(life, worker)
    await core.beat(worker)
    await clock.advance(2)
    alive = "select workers from makeready.queue_overview where queue = 'free'"
    lost = "select is_lost from makeready.worker_overview"
    assert [await core.db.fetchval(text) for text in (alive, lost)] == [1, False]
    await life.db.execute("select pg_advisory_unlock_all()")
    assert [await core.db.fetchval(text) for text in (alive, lost)] == [0, True]


async def test_a_view_of_everything_can_be_read(core: Core) -> None:
    await dead(core, code="timeout")
    await core.running("limited")
    queue = await core.db.fetchrow(
        "select * from makeready.queue_overview where queue = 'limited'"
    )
    assert queue is not None
    assert (queue["running"], queue["max_in_flight"], queue["workers"]) == (1, 3, 1)
    group = await core.db.fetchrow("select * from makeready.dead_jobs")
    assert group is not None
    assert (group["error_code"], group["jobs"]) == ("timeout", 1)
    views = await core.db.fetch("select viewname from pg_views where schemaname = 'makeready'")
    for (view,) in views:
        await core.db.fetch(f"select * from makeready.{view}")
    history = await core.db.fetch("select outcome from makeready.attempt_history")
    assert [row[0] for row in history] == ["dead"]
