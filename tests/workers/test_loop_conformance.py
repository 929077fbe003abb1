"""Scenarios of a chaos harness: each accepted job ends exactly once in a final state.

What goes wrong around them is named by its id: H5 pool exhaustion, H6 retry storm, H7 priority
starvation, H8 idle transactions and active readers. The others are in tests/chaos.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import Connection
from makeready.jobs import Done, Job, JobFailed
from makeready_workers.attempt import HeldLease
from tests.support.core import Core
from tests.support.database import Connect
from tests.support.in_process import Scripted, Shop, working
from tests.support.waiting import until

pytestmark = pytest.mark.notified

NOTE_ENDS = """
create table public.ends (job uuid not null, state text not null);
create function public.note_end() returns trigger language plpgsql as
$$ begin insert into public.ends values (new.id, new.state); return null; end $$;
create trigger note_end after update of state on makeready.jobs for each row
  when (new.finished_at is not null or old.finished_at is not null)
  execute function public.note_end();
grant insert on public.ends to makeready_owner
"""
DOMAIN = """
create table public.domain (job uuid primary key, is_told boolean not null default false);
grant select, update on public.domain to makeready_worker
"""


class Ends:
    """Every step into a final state, or out of one, as the database made it."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db

    async def count(self, *jobs: UUID) -> int:
        """Ends of these jobs, or of all."""
        text = "select count(*) from ends where $1 = '{}'::uuid[] or job = any ($1)"
        return int(await self._db.fetchval(text, jobs))

    async def until(self, jobs: Iterable[UUID]) -> None:
        """Waits for one end of each of these jobs."""
        wanted = list(jobs)

        async def all_of_them() -> bool:
            return await self.count(*wanted) >= len(wanted)

        await until(all_of_them, what=f"{len(wanted)} ends")

    async def each_once(self, accepted: Iterable[UUID]) -> Counter[str]:
        """Each accepted job has ended exactly once, no other has; how many in which state."""
        rows = await self._db.fetch("select job, state from ends")
        assert sorted(row["job"] for row in rows) == sorted(accepted)
        return Counter(row["state"] for row in rows)


@pytest.fixture
async def ends(connect: Connect) -> Ends:
    db = await connect()
    await db.execute(NOTE_ENDS)
    return Ends(db)


def _committed(lease: HeldLease) -> Done:
    """Done, with a row of its own written in the same transaction, over the pool."""

    async def commit(connection: Connection, job: Job) -> str:
        statement = "select makeready.drill_finish($1, $2, '{}')"
        return str(await connection.fetchval(statement, job.id, lease.token))

    return Done(commit=commit)


async def _tells(_: Job, lease: HeldLease) -> Done:
    """As `_committed`, with an update of the job's domain row, if there is one, before it."""
    finished = _committed(lease).commit
    assert finished is not None

    async def commit(connection: Connection, job: Job) -> str:
        async with connection.transaction():
            await connection.execute("update domain set is_told = true where job = $1", job.id)
            return await finished(connection, job)

    return Done(commit=commit)


async def _done_once(db: asyncpg.Connection, count: int) -> None:
    """So many results of drill jobs, none twice, and no attempt counted as failed."""
    rows = await db.fetch("select job_id from makeready.drill_results")
    assert len(rows) == len({row["job_id"] for row in rows}) == count
    assert await db.fetchval("select max(attempt) from makeready.jobs") == 1


async def _beats_on(shop: Shop) -> None:
    before = shop.worker.statistics().heartbeat.beats
    await until(lambda: shop.worker.statistics().heartbeat.beats > before, what="a beat")


@asynccontextmanager
async def _login(
    settings: Settings, db: asyncpg.Connection
) -> AsyncIterator[tuple[str, Settings]]:
    """A role that is no superuser, whom the server may refuse; and settings that log in as it."""
    parts = urlsplit(str(settings.database_url))
    name = f"press_{parts.path.strip('/')}"
    await db.execute(f"create role {name} login password 'press' in role makeready_worker")
    place = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{name}:press@{place}"))
    try:
        yield name, replace(settings, database_url=url)
    finally:
        await db.execute(f"drop role {name}")


