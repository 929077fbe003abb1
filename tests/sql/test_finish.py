"""Done once, by whoever holds the lease, before the deadline; and a lost answer is no failure."""

from __future__ import annotations

from uuid import uuid4

import pytest

from makeready.errors import LeaseLost, Rejected
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds


async def test_a_finished_job_is_done_and_holds_its_result(core: Core) -> None:
    job = await core.running("limited")
    assert await core.finish(job, {"pages": 3}) == "ok"
    row = await core.job(job["id"])
    assert (row["state"], plain(row["result"]), row["error"]) == ("done", {"pages": 3}, None)
    assert (row["lease"], row["seat"], row["run_until"]) == (None, None, None)
    assert row["finished_at"] is not None
    assert row["final_lease"] == job["lease"]


async def test_finishing_again_under_the_same_lease_is_a_repeat(core: Core) -> None:
    """The answer to a COMMIT was lost: success must not turn into failure."""
    job = await core.running("free")
    await core.finish(job, {"n": 1})
    assert await core.finish(job, {"n": 2}) == "repeat"
    assert plain((await core.job(job["id"]))["result"]) == {"n": 1}


async def test_another_lease_finishes_nothing(core: Core) -> None:
    """A2: the wrong token."""
    job = await core.running("free")
    with pytest.raises(LeaseLost) as refusal:
        await core.call("finish", queue_name="free", job=job["id"], token=uuid4(), outcome={})
    assert refusal.value.details["state"] == "running"
    assert await core.state(job["id"]) == "running"


async def test_the_same_worker_cannot_finish_its_former_lease(core: Core) -> None:
    """ "worker = me" is no fence: the same worker may hold the same job a second time."""
    old = await core.running("free")
    await core.fail(old, "interrupted")
    (new,) = await core.claim("free")
    assert new["worker_id"] == old["worker_id"]
    with pytest.raises(LeaseLost):
        await core.finish(old)
    assert await core.finish(new) == "ok"
    with pytest.raises(LeaseLost):
        await core.finish(old)


async def test_a_failed_attempt_cannot_be_finished_any_more(core: Core) -> None:
    """A2: a failed run blocks complete."""
    job = await core.running("free")
    await core.fail(job, "retry")
    with pytest.raises(LeaseLost) as refusal:
        await core.finish(job)
    assert refusal.value.details["state"] == "waiting"


async def test_a_given_up_job_refuses_the_late_result(core: Core) -> None:
    """A2: late results never overwrite a timeout."""
    job = await core.running("free")
    await core.give_up("free", job["id"])
    with pytest.raises(LeaseLost):
        await core.finish(job, {"late": True})
    row = await core.job(job["id"])
    assert (row["state"], row["result"]) == ("expired", None)


async def test_a_job_asked_to_stop_may_still_finish(core: Core) -> None:
    job = await core.running("free")
    assert await core.cancel("free", job["id"]) == "running"
    assert await core.finish(job) == "ok"


async def test_finish_after_the_deadline_is_refused(core: Core, clock: Clock) -> None:
    job = await core.running("free", deadline=await core.call("now") + seconds(30))
    await clock.advance(31)
    with pytest.raises(LeaseLost) as refusal:
        await core.finish(job)
    assert "past its deadline" in str(refusal.value)
    assert await core.state(job["id"]) == "running"  # reap ends it


async def test_finish_after_run_until_counts_while_nobody_took_the_job(
    core: Core, clock: Clock
) -> None:
    job = await core.running("free")
    await clock.advance(301)
    assert await core.finish(job) == "ok"


async def test_a_reaped_job_refuses_its_former_worker(core: Core, clock: Clock) -> None:
    """A1 and A2: the reaped job goes to another worker with a new token."""
    job = await core.running("free")
    await clock.advance(60)
    assert await core.reap() == 1
    with pytest.raises(LeaseLost):
        await core.finish(job)
    second = await core.worker()
    (again,) = await core.claim("free", 1, second)
    assert (again["id"], again["worker_id"]) == (job["id"], second)
    assert again["lease"] != job["lease"]
    with pytest.raises(LeaseLost):
        await core.finish(job)
    assert await core.finish(again) == "ok"


