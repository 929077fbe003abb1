"""What a killed worker and a crashed server cost: time for the one, and nothing done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg

from tests.bench.bench import Bench, Row
from tests.bench.calls import sessions
from tests.bench.drivers import DriveError, ours
from tests.bench.report import Line, Verdict, at_most, quantile

QUEUE = "bench_free"
BOUND_S = 3.0
ROUND_TIMEOUT_S = 30.0
TRUST_S = 11.0
CRASHES = 3


async def recovery(bench: Bench) -> Sequence[Line]:
    """From SIGKILL of a worker in mid-job to the handler that runs the job again elsewhere."""
    driver = ours()
    url = await bench.database(driver)
    took: list[float] = []
    async with sessions(url, 1) as (session,):
        victims = driver.running(url, "hold", queue=QUEUE, tasks=4)
        victim = await victims.__aenter__()
        # After a silence of more than 3 s (nobody worked here yet) no missing heartbeat is
        # trusted for 10 s. Recovery is measured in a system that runs.
        await asyncio.sleep(TRUST_S)
        for n in range(bench.scaled(20 if bench.is_slow else 50, 4)):
            await session.execute(
                "select makeready.enqueue($1, jsonb_build_object('n', $2::int), wake => true)",
                QUEUE,
                n,
            )
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                await victim.line()
                heirs = driver.running(url, "hold", queue=QUEUE, tasks=4)
                heir = await heirs.__aenter__()
                killed_at = time.monotonic_ns()
                await victim.kill()
                line = await heir.line()
            if (line["n"], line["lost"]) != (n, 1):
                raise RuntimeError(f"job {n} was lost and then {line} ran")
            took.append((int(line["at"]) - killed_at) / 1e9)
            await victims.__aexit__(None, None, None)
            victims, victim = heirs, heir
        await victims.__aexit__(None, None, None)
    p95 = quantile(took, 0.95)
    return [
        bench.figure(
            "recovery", f"kill -9 → runs again, p50 of {len(took)}", quantile(took, 0.5), "s"
        ),
        bench.figure("recovery", "kill -9 → runs again, p95", p95, "s"),
        bench.figure("recovery", "kill -9 → runs again, longest", max(took), "s"),
        at_most("recovery", bench.device, "p95 ≤ 3 s", p95, BOUND_S, unit="s"),
    ]


async def crash(bench: Bench) -> Sequence[Line]:
    """The server is killed three times in mid-work; each job must be finished exactly once."""
    driver = ours()
    url = await bench.database(driver)
    count = bench.scaled(6_000, 1_500)
    async with sessions(url, 1) as (session,):
        await session.execute("create table public.book (job uuid not null)")
        await session.execute("grant insert on public.book to makeready_worker")
    async with driver.running(url, "keep", queue=QUEUE, tasks=4) as worker:
        await driver.act(url, "fill", queue=QUEUE, jobs=count)
        began = time.perf_counter()
        for crashes in range(1, CRASHES + 1):
            await _until(url, count * crashes // (CRASHES + 2))
            bench.cluster.restart(crash=True)
        try:
            await _until(url, count)
        except TimeoutError:
            raise DriveError(f"the worker stands still: {worker.last_words}") from None
        elapsed = time.perf_counter() - began
    async with sessions(url, 1) as (session,):
        counts = await session.fetch(
            "select (select count(*) from public.book),"
            " (select count(distinct job) from public.book),"
            " (select count(*) from makeready.jobs where queue = $1 and state = 'done')",
            QUEUE,
        )
    entries, distinct, done = counts[0]
    measured = (
        f"{entries - distinct} twice, {count - done} of {count} not done after {CRASHES} crashes"
    )
    return [
        bench.figure(
            "crash", f"{count} jobs through {CRASHES} crashes of the server", elapsed, "s"
        ),
        Verdict(
            row="crash",
            device=bench.device,
            goal="nothing finished twice, nothing lost",
            measured=measured,
            is_met=entries == distinct == done == count,
        ),
    ]


async def _until(url: str, count: int) -> None:
    """Waits until so many jobs are in the book."""
    async with asyncio.timeout(120):
        while True:
            try:
                async with sessions(url, 1) as (session,):
                    if await session.fetchval("select count(*) from public.book") >= count:
                        return
            except (OSError, asyncpg.PostgresError):
                pass  # it is coming back
            await asyncio.sleep(0.05)


ROWS = (
    Row(name="recovery", about="recovery after kill -9 of a worker", measure=recovery),
    Row(
        name="crash",
        about="duplicates of finished work after crashes of the server",
        measure=crash,
    ),
)
