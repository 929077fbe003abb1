"""The worker loop: claim → run → finish, for any queue that has a handler.

A worker is a process; it has a number of tasks (four, by default), and makes one claim for all
that are free. It sleeps until a notification, the end of one of its jobs, or a poll. Leases are
kept by the heartbeat and ends written by `Endings`. Faults of the database slow it down and end
nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import anyio
import asyncpg
import structlog
from structlog.contextvars import bind_contextvars

from makeready import __version__, leases
from makeready.config import Settings
from makeready.db import Control
from makeready.errors import WorkerGone
from makeready.faults import Backoff, database_fault, note_fault
from makeready.jobs import JobFailed, Lease
from makeready.leases import Claimed, WorkerFacts
from makeready.listening import Listener
from makeready_workers.attempt import AS_STOPPED, MARGIN_SHARE, Attempt, Stop
from makeready_workers.ending import Endings, OnEnd, unheard
from makeready_workers.handler import Handler
from makeready_workers.heartbeat import Heartbeat, HeartbeatStatistics, Verdicts
from makeready_workers.running import run_attempt
from makeready_workers.strays import Strays, may_have_claimed

POLL_S = (0.9, 1.1)
POLL_HEARING_S = (1.4, 1.8)  # the poll is then only for hints that got lost
LISTEN_PATIENCE_S = 3.0  # before registering: a session lock from the first beat on
ENDING_S = 5.0  # for the last calls of attempts that are interrupted at the end of the grace

Claim: TypeAlias = Callable[[Control, Sequence[str], UUID, int], Awaitable[Sequence[Claimed]]]
"""As `leases.claim`."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """What a worker has done since it started."""

    id: UUID
    tasks: int
    running: int
    claims: int
    """Calls of claim, with and without a result."""
    claimed: int
    """Jobs."""
    ends: Mapping[str, int]
    """Attempts by how they ended: done, repeat, lost, or the state that fail returned."""
    is_draining: bool
    heartbeat: HeartbeatStatistics


class Worker:
    """Runs jobs while `run` runs; `stop` ends it gracefully.

    The pool is for handlers and their commits; claims and plain finishes have own connections.
    Without a listener the worker polls, and only its missing heartbeats tell that it was killed.

    `host`: whose local jobs it takes, the machine's name unless given. `failures`: how attempts
    end that are stopped from outside, where that is not as usual. `on_end` is told of each end
    after its commit: in a process that waits for jobs of its own it saves them the notification.
    `claim`: a queue's own way to claim. `margin_share`: of an attempt's limit, for its end.
    """

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        handlers: Iterable[Handler],
        *,
        control: Control,
        listener: Listener | None = None,
        host: str = "",
        failures: Mapping[Stop, JobFailed] = AS_STOPPED,
        on_end: OnEnd = unheard,
        claim: Claim = leases.claim,
        margin_share: float = MARGIN_SHARE,
    ) -> None:
        self.id = uuid4()
        self._settings = settings
        self._pool = pool
        self._handlers = {handler.queue: handler for handler in handlers}
        self._queues = list(self._handlers)
        self._control = control
        self._claims = Control(settings, "makeready_worker", part="claim")
        self._listener = listener
        self._attempts: dict[UUID, Attempt] = {}
        self._held: tuple[Lease, ...] = ()
        self._todo: asyncio.Queue[Attempt] = asyncio.Queue()
        self._counts: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._kick = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()
        self._strays = Strays(self._claims, self.id)
        self._claims_well = True
        self._failures = failures
        self._claim = claim
        self._margin_share = margin_share
        self._reserved = 0
        """Free tasks for which somebody claims at this moment."""
        self._grace_s = settings.drain_grace_s
        self._is_over = False
        """The grace is: what begins is stopped at once."""
        self._endings = Endings(settings, pool, control, on_end=on_end)
        facts = self._facts(host or socket.gethostname(), locks_session=listener is not None)
        self._heartbeat = Heartbeat(
            settings, facts, held=lambda: self._held, on_verdicts=self._on_verdicts
        )
        if listener is not None:
            self._hear(listener)

    def _hear(self, listener: Listener) -> None:
        listener.lock_for(self.id)
        listener.on("wake", self._on_wake)
        listener.on("cancel", self._on_cancel)
        listener.on_sweep(self._kick.set)

    def _facts(self, host: str, *, locks_session: bool) -> WorkerFacts:
        return WorkerFacts(
            id=self.id,
            instance=self._settings.instance,
            host=host,
            pid=os.getpid(),
            tasks=self._settings.tasks,
            queues=tuple(self._queues),
            version=__version__,
            locks_session=locks_session,
        )

    def stop(self, grace_s: float | None = None) -> None:
        """No new claims; running jobs get the drain grace, or this one, then they are stopped."""
        if grace_s is not None:
            self._grace_s = max(0.0, grace_s)
        self._stopping.set()
        self._kick.set()

    def kick(self) -> bool:
        """There is a job, says somebody in this process: claim now.

        False: all tasks are busy, or may be in a moment; others should be told.
        """
        self._kick.set()
        return not self._stopping.is_set() and self._free_tasks > 0

    @contextmanager
    def reserved(self) -> Iterator[Callable[[Claimed], None] | None]:
        """A free task, for a job that the block claims: what it gets is to be called with that.

        None when no task is free. A block that ends by a fault may have claimed without knowing;
        such a job is given back. A worker that stops waits for the block.
        """
        if self._stopping.is_set() or self._strays.are_looked_for or self._free_tasks <= 0:
            yield None
            return
        found: list[Claimed] = []
        asked_at = asyncio.get_running_loop().time()
        with self._set_aside(1):
            try:
                yield found.append
            except BaseException as error:
                if may_have_claimed(error):
                    self._strays.look_twice()
                raise
            finally:
                self._start(found, asked_at)
                if not found:
                    self._kick.set()  # a claim may have passed this task over

    async def wait_registered(self) -> None:
        """Returns once the database knows this worker; raises Conflict when it never will."""
        await self._heartbeat.registered.wait()
        if self._heartbeat.refused is not None:
            raise self._heartbeat.refused

    def statistics(self) -> WorkerStatistics:
        """Figures for metrics and tests."""
        return WorkerStatistics(
            id=self.id,
            tasks=self._settings.tasks,
            running=len(self._attempts),
            claims=self._counts["claims"],
            claimed=self._counts["claimed"],
            ends=dict(self._ends),
            is_draining=self._stopping.is_set(),
            heartbeat=self._heartbeat.statistics(),
        )

    async def run(self) -> None:
        """Works until `stop`, or until cancelled: then jobs are taken back at once.

        Raises Conflict when another live process has this instance name for 20 s.
        """
        if self._listener is not None:
            await self._listener.wait_hearing(LISTEN_PATIENCE_S)
        async with anyio.create_task_group() as helpers:
            helpers.start_soon(self._endings.run)
            try:
                async with anyio.create_task_group() as beating:
                    beating.start_soon(self._heartbeat.run)
                    async with anyio.create_task_group() as tasks:
                        for _ in range(self._settings.tasks):
                            tasks.start_soon(self._work_for_ever)
                        await self._claim_for_ever()
                        await self._drain()
                        tasks.cancel_scope.cancel()
                    beating.cancel_scope.cancel()
            finally:
                await self._leave()  # after the last beat, which would register it again
            helpers.cancel_scope.cancel()

    async def _claim_for_ever(self) -> None:
        await self._registered()
        _log.info("worker_start", worker=str(self.id), queues=self._queues)
        backoff = Backoff()
        while not self._stopping.is_set():
            # Cleared before the claim: what is notified from here on causes another one.
            self._kick.clear()
            try:
                with database_fault():
                    await self._claim_round()
            except WorkerGone as error:
                if error.details.get("reason") == "draining":  # by an operator
                    self.stop()
                self._heartbeat.beat_now()  # stale after an outage, or cleared: it mends both
                await self._pause(backoff.pause_s())
            except Exception as error:  # noqa: BLE001 -- a fault slows the loop down, no more
                self._on_claim_fault(error)
                await self._pause(backoff.pause_s())
            else:
                backoff.reset()
                with anyio.move_on_after(self._poll_s()):
                    await self._kick.wait()

    async def _registered(self) -> None:
        while not self._heartbeat.registered.is_set() and not self._stopping.is_set():
            with anyio.move_on_after(POLL_S[1]):
                await self._heartbeat.registered.wait()
        if self._heartbeat.refused is not None:
            raise self._heartbeat.refused

    async def _claim_round(self) -> None:
        """Claims for all free tasks, from one queue after the other until nothing is left."""
        if not self._reserved:  # no claim is under way, and `reserved` begins none meanwhile
            await self._strays.give_back([lease.token for lease in self._held])
        queues = list(self._queues)
        while queues and (free := self._free_tasks) > 0:
            asked_at = asyncio.get_running_loop().time()
            self._counts["claims"] += 1
            with self._set_aside(free):
                found = await self._claim(self._claims, queues, self.id, free)
                self._start(found, asked_at)
            self._claims_well = True
            if not found:
                return
            queues.remove(found[0].job.queue)  # it had no more, or has no more seats
        if self._attempts:
            self._queues.append(self._queues.pop(0))  # the queues take turns at being first

    @property
    def _free_tasks(self) -> int:
        return self._settings.tasks - len(self._attempts) - self._reserved

    @contextmanager
    def _set_aside(self, tasks: int) -> Iterator[None]:
        """Nobody else claims for these tasks."""
        self._reserved += tasks
        self._publish()
        try:
            yield
        finally:
            self._reserved -= tasks
            self._publish()

    def _start(self, found: Sequence[Claimed], asked_at: float) -> None:
        self._counts["claimed"] += len(found)
        for claimed in found:
            attempt = Attempt(
                claimed,
                self._pool,
                asked_at=asked_at,
                failures=self._failures,
                margin_share=self._margin_share,
            )
            self._attempts[attempt.lease.token] = attempt
            self._todo.put_nowait(attempt)
            if self._is_over:
                attempt.stop(Stop.SHUTDOWN)

    def _on_claim_fault(self, error: Exception) -> None:
        self._strays.look_twice()
        if self._claims_well:  # once an outage, not each try
            note_fault(_log, "claim_failed", error)
        self._claims_well = False
        # One queue's held gate must not starve the others.
        self._queues.append(self._queues.pop(0))

    async def _work_for_ever(self) -> None:
        while True:
            attempt = await self._todo.get()  # bounded by its task group
            job = attempt.job
            # This task's own context: the next job binds its own over it.
            bind_contextvars(queue=job.queue, job_id=str(job.id), attempt=job.attempt)
            try:
                end = await run_attempt(
                    attempt, self._handlers[job.queue], self._endings, self._heartbeat
                )
                self._ends[end] += 1
                if end == "unknown":
                    self._strays.look()
            finally:
                del self._attempts[attempt.lease.token]
                self._publish()
                self._kick.set()

    def _publish(self) -> None:
        # One assignment: the heartbeat's thread reads it without a lock.
        self._held = tuple(attempt.lease for attempt in self._attempts.values())
        if self._held or self._reserved:
            self._idle.clear()
        else:
            self._idle.set()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stopping.wait()

    def _poll_s(self) -> float:
        hears = self._listener is not None and self._listener.hears
        return random.uniform(*(POLL_HEARING_S if hears else POLL_S))  # noqa: S311

    async def _drain(self) -> None:
        _log.info("worker_drain", running=len(self._attempts), grace_s=self._grace_s)
        await _say(leases.drain(self._control, self.id))
        for patience_s in (self._grace_s, ENDING_S):
            with anyio.move_on_after(patience_s):
                await self._idle.wait()
            self._is_over = True
            for attempt in self._attempts.values():
                attempt.stop(Stop.SHUTDOWN)
        # Those who leave have lost what they still hold, which may be the end of a job.
        await _say(self._strays.give_back([lease.token for lease in self._held], at_once=True))

    async def _leave(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._claims.close()
            await _say(leases.leave(self._control, self.id))
        _log.info("worker_stop", worker=str(self.id), ends=dict(self._ends))

    def _on_verdicts(self, verdicts: Verdicts) -> None:
        for token, verdict in verdicts.items():
            attempt = self._attempts.get(token)
            if attempt is not None:
                attempt.stop(Stop.CANCEL if verdict == "cancel" else Stop.LOST)

    def _on_wake(self, words: list[str]) -> None:
        if words and words[0] in self._handlers:
            self._kick.set()

    def _on_cancel(self, words: list[str]) -> None:
        if any(str(lease.job_id) in words for lease in self._held):
            self._heartbeat.beat_now()  # a hint: the beat brings the verdict


async def _say(call: Coroutine[Any, Any, object]) -> None:
    """A word to the database on the way out; unsaid, it finds out by itself."""
    try:
        await call
    except Exception as error:  # noqa: BLE001 -- nothing may keep a process from ending
        note_fault(_log, "worker_goodbye_failed", error)
