"""A failed attempt: tried again after a growing pause, ended, or given back.

Proves RND-015.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from makeready.errors import LeaseLost, Rejected
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds


async def pause(core: Core, job: object) -> timedelta:
    """How long the job waits, by its own times."""
    row = await core.db.fetchrow(
        "select j.run_at - a.ended_at as pause from makeready.jobs j"
        " join makeready.attempts a on a.job_id = j.id where j.id = $1 order by a.id desc limit 1",
        job,
    )
    assert row is not None
    found: timedelta = row["pause"]
    return found


async def again(core: Core, clock: Clock, queue: str = "free") -> asyncpg.Record:
    """The retried job, claimed when its pause is over."""
    await clock.advance(120)
    await core.call("promote", max_jobs=10)
    assert core.me is not None
    await core.beat(core.me)
    (job,) = await core.claim(queue)
    return job


async def test_a_retry_waits_and_keeps_the_attempt_counted(core: Core) -> None:
    job = await core.running("limited")
    assert await core.fail(job, "retry", {"code": "engine", "message": "no page"}) == "waiting"
    row = await core.job(job["id"])
    assert (row["attempt"], row["seat"], row["lease"], row["finished_at"]) == (1, None, None, None)
    assert plain(row["error"])["code"] == "engine"
    assert await pause(core, job["id"]) == timedelta(seconds=1)


async def test_pauses_grow_to_the_cap_and_the_last_attempt_is_dead(
    core: Core, clock: Clock
) -> None:
    """A8: exponential strategy and a maximum of attempts."""
    await core.set("free", retry_factor=3, retry_cap="20 seconds", max_attempts=5)
    job = await core.running("free")
    pauses = []
    for _ in range(4):
        assert await core.fail(job) == "waiting"
        pauses.append((await pause(core, job["id"])).total_seconds())
        job = await again(core, clock)
    assert pauses == [1, 3, 9, 20]
    assert await core.fail(job) == "dead"
    row = await core.job(job["id"])
    assert row["attempt"] == 5
    assert row["finished_at"] is not None


async def test_a_job_may_carry_its_own_number_of_attempts(core: Core) -> None:
    job = await core.running("free", attempts=1)
    assert await core.fail(job) == "dead"


async def test_a_fatal_error_is_dead_at_once(core: Core) -> None:
    job = await core.running("free")
    assert (
        await core.fail(job, "fatal", {"code": "bad_input", "message": "no such page"}) == "dead"
    )
    assert plain((await core.job(job["id"]))["error"])["code"] == "bad_input"


@pytest.mark.parametrize(("manner", "state"), [("snooze", "waiting"), ("interrupted", "queued")])
async def test_what_is_not_the_jobs_fault_gives_the_attempt_back(
    core: Core, manner: str, state: str
) -> None:
    job = await core.running("free", attempts=1)
    assert await core.fail(job, manner, retry_after=seconds(5)) == state
    row = await core.job(job["id"])
    assert (row["attempt"], row["lost"]) == (0, 0)


async def test_an_interrupted_job_runs_again_at_once_whatever_retry_after_says(core: Core) -> None:
    job = await core.running("free")
    await core.fail(job, "interrupted", retry_after=seconds(600))
    assert [row["id"] for row in await core.claim("free")] == [job["id"]]


async def test_a_snooze_waits_as_long_as_it_says(core: Core) -> None:
    job = await core.running("free")
    await core.fail(job, "snooze", retry_after=seconds(40))
    assert await pause(core, job["id"]) == seconds(40)


@pytest.mark.parametrize(("asked", "got"), [(30, 30), (0.1, 1)])
async def test_retry_after_is_respected_when_it_is_longer(
    core: Core, asked: float, got: float
) -> None:
    """A8: an explicit retry time."""
    job = await core.running("free")
    await core.fail(job, "retry", retry_after=seconds(asked))
    assert await pause(core, job["id"]) == seconds(got)


async def test_a_retry_that_could_not_start_before_the_deadline_expires_now(core: Core) -> None:
    """The waiting caller gets its answer at once, not when the time is over."""
    now = await core.call("now")
    job = await core.running("free", deadline=now + seconds(20))
    assert await core.fail(job, "retry", retry_after=seconds(30)) == "expired"
    in_time = await core.running("free", deadline=now + seconds(20))
    assert await core.fail(in_time, "retry", retry_after=seconds(5)) == "waiting"


@pytest.mark.parametrize("manner", ["retry", "fatal", "interrupted", "snooze"])
async def test_a_failure_after_the_deadline_is_expired(
    core: Core, clock: Clock, manner: str
) -> None:
    job = await core.running("free", deadline=await core.call("now") + seconds(5))
    await clock.advance(6)
    assert await core.fail(job, manner) == "expired"


@pytest.mark.parametrize("manner", ["retry", "fatal", "interrupted", "snooze", "cancelled"])
async def test_a_cancelled_job_that_fails_is_cancelled(core: Core, manner: str) -> None:
    """R2: cancel wins over retry."""
    job = await core.running("free")
    await core.cancel("free", job["id"])
    assert await core.fail(job, manner) == "cancelled"


async def test_failing_again_under_the_same_lease_changes_nothing(core: Core) -> None:
    job = await core.running("free")
    assert await core.fail(job, "retry", {"code": "first"}) == "waiting"
    assert await core.fail(job, "fatal", {"code": "second"}) == "waiting"
    row = await core.job(job["id"])
    assert (row["attempt"], plain(row["error"])["code"]) == (1, "first")
    assert await core.db.fetchval("select count(*) from makeready.attempts") == 1


async def test_another_lease_fails_nothing(core: Core) -> None:
    job = await core.running("free")
    with pytest.raises(LeaseLost):
        await core.call(
            "fail", queue_name="free", job=job["id"], token=uuid4(), manner="fatal", problem={}
        )
    assert await core.state(job["id"]) == "running"


async def test_a_former_lease_fails_nothing_of_the_next_attempt(core: Core) -> None:
    old = await core.running("free")
    await core.fail(old, "interrupted")
    (new,) = await core.claim("free")
    await core.fail(old, "fatal")
    row = await core.job(new["id"])
    assert (row["state"], row["lease"]) == ("running", new["lease"])


async def test_a_done_job_cannot_fail(core: Core) -> None:
    job = await core.running("free")
    await core.finish(job)
    assert await core.fail(job, "fatal") == "done"
    assert await core.state(job["id"]) == "done"


@pytest.mark.parametrize("word", ["code", "message", "trace"])
async def test_a_job_can_fail_whatever_it_says_but_not_at_any_length(
    core: Core, word: str
) -> None:
    noise = "".join(str(uuid4()) for _ in range(4000))
    job = await core.running("free")
    assert await core.fail(job, "fatal", {"code": "x", "message": "m", word: noise}) == "dead"
    error = plain((await core.job(job["id"]))["error"])
    assert error["cut"] is True
    assert error["code"][:1] == (noise[0] if word == "code" else "x")
    assert len(str(error)) < 3000


async def test_an_unknown_manner_is_refused(core: Core) -> None:
    job = await core.running("free")
    with pytest.raises(Rejected):
        await core.fail(job, "shrug")
    assert await core.state(job["id"]) == "running"


async def test_each_failed_attempt_is_kept(core: Core, clock: Clock) -> None:
    job = await core.running("free")
    await core.fail(job, "retry", {"code": "one"})
    job = await again(core, clock)
    await core.fail(job, "snooze", {"code": "two"})
    job = await again(core, clock)
    await core.fail(job, "fatal", {"code": "three"})
    rows = await core.db.fetch("select * from makeready.attempts order by id")
    told = [(row["attempt"], row["outcome"], plain(row["error"])["code"]) for row in rows]
    assert told == [(1, "retry", "one"), (2, "snooze", "two"), (2, "dead", "three")]
    assert {row["worker_id"] for row in rows} == {core.me}


async def test_the_pause_is_capped_jittered_and_never_overflows(core: Core) -> None:
    text = """
        select makeready.backoff(n, q) from generate_series(-1, 100000, 997) n,
               (select * from makeready.queues where queue = 'free') q"""
    await core.set("free", retry_factor=10, retry_cap="1 hour", retry_jitter=0.5)
    pauses = [row[0] for row in await core.db.fetch(text)]
    assert min(pauses) > timedelta(0)
    assert max(pauses) <= timedelta(hours=1)
    assert len(set(pauses)) > 50


async def test_jitter_shortens_by_up_to_its_share(core: Core) -> None:
    await core.set("free", retry_base="10 seconds", retry_jitter=0.2)
    pauses = await core.db.fetch(
        "select makeready.backoff(1, q) from generate_series(1, 200),"
        " (select * from makeready.queues where queue = 'free') q"
    )
    found = [row[0].total_seconds() for row in pauses]
    assert 8 <= min(found) < 8.5
    assert 9.5 < max(found) <= 10
