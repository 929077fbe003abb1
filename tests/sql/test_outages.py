"""After an outage, and beside rows that somebody holds: healthy work lives, the rest recovers."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, seconds


async def tick(core: Core, clock: Clock, times: int, step: float = 1.0) -> None:
    """Time that passes with somebody looking once a second."""
    for _ in range(times):
        await clock.advance(step)
        await core.rows("tick")


async def test_after_an_outage_no_heartbeat_is_trusted_for_one_stale_time(
    core: Core, clock: Clock
) -> None:
    """Promise 6: an outage of minutes kills no healthy work."""
    await core.set("free", attempt_limit="1 hour")
    job = await core.running("free")
    await tick(core, clock, 2)
    await clock.advance(300)  # nobody could tick, nobody could beat
    await tick(core, clock, 9)
    assert await core.state(job["id"]) == "running"
    await core.beat(core.me or job["worker_id"], job)
    await tick(core, clock, 5)
    assert await core.finish(job) == "ok"


async def test_whoever_stays_silent_after_an_outage_is_lost_in_the_end(
    core: Core, clock: Clock
) -> None:
    job = await core.running("free")
    await tick(core, clock, 1)
    await clock.advance(300)
    await tick(core, clock, 12)
    assert await core.state(job["id"]) == "queued"


async def test_a_long_stale_time_is_waited_out_in_full(core: Core, clock: Clock) -> None:
    await core.set("free", attempt_limit="1 hour")
    worker = await core.worker(stale=30)
    await core.enqueue("free")
    await core.claim("free", 1, worker)
    await tick(core, clock, 1)
    await clock.advance(300)
    await tick(core, clock, 25)
    assert await core.count("free", "running") == 1
    await tick(core, clock, 8)
    assert await core.count("free", "running") == 0


async def test_a_hung_attempt_is_spared_right_after_an_outage(core: Core, clock: Clock) -> None:
    job = await core.running("free")
    await tick(core, clock, 1)
    await clock.advance(600)  # run_until has passed meanwhile
    await tick(core, clock, 2)
    assert await core.finish(job) == "ok"


async def test_an_outage_of_hours_does_not_forget_workers_that_come_back(
    core: Core, clock: Clock
) -> None:
    await core.set("free", attempt_limit="1 day")
    job = await core.running("free")
    await tick(core, clock, 1)
    await clock.advance(2 * 3600)
    await core.rows("tick")
    await core.call("chore_run", chore_name="workers_forget")
    await tick(core, clock, 2)
    assert await core.finish(job) == "ok"


async def test_a_clock_that_ran_ahead_and_came_back_holds_up_no_recovery(
    core: Core, clock: Clock
) -> None:
    """Reaps go on, and heartbeats are distrusted for one stale time, not until that far hour."""
    await tick(core, clock, 1)
    await clock.advance(3600)
    await tick(core, clock, 1)
    await clock.advance(-3600)
    job = await core.running("free")
    await tick(core, clock, 12)
    assert await core.state(job["id"]) == "queued"


@pytest.mark.parametrize("sweep", ["reap", "expire"])
async def test_domain_rows_that_somebody_holds_never_stop_the_rest(
    core: Core, session: Session, clock: Clock, sweep: str
) -> None:
    """Many jobs at the head wait for an open transaction; those behind them get through."""
    await core.db.execute(
        "create table domain (id uuid primary key); create function follow() returns trigger"
        " language plpgsql as $$ begin perform from public.domain where id = new.id for update;"
        " return null; end $$; create trigger follow after update of state on makeready.free_jobs"
        " for each row when (new.state not in ('running', 'done')) execute function follow();"
        " grant all on domain to makeready_owner"
    )
    jobs = await core.many("free", 12, deadline=await core.call("now") + seconds(30))
    if sweep == "reap":
        await core.claim("free", 12)
    await core.db.execute("insert into domain select id from makeready.jobs")
    await clock.advance(60)
    other = await session()
    async with other.db.transaction():
        await other.db.execute("select from domain where id = any ($1) for update", jobs[:7])
        rounds = 0
        while {await core.state(job) for job in jobs[7:]} != {"expired"}:
            await core.call(sweep, max_jobs=100)
            rounds += 1
            assert rounds < 20
    while await core.call(sweep, max_jobs=100):
        pass
    assert await core.count("free", "expired") == 12


@pytest.mark.parametrize("sweep", ["reap", "expire"])
async def test_a_fault_in_the_domain_of_one_job_stops_no_other(
    core: Core, clock: Clock, sweep: str
) -> None:
    odd, *jobs = await core.many("free", 4, deadline=await core.call("now") + seconds(30))
    await core.db.execute(
        "create function refuse() returns trigger language plpgsql"
        " as $$ begin raise exception 'no such domain row'; end $$;"
        " create trigger refuse after update of state on makeready.free_jobs for each row"
        f" when (new.id = '{odd}' and new.state = 'expired') execute function refuse()"
    )
    if sweep == "reap":
        await core.claim("free", 4)
    await clock.advance(60)
    warnings: list[str] = []
    core.db.add_log_listener(lambda _, message: warnings.append(message.message))

    assert await core.call(sweep, max_jobs=100) == 3
    assert {await core.state(job) for job in jobs} == {"expired"}
    assert await core.state(odd) in {"running", "queued"}
    assert any(str(odd) in warning and "no such domain row" in warning for warning in warnings)


async def _work_of_one_whose_session_goes(
    core: Core, session: Session, clock: Clock, reaper: Core
) -> UUID:
    """A job that runs while `reaper` has ticked for long; its worker has just beaten."""
    life = await session()
    worker = await core.worker(session=True)
    await life.db.execute("select pg_advisory_lock(makeready.session_key($1))", worker)
    for _ in range(12):  # until heartbeats are trusted
        await clock.advance(1)
        await reaper.rows("tick")
    await core.beat(worker)
    job = await core.enqueue("free")
    await core.claim("free", 1, worker)
    await life.db.execute("select pg_advisory_unlock_all()")
    return job


async def test_a_reaper_that_is_back_first_takes_no_work_of_the_others(
    core: Core, session: Session, clock: Clock
) -> None:
    """An outage of two seconds cuts all sessions: one that is gone says nothing then."""
    old, back, fresh = await session(), await session(), await session()
    await back.db.execute("set makeready.reconnected = 'on'")
    job = await _work_of_one_whose_session_goes(core, session, clock, old)
    for _ in range(2):  # never so long a gap that nobody would be trusted
        await clock.advance(1)
        await back.rows("tick")
    assert await core.state(job) == "running"
    await clock.advance(1)
    await fresh.rows("tick")  # nothing has cut this one: only the worker is gone
    assert await core.state(job) == "queued"


async def test_a_reaper_that_came_back_notices_who_dies_later(
    core: Core, session: Session, clock: Clock
) -> None:
    """Promise 5 holds again with the first beat after an outage."""
    back = await session()
    await back.db.execute("set makeready.reconnected = 'on'")
    job = await _work_of_one_whose_session_goes(core, session, clock, back)
    for _ in range(2):
        await clock.advance(1)
        await back.rows("tick")
    assert await core.state(job) == "queued"
