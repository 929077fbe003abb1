"""A claim after 20,000 jobs under one held snapshot: nothing dead can be cleaned away meanwhile.

Every backup, every report and every forgotten psql session does that. The same method for all:
time claims one after the other, open the snapshot, run 20,000 jobs, time claims again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from tests.bench.bench import Bench, Row
from tests.bench.drivers import Driver, ours
from tests.bench.report import Line, at_most, median

HELD = "begin isolation level repeatable read; select count(*) from pg_class"
LIMITED = "Makeready, exact limit"
FREE = "Makeready, no limit"


async def measure(bench: Bench) -> Sequence[Line]:
    """Median claim before and after, of everybody."""
    mine = ours()
    lines: list[Line] = []
    after: dict[str, float] = {}
    for name, driver, asked in (
        (LIMITED, mine, {"queue": "bench_limited"}),
        (FREE, mine, {"queue": "bench_free"}),
        *((name, driver, {}) for name, driver in bench.peers.items()),
    ):
        before, after[name] = await _one(bench, driver, asked)
        lines.append(bench.figure("snapshot", f"{name}: claim p50 before", before, "ms"))
        lines.append(bench.figure("snapshot", f"{name}: claim p50 after", after[name], "ms"))
    best = min((after[name] for name in bench.peers), default=float("nan"))
    for name in (LIMITED, FREE):
        goal = f"{name}: claim p50 under the snapshot ≤ the best peer's"
        lines.append(at_most("snapshot", bench.device, goal, after[name], best))
    return lines


async def _one(bench: Bench, driver: Driver, asked: Mapping[str, Any]) -> tuple[float, float]:
    url = await bench.database(driver)
    count = bench.scaled(500, 100)
    busy = bench.scaled(20_000, 3_000)
    await bench.fill(driver, url, jobs=count, tasks=1, **asked)
    facts = await driver.act(url, "claims", jobs=count, tasks=1, **asked)
    before = median(facts["milliseconds"])
    holder = await asyncpg.connect(url)
    try:
        await holder.execute(HELD)
        await bench.fill(driver, url, jobs=busy, tasks=4, **asked)
        await driver.act(url, "drain", tasks=4, **asked)
        await bench.fill(driver, url, jobs=count, tasks=1, **asked)
        facts = await driver.act(url, "claims", jobs=count, tasks=1, **asked)
    finally:
        await holder.close()
    return before, median(facts["milliseconds"])


ROWS = (
    Row(
        name="snapshot",
        about="claim p50 after 20,000 jobs under a held snapshot",
        measure=measure,
    ),
)
