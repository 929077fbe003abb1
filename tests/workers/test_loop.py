"""What the loop does with a handler's outcome, and how it claims."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from makeready import jobs, leases
from makeready.config import Settings
from makeready.db import Connection
from makeready.errors import MakereadyError, Rejected
from makeready.jobs import Done, Ended, Job, JobFailed
from makeready_workers.attempt import HeldLease
from makeready_workers.loop import POLL_HEARING_S, POLL_S, Worker
from tests.support.core import Core, plain, seconds
from tests.support.in_process import Scripted, working
from tests.support.waiting import until

pytestmark = pytest.mark.notified


async def test_a_job_runs_and_its_result_is_kept(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async def run(job: Job, _: HeldLease) -> Done:
        return Done(result={"twice": job.payload["number"] * 2})

    async with working(settings, Scripted(run=run)) as shop:
        job = await jobs.enqueue(db, "free", {"number": 21}, options=jobs.Options(wake=True))
        assert await shop.until_ends() == {"done": 1}

    row = await core.job(job)
    assert row["state"] == "done"
    assert plain(row["result"]) == {"twice": 42}


async def test_a_handler_sees_the_whole_job(settings: Settings, core: Core) -> None:
    handler = Scripted()
    async with working(settings, handler) as shop:
        job = await core.enqueue(body={"a": 1}, owner_key="me", rank=3, wake=True)
        await shop.until_ends()

    (seen,) = handler.jobs
    assert (seen.id, seen.queue, seen.payload, seen.attempt) == (job, "free", {"a": 1}, 1)
    assert (seen.owner, seen.priority, seen.lost, seen.progress) == ("me", 3, 0, None)
    (lease,) = handler.leases
    assert (lease.queue, lease.job_id) == ("free", job)


async def test_a_process_runs_as_many_jobs_at_a_time_as_it_has_tasks(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        await asyncio.sleep(0.05)
        return Done()

    handler = Scripted(run=run)
    async with working(settings, handler, tasks=4) as shop:
        await core.many("free", 12, wake=True)
        await shop.until_ends(12)

    assert handler.most_at_once == 4


async def test_one_claim_takes_a_job_for_each_free_task(settings: Settings, core: Core) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        await asyncio.sleep(0.2)
        return Done()

    handler = Scripted(run=run)
    async with working(settings, handler, tasks=4) as shop:
        before = shop.worker.statistics().claims
        await core.many("free", 4, wake=True)
        await until(lambda: handler.at_once == 4)
        assert shop.worker.statistics().claims <= before + 1  # one in flight may take them
    # A claim reads the clock once.
    claimed_at = "select count(distinct started_at) from makeready.jobs where queue = 'free'"
    assert await core.db.fetchval(claimed_at) == 1


async def test_a_limit_holds_with_more_tasks_than_seats(settings: Settings, core: Core) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        await asyncio.sleep(0.01)
        return Done()

    handler = Scripted("limited", run)
    async with working(settings, handler, tasks=8) as shop:
        await core.many("limited", 20, wake=True)
        await shop.until_ends(20)

    assert handler.most_at_once == 3


async def test_a_worker_serves_several_queues_even_when_one_never_runs_dry(
    settings: Settings, core: Core
) -> None:
    busy, rare = Scripted("free"), Scripted("limited")
    await core.many("free", 300)
    async with working(settings, busy, rare) as shop:
        await core.enqueue("limited", wake=True)
        await until(lambda: rare.jobs)
        assert len(busy.jobs) < 300
        await shop.until_ends(301)


async def test_work_starts_at_once_when_it_is_notified(
    settings: Settings, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B1: LISTEN wakes before the poll."""
    if not settings.listen:
        pytest.skip("needs notifications")
    idle = asyncio.Event()

    def pause_s(_: Worker) -> float:
        idle.set()  # nothing was found; it waits from here on
        return 60.0

    monkeypatch.setattr(Worker, "_poll_s", pause_s)
    handler = Scripted()
    async with working(settings, handler):
        await idle.wait()
        await core.enqueue(wake=True)
        await until(lambda: handler.jobs)


