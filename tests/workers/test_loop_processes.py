"""Real worker processes: killed, frozen, stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from makeready.config import Settings
from tests.support.core import Core, plain
from tests.support.in_process import Scripted, working
from tests.support.waiting import until
from tests.support.worker_process import worker_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


async def _started(db: asyncpg.Connection, job: UUID, count: int = 1) -> list[int]:
    """Waits until the job has been started so often; by which processes."""

    async def enough() -> list[int]:
        rows = await db.fetch(
            "select pid from makeready.drill_starts where job_id = $1 order by id", job
        )
        return [row["pid"] for row in rows] if len(rows) >= count else []

    return await until(enough, timeout_s=20, what=f"start {count} of job {job}")


async def _until_state(core: Core, job: UUID, state: str) -> None:
    async def reached() -> bool:
        return await core.state(job) == state

    await until(reached, timeout_s=25, what=f"state {state}")


@pytest.mark.notified
async def test_the_jobs_of_a_killed_process_run_elsewhere_within_seconds(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path, settings: Settings
) -> None:
    # Its beats alone are stale after 10 s, and looked at once a second.
    limit_s = 8.0 if settings.listen else 20.0
    async with (
        worker_process(dsn, tmp_path, "one", tasks=1, listen=settings.listen) as one,
        worker_process(dsn, tmp_path, "two", tasks=1, listen=settings.listen) as two,
    ):
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 8}, wake=True)
        (first,) = await _started(db, job)
        killed = one if first == one.pid else two
        killed.send(signal.SIGKILL)
        at = time.monotonic()
        pids = await _started(db, job, 2)
        assert time.monotonic() - at < limit_s
        assert pids == [first, two.pid if killed is one else one.pid]

    row = await core.job(job)
    assert (row["attempt"], row["lost"]) == (1, 1)


async def test_a_frozen_process_that_wakes_up_drops_what_was_taken_from_it(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path
) -> None:
    async with (
        worker_process(dsn, tmp_path, "one", tasks=1) as one,
        worker_process(dsn, tmp_path, "two", tasks=1) as two,
    ):
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 1}, wake=True)
        (first,) = await _started(db, job)
        frozen = one if first == one.pid else two
        frozen.send(signal.SIGSTOP)
        try:
            await _until_state(core, job, "done")
        finally:
            frozen.send(signal.SIGCONT)
        await frozen.until_event("job_lost")
        fresh = await core.many("drill", 2, wake=True)  # it is back at work
        for one_more in fresh:
            await _until_state(core, one_more, "done")

    assert (
        await db.fetchval("select count(*) from makeready.drill_results where job_id = $1", job)
        == 1
    )
    assert len(await _started(db, job, 2)) == 2


async def test_a_job_that_kills_its_process_is_dead_after_three_losses(
    dsn: str, core: Core, tmp_path: Path
) -> None:
    job = await core.enqueue("drill", body={"do": "exit"})
    for _ in range(3):
        # A supervisor starts it again under its name: the new one takes over at once.
        async with worker_process(dsn, tmp_path, "press", tasks=1) as worker:
            assert await worker.ended() == 9
    async with worker_process(dsn, tmp_path, "press", tasks=1) as worker:
        await _until_state(core, job, "dead")
        assert worker.is_alive

    row = await core.job(job)
    assert (row["attempt"], row["lost"]) == (0, 3)
    assert plain(row["error"])["code"] == "lease_lost"


async def test_a_restarted_process_gets_its_predecessors_jobs_back_at_once(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path
) -> None:
    async with worker_process(dsn, tmp_path, "press", tasks=1) as old:
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 1.5}, wake=True)
        await _started(db, job)
        await db.execute("update makeready.workers set stale_after = interval '1 hour'")
        old.send(signal.SIGKILL)
        await old.ended()
    # Its first tick may be faster than its registration: either takes them back.
    async with worker_process(dsn, tmp_path, "press", tasks=1):
        await _started(db, job, 2)
        await _until_state(core, job, "done")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_jobs_end_and_the_process_leaves(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path, number: signal.Signals
) -> None:
    """P1: acceptance with SIGTERM."""
    async with worker_process(dsn, tmp_path, drain_grace_s=5) as worker:
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 0.7}, wake=True)
        await _started(db, job)
        worker.send(number)
        assert await worker.ended() == 0

    assert await core.state(job) == "done"
    assert await db.fetchval("select count(*) from makeready.workers") == 0


async def test_a_job_that_outlasts_the_grace_is_given_back_uncounted(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path
) -> None:
    async with worker_process(dsn, tmp_path, drain_grace_s=0.2) as worker:
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 30}, wake=True)
        await _started(db, job)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0

    row = await core.job(job)
    assert (row["state"], row["attempt"], row["lost"]) == ("queued", 0, 0)


@pytest.mark.notified
async def test_a_second_signal_exits_at_once(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path, settings: Settings
) -> None:
    async with worker_process(dsn, tmp_path, drain_grace_s=60) as worker:
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 30}, wake=True)
        await _started(db, job)
        worker.send(signal.SIGTERM)
        await worker.until_event("worker_drain")
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 130  # of the 30 s of its job

    async with working(settings, Scripted()):  # somebody ticks
        await _until_state(core, job, "queued")


async def test_the_first_signal_to_a_worker_that_an_operator_drains_lets_its_jobs_end(
    dsn: str, core: Core, db: asyncpg.Connection, tmp_path: Path
) -> None:
    async with worker_process(dsn, tmp_path, drain_grace_s=10) as worker:
        job = await core.enqueue("drill", body={"do": "sleep", "seconds": 3}, wake=True)
        await _started(db, job)
        await db.execute("select makeready.worker_drain(id) from makeready.workers")
        await worker.until_event("worker_drain")
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0

    assert await core.state(job) == "done"


async def test_signals_stop_a_worker_whose_database_is_gone(
    dsn: str, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    name = urlsplit(dsn).path.strip("/")
    async with worker_process(dsn, tmp_path, drain_grace_s=1) as worker:
        await admin.execute(f"alter database {name} allow_connections false")
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
        )
        await worker.until_event("beat_missed")
        worker.send(signal.SIGTERM)
        assert await worker.ended(timeout_s=10) == 0