async def test_an_unknown_job_is_a_lost_lease(core: Core) -> None:
    with pytest.raises(LeaseLost) as refusal:
        await core.call("finish", queue_name="free", job=uuid4(), token=uuid4(), outcome={})
    assert "gone" in str(refusal.value)


async def test_a_refused_finish_takes_the_callers_own_rows_with_it(core: Core) -> None:
    """The domain write stands in the same transaction: nothing is published by a loser."""
    job = await core.running("free")
    await core.db.execute("create table published (n int)")
    transaction = core.db.transaction()
    await transaction.start()
    await core.db.execute("insert into published values (1)")
    with pytest.raises(LeaseLost):
        await core.call("finish", queue_name="free", job=job["id"], token=uuid4(), outcome={})
    await transaction.rollback()
    assert await core.db.fetchval("select count(*) from published") == 0


async def test_a_huge_result_is_refused_and_the_job_runs_on(core: Core) -> None:
    job = await core.running("free")
    noise = "".join(str(uuid4()) for _ in range(4000))
    with pytest.raises(Rejected, match="a job of queue free may have"):
        await core.finish(job, {"bytes": noise})
    assert await core.state(job["id"]) == "running"


async def test_many_are_finished_in_one_call_each_with_its_own_verdict(
    core: Core, clock: Clock
) -> None:
    """R2: not running → unchanged."""
    await core.many("free", 3)
    stolen = await core.running("free")
    late = await core.enqueue("free", deadline=await core.call("now") + seconds(5))
    jobs = {job["id"]: job for job in await core.claim("free", 4)}
    done, taken, good = (job for job in jobs.values() if job["id"] != late)
    await core.finish(done)
    await core.fail(taken, "retry")
    await clock.advance(6)
    asked = [done, taken, good, jobs[late]]
    answers = await core.rows(
        "finish_many",
        queue_name="free",
        job_ids=[job["id"] for job in asked] + [stolen["id"], uuid4()],
        tokens=[job["lease"] for job in asked] + [uuid4(), uuid4()],
        outcomes=[{"n": n} for n in range(6)],
    )
    assert [row["verdict"] for row in answers] == ["repeat", "lost", "ok", "lost", "lost", "lost"]
    assert await core.state(stolen["id"]) == "running"
    assert plain((await core.job(good["id"]))["result"]) == {"n": 2}
    assert await core.state(taken["id"]) == "waiting"


async def test_a_former_lease_of_the_same_call_is_lost(core: Core) -> None:
    """The same worker lost the job, got it again, and finishes both attempts in one batch."""
    old = await core.running("free")
    await core.fail(old, "interrupted")
    (new,) = await core.claim("free")
    for pair in ([old, new], [new, old]):
        answers = await core.rows(
            "finish_many",
            queue_name="free",
            job_ids=[job["id"] for job in pair],
            tokens=[job["lease"] for job in pair],
            outcomes=[{"first": job is pair[0]} for job in pair],
        )
        verdicts = {job["lease"]: row["verdict"] for job, row in zip(pair, answers, strict=True)}
        assert verdicts[old["lease"]] == "lost"
        assert verdicts[new["lease"]] in ("ok", "repeat")
    assert plain((await core.job(new["id"]))["result"]) == {"first": False}


async def test_ten_thousand_jobs_are_enqueued_claimed_and_finished_whole(core: Core) -> None:
    """Q1: atomicity of a large batch."""
    await core.many("free", 10_000)
    jobs = await core.claim("free", 10_000)
    assert len(jobs) == 10_000
    answers = await core.rows(
        "finish_many",
        queue_name="free",
        job_ids=[job["id"] for job in jobs],
        tokens=[job["lease"] for job in jobs],
    )
    assert {row["verdict"] for row in answers} == {"ok"}
    assert await core.count("free", "done") == 10_000
