"""Makeready's own worker process, as it ships, with handlers that do nothing."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg

from makeready import leases
from makeready.config import Settings
from makeready.db import Connection, Control, pool_opened
from makeready.jobs import Done, Job
from makeready.listening import Listener
from makeready.log import configure_logging
from makeready.upkeep import Upkeep
from makeready_workers.attempt import HeldLease
from makeready_workers.loop import Worker
from makeready_workers.process import SPARE_CONNECTIONS

Facts = dict[str, Any]
Work = Callable[[Job, HeldLease], Awaitable[Done]]
POLL_S = 0.002  # how exactly the end of a run is noticed
IDLE_S = 2.0  # without an end for so long, something is wrong
KEEP_S = 0.005  # a job of the book
DONE = Done()


class NoopHandler:
    """A handler of one queue that tells somebody about each job."""

    def __init__(self, queue: str, work: Work) -> None:
        self.queue = queue
        self._work = work

    async def run(self, job: Job, lease: HeldLease) -> Done:
        """Does as good as nothing."""
        return await self._work(job, lease)


@asynccontextmanager
async def worker_running(url: str, queue: str, tasks: int, work: Work) -> AsyncIterator[Worker]:
    """What `makeready work` runs, composed as there."""
    settings = Settings(database_url=url, tasks=tasks, drain_grace_s=1.0)
    configure_logging("json", "warning")
    async with pool_opened(
        settings, "makeready_worker", size=tasks + SPARE_CONNECTIONS, patience_s=10
    ) as pool:
        control = Control(settings, "makeready_worker")
        listener = Listener(settings, "makeready_worker")
        upkeep = Upkeep(pool, Control(settings, "makeready_worker", part="upkeep"))
        worker = Worker(
            settings, pool, [NoopHandler(queue, work)], control=control, listener=listener
        )
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(listener.run)
                group.start_soon(upkeep.run)
                group.start_soon(worker.run)
                yield worker
                worker.stop()
                await anyio.sleep(0.05)
                group.cancel_scope.cancel()
        finally:
            await control.close()


async def drain(url: str, queue: str, tasks: int) -> Facts:
    """Works until the queue is empty; the time from the first handler to the last finish."""
    first_at = 0.0
    connection = await asyncpg.connect(url)
    jobs = await connection.fetchval(
        "select count(*)::int from makeready.jobs where queue = $1 and state = 'queued'", queue
    )

    async def note(_: Job, __: HeldLease) -> Done:
        nonlocal first_at
        first_at = first_at or time.perf_counter()
        return DONE

    async with worker_running(url, queue, tasks, note) as worker:
        done = 0
        changed_at = time.perf_counter()
        while done < jobs and time.perf_counter() - changed_at < IDLE_S:
            await asyncio.sleep(POLL_S)
            if worker.statistics().ends.get("done", 0) != done:
                done = worker.statistics().ends.get("done", 0)
                changed_at = time.perf_counter()
        elapsed = changed_at - first_at
    left = await connection.fetchval(
        "select count(*)::int from makeready.jobs where queue = $1 and finished_at is null", queue
    )
    await connection.close()
    return {"jobs": done, "seconds": elapsed, "left": left}


async def listen(url: str, queue: str, tasks: int) -> Facts:
    """Works until standard input closes; a line for each job: its number and when it started."""

    async def note(job: Job, _: HeldLease) -> Done:
        _tell({"n": job.payload["n"], "at": str(time.monotonic_ns())})
        return DONE

    return await _until_told(url, queue, tasks, note)


async def hold(url: str, queue: str, tasks: int) -> Facts:
    """As `listen`, but a job ends only after a worker was lost over it.

    Whoever kills this process while it holds a fresh job does it in mid-job.
    """

    async def note(job: Job, _: HeldLease) -> Done:
        _tell({"n": job.payload["n"], "at": str(time.monotonic_ns()), "lost": job.lost})
        if job.lost == 0:
            await anyio.sleep_forever()
        return DONE

    return await _until_told(url, queue, tasks, note)


async def keep(url: str, queue: str, tasks: int) -> Facts:
    """Works until standard input closes and keeps a book of what was finished.

    The entry and the finish are one transaction: a job that is finished twice is in it twice.
    """

    async def work(_: Job, lease: HeldLease) -> Done:
        async def commit(connection: Connection, job: Job) -> str:
            async with connection.transaction():
                verdict = await leases.finish(connection, lease)
                if verdict == "ok":
                    await connection.execute("insert into public.book (job) values ($1)", job.id)
            return verdict

        await anyio.sleep(KEEP_S)
        return Done(commit=commit)

    return await _until_told(url, queue, tasks, work)


async def _until_told(url: str, queue: str, tasks: int, work: Work) -> Facts:
    async with worker_running(url, queue, tasks, work) as worker:
        while worker.statistics().claims == 0:  # noqa: ASYNC110 -- a worker has no event for it
            await asyncio.sleep(POLL_S)
        _tell({"ready": True})
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    return {}


def _tell(facts: Facts) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
