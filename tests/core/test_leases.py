from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import jobs, leases
from makeready.db import Control
from makeready.errors import Conflict, LeaseLost, WorkerGone
from makeready.jobs import Lease
from makeready.leases import WorkerFacts
from tests.support.core import Core, plain


def facts(instance: str = "press", worker: UUID | None = None) -> WorkerFacts:
    return WorkerFacts(
        id=worker or uuid4(),
        instance=instance,
        host="here",
        pid=1,
        tasks=4,
        queues=("free", "limited"),
        version="test",
        locks_session=False,
    )


@pytest.fixture
async def worker(control: Control) -> UUID:
    me = facts()
    assert await leases.register(control, me) == 0
    return me.id


async def _claim_one(core: Core, worker: UUID) -> leases.Claimed:
    (claimed,) = await leases.claim(core.db, ["free"], worker, 1)
    return claimed


async def test_a_claim_tells_the_time_an_attempt_has(core: Core, worker: UUID) -> None:
    await core.set("free", attempt_limit="90 seconds")
    await core.enqueue()
    assert (await _claim_one(core, worker)).limit_s == 90

    soon = await core.db.fetchval("select makeready.now() + interval '30 seconds'")
    await core.enqueue(deadline=soon)
    assert 29 < (await _claim_one(core, worker)).limit_s <= 30


async def test_a_claim_takes_no_more_than_it_was_asked_for(core: Core, worker: UUID) -> None:
    await core.many("free", 5)

    assert len(await leases.claim(core.db, ["free"], worker, 3)) == 3
    assert len(await leases.claim(core.db, ["limited", "free"], worker, 3)) == 2
    assert await leases.claim(core.db, ["free"], worker, 3) == []


async def test_who_is_not_registered_claims_nothing(core: Core) -> None:
    with pytest.raises(WorkerGone) as caught:
        await leases.claim(core.db, ["free"], uuid4(), 1)
    assert caught.value.details["reason"] == "unknown"


async def test_registering_again_is_a_refresh_and_another_process_is_refused(
    core: Core, control: Control, worker: UUID
) -> None:
    await core.enqueue()
    claimed = await _claim_one(core, worker)

    assert await leases.register(control, facts(worker=worker)) == 0
    assert await leases.finish(core.db, claimed.lease) == "ok"
    with pytest.raises(Conflict):
        await leases.register(control, facts())


async def test_finishing_twice_is_a_repeat_and_a_stranger_is_refused(
    core: Core, worker: UUID
) -> None:
    await core.enqueue()
    lease = (await _claim_one(core, worker)).lease

    assert await leases.finish(core.db, lease, {"n": 1}) == "ok"
    assert await leases.finish(core.db, lease, {"n": 2}) == "repeat"
    stranger = Lease(queue="free", job_id=lease.job_id, token=uuid4())
    with pytest.raises(LeaseLost):
        await leases.finish(core.db, stranger)
    (ended,) = await jobs.peek(core.db, "free", [lease.job_id])
    assert ended.result == {"n": 1}


async def test_many_ends_in_one_call_each_get_a_verdict(core: Core, worker: UUID) -> None:
    await core.many("free", 3)
    first, second, third = (
        claimed.lease for claimed in await leases.claim(core.db, ["free"], worker, 3)
    )
    await leases.finish(core.db, second)
    await jobs.give_up(core.db, "free", third.job_id)

    verdicts = await leases.finish_many(
        core.db, "free", [(first, {"a": 1}), (second, None), (third, None)]
    )
    assert verdicts == {first.token: "ok", second.token: "repeat", third.token: "lost"}


async def test_finish_and_claim_is_one_call_for_queues_without_a_limit(
    core: Core, worker: UUID
) -> None:
    _, following = await core.enqueue(), await core.enqueue(rank=1)
    first = await _claim_one(core, worker)
    (second,) = await leases.finish_and_claim(core.db, first.lease, None, worker, 4)
    assert second.job.id == following

    await core.enqueue("limited")
    (limited,) = await leases.claim(core.db, ["limited"], worker, 1)
    with pytest.raises(Conflict):
        await leases.finish_and_claim(core.db, limited.lease, None, worker, 4)


async def test_a_failure_returns_the_new_state_and_keeps_the_problem(
    core: Core, worker: UUID, db: asyncpg.Connection
) -> None:
    await core.enqueue()
    lease = (await _claim_one(core, worker)).lease
    problem = {"code": "wet", "message": "ink"}

    assert await leases.fail(db, lease, "retry", problem, retry_after=60) == "waiting"
    row = await db.fetchrow("select * from makeready.jobs where id = $1", lease.job_id)
    assert row is not None
    assert plain(row["error"]) == problem
    assert row["run_at"] - row["started_at"] >= timedelta(seconds=60)


async def test_a_report_needs_the_lease(core: Core, worker: UUID) -> None:
    await core.enqueue()
    lease = (await _claim_one(core, worker)).lease
    await leases.report(core.db, lease, {"cards": 3})
    await leases.finish(core.db, lease)

    with pytest.raises(LeaseLost):
        await leases.report(core.db, lease, {"cards": 4})


async def test_a_beat_brings_bad_news_by_token(core: Core, control: Control, worker: UUID) -> None:
    await core.many("free", 3)
    good, cancelled, lost = (
        claimed.lease for claimed in await leases.claim(core.db, ["free"], worker, 3)
    )
    await jobs.cancel(core.db, "free", cancelled.job_id)
    await jobs.give_up(core.db, "free", lost.job_id)

    news = await leases.beat(control, worker, [good, cancelled, lost], timeout_s=2)
    assert news == {cancelled.token: "cancel", lost.token: "lost"}
    assert await leases.beat(control, worker, [], timeout_s=2) == {}
    with pytest.raises(WorkerGone):
        await leases.beat(control, uuid4(), [], timeout_s=2)


async def test_a_claim_whose_answer_was_lost_is_given_back_uncounted(
    core: Core, worker: UUID, db: asyncpg.Connection
) -> None:
    await core.many("free", 3)
    known, *strays = await leases.claim(db, ["free"], worker, 3)

    assert await leases.return_strays(db, worker, [known.lease.token]) == 2
    rows = await db.fetch(
        "select state, attempt, lost from makeready.jobs where id = any($1)",
        [claimed.job.id for claimed in strays],
    )
    assert [tuple(row) for row in rows] == [("queued", 0, 0)] * 2
    assert await leases.finish(db, known.lease) == "ok"
    with pytest.raises(LeaseLost):
        await leases.finish(db, strays[0].lease)


async def test_a_worker_that_left_holds_nothing(
    core: Core, control: Control, worker: UUID
) -> None:
    await core.enqueue()
    claimed = await _claim_one(core, worker)
    await leases.drain(control, worker)
    with pytest.raises(WorkerGone):
        await leases.claim(core.db, ["free"], worker, 1)

    assert await leases.leave(control, worker) == 1
    with pytest.raises(LeaseLost):
        await leases.finish(core.db, claimed.lease)
