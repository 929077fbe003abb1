"""Working off a full queue: an exact limit against one-by-one peers, batches against batches.

Every contender runs jobs that do nothing on four concurrent tasks, with the settings its own
documentation gives for the case. Finishing is durable for all: synchronous_commit is on. Claiming
is not for Makeready, by design: a claim lost in a crash of the server only repeats work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.bench.bench import Bench, Contender, Row, compete
from tests.bench.drivers import ours
from tests.bench.report import Line, at_least

TASKS = 4
LIMITED = "bench_limited"
FREE = "bench_free"
BATCH = 500  # the local queue of graphile-worker's published figures, and the best of pgqueuer's


async def exact(bench: Bench) -> Sequence[Line]:
    """Claims under an exact limit of 4."""
    few = bench.scaled(3_000, 1_000) if bench.is_slow else bench.scaled(10_000, 2_000)
    loop = Contender(
        label="Makeready, worker loop, exact limit of 4",
        driver=ours(),
        jobs=few,
        fill={"queue": LIMITED},
        drain={"act": "drain", "queue": LIMITED, "tasks": TASKS},
    )
    contenders = [loop]
    if graphile := bench.peers.get("graphile-worker"):
        contenders.append(
            Contender(
                label="graphile-worker, one by one, no limit",
                driver=graphile,
                jobs=few,
                fill={"tasks": TASKS},
                drain={"act": "drain", "tasks": TASKS, "localQueue": False},
            )
        )
    if procrastinate := bench.peers.get("procrastinate"):
        contenders.append(
            Contender(
                label="procrastinate, no limit",
                driver=procrastinate,
                jobs=few // 2,
                fill={"tasks": TASKS},
                drain={"act": "drain", "tasks": TASKS},
            )
        )
    rates = await compete(bench, contenders)
    mine = rates[loop.label]
    one_by_one = rates.get("graphile-worker, one by one, no limit", math.nan)
    other = rates.get("procrastinate, no limit", math.nan)
    return [
        *(bench.figure("exact", label, rate, "jobs/s") for label, rate in rates.items()),
        at_least("exact", bench.device, "≥ graphile-worker one by one", mine, one_by_one),
        at_least("exact", bench.device, "≥ 4 × procrastinate", mine, 4 * other),
    ]


async def batched(bench: Bench) -> Sequence[Line]:
    """Claims of a queue without limits, in batches."""
    many = bench.scaled(100_000, 20_000)
    calls = Contender(
        label=f"Makeready, batches of {BATCH} by SQL calls",
        driver=ours(),
        jobs=many,
        fill={"queue": FREE},
        drain={"act": "calls", "queue": FREE, "tasks": TASKS, "batch": BATCH},
    )
    loop = Contender(
        label="Makeready, worker loop",
        driver=ours(),
        jobs=bench.scaled(10_000, 3_000),
        fill={"queue": FREE},
        drain={"act": "drain", "queue": FREE, "tasks": TASKS},
        note="claims for its free tasks only: nothing is leased that cannot start at once",
    )
    contenders = [calls, loop]
    if graphile := bench.peers.get("graphile-worker"):
        contenders.append(
            Contender(
                label="graphile-worker, local queue of 500",
                driver=graphile,
                jobs=many,
                fill={"tasks": TASKS},
                drain={"act": "drain", "tasks": TASKS, "localQueue": True},
            )
        )
    if pgqueuer := bench.peers.get("pgqueuer"):
        contenders.append(
            Contender(
                label=f"pgqueuer, batches of {BATCH}",
                driver=pgqueuer,
                jobs=bench.scaled(50_000, 10_000),
                fill={"tasks": TASKS},
                drain={"act": "drain", "tasks": 1, "batch": BATCH},
            )
        )
    rates = await compete(bench, contenders)
    mine = rates[calls.label]
    local = rates.get("graphile-worker, local queue of 500", math.nan)
    other = rates.get(f"pgqueuer, batches of {BATCH}", math.nan)
    notes = {c.label: c.note for c in contenders}
    return [
        *(bench.figure("batched", k, rate, "jobs/s", notes[k]) for k, rate in rates.items()),
        at_least("batched", bench.device, "≥ graphile-worker's local queue", mine, local),
        at_least("batched", bench.device, "≥ 2 × pgqueuer", mine, 2 * other),
    ]


ROWS = (
    Row(name="exact", about="exact-limit claims, 4 tasks, one claim for all free", measure=exact),
    Row(name="batched", about="claims without a limit, batched", measure=batched),
)
