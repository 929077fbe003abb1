"""How an attempt is stopped from outside: limit, lost lease, cancellation, end of the process."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import jobs, leases
from makeready.config import Settings
from makeready.db import Control
from makeready.errors import Conflict
from makeready.jobs import Done, Job
from makeready_workers import heartbeat
from makeready_workers.attempt import HeldLease
from tests.support.core import Core, plain
from tests.support.database import Connect
from tests.support.in_process import Scripted, working
from tests.support.waiting import until

pytestmark = pytest.mark.notified


async def _sleeps(_: Job, __: HeldLease) -> Done:
    await asyncio.sleep(60)
    return Done()


async def test_an_attempt_that_takes_too_long_is_stopped_and_counted_as_failed(
    settings: Settings, core: Core
) -> None:
    await core.set("free", attempt_limit="1 second")
    handler = Scripted(run=_sleeps)
    async with working(settings, handler) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends() == {"waiting": 1}
        assert handler.at_once == 0

    row = await core.job(job)
    assert (row["attempt"], row["lost"]) == (1, 0)
    assert plain(row["error"])["code"] == "attempt_timeout"


async def test_a_handler_that_raises_while_it_is_stopped_for_its_time_was_too_slow(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        try:
            await asyncio.sleep(60)
        finally:
            raise RuntimeError("it cannot clean up")

    await core.set("free", attempt_limit="2 seconds")
    with capture_logs() as lines:  # no trace is drawn in the time that is left to fail
        async with working(settings, Scripted(run=run)) as shop:
            job = await core.enqueue(wake=True)
            assert await shop.until_ends() == {"waiting": 1}

    assert "job_stop_noisy" in [line["event"] for line in lines]
    assert plain((await core.job(job))["error"])["code"] == "attempt_timeout"


async def test_progress_gives_an_attempt_its_full_time_again(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, lease: HeldLease) -> Done:
        for step in range(4):
            await until(lambda: lease.seconds_left < 1.4)
            left = lease.seconds_left
            await lease.report({"step": step})
            assert lease.seconds_left > left
        return Done()

    await core.set("free", attempt_limit="2 seconds")
    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends() == {"done": 1}

    assert plain((await core.job(job))["progress"]) == {"step": 3}


async def test_the_next_attempt_sees_the_progress_of_the_last(
    settings: Settings, core: Core
) -> None:
    async def run(job: Job, lease: HeldLease) -> Done:
        if job.progress is None:
            await lease.report({"cards": 12})
            raise RuntimeError("paper jam")
        return Done()

    await core.set("free", retry_base="10 milliseconds")
    handler = Scripted(run=run)
    async with working(settings, handler) as shop:
        await core.enqueue(wake=True)
        await shop.until_ends(2)

    assert handler.jobs[1].progress == {"cards": 12}


async def test_no_report_carries_an_attempt_past_its_deadline(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async def run(_: Job, lease: HeldLease) -> Done:
        while True:
            await asyncio.sleep(0.1)
            await lease.report({})
            assert lease.seconds_left < 1.5

    deadline = await db.fetchval("select makeready.now() + interval '1.5 seconds'")
    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(deadline=deadline, wake=True)
        ends = await shop.until_ends()

    assert ends in ({"expired": 1}, {"lost": 1})
    await core.call("reap")
    assert (await core.job(job))["state"] == "expired"


async def test_a_cancelled_job_stops_soon_and_ends_cancelled(
    settings: Settings, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.listen:
        monkeypatch.setattr(heartbeat, "EVERY_S", 30.0)  # it is told before a beat would say so
    handler = Scripted(run=_sleeps)
    async with working(settings, handler) as shop:
        job = await core.enqueue(wake=True)
        await until(lambda: handler.at_once == 1)
        assert await core.cancel("free", job) == "running"
        assert await shop.until_ends() == {"cancelled": 1}

    assert (await core.job(job))["state"] == "cancelled"


async def test_work_whose_lease_was_taken_is_dropped(settings: Settings, core: Core) -> None:
    handler = Scripted(run=_sleeps)
    async with working(settings, handler) as shop:
        job = await core.enqueue(wake=True)
        await until(lambda: handler.at_once == 1)
        await core.give_up("free", job)
        assert await shop.until_ends() == {"lost": 1}
        assert handler.at_once == 0

    assert (await core.job(job))["state"] == "expired"


async def test_a_handler_that_reports_under_a_lost_lease_is_stopped(
    settings: Settings, core: Core
) -> None:
    go_on = asyncio.Event()

    async def run(_: Job, lease: HeldLease) -> Done:
        await go_on.wait()
        await lease.report({"too": "late"})
        raise AssertionError("report must have raised")

    handler = Scripted(run=run)
    async with working(settings, handler) as shop:
        job = await core.enqueue(wake=True)
        await until(lambda: handler.at_once == 1)
        await core.give_up("free", job)
        go_on.set()
        assert await shop.until_ends() == {"lost": 1}


async def test_a_result_that_comes_after_the_lease_was_lost_is_refused(
    settings: Settings, core: Core
) -> None:
    async def run(job: Job, _: HeldLease) -> Done:
        await core.give_up("free", job.id)
        return Done(result={"late": True})

    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends() == {"lost": 1}

    row = await core.job(job)
    assert (row["state"], row["result"]) == ("expired", None)


async def test_a_handler_that_blocks_the_loop_loses_no_lease(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        time.sleep(3)  # noqa: ASYNC251 -- what a handler must not do
        return Done()

    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends() == {"done": 1}
        assert shop.worker.statistics().heartbeat.missed == 0

    row = await core.job(job)
    assert (row["attempt"], row["lost"]) == (1, 0)


async def test_stopping_lets_running_jobs_end(settings: Settings, core: Core) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        await asyncio.sleep(0.5)
        return Done()

    handler = Scripted(run=run)
    async with working(settings, handler, drain_grace_s=5) as shop:
        await core.many("free", 4, wake=True)
        await until(lambda: handler.at_once == 4)
        shop.worker.stop()
        late = await core.enqueue(wake=True)
        assert await shop.until_ends(4) == {"done": 4}

    assert await core.call("peek", queue_name="free", job_ids=[late]) is None
    assert await core.db.fetchval("select count(*) from makeready.workers") == 0


async def test_what_does_not_end_in_the_grace_goes_back_uncounted(
    settings: Settings, core: Core
) -> None:
    handler = Scripted(run=_sleeps)
    async with working(settings, handler, drain_grace_s=0.3) as shop:
        job = await core.enqueue(wake=True)
        await until(lambda: handler.at_once == 1)
        shop.worker.stop()
        assert await shop.until_ends() == {"queued": 1}

    row = await core.job(job)
    assert (row["state"], row["attempt"], row["lost"]) == ("queued", 0, 0)
    assert plain(row["error"])["code"] == "interrupted"


async def test_another_worker_takes_an_interrupted_job_at_once(
    settings: Settings, core: Core
) -> None:
    first, second = Scripted(run=_sleeps), Scripted()
    async with working(settings, first, instance="first", drain_grace_s=0) as shop:
        await core.enqueue(wake=True)
        await until(lambda: first.at_once == 1)
        async with working(settings, second, instance="second") as other:
            shop.worker.stop()
            assert await other.until_ends() == {"done": 1}


async def test_a_worker_that_was_struck_off_registers_again_and_keeps_its_work(
    settings: Settings, core: Core, db: asyncpg.Connection, connect: Connect
) -> None:
    release = asyncio.Event()

    async def run(_: Job, __: HeldLease) -> Done:
        await release.wait()
        return Done()

    handler = Scripted(run=run)
    async with working(settings, handler) as shop:
        job = await core.enqueue(wake=True)
        await until(lambda: handler.at_once == 1)
        async with db.transaction():
            await db.execute("select from makeready.reaper for update")  # no reap until it is back
            other = await connect()
            await other.execute("delete from makeready.workers")
            await until(lambda: shop.worker.statistics().heartbeat.registrations == 2)
        release.set()
        assert await shop.until_ends() == {"done": 1}
        assert await db.fetchval("select id from makeready.workers") == shop.worker.id

    assert (await core.job(job))["lost"] == 0


async def test_a_worker_that_an_operator_drains_takes_no_job_and_stops(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    handler = Scripted()
    async with working(settings, handler) as shop:
        await until(lambda: shop.worker.statistics().claims > 1)  # the first claim is answered
        await core.call("worker_drain", worker=shop.worker.id)
        await core.enqueue(wake=True)
        await until(lambda: shop.worker.statistics().is_draining)
    assert handler.jobs == []
    assert await db.fetchval("select count(*) from makeready.workers") == 0


async def test_a_worker_that_has_left_beats_no_more(
    settings: Settings, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = leases.leave

    async def answered_late(control: Control, worker: UUID) -> int:
        count = await leave(control, worker)
        shop.worker._heartbeat.beat_now()
        await asyncio.sleep(0.2)
        return count

    monkeypatch.setattr(leases, "leave", answered_late)
    async with working(settings, Scripted()) as shop:
        pass
    assert await core.db.fetchval("select count(*) from makeready.workers") == 0


async def test_a_second_process_of_the_same_name_is_refused(
    settings: Settings, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "TAKEN_PATIENCE_S", 0.5)
    async with working(settings, Scripted(), instance="press"):
        with pytest.RaisesGroup(Conflict, flatten_subgroups=True, allow_unwrapped=True):
            async with working(settings, Scripted(), instance="press"):
                raise AssertionError("it must not start")
        assert await core.db.fetchval("select count(*) from makeready.workers") == 1


async def test_a_job_that_nobody_waits_for_is_cancelled_before_it_runs(
    settings: Settings, core: Core
) -> None:
    handler = Scripted()
    job = await core.enqueue()
    assert await jobs.cancel(core.db, "free", job) == "cancelled"
    async with working(settings, handler):
        await core.enqueue(wake=True)
        await until(lambda: handler.jobs)

    assert job not in [seen.id for seen in handler.jobs]
