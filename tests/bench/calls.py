"""Makeready's SQL functions called one after the other, by asyncpg and nothing above it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg

Facts = dict[str, Any]
CLAIM = "select id, lease, payload from makeready.claim($1, $2, $3)"
FINISH = "select makeready.finish($1, $2, $3)"
FINISH_MANY = "select job_id from makeready.finish_many($1, $2, $3) where verdict <> 'ok'"
WARM_UP = 20  # the first calls of a session plan and fill caches
LEFT = "select count(*)::int from makeready.jobs where queue = $1 and finished_at is null"
REGISTER = "select makeready.worker_register($1, $2, 'bench', 1, $3, $4, 'bench', '1 day', false)"


@asynccontextmanager
async def sessions(url: str, count: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections, set up as the product's pool does."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            session = await asyncpg.connect(url, max_cached_statement_lifetime=0)
            stack.push_async_callback(session.close)
            opened.append(session)
        yield opened


async def register(session: asyncpg.Connection, queue: str, tasks: int) -> UUID:
    """Enters a worker that nobody will take for lost."""
    worker = uuid4()
    await session.execute(REGISTER, worker, str(worker), tasks, [queue])
    return worker


async def fill(url: str, queue: str, jobs: int, tasks: int = 1) -> Facts:  # noqa: ARG001
    """Enqueues jobs with nothing in them."""
    async with sessions(url, 1) as (session,):
        for start in range(0, jobs, 10_000):
            count = min(10_000, jobs - start)
            await session.execute(
                "select makeready.enqueue_many($1, array(select jsonb_build_object('n', n)"
                " from generate_series($2::int, $3::int) as n))",
                queue,
                start,
                start + count - 1,
            )
    return {}


async def drain(url: str, queue: str, tasks: int, batch: int) -> Facts:
    """Claims and finishes in batches, each task for itself, until nothing is left."""
    async with sessions(url, tasks) as opened:
        worker = await register(opened[0], queue, tasks)

        async def work(session: asyncpg.Connection) -> int:
            done = 0
            while found := await session.fetch(CLAIM, [queue], worker, batch):
                ids, leases = [row["id"] for row in found], [row["lease"] for row in found]
                if refused := await session.fetch(FINISH_MANY, queue, ids, leases):
                    raise RuntimeError(f"{len(refused)} finishes were refused")
                done += len(found)
            return done

        began = time.perf_counter()
        done = await asyncio.gather(*(work(session) for session in opened))
        elapsed = time.perf_counter() - began
        left = await opened[0].fetchval(LEFT, queue)
    return {"jobs": sum(done), "seconds": elapsed, "left": left}


async def claim_times(url: str, queue: str, jobs: int, tasks: int = 1) -> Facts:
    """Claims and finishes one after the other; what each claim took, in milliseconds."""
    took: list[float] = []
    async with sessions(url, 1) as (session,):
        worker = await register(session, queue, tasks)
        for _ in range(jobs):
            began = time.perf_counter()
            found = await session.fetch(CLAIM, [queue], worker, 1)
            took.append((time.perf_counter() - began) * 1000)
            for row in found:
                await session.execute(FINISH, queue, row["id"], row["lease"])
            if not found:
                raise RuntimeError(f"after {len(took)} claims of {jobs} nothing was left")
    return {"milliseconds": took}


async def steady_times(url: str, queue: str, jobs: int) -> Facts:
    """Claims one, finishes it, enqueues another; what each claim took, in milliseconds."""
    took: list[float] = []
    async with sessions(url, 1) as (session,):
        worker = await register(session, queue, 1)
        for turn in range(jobs + WARM_UP):
            began = time.perf_counter()
            found = await session.fetch(CLAIM, [queue], worker, 1)
            elapsed = (time.perf_counter() - began) * 1000
            if not found:
                raise RuntimeError(f"claim {turn} of {jobs} found nothing")
            if turn >= WARM_UP:
                took.append(elapsed)
            await session.execute(FINISH, queue, found[0]["id"], found[0]["lease"])
            await session.execute("select makeready.enqueue($1)", queue)
    return {"milliseconds": took}


async def prune(url: str) -> Facts:
    """Prunes without a pause until standard input closes, as the chore does with a backlog."""
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    total = 0
    async with sessions(url, 1) as (session,):
        while not closed.done():
            await session.execute(
                "update makeready.chores set due_at = now() where chore = 'prune'"
            )
            gone = await session.fetchval("select makeready.chore_run('prune')")
            if total == 0:
                sys.stdout.write('{"ready": true}\n')
                sys.stdout.flush()
            total += max(gone, 0)
            await asyncio.sleep(0.2 if gone <= 0 else 0)
    return {"jobs": total}
