"""What a queue brings to the loop: a handler, opened with what it needs and closed at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import asyncpg

from makeready.config import Settings
from makeready.jobs import Done, Job
from makeready.storage import Storage
from makeready_workers.attempt import HeldLease


class Handler(Protocol):
    """Runs the jobs of one queue; several at a time on one event loop.

    `run` returns `Done`, or raises `JobFailed` to say how to go on. `Rejected` is fatal, an error
    of Makeready without SQLSTATE is a retry with its code, a database that goes away costs no
    attempt; any other exception is a retry with the code `internal_error`. It is cancelled when
    the lease is lost, the job is cancelled, the attempt has used up its time, or the process
    stops: undo what must be undone and let the cancellation pass. Work that blocks the loop
    longer than some 50 ms goes to a thread or a process: heartbeats come from a thread of their
    own, but neighbours wait.
    """

    @property
    def queue(self) -> str:
        """Name of the queue it serves."""

    async def run(self, job: Job, lease: HeldLease) -> Done:
        """Does the work of one attempt. What it stores is named after `lease.token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a process offers to its handlers."""

    settings: Settings
    pool: asyncpg.Pool
    storage: Storage | None = None
    """None in a process that was started without object storage."""


OpenHandler: TypeAlias = Callable[[Context], AbstractAsyncContextManager[Handler]]
"""Each queue's module offers one as `open_handler`."""
