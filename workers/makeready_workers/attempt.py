"""One attempt at one job, from its claim to the moment it begins to end."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import anyio
import asyncpg

from makeready import leases
from makeready.errors import LeaseLost
from makeready.faults import again
from makeready.jobs import Done, JobFailed, Json, Lease
from makeready.leases import Claimed

if TYPE_CHECKING:
    from makeready_workers.handler import Handler

MARGIN_SHARE = 0.1  # of the limit, at most a second, is left for the call that ends the attempt
LONGEST_MARGIN_S = 1.0
REPORT_PATIENCE_S = 10.0

T = TypeVar("T")


class Stop(enum.Enum):
    """Why an attempt was stopped from outside."""

    LIMIT = "limit"
    """It used up its time."""
    LOST = "lost"
    """Somebody else has the job, or it has ended."""
    CANCEL = "cancel"
    """Its caller wants it no more."""
    SHUTDOWN = "shutdown"
    """This process ends."""


AS_STOPPED: Mapping[Stop, JobFailed] = MappingProxyType({})
"""A queue's own way of ending what is stopped: none, all as usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease(Lease):
    """The lease of a running attempt, as its handler holds it."""

    attempt: Attempt = field(repr=False, compare=False)

    @property
    def seconds_left(self) -> float:
        """Until the attempt is stopped; a report of progress gives the full time again."""
        return self.attempt.work_seconds_left

    async def report(self, facts: Json) -> None:
        """Keeps progress for a later attempt, renews the time, forgives lost leases.

        Raises LeaseLost when the job is somebody else's; let it pass.
        """
        await self.attempt.report(facts)

    async def reported(self, call: Callable[[], Awaitable[T]]) -> T:
        """As `report`, for a call of the queue's own that reports with the rows it writes.

        It may happen twice: the first answer may get lost.
        """
        return await self.attempt.reported(call)


class Attempt:
    """A claimed job in work: its lease, its time, and whether it is ending already.

    `asked_at` is the loop's time before the claim was sent, so the local limit is never later
    than the database's.
    """

    def __init__(
        self,
        claimed: Claimed,
        pool: asyncpg.Pool,
        *,
        asked_at: float,
        failures: Mapping[Stop, JobFailed] = AS_STOPPED,
        margin_share: float = MARGIN_SHARE,
    ) -> None:
        self.job = claimed.job
        self.lease = claimed.lease
        self.started = asked_at
        self.limit_s = claimed.limit_s
        self.stopped: Stop | None = None
        self.is_ending = False
        """From here on finish or fail decide: a verdict of an older heartbeat counts no more."""
        self._unreadable = claimed.unreadable
        self._pool = pool
        self._failures = failures
        self._margin_s = min(claimed.limit_s * margin_share, LONGEST_MARGIN_S)
        self._scope = anyio.CancelScope()
        self._renew(asked_at)

    @property
    def work_seconds_left(self) -> float:
        """Until the handler is stopped for its time."""
        return self._scope.deadline - _now()

    @property
    def lease_seconds_left(self) -> float:
        """Until the database may give the job to somebody else."""
        return self.work_seconds_left + self._margin_s

    async def work(self, handler: Handler) -> Done | None:
        """Runs the handler; None when it was stopped first, `stopped` says why."""
        lease = HeldLease(
            queue=self.lease.queue,
            job_id=self.lease.job_id,
            token=self.lease.token,
            attempt=self,
        )
        try:
            with self._scope:
                if self._unreadable:
                    text = f"its payload or progress cannot be read: {self._unreadable}"
                    raise JobFailed("fatal", "job_unreadable", text)
                outcome: object = await handler.run(self.job, lease)
                if not isinstance(outcome, Done):  # None would look like a lost lease
                    raise TypeError(f"the handler returned {type(outcome).__name__}")
                return outcome
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this task: a future of the handler's own was, and it let that pass.
            raise RuntimeError("the handler was cancelled from within") from None
        finally:
            self.is_ending = True
            if self._scope.cancel_called and self.stopped is None:
                self.stopped = Stop.LIMIT
        return None

    def stop(self, reason: Stop) -> None:
        """Cancels the handler, unless the attempt is ending already; the first reason stays."""
        if not self.is_ending and self.stopped is None:
            self.stopped = reason
            self._scope.cancel()

    async def report(self, facts: Json) -> None:
        """See HeldLease.report."""
        await self.reported(lambda: leases.report(self._pool, self.lease, facts))

    async def reported(self, call: Callable[[], Awaitable[T]]) -> T:
        """See HeldLease.reported."""
        asked_at = _now()
        patience_s = min(REPORT_PATIENCE_S, self.work_seconds_left)
        try:
            answer = await again(call, patience_s=patience_s)
        except LeaseLost:
            self.stopped = self.stopped or Stop.LOST
            raise
        self._renew(asked_at)
        return answer

    def failure(self) -> JobFailed | None:
        """How to end an attempt that was stopped; None when it is not ours to end."""
        if self.stopped is not None and self.stopped in self._failures:
            return self._failures[self.stopped]
        if self.stopped is Stop.CANCEL:
            return JobFailed("cancelled", "cancelled", "it was cancelled while it ran")
        if self.stopped is Stop.SHUTDOWN:
            return JobFailed("interrupted", "interrupted", "the worker was stopped")
        if self.stopped is Stop.LIMIT:
            text = f"the attempt took longer than {self.limit_s:g} s"
            return JobFailed("retry", "attempt_timeout", text)
        return None

    def _renew(self, since: float) -> None:
        until = since + self.limit_s
        if self.job.deadline_at is not None:
            deadline_s = (self.job.deadline_at - self.job.started_at).total_seconds()
            until = min(until, self.started + deadline_s)
        self._scope.deadline = until - self._margin_s


def _now() -> float:
    return asyncio.get_running_loop().time()
