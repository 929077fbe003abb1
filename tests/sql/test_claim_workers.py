"""Only a live worker claims; what it holds it keeps as long as nobody took it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from makeready.errors import Conflict, LeaseLost, WorkerGone
from tests.support.clock import Clock
from tests.support.core import Core


async def test_an_unknown_worker_is_refused(core: Core) -> None:
    await core.enqueue("free")
    with pytest.raises(WorkerGone):
        await core.claim("free", 1, uuid4())


async def test_a_worker_that_missed_its_heartbeats_is_refused_until_it_beats(
    core: Core, clock: Clock
) -> None:
    worker = await core.worker(stale=10)
    await core.enqueue("free")
    await clock.advance(11)
    with pytest.raises(WorkerGone):
        await core.claim("free", 1, worker)
    await core.beat(worker)
    assert len(await core.claim("free", 1, worker)) == 1


async def test_a_draining_worker_claims_nothing_and_keeps_what_it_has(core: Core) -> None:
    worker = await core.worker()
    await core.many("free", 2)
    (job,) = await core.claim("free", 1, worker)
    await core.call("worker_drain", worker=worker)
    with pytest.raises(WorkerGone):
        await core.claim("free", 1, worker)
    await core.report(job)
    assert await core.beat(worker, job) == {}
    assert await core.finish(job) == "ok"


async def test_a_stale_worker_may_finish_what_nobody_took(core: Core, clock: Clock) -> None:
    """It comes back after an outage: the lease counts, not the heartbeat."""
    job = await core.running("free")
    await clock.advance(120)
    assert await core.finish(job) == "ok"


async def test_a_stale_worker_may_fail_what_nobody_took(core: Core, clock: Clock) -> None:
    job = await core.running("free")
    await clock.advance(120)
    assert await core.fail(job, "interrupted") == "queued"


async def test_finish_and_claim_is_one_round_trip_of_an_unlimited_queue(core: Core) -> None:
    first, second = await core.many("free", 2)
    (job,) = await core.claim("free")
    assert core.me is not None
    await core.db.execute("set synchronous_commit = on")
    async with core.db.transaction():
        (following,) = await core.rows(
            "finish_and_claim",
            queue_name="free",
            job=job["id"],
            token=job["lease"],
            outcome={"n": 1},
            worker=core.me,
        )
        # The finish counts, so this commit waits for the disk whatever a claim may do.
        assert await core.db.fetchval("show synchronous_commit") == "on"
    assert (await core.state(first), following["id"]) == ("done", second)


async def test_finish_and_claim_gives_a_draining_worker_nothing(core: Core) -> None:
    await core.many("free", 2)
    (job,) = await core.claim("free")
    await core.call("worker_drain", worker=core.me)
    call = {"queue_name": "free", "job": job["id"], "token": job["lease"], "outcome": {}}
    assert await core.rows("finish_and_claim", **call, worker=core.me) == []
    assert await core.state(job["id"]) == "done"


async def test_finish_and_claim_gives_a_stale_worker_nothing(core: Core, clock: Clock) -> None:
    """What it holds it may finish; new work is for those that beat."""
    await core.many("free", 2)
    (job,) = await core.claim("free")
    await clock.advance(11)
    call = {"queue_name": "free", "job": job["id"], "token": job["lease"], "outcome": {}}
    assert await core.rows("finish_and_claim", **call, worker=core.me) == []
    assert await core.state(job["id"]) == "done"
    assert await core.count("free", "queued") == 1


async def test_finish_and_claim_takes_nothing_from_a_paused_queue(core: Core) -> None:
    await core.many("free", 2)
    (job,) = await core.claim("free")
    await core.call("queue_pause", queue_name="free")
    call = {"queue_name": "free", "job": job["id"], "token": job["lease"], "outcome": {}}
    assert await core.rows("finish_and_claim", **call, worker=core.me) == []


@pytest.mark.parametrize("how", ["queue", "lane"])
async def test_finish_and_claim_is_refused_where_there_is_a_limit(core: Core, how: str) -> None:
    """The gate may not be held while a commit waits for the disk."""
    job = await core.running("limited" if how == "queue" else "free")
    if how == "lane":
        await core.lane("free", "one", 1)
    call = {"queue_name": job["queue"], "job": job["id"], "token": job["lease"], "outcome": {}}
    with pytest.raises(Conflict):
        await core.rows("finish_and_claim", **call, worker=core.me)
    assert await core.state(job["id"]) == "running"


async def test_finish_and_claim_with_a_lost_lease_claims_nothing(core: Core) -> None:
    await core.many("free", 2)
    (job,) = await core.claim("free")
    call = {"queue_name": "free", "job": job["id"], "token": uuid4(), "outcome": {}}
    with pytest.raises(LeaseLost):
        await core.rows("finish_and_claim", **call, worker=core.me)
    assert await core.count("free", "running") == 1
