"""What a worker calls: register, claim, beat, report, finish, fail, leave.

One typed call for each function of the SQL core. Those that need no flush go over the control
connection; a finish waits for the disk, over the pool or a connection of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from makeready.db import Control, Executor
from makeready.jobs import FailKind, Job, Json, Lease, json_text, json_value

CLAIM_TIMEOUT_S = 5.0  # above lock_timeout: a claim behind a forgotten session fails by itself

COLUMNS = """
       c.queue, c.id, c.attempt, c.lost, c.priority, c.lane, c.host, c.owner, c.batch, c.lease,
       c.payload::text as payload, c.progress::text as progress, c.created_at, c.started_at,
       case when c.deadline_at < '9999-01-01' then c.deadline_at end as deadline_at, c.run_until,
       extract(epoch from c.run_until - c.started_at)::float8 as limit_s"""
"""What `claimed` reads of a job that is called c in the statement."""
_CLAIM = f"select {COLUMNS} from "  # noqa: S608 -- both are constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A job, the lease on it, and how long the attempt may take."""

    job: Job
    lease: Lease
    limit_s: float
    """Seconds from the claim to `run_until`, by the database's clock: immune to skew."""
    unreadable: str = ""
    """Why Python cannot read its JSON, if so: the job can only fail, its neighbours go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """How a process introduces itself."""

    id: UUID
    instance: str
    host: str
    pid: int
    tasks: int
    queues: tuple[str, ...]
    version: str
    stale_s: float = 10.0
    """Without a beat for so long it counts as lost."""
    locks_session: bool = True
    """Whether it has a listener, which is to hold the session lock."""


async def register(control: Control, facts: WorkerFacts) -> int:
    """Enters a process; returns how many jobs of a dead predecessor were taken back.

    With the same id again it is a refresh. Conflict: another live process has this instance name.
    """
    rows = await control.fetch(
        "select makeready.worker_register($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        facts.id,
        facts.instance,
        facts.host,
        facts.pid,
        facts.tasks,
        facts.queues,
        facts.version,
        timedelta(seconds=facts.stale_s),
        facts.locks_session,
    )
    return int(rows[0][0])


async def beat(
    control: Control, worker: UUID, held: Sequence[Lease], *, timeout_s: float
) -> dict[UUID, str]:
    """Heartbeat; returns bad news only, by token: `lost` or `cancel`. WorkerGone: register."""
    rows = await control.fetch(
        "select token, verdict from makeready.beat($1, $2, $3, $4)",
        worker,
        [lease.queue for lease in held],
        [lease.job_id for lease in held],
        [lease.token for lease in held],
        timeout_s=timeout_s,
    )
    return {row[0]: row[1] for row in rows}


async def drain(control: Control, worker: UUID) -> None:
    """From now on this worker gets no job; what it has it may finish."""
    await control.fetch("select makeready.worker_stopping($1)", worker)


async def leave(control: Control, worker: UUID) -> int:
    """Strikes the worker off the list; returns how many jobs were taken back."""
    rows = await control.fetch("select makeready.worker_leave($1)", worker)
    return int(rows[0][0])


async def claim(
    db: Executor | Control,
    queues: Sequence[str],
    worker: UUID,
    most: int,
    *,
    function: str = "claim",
) -> list[Claimed]:
    """Takes up to `most` due jobs of one of the queues; WorkerGone: register or beat first.

    `function`: a queue's own way to claim, with the arguments and the result of makeready.claim.
    """
    query = f"{_CLAIM} makeready.{function}($1, $2, $3) c"
    if isinstance(db, Control):  # never repeated: the first one may have been committed
        rows = await db.fetch(query, queues, worker, most, timeout_s=CLAIM_TIMEOUT_S, repeat=False)
    else:
        rows = await db.fetch(query, queues, worker, most, timeout=CLAIM_TIMEOUT_S)
    return [claimed(row) for row in rows]


async def return_strays(db: Executor | Control, worker: UUID, known: Sequence[UUID]) -> int:
    """Gives back what this worker has claimed without getting the answer; `known` are its tokens.

    Only while no claim of this worker is under way. Returns how many jobs.
    """
    rows = await db.fetch("select makeready.worker_strays($1, $2)", worker, known)
    return int(rows[0][0])


async def finish_and_claim(
    db: Executor, lease: Lease, result: Json | None, worker: UUID, most: int
) -> list[Claimed]:
    """Finishes and takes the next jobs in one round trip; Conflict when the queue has a limit."""
    rows = await db.fetch(
        _CLAIM + "makeready.finish_and_claim($1, $2, $3, $4::text::jsonb, $5, $6) c",
        *_lease(lease),
        json_text(result),
        worker,
        most,
    )
    return [claimed(row) for row in rows]


async def finish(db: Executor | Control, lease: Lease, result: Json | None = None) -> str:
    """Ends a job as done: `ok`, or `repeat` when this lease has done so before; LeaseLost."""
    query = "select makeready.finish($1, $2, $3, $4::text::jsonb)"
    rows = await db.fetch(query, *_lease(lease), json_text(result))
    return str(rows[0][0])


async def finish_many(
    db: Executor | Control, queue: str, ended: Sequence[tuple[Lease, Json | None]]
) -> dict[UUID, str]:
    """Ends many jobs of one queue: ok, repeat or lost for each, by token."""
    rows = await db.fetch(
        "select job_id, verdict from makeready.finish_many($1, $2, $3, $4::text[]::jsonb[])",
        queue,
        [lease.job_id for lease, _ in ended],
        [lease.token for lease, _ in ended],
        [json_text(result) for _, result in ended],
    )
    return {lease.token: row[1] for (lease, _), row in zip(ended, rows, strict=True)}


async def fail(
    db: Executor, lease: Lease, kind: FailKind, problem: Json, *, retry_after: float | None = None
) -> str:
    """Ends an attempt and returns the job's new state; `retry_after` in seconds; LeaseLost."""
    after = None if retry_after is None else timedelta(seconds=retry_after)
    return str(
        await db.fetchval(
            "select makeready.fail($1, $2, $3, $4, $5::text::jsonb, $6)",
            *_lease(lease),
            kind,
            json.dumps(problem),
            after,
        )
    )


async def report(db: Executor, lease: Lease, facts: Json) -> None:
    """Keeps progress and gives the attempt its full time again; LeaseLost."""
    await db.fetchval(
        "select makeready.report($1, $2, $3, $4::text::jsonb)", *_lease(lease), json.dumps(facts)
    )


def claimed(row: asyncpg.Record) -> Claimed:
    """A job as a statement returns it with `COLUMNS`."""
    payload, progress, unreadable = {}, None, ""
    try:
        payload, progress = json.loads(row["payload"]), json_value(row["progress"])
    except (ValueError, RecursionError) as error:  # a number too long, or nested too deeply
        unreadable = type(error).__name__
    job = Job(
        queue=row["queue"],
        id=row["id"],
        payload=payload,
        attempt=row["attempt"],
        lost=row["lost"],
        priority=row["priority"],
        lane=row["lane"],
        host=row["host"],
        owner=row["owner"],
        batch=row["batch"],
        progress=progress,
        created_at=row["created_at"],
        started_at=row["started_at"],
        run_until=row["run_until"],
        deadline_at=row["deadline_at"],
    )
    lease = Lease(queue=job.queue, job_id=job.id, token=row["lease"])
    return Claimed(job=job, lease=lease, limit_s=row["limit_s"], unreadable=unreadable)


def _lease(lease: Lease) -> tuple[str, UUID, UUID]:
    return (lease.queue, lease.job_id, lease.token)
