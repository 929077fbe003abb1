"""What one claim takes in a crowd: a million queued, ten million ended, a full lane at the head.

The same loop (claim one, finish it, enqueue another) on a table with 1,000 queued jobs and on the
crowd, in both with 30 % of the queued jobs in a lane that is full and stands first in line. Then
once more while a million ended jobs are pruned. PostgreSQL 18, and 15 where it is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from makeready import schema
from tests.bench.bench import Bench, Row
from tests.bench.calls import sessions
from tests.bench.cluster import BENCH_SQL, Cluster
from tests.bench.drivers import ours
from tests.bench.report import Line, at_most, quantile

QUEUE = "bench_limited"
OLD_BINARIES = Path("/usr/lib/postgresql/15/bin")
FULL_SHARE = 0.3
FACTOR = 2.0

# Written past the functions: ten million calls would take an hour. Ids rise as version 7 does.
ENDED = """
insert into makeready.bench_limited_jobs
       (queue, id, state, run_at, payload, result, attempt, final_lease, worker_id,
        created_at, started_at, finished_at)
select 'bench_limited', ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'done',
       at, '{"n": 1}', '{"ok": 1}', 1, '00000000-0000-4000-8000-000000000001',
       '00000000-0000-4000-8000-000000000002', at, at, at
  from generate_series($1::bigint, $2::bigint) n,
       lateral (select now() - interval '2 days' + n * interval '10 ms' as at) t
"""
OPEN = """
insert into makeready.bench_limited_jobs
       (queue, id, state, priority, run_at, lane, payload, created_at)
select 'bench_limited', ('00000001-0000-7000-8000-' || lpad(to_hex(n + $5), 12, '0'))::uuid, $2,
       $3, now() + case when $2 = 'waiting' then interval '1 year' else interval '0' end, $4,
       '{"n": 1}', now()
  from generate_series(1, $1::bigint) n
"""
SEATS = 8
KEEPER = UUID("00000000-0000-4000-8000-00000000000f")
FEW = "1,000 queued"
CROWD = "the crowd"
PRUNING = "the crowd, pruning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many jobs of each kind."""

    queued: int
    ended: int
    waiting: int
    pruned: int


SMALL = Sizes(queued=1_000, ended=0, waiting=0, pruned=0)


async def measure(bench: Bench) -> Sequence[Line]:
    """On this cluster, and on an old one if there is any."""
    lines = await _on(bench, bench.cluster)
    if not OLD_BINARIES.is_dir():
        lines.append(bench.figure("crowd", "PostgreSQL 15 is not installed", float("nan"), ""))
        return lines
    folder = bench.folder / "old"
    with Cluster(folder, bench.cluster.device, binaries=OLD_BINARIES) as cluster:
        lines += await _on(bench, cluster)
    return lines


async def _on(bench: Bench, cluster: Cluster) -> list[Line]:
    scale = bench.scaled(50, 1)
    crowd = Sizes(
        queued=20_000 * scale, ended=200_000 * scale, waiting=6_000 * scale, pruned=20_000 * scale
    )
    version = f"PG {(await cluster.version()).split('.')[0]}"
    few = await _prepared(cluster, "bench_few", SMALL)
    many = await _prepared(cluster, f"bench_crowd_{crowd.queued}", crowd)
    times: dict[str, list[float]] = {FEW: [], CROWD: [], PRUNING: []}
    pruned = 0
    for _ in range(bench.rounds):
        times[FEW] += await _steady(bench, few)
        times[CROWD] += await _steady(bench, many)
        async with sessions(many, 1) as (session,):
            before = await _prune_next(session, crowd.pruned)
            async with ours().running(many, "prune"):
                times[PRUNING] += await _steady(bench, many)
            pruned += before - int(await session.fetchval(OLD))
    lines: list[Line] = []
    for label, found in times.items():
        note = f"{pruned:,} jobs were pruned meanwhile" if label == PRUNING else ""
        for share in (0.5, 0.99):
            what = f"{version}, {label}: claim p{share * 100:.0f}"
            lines.append(bench.figure("crowd", what, quantile(found, share), "ms", note))
    bound = FACTOR * quantile(times[FEW], 0.99)
    for label in (CROWD, PRUNING):
        goal = f"{version}, {label}: p99 ≤ 2 × that with {FEW}"
        lines.append(at_most("crowd", bench.device, goal, quantile(times[label], 0.99), bound))
    return lines


