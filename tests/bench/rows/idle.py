"""What a worker process costs that has nothing to do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from tests.bench.bench import Bench, Row
from tests.bench.calls import sessions
from tests.bench.drivers import ours
from tests.bench.report import Line, at_most

QUERIES_PER_S = 3.0
WAL_KB_PER_MIN = 100.0
SETTLE_S = 4.0
VACUUMING = "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'"
CALLS = """
select s.query, s.calls
  from pg_stat_statements s join pg_roles r on r.oid = s.userid
 where r.rolname = 'makeready_worker'
   and s.dbid = (select d.oid from pg_database d where d.datname = current_database())
 order by s.calls desc
"""


async def measure(bench: Bench) -> Sequence[Line]:
    """Statements a second, and WAL a minute beyond what the server writes by itself."""
    driver = ours()
    url = await bench.database(driver)
    seconds = bench.scaled(60, 20)
    async with sessions(url, 1) as (session,), _without_autovacuum(session):
        await session.execute("create extension if not exists pg_stat_statements")
        alone = await _wal_kb(session, seconds / 2) * 2
        async with driver.running(url, "listen", queue="bench_free", tasks=4):
            await asyncio.sleep(SETTLE_S)
            await session.execute("select pg_stat_statements_reset()")
            busy = await _wal_kb(session, seconds)
            rows = await session.fetch(CALLS)
    queries = sum(row["calls"] for row in rows) / seconds
    wal = (busy - alone) * 60 / seconds
    most = "; ".join(f"{row['calls'] / seconds:.2f}/s {_short(row['query'])}" for row in rows[:6])
    return [
        bench.figure("idle", "queries of an idle worker process", queries, "/s", most),
        bench.figure("idle", "WAL of an idle worker process, after a checkpoint", wal, "kB/min"),
        at_most("idle", bench.device, "≤ 3 queries/s", queries, QUERIES_PER_S, unit="/s"),
        # Whole pages after a checkpoint come once: a shorter run would count them several times.
        at_most(
            "idle",
            bench.device,
            "≤ 100 kB WAL/min",
            math.nan if bench.is_quick else wal,
            WAL_KB_PER_MIN,
            unit="kB/min",
        ),
    ]


@asynccontextmanager
async def _without_autovacuum(session: asyncpg.Connection) -> AsyncIterator[None]:
    """WAL is counted for the whole server: what earlier rows have left must not be tidied now."""
    await session.execute("alter system set autovacuum = off")
    await session.execute("select pg_reload_conf()")
    while await session.fetchval(VACUUMING):  # noqa: ASYNC110 -- no event tells
        await asyncio.sleep(0.2)
    try:
        yield
    finally:
        await session.execute("alter system reset autovacuum")
        await session.execute("select pg_reload_conf()")


async def _wal_kb(session: asyncpg.Connection, seconds: float) -> float:
    """WAL of so many seconds from a checkpoint on: each page's first change is written whole."""
    await session.execute("checkpoint")
    before = await session.fetchval("select pg_current_wal_insert_lsn()::text")
    await asyncio.sleep(seconds)
    bytes_written = await session.fetchval(
        "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn)::float8", before
    )
    return float(bytes_written) / 1000


def _short(query: str) -> str:
    text = " ".join(query.split())
    return text if len(text) <= 40 else text[:39] + "…"


ROWS = (Row(name="idle", about="idle cost of a worker process", measure=measure),)
