"""A bad line between a worker and its database: cut, silent, answers lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import Connection
from makeready.jobs import Done, Job
from makeready_workers.attempt import HeldLease
from tests.support.core import Core
from tests.support.database import Connect
from tests.support.in_process import Scripted, working
from tests.support.proxy import proxied
from tests.support.waiting import until

pytestmark = [pytest.mark.notified, pytest.mark.slow, pytest.mark.timeout(60)]

CLAIM_WAITS = """
select count(*) from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'
   and query like '%makeready.claim(%'
"""


async def _states(db: asyncpg.Connection) -> dict[str, int]:
    rows = await db.fetch("select state, count(*)::int as n from makeready.jobs group by 1")
    return {row["state"]: row["n"] for row in rows}


async def _counted(db: asyncpg.Connection) -> tuple[int, int]:
    """Attempts beyond the first, and losses, of all jobs."""
    row = await db.fetchrow(
        "select coalesce(sum(greatest(attempt - 1, 0)), 0)::int, coalesce(sum(lost), 0)::int"
        " from makeready.jobs"
    )
    assert row is not None
    return row[0], row[1]


async def _finishes_apart(job: Job, lease: HeldLease) -> Done:
    async def commit(connection: Connection, _: Job) -> str:
        statement = "select makeready.drill_finish($1, $2, '{}')"
        return str(await connection.fetchval(statement, job.id, lease.token))

    await asyncio.sleep(0.05)
    return Done(commit=commit)


async def test_work_goes_on_over_connections_that_are_cut_all_the_time(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    assert settings.database_url
    await core.many("drill", 160)
    with proxied(settings.database_url) as proxy:
        handler = Scripted("drill", _finishes_apart)
        async with working(replace(settings, database_url=proxy.dsn), handler):

            async def all_done() -> bool:
                proxy.cut()
                # Enough to connect and to ask, in the end on a busy machine too.
                await asyncio.sleep(0.4 + 0.05 * proxy.cuts)
                return await _states(db) == {"done": 160}

            await until(all_done, timeout_s=50)

    assert proxy.cuts >= 3
    assert await db.fetchval("select count(*) from makeready.drill_results") == 160
    assert await _counted(db) == (0, 0)


async def test_a_silent_line_is_noticed_and_no_result_is_lost(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    assert settings.database_url
    with proxied(settings.database_url) as proxy:
        handler = Scripted("drill", _finishes_apart)
        async with working(replace(settings, database_url=proxy.dsn), handler) as shop:
            await core.many("drill", 4, wake=True)
            await until(lambda: handler.at_once == 4)
            proxy.silence()
            await until(lambda: shop.worker.statistics().heartbeat.missed)
            proxy.restore_connectivity()
            await shop.until_ends(4, timeout_s=30)
            assert set(shop.worker.statistics().ends) <= {"done", "repeat"}

    assert await _counted(db) == (0, 0)


async def test_a_claim_whose_answer_was_lost_costs_seconds_not_the_attempts_limit(
    settings: Settings, core: Core, db: asyncpg.Connection, connect: Connect
) -> None:
    assert settings.database_url
    observer = await connect()  # outside of the transaction, which sees one moment of the others
    with proxied(settings.database_url) as proxy:
        handler = Scripted("drill")
        async with working(replace(settings, database_url=proxy.dsn), handler) as shop:
            await until(lambda: shop.worker.statistics().claims > 1)
            async with db.transaction():
                # The claim stops at this lock; when it goes on nobody is there to hear it.
                await db.execute("lock table makeready.drill_jobs in access exclusive mode")
                await core.enqueue("drill")
                await until(lambda: observer.fetchval(CLAIM_WAITS), what="a claim at the lock")
                proxy.cut()
            await shop.until_ends(timeout_s=20)  # its attempt might take five minutes

    strays = await db.fetchval(
        "select count(*) from makeready.attempts where error ->> 'code' = 'claim_lost'"
    )
    assert strays == 1
    assert await _states(db) == {"done": 1}
    assert await _counted(db) == (0, 0)


async def test_a_handler_that_was_hit_by_the_fault_runs_again_uncounted(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async def asks(_: Job, __: HeldLease) -> Done:
        async with shop.pool.acquire() as connection:
            pid = await connection.fetchval("select pg_backend_pid()")
            if len(handler.jobs) == 1:
                await db.execute("select pg_terminate_backend($1, 5000)", pid)
            await connection.fetchval("select 1")
        return Done()

    handler = Scripted("drill", asks)
    async with working(settings, handler) as shop:
        await core.enqueue("drill", wake=True)
        assert await shop.until_ends(2) == {"queued": 1, "done": 1}

    assert [job.attempt for job in handler.jobs] == [1, 1]