@pytest.mark.parametrize("listen", [True, False])
async def test_work_starts_at_the_next_poll_without_a_notification(
    settings: Settings, core: Core, *, listen: bool
) -> None:
    """B1: the poll finds it when notifications are off, or one got lost."""
    handler = Scripted()
    async with working(settings, handler, listen=listen):
        await core.enqueue()
        await until(lambda: handler.jobs, timeout_s=POLL_HEARING_S[1] + 1)
    assert max(*POLL_S, *POLL_HEARING_S) < 2  # what operators are told


async def test_a_failure_is_retried_with_the_pause_of_the_queue(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async def run(job: Job, _: HeldLease) -> Done:
        if job.attempt == 1:
            raise JobFailed("retry", "too_wet", "ink not dry", evidence={"drops": 3})
        return Done()

    await core.set("free", retry_base="10 milliseconds")
    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends(2) == {"waiting": 1, "done": 1}

    assert (await core.job(job))["attempt"] == 2
    error = await db.fetchval("select error from makeready.attempts where job_id = $1", job)
    assert plain(error) == {"code": "too_wet", "message": "ink not dry", "evidence": {"drops": 3}}


async def test_a_retry_waits_at_least_as_long_as_the_handler_asks(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        raise JobFailed("retry", "busy", "come back later", retry_after=120)

    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        await shop.until_ends()

    row = await core.job(job)
    assert row["state"] == "waiting"
    assert row["run_at"] - row["started_at"] >= seconds(120)


@pytest.mark.parametrize(
    ("kind", "state", "attempt"),
    [("fatal", "dead", 1), ("snooze", "waiting", 0), ("cancelled", "cancelled", 1)],
)
async def test_a_handler_says_how_to_go_on(
    settings: Settings, core: Core, *, kind: jobs.FailKind, state: str, attempt: int
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        raise JobFailed(kind, "told", "so", retry_after=60)

    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        await shop.until_ends()

    row = await core.job(job)
    assert (row["state"], row["attempt"]) == (state, attempt)


async def test_an_unknown_error_is_a_retry_that_tells_no_secret(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        raise ValueError("password=hunter2")

    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends() == {"waiting": 1}

    error = plain((await core.job(job))["error"])
    assert error["code"] == "internal_error"
    assert "ValueError" in error["message"]
    assert "hunter2" not in str(error)


async def test_an_error_of_the_contract_keeps_its_code_and_text(
    settings: Settings, core: Core
) -> None:
    class StoreAway(MakereadyError):
        code = "storage_unavailable"

    async def run(_: Job, __: HeldLease) -> Done:
        raise StoreAway("no answer from the store")

    async with working(settings, Scripted(run=run)) as shop:
        job = await core.enqueue(wake=True)
        assert await shop.until_ends() == {"waiting": 1}

    error = plain((await core.job(job))["error"])
    assert error == {"code": "storage_unavailable", "message": "no answer from the store"}


async def test_bad_input_is_not_tried_again(settings: Settings, core: Core) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        raise Rejected("the data has no total")

    async with working(settings, Scripted(run=run)) as shop:
        await core.enqueue(wake=True)
        assert await shop.until_ends() == {"dead": 1}


async def test_an_error_inside_a_task_group_of_the_handler_is_understood(
    settings: Settings, core: Core
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [JobFailed("fatal", "a", "b")])

    async with working(settings, Scripted(run=run)) as shop:
        await core.enqueue(wake=True)
        assert await shop.until_ends() == {"dead": 1}


async def test_a_handler_that_cancels_itself_is_retried_and_hurts_nobody(
    settings: Settings, core: Core
) -> None:
    async def run(job: Job, _: HeldLease) -> Done:
        if job.attempt == 1:
            raise asyncio.CancelledError
        return Done()

    await core.set("free", retry_base="10 milliseconds")
    async with working(settings, Scripted(run=run)) as shop:
        await core.enqueue(wake=True)
        assert await shop.until_ends(2) == {"waiting": 1, "done": 1}


async def test_a_result_that_is_too_big_fails_its_own_job_only(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async def run(job: Job, _: HeldLease) -> Done:
        text = "".join(chr(32 + (i * 7919) % 90) for i in range(job.payload["size"]))
        return Done(result={"text": text})

    await core.set("free", max_attempts=1)
    await core.enqueue(body={"size": 500_000})
    for _ in range(3):
        await core.enqueue(body={"size": 10})
    async with working(settings, Scripted(run=run)) as shop:
        assert await shop.until_ends(4) == {"dead": 1, "done": 3}

    error = await db.fetchval("select error from makeready.jobs where state = 'dead'")
    assert plain(error)["code"] == "validation_failed"


async def test_a_queue_writes_its_rows_in_the_transaction_of_its_finish(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async def run(_: Job, lease: HeldLease) -> Done:
        async def commit(connection: Connection, job: Job) -> str:
            statement = "select makeready.drill_finish($1, $2, '{}')"
            return str(await connection.fetchval(statement, job.id, lease.token))

        return Done(commit=commit)

    async with working(settings, Scripted("drill", run)) as shop:
        job = await core.enqueue("drill", wake=True)
        assert await shop.until_ends() == {"done": 1}

    assert await db.fetchval("select job_id from makeready.drill_results") == job


async def test_a_commit_whose_answer_was_lost_is_asked_again_and_counts_once(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    calls = []

    async def run(_: Job, lease: HeldLease) -> Done:
        async def commit(connection: Connection, job: Job) -> str:
            statement = "select makeready.drill_finish($1, $2, '{}')"
            verdict = str(await connection.fetchval(statement, job.id, lease.token))
            calls.append(verdict)
            if len(calls) == 1:
                raise ConnectionResetError("the answer is lost")
            return verdict

        return Done(commit=commit)

    async with working(settings, Scripted("drill", run)) as shop:
        await core.enqueue("drill", wake=True)
        assert await shop.until_ends() == {"repeat": 1}

    assert calls == ["ok", "repeat"]
    assert await db.fetchval("select count(*) from makeready.drill_results") == 1


async def test_waiting_callers_are_told_of_an_end(settings: Settings, core: Core) -> None:
    told: list[object] = []

    def hear(_: object, __: int, ___: str, payload: object) -> None:
        told.append(payload)

    await core.db.add_listener("makeready", hear)
    async with working(settings, Scripted()):
        job = await core.enqueue(wake=True)
        await until(lambda: f"end free {job}" in told)
    await core.db.remove_listener("makeready", hear)


async def test_its_own_process_is_told_how_a_job_ended_where_that_is_known(
    settings: Settings, core: Core
) -> None:
    """After the commit; of an end that only the database knows it hears that there is one."""
    heard: dict[UUID, Ended | None] = {}

    async def run(job: Job, lease: HeldLease) -> Done:
        async def commit(connection: Connection, _: Job) -> str:
            return await leases.finish(connection, lease, {"by": "commit"})

        if job.payload["do"] == "fail":
            raise JobFailed("fatal", "internal_error", "so")
        if job.payload["do"] == "lose":
            await core.give_up("free", job.id)
        result = {"n": 1} if "result" in job.payload["do"] else None
        return Done(result=result, commit=commit if "commit" in job.payload["do"] else None)

    async def state(job: UUID) -> object:
        return (await core.job(job))["state"]

    def on_end(_: str, job: UUID, end: Ended | None) -> None:
        heard[job] = end

    ways = ("plain", "result", "commit", "commit result", "fail", "lose")
    async with working(settings, Scripted(run=run), on_end=on_end) as shop:
        made = {way: await core.enqueue(body={"do": way}, wake=True) for way in ways}
        await shop.until_ends(len(ways))

    results = {"plain": None, "result": {"n": 1}, "commit result": {"n": 1}}
    told = {
        made[way]: Ended(queue="free", job_id=made[way], state="done", result=result)
        for way, result in results.items()
    }
    assert heard == told | {made["commit"]: None, made["fail"]: None}
    assert [await state(made[way]) for way in ("commit", "fail", "lose")] == [
        "done",
        "dead",
        "expired",
    ]
