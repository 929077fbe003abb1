"""A claim takes what is due, in order, once, and never waits for anything it need not wait for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Literal
from uuid import uuid4

import pytest

from makeready.errors import WrongIsolation
from tests.sql.conftest import Session
from tests.support.core import Core, seconds


async def test_a_claim_returns_the_job_running_under_a_new_lease(core: Core) -> None:
    job = await core.enqueue("free", body={"page": 1})
    (claimed,) = await core.claim("free")
    assert claimed["id"] == job
    assert (claimed["state"], claimed["attempt"], claimed["worker_id"]) == ("running", 1, core.me)
    assert claimed["lease"] is not None
    assert claimed["started_at"] >= claimed["created_at"]
    assert claimed["run_until"] - claimed["started_at"] == timedelta(minutes=5)
    assert dict(await core.job(job)) == dict(claimed)


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_each_claim_gives_a_lease_of_its_own(core: Core, queue: str) -> None:
    """A counter or the worker's id would come back; a random token does not."""
    job = await core.running(queue)
    assert await core.fail(job, "interrupted") == "queued"
    (again,) = await core.claim(queue)
    assert (again["id"], again["worker_id"]) == (job["id"], job["worker_id"])
    assert again["lease"] != job["lease"]


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_jobs_are_claimed_by_priority_then_age(core: Core, queue: str) -> None:
    """R1: priority order."""
    late, first, second = [await core.enqueue(queue, rank=rank) for rank in (5, -1, -1)]
    claimed = [(await core.claim(queue))[0]["id"] for _ in range(3)]
    assert claimed == [first, second, late]


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_batch_takes_no_more_than_asked_for(core: Core, queue: str) -> None:
    """R1: limit."""
    await core.many(queue, 5)
    assert len(await core.claim(queue, 2)) == 2
    assert await core.count(queue, "running") == 2


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_job_of_the_future_is_not_claimed(core: Core, queue: str) -> None:
    """R1: not yet due."""
    await core.enqueue(queue, due=await core.call("now") + seconds(60))
    assert await core.claim(queue) == []


async def test_a_claim_leaves_other_queues_alone(core: Core) -> None:
    """R1: other queue."""
    await core.enqueue("limited")
    assert await core.claim("free") == []


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_locked_row_is_skipped(core: Core, session: Session, queue: str) -> None:
    """R1: locked rows."""
    locked, other = await core.many(queue, 2)
    holder = await session()
    async with holder.db.transaction():
        await holder.db.execute("select from makeready.jobs where id = $1 for update", locked)
        (claimed,) = await core.claim(queue, 2)
        assert claimed["id"] == other
    (claimed,) = await core.claim(queue, 2)
    assert claimed["id"] == locked


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_job_past_its_deadline_is_never_claimed(core: Core, queue: str) -> None:
    now = await core.call("now")
    await core.enqueue(queue, deadline=now - seconds(1))
    good = await core.enqueue(queue, deadline=now + seconds(60))
    assert [job["id"] for job in await core.claim(queue, 5)] == [good]


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_an_attempt_ends_at_the_deadline_at_latest(core: Core, queue: str) -> None:
    deadline = await core.call("now") + seconds(20)
    job = await core.running(queue, deadline=deadline)
    assert job["run_until"] == deadline


async def test_an_uncommitted_job_is_invisible(core: Core, session: Session) -> None:
    """M1: an enqueue that has not committed."""
    client = await session()
    transaction = client.db.transaction()
    await transaction.start()
    await client.enqueue("free")
    assert await core.claim("free") == []
    await transaction.commit()
    assert len(await core.claim("free")) == 1


async def test_a_rolled_back_claim_returns_to_the_queue(core: Core, session: Session) -> None:
    """M1: a claim whose process died before its commit."""
    job = await core.enqueue("limited")
    other = await session()
    worker = await other.worker()
    transaction = other.db.transaction()
    await transaction.start()
    assert len(await other.claim("limited", worker=worker)) == 1
    await transaction.rollback()
    row = await core.job(job)
    assert (row["state"], row["attempt"], row["lease"], row["seat"]) == ("queued", 0, None, None)


