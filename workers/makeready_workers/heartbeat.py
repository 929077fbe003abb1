"""The heartbeat of a process: it registers the worker and beats once a second.

It has a thread, an event loop and a connection of its own, so that a handler that blocks the main
loop costs no lease. (Code that holds the interpreter lock stops both; stamping therefore runs in a
process of its own.) Should the main loop hang for good, beats go on, and the attempts' own limit
`run_until` takes the jobs back.

A worker keeps its id for life. When its row is gone (MR002: it was silent for long, or somebody
cleared it) it registers again with the *same* id: jobs in the database name this id, and a new one
would make healthy work look orphaned. What counts for each job is its token alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import anyio
import structlog

from makeready import leases
from makeready.config import Settings
from makeready.db import Control
from makeready.errors import Conflict, WorkerGone
from makeready.faults import Backoff, database_fault, note_fault
from makeready.jobs import Lease
from makeready.leases import WorkerFacts

EVERY_S = 1.0
ANSWER_WITHIN_S = 2.0
LATE_RETRY_S = 0.5  # longest pause after a failed beat: one missed beat is no suspicion yet
TAKEN_PATIENCE_S = 20.0  # a predecessor without session lock counts as alive for its stale time

Verdicts: TypeAlias = dict[UUID, str]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatStatistics:
    """What the heartbeat has done."""

    beats: int
    missed: int
    """Beats that failed or came too late."""
    registrations: int
    last_beat_age_s: float | None


class Heartbeat:
    """Beats from a thread while `run` runs.

    `held` gives the leases and is called in the thread; `on_verdicts` gets the bad news and is
    called on the main loop after each good beat.
    """

    def __init__(
        self,
        settings: Settings,
        facts: WorkerFacts,
        *,
        held: Callable[[], Sequence[Lease]],
        on_verdicts: Callable[[Verdicts], None],
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._held = held
        self._on_verdicts = on_verdicts
        self.registered = asyncio.Event()
        """Set once the worker is known to the database, or refused for good."""
        self.refused: Conflict | None = None
        """Another live process has this instance name; set only before the first registration."""
        self._beats = self._missed = self._registrations = 0
        self._missed_at = self._beat_at = float("-inf")
        self._stop = False
        self._main: asyncio.AbstractEventLoop | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._kick: asyncio.Event | None = None

    async def run(self) -> None:
        """Beats until cancelled."""
        self._main = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_thread)
            try:
                await anyio.sleep_forever()
            finally:
                self._stop = True
                self.beat_now()

    def beat_now(self) -> None:
        """Lets the next beat come at once; safe from any thread."""
        own, kick = self._own, self._kick
        if own is not None and kick is not None and not own.is_closed():
            own.call_soon_threadsafe(kick.set)

    def missed_since(self, moment: float) -> bool:
        """Whether a beat has failed since a moment of `time.monotonic`, or is overdue now."""
        overdue = self._beat_at < time.monotonic() - EVERY_S - ANSWER_WITHIN_S
        return self._missed_at >= moment or overdue

    def statistics(self) -> HeartbeatStatistics:
        """Figures for metrics and tests."""
        return HeartbeatStatistics(
            beats=self._beats,
            missed=self._missed,
            registrations=self._registrations,
            last_beat_age_s=time.monotonic() - self._beat_at if self._beats else None,
        )

    async def _run_thread(self) -> None:
        with anyio.CancelScope(shield=True):  # `run` tells the thread to stop
            await anyio.to_thread.run_sync(
                lambda: asyncio.run(self._beat_for_ever()), limiter=anyio.CapacityLimiter(1)
            )

    async def _beat_for_ever(self) -> None:
        self._own, self._kick = asyncio.get_running_loop(), asyncio.Event()
        control = Control(self._settings, "makeready_worker", part="heartbeat")
        backoff = Backoff(longest_s=LATE_RETRY_S)
        started = time.monotonic()
        is_known = False
        try:
            while not self._stop:
                self._kick.clear()
                begun = time.monotonic()
                try:
                    with database_fault():
                        if not is_known:
                            await self._register(control)
                            is_known = True
                        await self._beat(control)
                    backoff.reset()
                    pause_s = EVERY_S - (time.monotonic() - begun)
                except WorkerGone:
                    is_known = False
                    pause_s = 0.0
                except Exception as error:  # noqa: BLE001 -- a heart that stops at an error is none
                    self._note_miss(error, since=started)
                    pause_s = backoff.pause_s()
                with anyio.move_on_after(max(0.0, pause_s)):
                    await self._kick.wait()
        finally:
            await control.close()

    async def _register(self, control: Control) -> None:
        taken = await leases.register(control, self._facts)
        self._registrations += 1
        _log.info("worker_registered", worker=str(self._facts.id), jobs_taken_back=taken)
        self._tell(self.registered.set)

    async def _beat(self, control: Control) -> None:
        verdicts = await leases.beat(
            control, self._facts.id, self._held(), timeout_s=ANSWER_WITHIN_S
        )
        self._beats += 1
        self._beat_at = time.monotonic()
        self._tell(lambda: self._on_verdicts(verdicts))

    def _note_miss(self, error: Exception, *, since: float) -> None:
        self._missed += 1
        if self._missed_at < self._beat_at or self._missed == 1:  # once an outage, not each try
            note_fault(_log, "beat_missed", error)
        self._missed_at = time.monotonic()
        too_long = self._missed_at - since > TAKEN_PATIENCE_S + random.random()  # noqa: S311
        if isinstance(error, Conflict) and not self._registrations and too_long:
            self.refused = error
            self._tell(self.registered.set)

    def _tell(self, call: Callable[[], object]) -> None:
        main = self._main
        if main is not None and not main.is_closed():
            main.call_soon_threadsafe(call)
