"""Drives pgqueuer for the benchmark: `python drive_pgqueuer.py '{"act": …}'`.

Runs in the peer's own virtual environment, so it imports nothing of this repository. The
connection comes from the PG* variables. Prints one JSON object.
"""

# The peer is installed in a folder of its own, out of the type checker's sight:
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

Facts = dict[str, Any]


class Drive:
    """As many queue managers as tasks are asked for, each with a connection of its own."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.done = 0
        self.first_at = 0.0

    async def run(self, _job: object) -> None:
        """Does nothing."""
        self.first_at = self.first_at or time.perf_counter()
        self.done += 1

    async def install(self, queries: Queries) -> Facts:
        """Creates its schema: every table logged, as durable as the others."""
        await queries.install()
        return {}

    async def fill(self, queries: Queries, jobs: int) -> Facts:
        """Enqueues with its own bulk call."""
        for start in range(0, jobs, 1000):
            size = min(1000, jobs - start)
            await queries.enqueue(["noop"] * size, [b"{}"] * size, [0] * size)
        return {}

    async def drain(self, queries: Queries, tasks: int) -> Facts:
        """Works until the queue is empty."""
        managers = [PgQueuer(AsyncpgDriver(await asyncpg.connect())) for _ in range(tasks)]
        for manager in managers:
            manager.entrypoint("noop")(self.run)
        await asyncio.gather(
            *(m.run(batch_size=self.batch, mode=QueueExecutionMode.drain) for m in managers)
        )
        elapsed = time.perf_counter() - self.first_at
        left = sum(row.count for row in await queries.queue_size())
        return {"jobs": self.done, "seconds": elapsed, "left": left}

    async def claims(self) -> Facts:
        """Times each dequeue of one manager that takes one job at a time, in milliseconds."""
        took: list[float] = []
        manager = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
        manager.entrypoint("noop")(self.run)
        dequeue = manager.qm.queries.dequeue

        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            jobs = await dequeue(*args, **kwargs)
            if jobs:
                took.append((time.perf_counter() - began) * 1000)
            return jobs

        manager.qm.queries.dequeue = timed
        await manager.run(batch_size=1, mode=QueueExecutionMode.drain)
        return {"milliseconds": took}


async def main(asked: Mapping[str, Any]) -> None:
    """Does what was asked and prints the facts."""
    logging.disable(logging.CRITICAL)
    drive = Drive(int(asked.get("batch", 10)))
    queries = Queries(AsyncpgDriver(await asyncpg.connect()))
    match asked["act"]:
        case "install":
            facts = await drive.install(queries)
        case "fill":
            facts = await drive.fill(queries, int(asked["jobs"]))
        case "drain":
            facts = await drive.drain(queries, int(asked["tasks"]))
        case "claims":
            facts = await drive.claims()
        case other:
            raise SystemExit(f"unknown act {other!r}")
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(json.loads(sys.argv[1])))