@pytest.mark.parametrize("cut", [False, True])
async def test_a_server_that_takes_no_more_connections_loses_no_job(
    settings: Settings, core: Core, db: asyncpg.Connection, ends: Ends, *, cut: bool
) -> None:
    """H5: pool exhaustion: 53300, with the process's connections left to it or cut as well."""
    go_on = asyncio.Event()
    refusals: list[UUID] = []

    async def run(job: Job, lease: HeldLease) -> Done:
        await go_on.wait()
        try:
            async with shop.pool.acquire():
                return _committed(lease)
        except asyncpg.TooManyConnectionsError:
            refusals.append(job.id)
            raise

    handler = Scripted("drill", run)
    async with (
        _login(settings, db) as (name, limited),
        working(limited, handler) as shop,
        AsyncExitStack() as held,
    ):
        jobs = await core.many("drill", 12, wake=True)
        await until(lambda: handler.at_once == 4)
        await db.execute(f"alter role {name} connection limit 0")
        if cut:
            kill = "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            await db.fetch(f"{kill} where usename = $1", name)
            await until(lambda: shop.worker.statistics().heartbeat.missed)
        else:
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                while True:
                    await held.enter_async_context(shop.pool.acquire())
        go_on.set()
        await until(lambda: refusals)
        if not cut:
            await _beats_on(shop)
        jobs += await core.many("drill", 4)
        assert await ends.count() < len(jobs)
        await db.execute(f"alter role {name} connection limit -1")
        await ends.until(jobs)

    assert await ends.each_once(jobs) == {"done": 16}
    await _done_once(db, 16)
    if not cut:
        assert await db.fetchval("select max(lost) from makeready.jobs") == 0
        assert set(shop.worker.statistics().ends) == {"queued", "done"}  # given back, not failed


async def test_handlers_that_use_up_the_pool_stop_no_beat_and_no_other_job(
    settings: Settings, core: Core, ends: Ends
) -> None:
    """H5: pool exhaustion: slow handlers hold every connection of the process's pool."""
    hoarding, release = asyncio.Event(), asyncio.Event()

    async def run(job: Job, lease: HeldLease) -> Done:
        async with AsyncExitStack() as held:
            for _ in range(shop.pool.get_max_size() if "hoards" in job.payload else 0):
                await held.enter_async_context(shop.pool.acquire())
            hoarding.set()
            await release.wait()
        return _committed(lease)

    greedy, modest = Scripted("drill", run), Scripted("free")
    async with working(settings, greedy, modest) as shop:
        jobs = [await core.enqueue("drill", body={"hoards": True}, wake=True)]
        await until(hoarding.is_set)
        jobs += await core.many("drill", 2, wake=True)  # they end when there is a connection
        others = await core.many("free", 8, wake=True)
        await ends.until(others)
        await _beats_on(shop)
        assert await ends.count(*jobs) == 0
        release.set()
        await ends.until(jobs)

    assert await ends.each_once(jobs + others) == {"done": 11}
    await _done_once(core.db, 3)
    assert await core.db.fetchval("select max(lost) from makeready.jobs") == 0


async def test_a_storm_of_retries_is_bounded_and_stops_no_other_queue(
    settings: Settings, core: Core, connect: Connect, ends: Ends
) -> None:
    """H6: retry storm: all fail at once, half of them for good, and come back at once."""
    other = Core(await connect())
    rare: list[UUID] = []

    async def run(job: Job, _: HeldLease) -> Done:
        if len(stormy.jobs) == 100:
            rare.extend(await other.many("limited", 9))  # in the middle of it
        if job.attempt < 3 or job.payload["doomed"]:
            raise JobFailed("retry", "store_away", "everybody asks the same store")
        return Done()

    runs: list[str] = []
    stormy, calm = Scripted("free", _noted(runs, run)), Scripted("limited", _noted(runs))
    await core.set("free", max_attempts=3, retry_base="1 millisecond")
    jobs = [await core.enqueue(body={"doomed": n % 2 == 0}) for n in range(80)]
    async with working(settings, stormy, calm):

        async def all_have_ended() -> bool:
            await core.call("promote", max_jobs=1000)  # as any process does each second
            return await ends.count() >= len(jobs) + 9

        await until(all_have_ended)

    assert await ends.each_once(jobs + rare) == {"dead": 40, "done": 49}
    assert set(Counter(job.id for job in stormy.jobs).values()) == {3}
    failures = (
        "select count(*), max(attempt) from makeready.attempts where outcome in ('retry', 'dead')"
    )
    assert tuple(await core.db.fetchrow(failures) or ()) == (40 * 3 + 40 * 2, 3)
    assert await core.count("free", "waiting", "queued", "running") == 0
    assert runs[-1] == "free"  # served within the storm, not after it


def _noted(runs: list[str], run: Any = None) -> Any:
    """A handler's function that also keeps which queue it was for."""

    async def noted(job: Job, lease: HeldLease) -> Done:
        runs.append(job.queue)
        outcome: Done = Done() if run is None else await run(job, lease)
        return outcome

    return noted


