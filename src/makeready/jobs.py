"""What all queues share: the records, and what a caller does with a job.

Each function is one call of the SQL core (what workers call is in `makeready.leases`). It takes a
pool or a connection, so that a caller can enqueue inside a transaction of its own; it raises the
classes of `makeready.errors` and, when the database is away, what `makeready.db.is_transient`
knows. JSON crosses as text, so no codec is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias
from uuid import UUID

import structlog

from makeready.db import Connection, Control, Executor, is_transient, one

Json: TypeAlias = Mapping[str, Any]
FailKind: TypeAlias = Literal["retry", "fatal", "snooze", "interrupted", "cancelled"]
ENDED = frozenset({"done", "dead", "cancelled", "expired"})
HINT_TIMEOUT_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One claimed job as its handler sees it; times are the database's."""

    queue: str
    id: UUID
    payload: Json
    attempt: int
    """Number of this attempt, from 1."""
    lost: int = 0
    """Leases lost since the last progress."""
    priority: int = 0
    lane: str = ""
    host: str = ""
    owner: str = ""
    batch: UUID | None = None
    progress: Json | None = None
    """The last report of an earlier attempt: where to go on."""
    created_at: datetime
    started_at: datetime
    run_until: datetime
    deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to end one attempt: whoever states another token changes nothing (MR001)."""

    queue: str
    job_id: UUID
    token: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a job ended."""

    queue: str
    job_id: UUID
    state: str
    """done, dead, cancelled or expired."""
    result: Json | None = None
    error: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What became of an idempotent request."""

    verdict: str
    """created, joined (the same request is still open) or replayed (it has ended)."""
    job_id: UUID
    state: str
    """The job's state; `pruned` when retention has removed it."""


class Commit(Protocol):
    """A queue's own finish: domain rows and job in one SQL call; returns `ok` or `repeat`.

    Called again with the same lease when the answer was lost.
    """

    async def __call__(self, connection: Connection, job: Job, /) -> str:
        """Calls the SQL function; MR001 means the lease is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a handler returns: the job succeeded."""

    result: Json | None = None
    """Kept on the job, at most 64 KiB; by `commit` itself when there is one."""
    commit: Commit | None = None
    """In place of the plain finish."""


