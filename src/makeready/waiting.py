"""One listener, many waiters: how a request waits for the end of a job.

A notification is a hint. The reader fetches all hinted jobs in one `peek`; every second, and five
times a second while the listener is deaf, it looks at all jobs that somebody waits for. The cost
is one query a process, not one a waiter.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import anyio
import asyncpg
import structlog

from makeready import jobs
from makeready.faults import database_fault, note_fault
from makeready.jobs import Ended
from makeready.listening import Listener

POLL_S = 1.0
POLL_DEAF_S = 0.2
PEEK_TIMEOUT_S = 2.0
IDLE_S = 60.0  # nobody waits: only a hint or a new waiter wakes the reader, no query is made

Key: TypeAlias = tuple[str, UUID]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStatistics:
    """How many wait, and what it costs."""

    waiters: int
    peeks: int
    hints: int


class Expected:
    """One waiter's place, taken before the job is enqueued so that no end is missed."""

    def __init__(self, waiting: Waiting, key: Key, end: asyncio.Future[Ended]) -> None:
        self._waiting = waiting
        self._key = key
        self._end = end

    async def wait(self, timeout_s: float) -> Ended | None:
        """How the job ended; None when it has not within `timeout_s` seconds."""
        with anyio.move_on_after(timeout_s):
            return await asyncio.shield(self._end)
        return None

    def look(self) -> None:
        """The job may have ended already: look now, not at the next poll."""
        self._waiting.hint(*self._key)


class Waiting:
    """The waiters of a process; works while `run` runs. Without a listener it polls faster."""

    def __init__(self, pool: asyncpg.Pool, listener: Listener | None = None) -> None:
        self._pool = pool
        self._listener = listener
        self._waiters: dict[Key, set[asyncio.Future[Ended]]] = {}
        self._hinted: set[Key] = set()
        self._kick = asyncio.Event()
        self._peeks = self._hints = 0
        if listener is not None:
            listener.on("end", self._on_end)
            listener.on_sweep(self._look_at_all)

    def statistics(self) -> WaitingStatistics:
        """Figures for metrics and tests."""
        waiters = sum(len(ends) for ends in self._waiters.values())
        return WaitingStatistics(waiters=waiters, peeks=self._peeks, hints=self._hints)

    @contextmanager
    def expect(self, queue: str, job: UUID) -> Iterator[Expected]:
        """Takes a place; enqueue inside, then wait. Any number of callers may expect one job."""
        key = (queue, job)
        end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        if not self._waiters:
            self._kick.set()  # the reader goes from idle to polling
        self._waiters.setdefault(key, set()).add(end)
        try:
            yield Expected(self, key, end)
        finally:
            end.cancel()
            ends = self._waiters.get(key)
            if ends is not None:
                ends.discard(end)
                if not ends:
                    del self._waiters[key]

    async def wait(self, queue: str, job: UUID, timeout_s: float) -> Ended | None:
        """Waits for a job that exists, and may have ended; None after `timeout_s` seconds."""
        with self.expect(queue, job) as expected:
            expected.look()
            return await expected.wait(timeout_s)

    def hint(self, queue: str, job: UUID) -> None:
        """Somebody says that a job has ended: the reader looks if anybody here waits for it."""
        # Those who were told by this process hear of it from the database as well.
        if not all(end.done() for end in self._waiters.get((queue, job), ())):
            self._hints += 1
            self._hinted.add((queue, job))
            self._kick.set()

    def tell(self, ended: Ended) -> None:
        """Somebody knows how a job ended: who waits for it here is told without a look."""
        for end in self._waiters.get((ended.queue, ended.job_id), ()):
            if not end.done():
                end.set_result(ended)

    async def run(self) -> None:
        """Reads until cancelled; no fault of the database ends it."""
        clock = asyncio.get_running_loop().time
        looked_at = clock()
        while True:
            with anyio.move_on_after(looked_at + self._poll_s() - clock()):
                await self._kick.wait()
            self._kick.clear()
            if clock() >= looked_at + self._poll_s():  # hints for others must not put it off
                self._hinted.update(self._waiters)
                looked_at = clock()
            keys, self._hinted = self._hinted, set()
            by_queue: defaultdict[str, list[UUID]] = defaultdict(list)
            for queue, job in keys:
                by_queue[queue].append(job)
            for queue, ids in by_queue.items():
                await self._read(queue, ids)

    async def _read(self, queue: str, ids: list[UUID]) -> None:
        self._peeks += 1
        try:
            with anyio.fail_after(PEEK_TIMEOUT_S), database_fault():
                found = await jobs.peek(self._pool, queue, ids)
        except Exception as error:  # noqa: BLE001 -- the next poll looks at all of them again
            note_fault(_log, "peek_failed", error)
            return
        for ended in found:
            self.tell(ended)

    def _poll_s(self) -> float:
        if not self._waiters:
            return IDLE_S
        return POLL_S if self._listener is not None and self._listener.hears else POLL_DEAF_S

    def _look_at_all(self) -> None:
        self._hinted.update(self._waiters)
        self._kick.set()

    def _on_end(self, words: list[str]) -> None:
        for text in words[1:]:
            try:
                self.hint(words[0], UUID(text))
            except ValueError:  # anybody may notify anything
                continue
