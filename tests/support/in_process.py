"""A worker inside the test's own process, with everything that a real one has but the signals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import Control, pool_opened
from makeready.jobs import Done, Job
from makeready.listening import Listener
from makeready.upkeep import Upkeep
from makeready_workers.attempt import HeldLease
from makeready_workers.ending import OnEnd, unheard
from makeready_workers.loop import Worker
from tests.support.waiting import until

Run = Callable[[Job, HeldLease], Awaitable[Done]]


class Scripted:
    """A handler whose behaviour is a function of the test; keeps what it was given."""

    def __init__(self, queue: str = "free", run: Run | None = None) -> None:
        self.queue = queue
        self.jobs: list[Job] = []
        self.leases: list[HeldLease] = []
        self.at_once = self.most_at_once = 0
        self._run = run

    async def run(self, job: Job, lease: HeldLease) -> Done:
        self.jobs.append(job)
        self.leases.append(lease)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return Done() if self._run is None else await self._run(job, lease)
        finally:
            self.at_once -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A working worker and its parts."""

    worker: Worker
    pool: asyncpg.Pool
    control: Control
    listener: Listener | None
    upkeep: Upkeep

    async def until_ends(self, count: int = 1, *, timeout_s: float = 10) -> dict[str, int]:
        """Waits for so many ended attempts; how they ended."""
        await until(
            lambda: sum(self.worker.statistics().ends.values()) >= count,
            timeout_s=timeout_s,
            what=f"{count} ended attempts",
        )
        return dict(self.worker.statistics().ends)


@asynccontextmanager
async def working(
    settings: Settings, *handlers: Any, on_end: OnEnd = unheard, **changes: Any
) -> AsyncIterator[Shop]:
    """Runs a worker for the time of the block, then stops it gracefully (0.2 s of grace)."""
    settings = replace(settings, **({"drain_grace_s": 0.2} | changes))
    async with pool_opened(settings, "makeready_worker", size=settings.tasks + 3) as pool:
        control = Control(settings, "makeready_worker")
        listener = Listener(settings, "makeready_worker") if settings.listen else None
        worker = Worker(
            settings, pool, handlers, control=control, listener=listener, on_end=on_end
        )
        upkeep = Upkeep(pool, Control(settings, "makeready_worker", part="upkeep"))
        shop = Shop(worker=worker, pool=pool, control=control, listener=listener, upkeep=upkeep)
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await worker.run()
            finally:
                ended.set()

        try:
            async with anyio.create_task_group() as group:
                if listener is not None:
                    group.start_soon(listener.run)
                group.start_soon(upkeep.run)
                group.start_soon(work)
                await until(lambda: worker.statistics().claims > 0, what="the first claim")
                try:
                    yield shop
                finally:
                    worker.stop()
                    with anyio.move_on_after(10, shield=True):
                        await ended.wait()
                    group.cancel_scope.cancel()
        finally:
            await control.close()


def without_polls(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Workers do not poll; the event is set each time when one has claimed and waits."""
    waits = asyncio.Event()

    def pause_s(_: Worker) -> float:
        waits.set()
        return 60.0

    monkeypatch.setattr(Worker, "_poll_s", pause_s)
    return waits
