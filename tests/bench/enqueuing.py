"""Enqueueing against the plain INSERT of the same row, by the same clients.

`insert` writes into a table of the same shape: same columns, checks and indexes, no partitions,
no function. `enqueue` calls the function; `wake` also tells the workers after each commit, as the
HTTP service does: through the one waker of the process.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import asyncpg

from makeready import jobs
from makeready.config import Settings
from makeready.db import Control
from makeready.waking import Waker
from tests.bench.calls import sessions

Facts = dict[str, Any]
QUEUE = "bench_free"
PLAIN = "create table if not exists public.plain_jobs (like makeready.jobs including all)"
INSERT = """
insert into public.plain_jobs
  (queue, id, state, priority, turn, run_at, lane, host, owner, payload, created_at)
values ($1, $2, 'queued', 0, 0, clock_timestamp(), '', '', '', $3::text::jsonb, clock_timestamp())
"""
GRAPHILE = "select graphile_worker.add_job('noop', $1::text::json)"
BODY = '{"n": 1}'


async def rate(url: str, how: str, clients: int, seconds: float) -> Facts:
    """Enqueues with so many clients for so many seconds; jobs, seconds, and wake-ups sent."""
    settings = Settings(database_url=url)
    control = Control(settings, "makeready_http")
    waker = Waker(control)
    async with sessions(url, clients) as opened:
        if how == "insert":
            await opened[0].execute(PLAIN)
        if how == "wake":
            await jobs.wake(control, QUEUE)
        sender = asyncio.create_task(waker.run())
        began = time.perf_counter()
        until = began + seconds
        done = await asyncio.gather(*(_client(session, how, waker, until) for session in opened))
        elapsed = time.perf_counter() - began
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    await control.close()
    return {"jobs": sum(done), "seconds": elapsed, "wakes": waker.sent}


async def _client(session: asyncpg.Connection, how: str, waker: Waker, until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        if how == "insert":
            await session.execute(INSERT, QUEUE, uuid4(), BODY)
        elif how == "graphile":
            await session.execute(GRAPHILE, BODY)
        else:
            await session.fetchval(
                "select makeready.enqueue($1, $2::text::jsonb, $3)", QUEUE, BODY, uuid4()
            )
            if how == "wake":
                waker.wake(QUEUE)
        done += 1
    return done
