"""What a lost worker held is taken back, apart from failures, and never from the living.

Proves RND-016.
"""

from __future__ import annotations

import pytest

from makeready.errors import LeaseLost
from tests.sql.conftest import Heard, Session
from tests.sql.test_workers import hold_session
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds


async def test_a_job_of_a_silent_worker_is_queued_again(core: Core, clock: Clock) -> None:
    """RND-016: A1: the claim timed out; Q2: heartbeat timeout."""
    job = await core.running("limited")
    await clock.advance(9)
    assert await core.reap() == 0
    await clock.advance(2)
    assert await core.reap() == 1
    row = await core.job(job["id"])
    assert (row["state"], row["lease"], row["seat"], row["run_until"]) == (
        "queued",
        None,
        None,
        None,
    )
    assert plain(row["error"])["code"] == "lease_lost"


async def test_lost_is_not_failed(core: Core, clock: Clock) -> None:
    """The attempt is refunded, the loss is counted."""
    job = await core.running("free", attempts=1)
    await clock.advance(60)
    await core.reap()
    row = await core.job(job["id"])
    assert (row["state"], row["attempt"], row["lost"]) == ("queued", 0, 1)
    (kept,) = await core.db.fetch("select * from makeready.attempts")
    assert (kept["outcome"], kept["attempt"], kept["worker_id"]) == ("lost", 1, job["worker_id"])


async def test_a_job_that_kills_its_worker_three_times_is_dead(core: Core, clock: Clock) -> None:
    """Promise 5: poison does not loop."""
    await core.enqueue("free")
    for round_number in (1, 2, 3):
        worker = await core.worker()
        (job,) = await core.claim("free", 1, worker)
        await clock.advance(60)
        assert await core.reap() == 1
        state = await core.state(job["id"])
        assert state == ("dead" if round_number == 3 else "queued")
    assert (await core.job(job["id"]))["lost"] == 3


async def test_one_loss_is_enough_where_the_queue_says_so(core: Core, clock: Clock) -> None:
    await core.set("free", max_lost=1)
    job = await core.running("free")
    await clock.advance(60)
    await core.reap()
    assert await core.state(job["id"]) == "dead"


async def test_progress_forgives_lost_leases(core: Core, clock: Clock) -> None:
    await core.enqueue("free")
    for _ in range(5):
        worker = await core.worker()
        (job,) = await core.claim("free", 1, worker)
        await core.report(job, {"cards": 10})
        await clock.advance(60)
        await core.reap()
    assert await core.state(job["id"]) == "queued"
    assert (await core.job(job["id"]))["lost"] == 1


async def test_a_worker_that_beats_keeps_its_jobs(core: Core, clock: Clock) -> None:
    """B3: heartbeat."""
    job = await core.running("free")
    assert core.me is not None
    for _ in range(5):
        await clock.advance(9)
        assert await core.beat(core.me, job) == {}
        assert await core.reap() == 0


async def test_an_attempt_that_runs_too_long_is_taken_from_a_beating_worker(
    core: Core, clock: Clock
) -> None:
    await core.set("free", attempt_limit="60 seconds")
    job = await core.running("free")
    assert core.me is not None
    await clock.advance(61)
    await core.beat(core.me, job)
    assert await core.reap() == 1
    assert await core.beat(core.me, job) == {job["id"]: "lost"}
    assert "too long" in plain((await core.job(job["id"]))["error"])["message"]


async def test_a_report_of_progress_gives_the_attempt_its_time_again(
    core: Core, clock: Clock
) -> None:
    await core.set("free", attempt_limit="60 seconds")
    job = await core.running("free")
    assert core.me is not None
    for _ in range(4):
        await clock.advance(50)
        await core.beat(core.me, job)
        await core.report(job, {"n": 1})
        assert await core.reap() == 0
    row = await core.job(job["id"])
    assert plain(row["progress"]) == {"n": 1}


async def test_no_report_moves_the_deadline(core: Core) -> None:
    deadline = await core.call("now") + seconds(90)
    job = await core.running("free", deadline=deadline)
    await core.report(job)
    assert (await core.job(job["id"]))["run_until"] == deadline


async def test_nothing_is_reported_after_the_deadline(core: Core, clock: Clock) -> None:
    job = await core.running("free", deadline=await core.call("now") + seconds(30))
    await clock.advance(31)
    with pytest.raises(LeaseLost):
        await core.report(job)


async def test_a_former_lease_reports_nothing(core: Core) -> None:
    old = await core.running("free")
    await core.fail(old, "interrupted")
    await core.claim("free")
    with pytest.raises(LeaseLost):
        await core.report(old, {"n": 2})
    assert (await core.job(old["id"]))["progress"] is None


async def test_a_lost_job_past_its_deadline_expires(core: Core, clock: Clock) -> None:
    job = await core.running("free", deadline=await core.call("now") + seconds(30))
    await clock.advance(31)
    await core.reap()
    assert await core.state(job["id"]) == "expired"


async def test_a_reap_takes_no_more_than_asked_for(core: Core, clock: Clock) -> None:
    """A5: the sweep is bounded."""
    await core.many("free", 5)
    await core.claim("free", 5)
    await clock.advance(60)
    assert [await core.reap(2), await core.reap(2), await core.reap(2)] == [2, 2, 1]


async def test_a_reap_skips_a_row_that_somebody_holds(
    core: Core, session: Session, clock: Clock
) -> None:
    await core.many("free", 2)
    held, _ = await core.claim("free", 2)
    await clock.advance(60)
    other = await session()
    async with other.db.transaction():
        await other.db.execute("select from makeready.jobs where id = $1 for update", held["id"])
        assert await core.reap() == 1
    assert await core.reap() == 1