async def _steady(bench: Bench, url: str) -> list[float]:
    facts = await ours().act(url, "steady", queue=QUEUE, jobs=bench.scaled(1_500, 400))
    found: list[float] = facts["milliseconds"]
    return found


OLD = """
select count(*) from makeready.jobs j join makeready.queues q on q.queue = j.queue
 where j.queue = 'bench_limited' and j.state = 'done' and j.finished_at < now() - q.keep_done
"""


async def _prune_next(session: asyncpg.Connection, count: int) -> int:
    """Sets retention so that the next `count` ended jobs are old; returns how many are."""
    await session.execute(
        "select makeready.queue_set('bench_limited', 'keep_done',"
        " (select (now() - j.finished_at)::text from makeready.jobs j"
        "   where j.queue = 'bench_limited' and j.state = 'done'"
        "   order by j.finished_at offset $1 limit 1))",
        count,
    )
    await session.execute("update makeready.chores set due_at = now(), batch = 1000")
    return int(await session.fetchval(OLD))


async def _prepared(cluster: Cluster, database: str, sizes: Sizes) -> str:
    """The database, made unless it is there from the other device."""
    if await cluster.has(database) and await _is_current(cluster.dsn(database)):
        return cluster.dsn(database)
    url = await cluster.fresh(database)
    await schema.migrate(url, [BENCH_SQL])
    session = await asyncpg.connect(url)
    try:
        await session.execute(
            "select makeready.queue_set('bench_limited', 'max_in_flight', $1)", str(SEATS)
        )
        await session.execute(
            "select makeready.queue_set('bench_limited', 'keep_done', '1000 days')"
        )
        await session.execute("select makeready.lane_set('bench_limited', 'full', 1)")
        await session.execute("set synchronous_commit = off")
        for start in range(0, sizes.ended, 500_000):
            await session.execute(ENDED, start, min(start + 500_000, sizes.ended) - 1)
        full = int(sizes.queued * FULL_SHARE)
        await session.execute(OPEN, full, "queued", -1, "full", 0)
        await session.execute(OPEN, sizes.queued - full, "queued", 0, "", full)
        await session.execute(OPEN, sizes.waiting, "waiting", 0, "", sizes.queued)
        await session.execute("vacuum analyze makeready.bench_limited_jobs")
        await _fill_lane(session)
        await session.execute("checkpoint")
    finally:
        await session.close()
    return url


async def _is_current(url: str) -> bool:
    """Whether a database that an earlier run has kept is of this version."""
    async with sessions(url, 1) as (session,):
        try:
            return (await schema.inspect(session, [BENCH_SQL])).is_current
        except asyncpg.PostgresError:  # of a version so old that its ledger looks different
            return False


async def _fill_lane(session: asyncpg.Connection) -> None:
    """Claims the first job in line: from now on its lane is full."""
    await session.execute(
        "select makeready.worker_register($1, 'keeper', 'bench', 1, 1, array['bench_limited'],"
        " 'bench', '1 day', false)",
        KEEPER,
    )
    lane = await session.fetchval(
        "select lane from makeready.claim(array['bench_limited'], $1, 1)", KEEPER
    )
    await session.execute(
        "update makeready.jobs set run_until = now() + interval '1 year' where state = 'running'"
    )
    if lane != "full":
        raise RuntimeError(f"the first claim took a job of lane {lane!r}")


ROWS = (
    Row(
        name="crowd",
        about="claim p99 with 1 M queued, 10 M ended, 300,000 waiting, and during a prune of 1 M",
        measure=measure,
    ),
)
