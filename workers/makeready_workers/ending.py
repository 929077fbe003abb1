"""How attempts end in the database: finish and fail, repeated with the same lease until answered.

Plain finishes of several tasks share a call: while one is under way the next gather. Waiting
callers are told after the commit, over the control connection, many ends in one notification.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID

import anyio
import asyncpg

from makeready import jobs, leases
from makeready.config import Settings
from makeready.db import Control
from makeready.errors import LeaseLost
from makeready.faults import again, database_fault, is_transient
from makeready.jobs import ENDED, Commit, Done, Ended, JobFailed, Json, Lease
from makeready_workers.attempt import Attempt

CALL_TIMEOUT_S = 20.0  # of a queue's own finish, and of fail
PATIENCE_S = 60.0
"""While the database is away nobody can take the job: a result is kept for at least so long."""
BATCH = 64
HELD_S = 0.1  # a row that somebody holds for longer is waited for apart: others want to end
GAP_S = 0.005  # between notifications: under load many ends share one

OnEnd: TypeAlias = Callable[[str, UUID, "Ended | None"], object]
"""Queue and job; how it ended, where that is known without asking."""


def unheard(queue: str, job: UUID, end: Ended | None) -> None:
    """Nobody in this process waits for jobs."""


class Endings:
    """Ends attempts while `run` runs. Each call answers `lost` when the job was not ours any more.

    Raises the last fault when the database stays away until the lease has run out, and at least
    for 60 s; and at once what is wrong with the call itself.
    """

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        control: Control,
        *,
        on_end: OnEnd = unheard,
    ) -> None:
        self._pool = pool
        self._control = control
        self._on_end = on_end
        self._finishes = Control(
            settings, "makeready_worker", part="finish", flush=True, lock_timeout_s=HELD_S
        )
        self._finishing: list[tuple[Lease, Json | None, asyncio.Future[str]]] = []
        self._ended: dict[str, list[UUID]] = defaultdict(list)
        self._interrupted: set[str] = set()
        self._finish_kick = asyncio.Event()
        self._tell_kick = asyncio.Event()

    async def run(self) -> None:
        """Sends what has gathered, until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._finish_for_ever)
                group.start_soon(self._tell_for_ever)
        finally:
            await self._finishes.close()

    async def finish(self, attempt: Attempt, done: Done) -> str:
        """Ends a job as done: ok, repeat or lost."""
        commit = done.commit
        patience_s = max(PATIENCE_S, attempt.lease_seconds_left)
        try:
            if commit is None:
                verdict = await again(
                    lambda: self._finish(attempt.lease, done.result), patience_s=patience_s
                )
            else:
                verdict = await again(lambda: self._commit(commit, attempt), patience_s=patience_s)
        except LeaseLost:
            return "lost"
        if verdict != "lost":
            self._announce(attempt.lease, _as_told(attempt.lease, done))
        return verdict

    async def fail(self, attempt: Attempt, failure: JobFailed) -> str:
        """Ends an attempt that failed; returns the job's new state, or lost."""
        patience_s = max(PATIENCE_S, attempt.lease_seconds_left)
        try:
            state = await again(lambda: self._fail(attempt.lease, failure), patience_s=patience_s)
        except LeaseLost:
            return "lost"
        if state in ENDED:
            self._announce(attempt.lease, None)
        elif state == "queued":  # interrupted: somebody else may take it at once
            self._interrupted.add(attempt.lease.queue)
            self._tell_kick.set()
        return state

    async def _commit(self, commit: Commit, attempt: Attempt) -> str:
        with anyio.fail_after(CALL_TIMEOUT_S):
            async with self._pool.acquire() as connection:
                return await commit(connection, attempt.job)

    async def _fail(self, lease: Lease, failure: JobFailed) -> str:
        with anyio.fail_after(CALL_TIMEOUT_S):
            return await leases.fail(
                self._pool,
                lease,
                failure.kind,
                failure.problem(),
                retry_after=failure.retry_after,
            )

    async def _finish(self, lease: Lease, result: Json | None) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._finishing.append((lease, result, answer))
        self._finish_kick.set()
        try:
            return await answer
        except asyncpg.LockNotAvailableError:
            return await leases.finish(self._pool, lease, result)

    async def _finish_for_ever(self) -> None:
        while True:
            await self._finish_kick.wait()  # bounded by its task group: nothing is owed meanwhile
            self._finish_kick.clear()
            while self._finishing:
                batch, self._finishing = self._finishing[:BATCH], self._finishing[BATCH:]
                by_queue = defaultdict(list)
                for item in batch:
                    by_queue[item[0].queue].append(item)
                for queue, items in by_queue.items():
                    await self._finish_batch(queue, items)

    async def _finish_batch(
        self, queue: str, items: list[tuple[Lease, Json | None, asyncio.Future[str]]]
    ) -> None:
        try:
            with database_fault():
                if len(items) == 1:
                    lease, result, _ = items[0]
                    verdicts = {lease.token: await leases.finish(self._finishes, lease, result)}
                else:
                    ended = [(lease, result) for lease, result, _ in items]
                    verdicts = await leases.finish_many(self._finishes, queue, ended)
        except Exception as error:  # noqa: BLE001 -- handed to those who wait
            is_held = isinstance(error, asyncpg.LockNotAvailableError)
            if len(items) > 1 and (is_held or not is_transient(error)):
                for item in items:  # one is held, or refused for a result that is too big: which?
                    await self._finish_batch(queue, [item])
                return
            for _, _, answer in items:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for lease, _, answer in items:
                if not answer.done():
                    answer.set_result(verdicts[lease.token])

    def _announce(self, lease: Lease, end: Ended | None) -> None:
        self._on_end(lease.queue, lease.job_id, end)
        self._ended[lease.queue].append(lease.job_id)
        self._tell_kick.set()

    async def _tell_for_ever(self) -> None:
        while True:
            await self._tell_kick.wait()
            self._tell_kick.clear()
            ended, self._ended = self._ended, defaultdict(list)
            queues, self._interrupted = self._interrupted, set()
            for queue, ids in ended.items():
                await jobs.announce(self._control, queue, ids)
            for queue in queues:
                await jobs.wake(self._control, queue)
            await anyio.sleep(GAP_S)


def _as_told(lease: Lease, done: Done) -> Ended | None:
    """How a job ended that succeeded; None when only its commit knows what the result is."""
    if done.commit is not None and done.result is None:
        return None
    return Ended(queue=lease.queue, job_id=lease.job_id, state="done", result=done.result)
