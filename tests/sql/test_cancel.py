"""Cancel asks, give_up decides, peek tells; an ended job stays as it is."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready.errors import LeaseLost, NotFound
from tests.sql.conftest import Heard
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds


async def peek(core: Core, *jobs: UUID) -> dict[UUID, str]:
    """Those that have ended, and how."""
    rows = await core.rows("peek", queue_name="free", job_ids=list(jobs))
    return {row["job_id"]: row["job_state"] for row in rows}


@pytest.mark.parametrize("state", ["queued", "waiting"])
async def test_a_job_that_has_not_started_is_cancelled_at_once(core: Core, state: str) -> None:
    """R3: cancel."""
    due = await core.call("now") + seconds(60) if state == "waiting" else None
    job = await core.enqueue("free", due=due)
    assert await core.cancel("free", job) == "cancelled"
    row = await core.job(job)
    assert row["finished_at"] is not None
    assert plain(row["error"])["code"] == "cancelled"
    assert await core.claim("free") == []


async def test_a_running_job_is_asked_to_stop_by_the_heartbeat(core: Core) -> None:
    """A3: the verdict cancel reaches a worker without LISTEN."""
    job = await core.running("limited")
    assert await core.cancel("limited", job["id"]) == "running"
    assert core.me is not None
    assert await core.beat(core.me, job) == {job["id"]: "cancel"}
    assert await core.fail(job, "cancelled") == "cancelled"


async def test_a_running_job_is_asked_to_stop_by_a_notification_too(
    core: Core, heard: Heard
) -> None:
    job = await core.running("free")
    await core.cancel("free", job["id"])
    assert await heard() == [f"cancel free {job['id']}"]


async def test_asking_twice_keeps_the_first_time(core: Core, clock: Clock) -> None:
    job = await core.running("free")
    await core.cancel("free", job["id"])
    asked = (await core.job(job["id"]))["cancel_at"]
    await clock.advance(5)
    await core.cancel("free", job["id"])
    assert (await core.job(job["id"]))["cancel_at"] == asked


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_who_cancels_is_written_down_once(core: Core, state: str) -> None:
    job = await core.enqueue("free") if state == "queued" else (await core.running("free"))["id"]
    for _ in range(2):
        await core.call("cancel", queue_name="free", job=job, because="not wanted")
    (row,) = await core.db.fetch("select * from makeready.audit_log where action = 'cancel'")
    assert (row["target"], row["reason"]) == (f"free/{job}", "not wanted")
    assert plain(row["before"]) == {"state": state}


async def test_an_ended_job_is_not_cancelled(core: Core) -> None:
    job = await core.running("free")
    await core.finish(job)
    assert await core.cancel("free", job["id"]) == "done"
    assert await core.state(job["id"]) == "done"


async def test_an_unknown_job_cannot_be_cancelled(core: Core) -> None:
    with pytest.raises(NotFound):
        await core.cancel("free", uuid4())


async def test_a_cancelled_job_whose_worker_dies_is_cancelled(core: Core, clock: Clock) -> None:
    job = await core.running("free")
    await core.cancel("free", job["id"])
    await clock.advance(60)
    await core.reap()
    assert await core.state(job["id"]) == "cancelled"


@pytest.mark.parametrize("state", ["waiting", "queued", "running"])
async def test_giving_up_ends_an_open_job_as_expired(core: Core, state: str) -> None:
    if state == "running":
        job = (await core.running("limited"))["id"]
    else:
        due = await core.call("now") + seconds(60) if state == "waiting" else None
        job = await core.enqueue("limited", due=due)
    found = await core.give_up("limited", job)
    assert found is not None
    assert (found["job_state"], plain(found["problem_found"])["code"]) == ("expired", "gave_up")
    row = await core.job(job)
    assert (row["lease"], row["seat"], row["run_until"]) == (None, None, None)
    attempts = await core.db.fetch("select * from makeready.attempts where job_id = $1", job)
    assert [(a["outcome"], a["attempt"], a["worker_id"], a["ended_at"]) for a in attempts] == (
        [("expired", 1, core.me, row["finished_at"])] if state == "running" else []
    )


async def test_giving_up_says_what_the_caller_says(core: Core) -> None:
    job = await core.enqueue("free")
    problem: dict[str, Any] = {"code": "timeout", "message": "48 s are over"}
    await core.rows("give_up", queue_name="free", job=job, problem=problem)
    assert plain((await core.job(job))["error"]) == problem


async def test_a_result_of_the_last_moment_is_used_not_thrown_away(core: Core) -> None:
    job = await core.running("free")
    await core.finish(job, {"photo": 1})
    found = await core.give_up("free", job["id"])
    assert found is not None
    assert (found["job_state"], plain(found["outcome"])) == ("done", {"photo": 1})


async def test_the_worker_of_a_given_up_job_is_refused_everything(core: Core) -> None:
    job = await core.running("free")
    await core.give_up("free", job["id"])
    assert core.me is not None
    assert await core.beat(core.me, job) == {job["id"]: "lost"}
    for attempt in (core.finish(job), core.fail(job), core.report(job)):
        with pytest.raises(LeaseLost):
            await attempt
    assert await core.state(job["id"]) == "expired"


async def test_giving_up_on_an_unknown_job_answers_nothing(core: Core) -> None:
    assert await core.give_up("free", uuid4()) is None


async def test_peek_shows_only_what_has_ended(core: Core) -> None:
    """Q3: already done, failed, cancelled, deleted: one read for all who wait."""
    done, dead, running, queued = await core.many("free", 4)
    claimed = {job["id"]: job for job in await core.claim("free", 3)}
    await core.finish(claimed[done])
    await core.fail(claimed[dead], "fatal")
    cancelled = await core.enqueue("free")
    await core.cancel("free", cancelled)
    assert await peek(core, done, dead, running, queued, cancelled, uuid4()) == {
        done: "done",
        dead: "dead",
        cancelled: "cancelled",
    }


async def test_an_end_between_two_looks_is_never_missed(core: Core) -> None:
    """A7: whoever registers its wait before the enqueue finds the end by looking again."""
    job = uuid4()
    assert await peek(core, job) == {}
    await core.enqueue("free", job=job)
    assert await peek(core, job) == {}
    (claimed,) = await core.claim("free")
    await core.finish(claimed)
    assert await peek(core, job) == {job: "done"}
