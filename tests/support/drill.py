"""The queue `drill`: a handler that does what its payload says, and a process that runs it.

`python -m tests.support.drill` works on the queue until it is told to stop; settings come from the
environment. Payload: {"do": one of the methods `_do_*`, and what that one reads}.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from makeready.config import load_settings
from makeready.db import Connection
from makeready.jobs import Done, Job, JobFailed
from makeready.log import configure_logging
from makeready_workers.attempt import HeldLease
from makeready_workers.handler import Context
from makeready_workers.process import work

SQL = Path(__file__).with_name("drill_sql")
QUEUE = "drill"


class Drill:
    """Writes a row when it starts, and another one in the transaction of its finish."""

    queue = QUEUE

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def run(self, job: Job, lease: HeldLease) -> Done:
        await self._pool.fetchval(
            "select makeready.drill_start($1, $2, $3)", job.id, lease.token, os.getpid()
        )
        result = await getattr(self, f"_do_{job.payload.get('do', 'nothing')}")(job, lease)

        async def commit(connection: Connection, job: Job) -> str:
            return str(
                await connection.fetchval(
                    "select makeready.drill_finish($1, $2, $3::text::jsonb)",
                    job.id,
                    lease.token,
                    result,
                )
            )

        return Done(commit=commit)

    async def _do_nothing(self, _: Job, __: HeldLease) -> str:
        return '{"did": "nothing"}'

    async def _do_sleep(self, job: Job, _: HeldLease) -> str:
        await asyncio.sleep(job.payload["seconds"])
        return '{"did": "sleep"}'

    async def _do_block(self, job: Job, _: HeldLease) -> str:
        time.sleep(job.payload["seconds"])  # noqa: ASYNC251 -- what a handler must not do
        return '{"did": "block"}'

    async def _do_exit(self, _: Job, __: HeldLease) -> str:
        os._exit(9)

    async def _do_fail(self, job: Job, _: HeldLease) -> str:
        if job.attempt > job.payload.get("times", 100):
            return '{"did": "fail, then not"}'
        raise JobFailed(job.payload.get("kind", "retry"), "drill_failed", "as it was told")


@asynccontextmanager
async def open_handler(context: Context) -> AsyncIterator[Drill]:
    yield Drill(context.pool)


def environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Of a process that runs this module with these settings."""
    return {f"MAKEREADY_{name.upper()}": str(value) for name, value in values.items()}


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(work(settings, {QUEUE: open_handler}))


if __name__ == "__main__":
    main()
