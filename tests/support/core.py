"""The SQL core as a test sees it: functions called by name, and a few shapes that return often."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

import makeready.errors  # noqa: F401  its classes make asyncpg raise LeaseLost and the like

QUEUES_SQL = Path(__file__).with_name("queues.sql")
OPEN = ("waiting", "queued", "running")
PATIENT_S = 3600  # a worker of a test that takes a while where others keep the machine busy


def seconds(number: float) -> timedelta:
    """An interval, short to write."""
    return timedelta(seconds=number)


def plain(value: Any) -> Any:
    """jsonb as Python sees it, whether or not the connection has a codec."""
    return json.loads(value) if isinstance(value, str) else value


def statement(function: str, arguments: dict[str, Any], *, rows: bool) -> tuple[str, list[Any]]:
    """The call in named notation; dicts travel as text, so that no codec is needed."""
    words: list[str] = []
    values: list[Any] = []
    for place, (name, value) in enumerate(arguments.items(), 1):
        if isinstance(value, dict):
            words.append(f"{name} => ${place}::text::jsonb")
            values.append(json.dumps(value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            words.append(f"{name} => ${place}::text[]::jsonb[]")
            values.append([json.dumps(item) for item in value])
        else:
            words.append(f"{name} => ${place}")
            values.append(value)
    source = f"makeready.{function}({', '.join(words)})"
    return f"select {'* from ' if rows else ''}{source}", values


class Core:
    """One session that calls the functions of the core."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self.db = db
        self.me: UUID | None = None

    async def call(self, function: str, /, **arguments: Any) -> Any:
        """One function, its single answer."""
        text, values = statement(function, arguments, rows=False)
        return await self.db.fetchval(text, *values)

    async def rows(self, function: str, /, **arguments: Any) -> list[asyncpg.Record]:
        """One function that answers in rows."""
        text, values = statement(function, arguments, rows=True)
        return list(await self.db.fetch(text, *values))

    async def enqueue(self, queue: str = "free", **options: Any) -> UUID:
        """One job."""
        job: UUID = await self.call("enqueue", queue_name=queue, **options)
        return job

    async def many(self, queue: str, count: int, **options: Any) -> list[UUID]:
        """Several equal jobs."""
        bodies: list[dict[str, Any]] = [{} for _ in range(count)]
        jobs: list[UUID] = await self.call(
            "enqueue_many", queue_name=queue, bodies=bodies, **options
        )
        return jobs

    async def worker(
        self,
        *queues: str,
        instance: str | None = None,
        host: str = "here",
        stale: float = 10,
        session: bool = False,
    ) -> UUID:
        """Registers a process that lives by its heartbeat; with `session` also by its lock."""
        worker = uuid4()
        await self.register(
            worker, *queues, instance=instance, host=host, stale=stale, session=session
        )
        return worker

    async def register(
        self,
        worker: UUID,
        *queues: str,
        instance: str | None = None,
        host: str = "here",
        stale: float = 10,
        session: bool = False,
    ) -> int:
        """Registers the process with this id; the number of jobs it took over."""
        taken: int = await self.call(
            "worker_register",
            worker=worker,
            instance_name=instance or str(worker),
            host_name=host,
            process_id=1,
            task_count=4,
            queue_names=list(queues or ("free", "limited", "bounded", "fair")),
            code_version="test",
            stale_time=seconds(stale),
            has_session=session,
        )
        return taken

    async def claim(
        self, queue: str | list[str] = "free", count: int = 1, worker: UUID | None = None
    ) -> list[asyncpg.Record]:
        """Claims for a worker, or for this session's own, which registers when it is needed."""
        if worker is None:
            self.me = self.me or await self.worker()
            worker = self.me
        names = [queue] if isinstance(queue, str) else queue
        return await self.rows("claim", queue_names=names, worker=worker, max_jobs=count)

    async def running(self, queue: str = "free", **options: Any) -> asyncpg.Record:
        """A job that was enqueued and claimed just now."""
        await self.enqueue(queue, **options)
        (job,) = await self.claim(queue)
        return job

    async def finish(self, job: asyncpg.Record, outcome: dict[str, Any] | None = None) -> str:
        """Finishes under the lease that the record carries."""
        verdict: str = await self.call(
            "finish",
            queue_name=job["queue"],
            job=job["id"],
            token=job["lease"],
            outcome=outcome or {},
        )
        return verdict

    async def fail(
        self,
        job: asyncpg.Record,
        manner: str = "retry",
        problem: dict[str, Any] | None = None,
        retry_after: timedelta | None = None,
    ) -> str:
        """Fails under the lease that the record carries; the new state."""
        state: str = await self.call(
            "fail",
            queue_name=job["queue"],
            job=job["id"],
            token=job["lease"],
            manner=manner,
            problem=problem or {"code": "broken", "message": "it broke"},
            retry_after=retry_after,
        )
        return state

    async def report(self, job: asyncpg.Record, facts: dict[str, Any] | None = None) -> None:
        """Reports progress under the lease that the record carries."""
        await self.call(
            "report", queue_name=job["queue"], job=job["id"], token=job["lease"], facts=facts or {}
        )

    async def beat(self, worker: UUID, *jobs: asyncpg.Record) -> dict[UUID, str]:
        """A heartbeat with the leases of these jobs; the bad news."""
        answers = await self.rows(
            "beat",
            worker=worker,
            queue_names=[job["queue"] for job in jobs],
            job_ids=[job["id"] for job in jobs],
            tokens=[job["lease"] for job in jobs],
        )
        return {row["job_id"]: row["verdict"] for row in answers}

    async def cancel(self, queue: str, job: UUID) -> str:
        """Cancels; the state the job is in now."""
        state: str = await self.call("cancel", queue_name=queue, job=job)
        return state

    async def give_up(self, queue: str, job: UUID) -> asyncpg.Record | None:
        """Gives up on a job; how it stands."""
        answers = await self.rows("give_up", queue_name=queue, job=job)
        return answers[0] if answers else None

    async def reap(self, count: int = 1000) -> int:
        """Reaps at once, trusting heartbeats."""
        reaped: int = await self.call("reap", max_jobs=count)
        return reaped

    async def set(self, queue: str, **settings: Any) -> None:
        """Changes settings of a queue as an operator does."""
        for setting, value in settings.items():
            text = None if value is None else str(value)
            await self.call("queue_set", queue_name=queue, setting=setting, new_value=text)

    async def lane(self, queue: str, lane: str, seats: int | None) -> None:
        """Creates a lane or changes its limit."""
        await self.call("lane_set", queue_name=queue, lane_name=lane, seats=seats)

    async def job(self, job: UUID) -> asyncpg.Record:
        """The row as it is now."""
        row = await self.db.fetchrow("select * from makeready.jobs where id = $1", job)
        assert row is not None, f"job {job} is gone"
        return row

    async def state(self, job: UUID) -> str:
        """The state as it is now."""
        state: str = (await self.job(job))["state"]
        return state

    async def count(self, queue: str, *states: str) -> int:
        """Jobs of a queue in these states."""
        number: int = await self.db.fetchval(
            "select count(*) from makeready.jobs where queue = $1 and state = any ($2::text[])",
            queue,
            list(states),
        )
        return number