async def test_urgent_jobs_without_end_hold_up_their_own_queue_only(
    settings: Settings, core: Core, connect: Connect, ends: Ends
) -> None:
    """H7: priority starvation: the smaller rank always goes first, as documented. While urgent
    jobs keep coming the others of that queue wait; other queues do not, and afterwards owners
    take turns as if nothing had been."""
    other = Core(await connect())
    urgent, patient = [await core.enqueue("fair", owner_key="press", rank=0)], []

    async def run(job: Job, _: HeldLease) -> Done:
        if job.priority == 0 and (len(calm.jobs) < 3 or len(urgent) < 20):
            urgent.append(await other.enqueue("fair", owner_key="press", rank=0))
        if job.priority == 0 and len(urgent) == 10:
            patient.extend(await other.many("fair", 2, owner_key="late", rank=1))
        return Done()

    stream, calm = Scripted("fair", run), Scripted("limited")
    patient += await core.many("fair", 9, owner_key="big", rank=1)
    patient += await core.many("fair", 3, owner_key="small", rank=1)
    elsewhere = await core.many("limited", 3)
    async with working(settings, stream, calm, tasks=1):
        await ends.until(elsewhere)
        await ends.until(patient)

    accepted = urgent + patient + elsewhere
    assert await ends.each_once(accepted) == {"done": len(accepted)}
    ranks = [job.priority for job in stream.jobs]
    assert ranks == sorted(ranks)
    owners = [job.owner for job in stream.jobs if job.priority == 1]
    assert sorted(owners[:3]) == sorted(owners[3:6]) == ["big", "late", "small"]
    assert sorted(owners[6:8]) == ["big", "small"]
    assert owners[8:] == ["big"] * 6


async def test_a_lane_keeps_urgent_jobs_without_end_from_taking_every_seat(
    settings: Settings, core: Core, connect: Connect, ends: Ends
) -> None:
    """H7: priority starvation: what an operator sets against it, a lane with a limit."""
    other = Core(await connect())
    await core.lane("limited", "urgent", 1)
    urgent = await core.many("limited", 4, lane_name="urgent", rank=0)
    patient = await core.many("limited", 12, rank=1)

    enough = asyncio.Event()
    streaming: list[UUID] = []

    async def run(job: Job, _: HeldLease) -> Done:
        if job.lane == "urgent":
            streaming.append(job.id)
            assert streaming == [job.id]
            if not enough.is_set():
                urgent.append(await other.enqueue("limited", lane_name="urgent", rank=0))
            streaming.remove(job.id)
        return Done()

    async def all_have_ended() -> bool:
        return await ends.count() >= len(urgent) + len(patient)

    async with working(settings, Scripted("limited", run), tasks=3):
        await ends.until(patient)
        enough.set()
        await until(all_have_ended)

    accepted = urgent + patient
    assert await ends.each_once(accepted) == {"done": len(accepted)}
    assert await core.db.fetchval("select max(attempt) from makeready.jobs") == 1


async def test_a_forgotten_transaction_and_readers_hold_up_nobody_else(
    settings: Settings, core: Core, connect: Connect, ends: Ends
) -> None:
    """H8: idle in transaction, active readers: somebody keeps a snapshot, a domain row and a job;
    all other jobs are claimed, finished, reaped and pruned meanwhile."""
    sitter, reader = await connect(), await connect()
    jobs = await core.many("drill", 12)
    lost = [job["id"] for job in await core.claim("drill", 3)]
    await core.db.execute("update makeready.workers set beat_at = beat_at - interval '1 hour'")
    stuck, parked = [job for job in jobs if job not in lost][:2]
    await core.db.execute(DOMAIN)
    await core.db.execute("insert into domain values ($1)", stuck)
    over = asyncio.Event()

    async def read() -> None:
        while not over.is_set():
            async with reader.transaction(isolation="repeatable_read"):
                await reader.fetch("select * from makeready.jobs")
                await reader.fetch("select * from makeready.queue_overview")

    async def others_have_ended() -> bool:
        await core.reap()  # as any process does each second
        return await ends.count() >= len(jobs) - 2

    sitting = sitter.transaction(isolation="repeatable_read")
    await sitting.start()
    await sitter.execute("select from domain where job = $1 for update", stuck)
    await sitter.execute("select from makeready.jobs where id = $1 for update", parked)
    async with working(settings, Scripted("drill", _tells)), asyncio.TaskGroup() as group:
        group.create_task(read())
        jobs += await core.many("drill", 6, wake=True)
        await until(others_have_ended)
        taken = await core.db.fetch("select job_id from makeready.attempts")
        assert sorted(row["job_id"] for row in taken) == sorted(lost)
        await core.set("drill", keep_done="0")
        await core.call("prune", max_jobs=100)
        assert await core.count("drill", "done") == 0
        assert [await core.state(job) for job in (stuck, parked)] == ["running", "queued"]
        await sitting.rollback()
        await ends.until(jobs)
        over.set()

    assert await ends.each_once(jobs) == {"done": 18}
    results = await core.db.fetch("select job_id from makeready.drill_results")
    assert sorted(row["job_id"] for row in results) == sorted(jobs)