async def test_the_first_queue_that_yields_is_claimed_from(core: Core) -> None:
    await core.enqueue("limited")
    await core.enqueue("free")
    assert [job["queue"] for job in await core.claim(["free", "limited"], 5)] == ["free"]
    assert [job["queue"] for job in await core.claim(["free", "limited"], 5)] == ["limited"]
    assert await core.claim(["free", "limited"], 5) == []


async def test_a_paused_or_full_queue_does_not_hide_the_next_one(core: Core) -> None:
    """Q2: a tight limit does not throttle the rest."""
    await core.many("limited", 2)
    await core.many("bounded", 2)
    await core.enqueue("free")
    await core.set("limited", max_in_flight=1)
    await core.claim("limited")
    await core.call("queue_pause", queue_name="bounded")
    (job,) = await core.claim(["limited", "bounded", "free"], 5)
    assert job["queue"] == "free"


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_paused_queue_yields_nothing_until_it_is_resumed(core: Core, queue: str) -> None:
    """R3: pause and resume."""
    await core.enqueue(queue)
    await core.call("queue_pause", queue_name=queue)
    assert await core.claim(queue) == []
    await core.call("queue_resume", queue_name=queue)
    assert len(await core.claim(queue)) == 1


async def test_an_idle_poll_writes_nothing_and_locks_nothing(core: Core) -> None:
    worker = await core.worker()
    async with core.db.transaction():
        assert await core.claim(["free", "limited", "bounded"], worker=worker) == []
        assert await core.db.fetchval("select txid_current_if_assigned()") is None


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_claim_does_not_wait_for_the_disk(core: Core, queue: str) -> None:
    """A claim lost in a crash only repeats work."""
    worker = await core.worker()
    await core.enqueue(queue)
    await core.db.execute("set synchronous_commit = on")
    async with core.db.transaction():
        assert len(await core.claim(queue, worker=worker)) == 1
        assert await core.db.fetchval("show synchronous_commit") == "off"
    assert await core.db.fetchval("show synchronous_commit") == "on"


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_a_frozen_snapshot_is_refused(
    core: Core, level: Literal["repeatable_read", "serializable"]
) -> None:
    """A REPEATABLE READ caller got 13 at a limit of 12."""
    worker = await core.worker()
    with pytest.raises(WrongIsolation) as refusal:
        async with core.db.transaction(isolation=level):
            await core.claim("limited", worker=worker)
    assert "READ COMMITTED" in str(refusal.value)


async def test_a_job_bound_to_a_host_waits_for_a_worker_there(core: Core) -> None:
    here, there = await core.worker(host="here"), await core.worker(host="there")
    bound = await core.enqueue("free", host_name="there")
    anywhere = await core.enqueue("free")
    assert [job["id"] for job in await core.claim("free", 5, here)] == [anywhere]
    assert [job["id"] for job in await core.claim("free", 5, there)] == [bound]


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_bound_and_unbound_jobs_share_one_line(core: Core, queue: str) -> None:
    worker = await core.worker(host="here")
    jobs = [await core.enqueue(queue, host_name=host) for host in ("", "here", "", "here")]
    claimed = [job["id"] for _ in range(3) for job in await core.claim(queue, 1, worker)]
    assert claimed == jobs[:3]


@pytest.mark.parametrize("queue", ["free", "limited"])
async def test_a_nameless_host_takes_each_job_once(core: Core, queue: str) -> None:
    """The host filter "anywhere or mine" must not list the same job twice."""
    worker = await core.worker(host="")
    await core.many(queue, 3)
    assert len(await core.claim(queue, 3, worker)) == 3


async def test_one_job_and_many_claimers_make_one_claim(core: Core, session: Session) -> None:
    """Q1: a single job, one picker, on separate connections."""
    others = [await session() for _ in range(8)]
    for other in others:
        other.me = await other.worker()
    for _ in range(5):
        await core.enqueue("free", job=uuid4())
        found = await asyncio.gather(*(other.claim("free") for other in others))
        assert sum(len(jobs) for jobs in found) == 1