class JobFailed(Exception):
    """What a handler raises: the attempt failed, and how to go on.

    `kind`: retry (with the queue's backoff, at least `retry_after` seconds) · fatal (dead at
    once) · snooze (again after `retry_after`, not counted) · interrupted (again at once, not
    counted) · cancelled. `evidence` is kept with the error and may be read by staff.
    """

    def __init__(
        self,
        kind: FailKind,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        evidence: Json | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.kind: FailKind = kind
        self.code = code
        # What PostgreSQL cannot store must not keep a job from failing.
        self.message = (
            message.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        )
        self.retry_after = retry_after
        self.evidence = dict(evidence or {})

    def problem(self) -> dict[str, Any]:
        """The error as it is kept on the job."""
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        return found | ({"evidence": self.evidence} if self.evidence else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is enqueued; every field may be left out."""

    priority: int = 0
    """Smaller first."""
    due: datetime | None = None
    deadline: datetime | None = None
    lane: str = ""
    host: str = ""
    owner: str = ""
    batch: UUID | None = None
    max_attempts: int | None = None
    wake: bool = False
    """Notify in this very transaction: only for callers that cannot call `wake` after it."""

    def values(self) -> tuple[Any, ...]:
        """In the order of the SQL functions' parameters."""
        return (
            self.priority, self.due, self.deadline, self.lane, self.host,
            self.owner, self.batch, self.max_attempts, self.wake,
        )  # fmt: skip


DEFAULT = Options()


async def enqueue(
    db: Executor, queue: str, payload: Json, *, job: UUID | None = None, options: Options = DEFAULT
) -> UUID:
    """Adds one job in the caller's transaction; Busy, Closed, NotFound (the queue), Conflict."""
    found = await db.fetchval(
        "select makeready.enqueue($1, $2::text::jsonb, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        queue,
        json.dumps(payload),
        job,
        *options.values(),
    )
    return UUID(str(found))


async def enqueue_many(
    db: Executor,
    queue: str,
    payloads: Sequence[Json],
    *,
    jobs: Sequence[UUID] | None = None,
    options: Options = DEFAULT,
) -> list[UUID]:
    """Adds many jobs that differ in payload only, all or none; returns their ids in order."""
    found = await db.fetchval(
        "select makeready.enqueue_many($1, $2::text[]::jsonb[], $3, $4, $5, $6, $7, $8, $9, $10,"
        " $11, $12)",
        queue,
        [json.dumps(payload) for payload in payloads],
        jobs,
        *options.values(),
    )
    return list(found)


async def enqueue_once(
    db: Executor,
    queue: str,
    payload: Json,
    *,
    scope: str,
    operation: str,
    key: str,
    fingerprint: bytes,
    job: UUID | None = None,
    options: Options = DEFAULT,
) -> Request:
    """Adds one job under an idempotency key; Rejected when the key belongs to another body."""
    row = await one(
        db,
        "select * from makeready.enqueue_once($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9,"
        " $10, $11, $12, $13, $14, $15, $16)",
        scope,
        operation,
        key,
        fingerprint,
        queue,
        json.dumps(payload),
        job,
        *options.values(),
    )
    return Request(verdict=row["verdict"], job_id=row["job_id"], state=row["job_state"])


async def cancel(db: Executor, queue: str, job: UUID, reason: str | None = None) -> str:
    """Cancels a job or asks its worker to stop; returns its state now; NotFound."""
    return str(await db.fetchval("select makeready.cancel($1, $2, $3)", queue, job, reason))


async def give_up(
    db: Executor, queue: str, job: UUID, problem: Json | None = None
) -> Ended | None:
    """Ends a job for a caller who must answer now, and returns how it ended; None: no such job."""
    row = await db.fetchrow(
        "select job_state, outcome::text, problem_found::text"
        " from makeready.give_up($1, $2, $3::text::jsonb)",
        queue,
        job,
        json_text(problem),
    )
    return None if row is None else _ended(queue, job, *row)


async def peek(db: Executor, queue: str, jobs: Iterable[UUID]) -> list[Ended]:
    """Those of the jobs that have ended, and how: one read for all who wait."""
    rows = await db.fetch(
        "select job_id, job_state, outcome::text, problem::text from makeready.peek($1, $2)",
        queue,
        list(jobs),
    )
    return [_ended(queue, *row) for row in rows]


async def wake(control: Control, queue: str) -> None:
    """Tells sleeping workers that a queue has something; call it after the commit.

    A hint that is lost, or that takes longer than a second, costs one poll and raises nothing.
    """
    await _hint(control, "select makeready.wake($1)", queue)


async def announce(control: Control, queue: str, jobs: Sequence[UUID]) -> None:
    """Tells waiting callers that jobs have ended; as `wake`."""
    await _hint(control, "select makeready.announce($1, $2)", queue, jobs)


def _ended(queue: str, job: UUID, state: str, result: str | None, error: str | None) -> Ended:
    found, problem = json_value(result), json_value(error)
    return Ended(queue=queue, job_id=job, state=state, result=found, error=problem)


async def _hint(control: Control, query: str, *values: Any) -> None:
    try:
        await control.fetch(query, *values, timeout_s=HINT_TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 -- a hint is never worth more than its call
        log = _log.debug if is_transient(error) else _log.error
        log("hint_lost", error=f"{type(error).__name__}: {error}")


def json_text(value: Json | None) -> str | None:
    """A JSON parameter as text; null stays null."""
    return None if value is None else json.dumps(value)


def json_value(text: str | None) -> Any:
    """A JSON column read as text; null stays null."""
    return None if text is None else json.loads(text)
