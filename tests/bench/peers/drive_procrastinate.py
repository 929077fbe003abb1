"""Drives procrastinate for the benchmark: `python drive_procrastinate.py '{"act": …}'`.

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

import procrastinate
import uvloop

Facts = dict[str, Any]


class Drive:
    """One app with one task that does nothing and notes when the first one ran."""

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        # one connection a task, one that listens, one for the heartbeat
        self.connector = procrastinate.PsycopgConnector(min_size=tasks + 2, max_size=tasks + 2)
        self.app = procrastinate.App(connector=self.connector)
        self.noop = self.app.task(name="noop")(self.run)
        self.done = 0
        self.first_at = 0.0

    async def run(self, n: int) -> None:  # noqa: ARG002 -- the job's argument
        """Does nothing."""
        self.first_at = self.first_at or time.perf_counter()
        self.done += 1

    async def install(self) -> Facts:
        """Creates its schema."""
        await self.app.schema_manager.apply_schema_async()
        return {}

    async def fill(self, jobs: int) -> Facts:
        """Enqueues with its own bulk call."""
        for start in range(0, jobs, 1000):
            await self.noop.batch_defer_async(
                *({"n": n} for n in range(start, min(start + 1000, jobs)))
            )
        return {}

    async def drain(self) -> Facts:
        """Works until the queue is empty."""
        await self.work()
        elapsed = time.perf_counter() - self.first_at
        return {"jobs": self.done, "seconds": elapsed, "left": await self.left()}

    async def claims(self) -> Facts:
        """Times each fetch of one worker, in milliseconds."""
        took: list[float] = []
        manager = self.app.job_manager
        fetch = manager.fetch_job

        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            job = await fetch(*args, **kwargs)
            if job is not None:
                took.append((time.perf_counter() - began) * 1000)
            return job

        manager.fetch_job = timed
        await self.work()
        return {"milliseconds": took}

    async def work(self) -> None:
        await self.app.run_worker_async(
            concurrency=self.tasks, wait=False, install_signal_handlers=False
        )

    async def left(self) -> int:
        row = await self.connector.execute_query_one_async(
            "select count(*)::int as n from procrastinate_jobs where status in ('todo', 'doing')"
        )
        return int(row["n"])


async def main(asked: Mapping[str, Any]) -> None:
    """Does what was asked and prints the facts."""
    logging.disable(logging.CRITICAL)
    drive = Drive(int(asked["tasks"]))
    async with drive.app.open_async():
        match asked["act"]:
            case "install":
                facts = await drive.install()
            case "fill":
                facts = await drive.fill(int(asked["jobs"]))
            case "drain":
                facts = await drive.drain()
            case "claims":
                facts = await drive.claims()
            case other:
                raise SystemExit(f"unknown act {other!r}")
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(json.loads(sys.argv[1])))
