"""Two calls on one job, in both orders, one of them waiting at the other's lock."""

from __future__ import annotations

import pytest

from makeready.errors import LeaseLost
from tests.sql.conftest import Session
from tests.sql.interleave import BOTH, begin, pair, step
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds


@BOTH
async def test_finish_then_reap(core: Core, session: Session, clock: Clock, how: str) -> None:
    first, second = await pair(session)
    job = await first.running("limited")
    await clock.advance(60)
    transaction = await begin(first)
    assert await first.finish(job) == "ok"
    reaping = await step(core.db, second, second.reap())
    assert not reaping.waits
    assert await reaping == 0
    await transaction.end(how)
    assert await second.reap() == (0 if how == "commit" else 1)
    assert await core.state(job["id"]) == ("done" if how == "commit" else "queued")


@BOTH
async def test_reap_then_finish(core: Core, session: Session, clock: Clock, how: str) -> None:
    first, second = await pair(session)
    job = await second.running("limited")
    await clock.advance(60)
    transaction = await begin(first)
    assert await first.reap() == 1
    finishing = await step(core.db, second, second.finish(job))
    assert finishing.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(LeaseLost):
            await finishing
    else:
        assert await finishing == "ok"
    assert await core.state(job["id"]) == ("queued" if how == "commit" else "done")


@BOTH
@pytest.mark.parametrize("manner", ["retry", "fatal"])
async def test_reap_then_fail(
    core: Core, session: Session, clock: Clock, how: str, manner: str
) -> None:
    first, second = await pair(session)
    job = await second.running("limited")
    await clock.advance(60)
    transaction = await begin(first)
    assert await first.reap() == 1
    failing = await step(core.db, second, second.fail(job, manner))
    assert failing.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(LeaseLost):
            await failing
        row = await core.job(job["id"])
        assert (row["state"], row["lost"], row["attempt"]) == ("queued", 1, 0)
    else:
        assert await failing == ("dead" if manner == "fatal" else "waiting")


@BOTH
async def test_reap_then_report(core: Core, session: Session, clock: Clock, how: str) -> None:
    first, second = await pair(session)
    job = await second.running("free")
    await clock.advance(60)
    transaction = await begin(first)
    assert await first.reap() == 1
    reporting = await step(core.db, second, second.report(job, {"n": 1}))
    assert reporting.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(LeaseLost):
            await reporting
        assert (await core.job(job["id"]))["progress"] is None
    else:
        await reporting


@BOTH
async def test_cancel_then_finish(core: Core, session: Session, how: str) -> None:
    """A4: cancel and complete do not deadlock; the work counts."""
    first, second = await pair(session)
    job = await second.running("free")
    transaction = await begin(first)
    assert await first.cancel("free", job["id"]) == "running"
    finishing = await step(core.db, second, second.finish(job))
    assert finishing.waits
    await transaction.end(how)
    assert await finishing == "ok"
    assert await core.state(job["id"]) == "done"


