"""Limits: the second caller waits at the gate, and then sees what the first has done."""

from __future__ import annotations

import pytest

from makeready.errors import Busy
from tests.sql.conftest import Session
from tests.sql.interleave import BOTH, begin, pair, step
from tests.support.core import Core, plain


@BOTH
@pytest.mark.parametrize(("limit", "after"), [(1, 1), (5, 5), (0, 0)])
async def test_limit_change_then_claim(
    core: Core, session: Session, how: str, limit: int, after: int
) -> None:
    """The policy is read after the gate: the claim sees the limit that is in force."""
    first, second = await pair(session)
    await core.many("limited", 6)
    transaction = await begin(first)
    await first.set("limited", max_in_flight=limit)
    claiming = await step(core.db, second, second.claim("limited", 6))
    assert claiming.waits
    await transaction.end(how)
    assert len(await claiming) == (after if how == "commit" else 3)


@BOTH
async def test_claim_then_limit_change(core: Core, session: Session, how: str) -> None:
    """The new limit is in force only when no claim under the old one is under way."""
    first, second = await pair(session)
    await core.many("limited", 6)
    transaction = await begin(first)
    await first.claim("limited", 2)
    setting = await step(core.db, second, second.set("limited", max_in_flight=1))
    assert setting.waits
    await transaction.end(how)
    await setting
    assert await core.count("limited", "running") == (2 if how == "commit" else 0)
    assert len(await second.claim("limited", 6)) == (0 if how == "commit" else 1)


BEFORE = "select before from makeready.audit_log order by id desc limit 1"


@BOTH
async def test_limit_change_then_limit_change(core: Core, session: Session, how: str) -> None:
    """The audit log tells what was there before, also when that has just changed."""
    first, second = await pair(session)
    transaction = await begin(first)
    await first.set("limited", max_in_flight=5)
    setting = await step(core.db, second, second.set("limited", max_in_flight=7))
    assert setting.waits
    await transaction.end(how)
    await setting
    before = {"max_in_flight": 5 if how == "commit" else 3}
    assert plain(await core.db.fetchval(BEFORE)) == before


@BOTH
async def test_pause_then_resume(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    transaction = await begin(first)
    await first.call("queue_pause", queue_name="limited")
    resuming = await step(core.db, second, second.call("queue_resume", queue_name="limited"))
    assert resuming.waits
    await transaction.end(how)
    await resuming
    before = plain(await core.db.fetchval(BEFORE))
    assert (before["paused_at"] is not None) == (how == "commit")


@BOTH
async def test_claim_then_claim_at_the_limit(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    await core.many("limited", 6)
    transaction = await begin(first)
    assert len(await first.claim("limited", 2)) == 2
    claiming = await step(core.db, second, second.claim("limited", 6))
    assert claiming.waits
    await transaction.end(how)
    assert len(await claiming) == (1 if how == "commit" else 3)
    assert await core.count("limited", "running") == 3


@BOTH
async def test_pause_then_claim(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    await core.many("limited", 3)
    transaction = await begin(first)
    await first.call("queue_pause", queue_name="limited")
    claiming = await step(core.db, second, second.claim("limited", 3))
    assert claiming.waits
    await transaction.end(how)
    assert len(await claiming) == (0 if how == "commit" else 3)


@BOTH
async def test_lane_change_then_claim(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    await core.lane("free", "x", 3)
    await core.many("free", 5, lane_name="x")
    transaction = await begin(first)
    await first.lane("free", "x", 1)
    claiming = await step(core.db, second, second.claim("free", 5))
    assert claiming.waits
    await transaction.end(how)
    assert len(await claiming) == (1 if how == "commit" else 3)


@pytest.mark.parametrize("change", ["a pause", "a limit"])
async def test_a_claim_that_waited_at_one_gate_knows_what_became_of_the_next_queue(
    core: Core, session: Session, change: str
) -> None:
    """The list of queues was read before the wait; the queue without a limit has one by now."""
    first, second = await pair(session)
    await core.set("limited", max_in_flight=1)
    await core.many("limited", 2)
    await core.claim("limited")
    await core.many("free", 3)
    transaction = await begin(first)
    await first.db.execute("select from makeready.gates where queue = 'limited' for update")
    claiming = await step(core.db, second, second.claim(["limited", "free"], 3))
    assert claiming.waits
    if change == "a pause":
        await core.call("queue_pause", queue_name="free")
    else:
        await core.set("free", max_in_flight=1)
    await transaction.end("commit")
    assert await claiming == []


async def test_two_workers_with_their_queues_in_another_order_do_not_deadlock(
    core: Core, session: Session
) -> None:
    """The second gate of one call is only tried."""
    first, second = await pair(session)
    await core.set("bounded", max_open=None)
    for queue in ("limited", "bounded"):
        await core.lane(queue, "shut", 0)
        await core.many(queue, 3, lane_name="shut")  # both gates are tried, nothing is claimed
    transaction = await begin(first)
    await first.db.execute(
        "select from makeready.gates where queue = 'bounded' and kind = 'claim' for update"
    )
    claiming = await step(core.db, second, second.claim(["limited", "bounded"], 3))
    assert not claiming.waits
    assert await claiming == []
    await transaction.end("commit")


@BOTH
async def test_enqueue_then_enqueue_at_the_limit(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    await core.many("bounded", 4)
    transaction = await begin(first)
    await first.enqueue("bounded")
    enqueuing = await step(core.db, second, second.enqueue("bounded"))
    assert enqueuing.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Busy):
            await enqueuing
    else:
        await enqueuing
    assert await core.count("bounded", "queued") == 5


@BOTH
async def test_limit_change_then_enqueue(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    await core.many("bounded", 4)
    transaction = await begin(first)
    await first.set("bounded", max_open=4)
    enqueuing = await step(core.db, second, second.enqueue("bounded"))
    assert enqueuing.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Busy):
            await enqueuing
    else:
        await enqueuing


async def test_a_retry_of_a_job_that_ends_meanwhile_needs_a_place(
    core: Core, session: Session
) -> None:
    """It was waiting when the retry looked: another job has taken its place since."""
    first, second = await pair(session)
    await core.many("bounded", 4)
    waiting = await core.db.fetchval("select makeready.enqueue('bounded', due => 'infinity')")
    transaction = await begin(first)
    await first.cancel("bounded", waiting)
    await first.enqueue("bounded")
    retrying = await step(core.db, second, second.call("retry", queue_name="bounded", job=waiting))
    assert retrying.waits
    await transaction.end("commit")
    with pytest.raises(Busy):
        await retrying
    assert await core.count("bounded", "waiting", "queued") == 5