async def test_beats_tell_which_leases_are_lost(core: Core) -> None:
    """A3: finished, failed, still mine; and missing."""
    await core.many("free", 3)
    first, second, third = await core.claim("free", 3)
    assert core.me is not None
    await core.finish(first)
    await core.fail(second)
    assert await core.beat(core.me, first, second, third) == {
        first["id"]: "lost",
        second["id"]: "lost",
    }
    await core.db.execute("delete from makeready.jobs where id = $1", third["id"])
    assert await core.beat(core.me, third) == {third["id"]: "lost"}


async def test_a_session_that_is_gone_counts_after_one_missed_beat(
    core: Core, session: Session, clock: Clock
) -> None:
    """Promise 5: killed workers are noticed in about two seconds, not in ten."""
    life = await session()
    worker = await core.worker(session=True)
    await hold_session(life, worker)
    await core.beat(worker)
    await core.enqueue("free")
    await core.claim("free", 1, worker)
    await clock.advance(2)
    assert await core.reap() == 0  # its session is there: slow, not dead
    await core.beat(worker)
    await life.db.execute("select pg_advisory_unlock_all()")
    assert await core.reap() == 0  # it has missed no beat yet
    await clock.advance(2)
    assert await core.reap() == 1


async def test_a_worker_that_never_had_its_session_is_judged_by_its_beats_alone(
    core: Core, clock: Clock
) -> None:
    """A missing lock says nothing about a process that did not hold it at its last beat."""
    worker = await core.worker(session=True)  # wants the lock, and does not get it
    await core.enqueue("free")
    await core.claim("free", 1, worker)
    await clock.advance(9)
    assert await core.reap() == 0
    await clock.advance(2)
    assert await core.reap() == 1


async def test_a_held_row_of_the_domain_holds_up_its_own_job_only(
    core: Core, session: Session, clock: Clock
) -> None:
    """The trigger of a queue waits for its row; nobody else's job waits for the trigger."""
    await core.db.execute(
        "create table public.domain (n int); insert into public.domain values (1);"
        " grant all on public.domain to makeready_owner;"
        " create function public.touch() returns trigger language plpgsql as"
        " $$ begin update public.domain set n = n + 1; return null; end $$;"
        " create trigger touches after update of state on makeready.limited_jobs for each row"
        " when (new.state = 'dead') execute function public.touch()"
    )
    await core.set("limited", max_lost=1)
    stuck, free = await core.running("limited"), await core.running("free")
    await clock.advance(60)
    other = await session()
    async with other.db.transaction():
        await other.db.execute("update public.domain set n = n")
        assert await core.reap() == 1
        assert await core.state(free["id"]) == "queued"
        assert await core.state(stuck["id"]) == "running"
    assert await core.reap() == 1
    assert await core.state(stuck["id"]) == "dead"


async def test_two_leases_of_one_job_are_told_apart(core: Core) -> None:
    """Evicted and claimed again by the same worker: only the former lease is lost."""
    old = await core.running("free")
    await core.call("job_evict", queue_name="free", job=old["id"])
    (new,) = await core.claim("free")
    answers = await core.rows(
        "beat",
        worker=core.me,
        queue_names=["free", "free"],
        job_ids=[old["id"], new["id"]],
        tokens=[old["lease"], new["lease"]],
    )
    assert [(row["token"], row["verdict"]) for row in answers] == [(old["lease"], "lost")]


async def test_a_worker_that_only_lost_its_session_is_not_shot(
    core: Core, session: Session, clock: Clock
) -> None:
    """A connection that broke is no dead process: it beats on."""
    life = await session()
    worker = await core.worker(session=True)
    await hold_session(life, worker)
    await core.beat(worker)
    await core.enqueue("free")
    await core.claim("free", 1, worker)
    await life.db.execute("select pg_advisory_unlock_all()")
    for _ in range(5):
        await clock.advance(1)
        assert await core.reap() == 0
        await core.beat(worker)


async def test_ended_jobs_of_a_reap_are_announced_and_queued_ones_wake(
    core: Core, heard: Heard, clock: Clock
) -> None:
    again = await core.running("free")
    late = await core.running("free", deadline=await core.call("now") + seconds(30))
    await clock.advance(60)
    await core.reap()
    assert sorted(await heard()) == [f"end free {late['id']}", "wake free"]
    assert await core.state(again["id"]) == "queued"


async def test_strays_of_a_lost_claim_answer_come_back_at_once(core: Core) -> None:
    """The claim was committed, its answer lost: the worker lives and does not know the job."""
    await core.many("free", 2)
    known, stray = await core.claim("free", 2)
    answer = await core.call("worker_strays", worker=core.me, known=[known["lease"]])
    assert answer == 1
    row = await core.job(stray["id"])
    assert (row["state"], row["attempt"], row["lost"]) == ("queued", 0, 0)
    assert await core.state(known["id"]) == "running"
    with pytest.raises(LeaseLost):
        await core.finish(stray)


async def test_strays_that_were_to_be_cancelled_are_announced_as_ended(
    core: Core, heard: Heard
) -> None:
    stray = await core.running("free")
    await core.cancel("free", stray["id"])
    assert await core.call("worker_strays", worker=core.me, known=[]) == 1
    assert await heard() == [f"cancel free {stray['id']}", f"end free {stray['id']}"]