@BOTH
async def test_finish_then_cancel(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    job = await first.running("free")
    transaction = await begin(first)
    await first.finish(job)
    cancelling = await step(core.db, second, second.cancel("free", job["id"]))
    assert cancelling.waits
    await transaction.end(how)
    assert await cancelling == ("done" if how == "commit" else "running")


@BOTH
async def test_cancel_then_fail(core: Core, session: Session, how: str) -> None:
    """A4: cancel and fail do not deadlock; cancel wins over a retry."""
    first, second = await pair(session)
    job = await second.running("free")
    transaction = await begin(first)
    await first.cancel("free", job["id"])
    failing = await step(core.db, second, second.fail(job, "retry"))
    assert failing.waits
    await transaction.end(how)
    assert await failing == ("cancelled" if how == "commit" else "waiting")


@BOTH
async def test_give_up_then_finish(core: Core, session: Session, how: str) -> None:
    """A late result never overwrites a timeout."""
    first, second = await pair(session)
    job = await second.running("limited")
    transaction = await begin(first)
    await first.give_up("limited", job["id"])
    finishing = await step(core.db, second, second.finish(job, {"photo": 1}))
    assert finishing.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(LeaseLost):
            await finishing
        row = await core.job(job["id"])
        assert (row["state"], row["result"]) == ("expired", None)
    else:
        assert await finishing == "ok"


@BOTH
async def test_finish_then_give_up(core: Core, session: Session, how: str) -> None:
    """The result of the last moment is used."""
    first, second = await pair(session)
    job = await first.running("limited")
    transaction = await begin(first)
    await first.finish(job, {"photo": 1})
    giving_up = await step(core.db, second, second.give_up("limited", job["id"]))
    assert giving_up.waits
    await transaction.end(how)
    found = await giving_up
    assert found["job_state"] == ("done" if how == "commit" else "expired")
    assert how == "rollback" or plain(found["outcome"]) == {"photo": 1}


@BOTH
async def test_give_up_then_claim(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    job = await core.enqueue("free")
    transaction = await begin(first)
    await first.give_up("free", job)
    assert await second.claim("free") == []  # the row is skipped, nothing waits
    await transaction.end(how)
    assert len(await second.claim("free")) == (0 if how == "commit" else 1)


@BOTH
async def test_finish_twice_at_once(core: Core, session: Session, how: str) -> None:
    """The answer was lost and the call repeated while the first one still commits."""
    first, second = await pair(session)
    job = await first.running("free")
    transaction = await begin(first)
    await first.finish(job, {"n": 1})
    again = await step(core.db, second, second.finish(job, {"n": 2}))
    assert again.waits
    await transaction.end(how)
    assert await again == ("repeat" if how == "commit" else "ok")


@BOTH
async def test_fail_twice_at_once(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    job = await first.running("free")
    transaction = await begin(first)
    await first.fail(job, "retry")
    again = await step(core.db, second, second.fail(job, "fatal"))
    assert again.waits
    await transaction.end(how)
    assert await again == ("waiting" if how == "commit" else "dead")
    assert await core.db.fetchval("select count(*) from makeready.attempts") == 1


@BOTH
async def test_many_finished_twice_at_once_in_another_order(
    core: Core, session: Session, how: str
) -> None:
    """Lock order: a bulk finish takes rows by id, so whoever waits holds none of the rest."""
    first, second = await pair(session)
    await core.many("free", 20)
    jobs = sorted(await second.claim("free", 20), key=lambda job: job["id"])
    ids, tokens = [job["id"] for job in jobs][::-1], [job["lease"] for job in jobs][::-1]
    transaction = await begin(first)
    assert await first.finish(jobs[0]) == "ok"
    call = second.rows("finish_many", queue_name="free", job_ids=ids, tokens=tokens)
    finishing = await step(core.db, second, call)
    assert finishing.waits
    text = "select from makeready.jobs where id = any ($1) for no key update nowait"
    await first.db.execute(text, ids[:-1])
    await transaction.end(how)
    verdicts = {row["job_id"]: row["verdict"] for row in await finishing}
    assert verdicts.pop(jobs[0]["id"]) == ("repeat" if how == "commit" else "ok")
    assert set(verdicts.values()) == {"ok"}


@BOTH
async def test_evict_then_finish(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    job = await second.running("limited")
    transaction = await begin(first)
    await first.call("job_evict", queue_name="limited", job=job["id"])
    finishing = await step(core.db, second, second.finish(job))
    assert finishing.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(LeaseLost):
            await finishing
    else:
        assert await finishing == "ok"


@BOTH
async def test_promote_then_cancel(core: Core, session: Session, clock: Clock, how: str) -> None:
    first, second = await pair(session)
    job = await core.enqueue("free", due=await core.call("now") + seconds(5))
    await clock.advance(6)
    transaction = await begin(first)
    assert await first.call("promote", max_jobs=10) == 1
    cancelling = await step(core.db, second, second.cancel("free", job))
    assert cancelling.waits
    await transaction.end(how)
    assert await cancelling == "cancelled"
    assert await core.state(job) == "cancelled"


async def test_two_redrives_share_no_job(core: Core, session: Session) -> None:
    first, second = await pair(session)
    for _ in range(4):
        await core.fail(await core.running("free"), "fatal")
    call = {"queue_name": "free", "max_jobs": 2, "dry_run": False}
    transaction = await begin(first)
    one = {row[0] for row in await first.rows("redrive", **call)}
    other = {row[0] for row in await second.rows("redrive", **call)}
    await transaction.end("commit")
    assert len(one | other) == 4


async def test_a_claim_and_a_reap_of_the_same_job_wait_for_nothing(
    core: Core, session: Session, clock: Clock
) -> None:
    first, second = await pair(session)
    await first.running("limited")
    await clock.advance(60)
    assert second.me is not None
    await second.beat(second.me)
    transaction = await begin(first)
    await first.reap()
    claiming = await step(core.db, second, second.claim("limited"))
    assert not claiming.waits
    assert await claiming == []
    await transaction.end("commit")
    assert len(await second.claim("limited")) == 1
