"""From the call that enqueues to the handler that runs, when nothing else is going on.

One client, the same for all, that enqueues and then waits for the line of the handler; both read
the machine's monotonic clock. Makeready's client commits and then wakes, as the HTTP service does.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg

from makeready import jobs
from makeready.config import Settings
from makeready.db import Control
from makeready.waking import Waker
from tests.bench.bench import Bench, Row
from tests.bench.drivers import Driver, ours
from tests.bench.report import Line, at_most, quantile

QUEUE = "bench_free"
PAUSE_S = (0.005, 0.025)
P50_MS = 1.0
P99_MS = 3.0
Enqueue = Callable[[int], Coroutine[Any, Any, None]]


async def measure(bench: Bench) -> Sequence[Line]:
    """Median and p99 of Makeready and graphile-worker."""
    found = {"Makeready": await _makeready(bench)}
    if graphile := bench.peers.get("graphile-worker"):
        found["graphile-worker"] = await _graphile(bench, graphile)
    p50 = {name: quantile(times, 0.5) for name, times in found.items()}
    p99 = {name: quantile(times, 0.99) for name, times in found.items()}
    lines: list[Line] = []
    for name in found:
        lines.append(bench.figure("latency", f"{name}: enqueue → handler, p50", p50[name], "ms"))
        lines.append(bench.figure("latency", f"{name}: enqueue → handler, p99", p99[name], "ms"))
    mine, rare = p50["Makeready"], p99["Makeready"]
    other, other_rare = (found.get("graphile-worker", math.nan) for found in (p50, p99))
    if not bench.is_slow:  # the enqueue alone takes a flush
        lines.append(at_most("latency", bench.device, "p50 ≤ 1 ms", mine, P50_MS))
        lines.append(at_most("latency", bench.device, "p99 ≤ 3 ms", rare, P99_MS))
    lines.append(at_most("latency", bench.device, "p50 ≤ 0.8 × graphile's", mine, 0.8 * other))
    lines.append(
        at_most("latency", bench.device, "p99 ≤ 0.8 × graphile's", rare, 0.8 * other_rare)
    )
    return lines


async def _makeready(bench: Bench) -> list[float]:
    driver = ours()
    url = await bench.database(driver)
    control = Control(Settings(database_url=url), "makeready_http")
    session = await asyncpg.connect(url)

    waker = Waker(control)
    sender = asyncio.create_task(waker.run())

    async def enqueue(n: int) -> None:
        await jobs.enqueue(session, QUEUE, {"n": n})
        waker.wake(QUEUE)

    try:
        return await _times(bench, driver, url, enqueue, {"queue": QUEUE, "tasks": 4})
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        await control.close()
        await session.close()


async def _graphile(bench: Bench, driver: Driver) -> list[float]:
    url = await bench.database(driver)
    session = await asyncpg.connect(url)

    async def enqueue(n: int) -> None:
        await session.execute(
            "select graphile_worker.add_job('noop', $1::text::json)", json.dumps({"n": n})
        )

    try:
        return await _times(bench, driver, url, enqueue, {"tasks": 4})
    finally:
        await session.close()


async def _times(
    bench: Bench, driver: Driver, url: str, enqueue: Enqueue, asked: dict[str, object]
) -> list[float]:
    took: list[float] = []
    count = bench.scaled(1000, 200)
    warm_up = 50
    async with driver.running(url, "listen", **asked) as worker:
        for n in range(count + warm_up):
            await asyncio.sleep(random.uniform(*PAUSE_S))
            began = time.monotonic_ns()
            enqueued = asyncio.create_task(enqueue(n))
            line = await worker.line()
            await enqueued
            if int(line["n"]) != n:
                raise RuntimeError(f"{driver.name} ran job {line['n']} in place of {n}")
            took.append((int(line["at"]) - began) / 1e6)
    return took[warm_up:]


ROWS = (Row(name="latency", about="idle start: enqueue → handler running", measure=measure),)
