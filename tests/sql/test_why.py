"""Why is this job not running? One test a reason, and none of them when it does not hold."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg

from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, seconds


async def why(core: Core, job: UUID) -> dict[str, asyncpg.Record]:
    """The reasons by name; each says what to do."""
    rows = await core.rows("why", job=job)
    assert rows
    assert all(row["detail"] and row["fix"] for row in rows)
    return {row["reason"]: row for row in rows}


async def test_nothing_is_known_of_a_job_that_is_not_there(core: Core) -> None:
    assert list(await why(core, uuid4())) == ["unknown"]


async def test_it_can_be_claimed_now(core: Core) -> None:
    await core.worker()
    assert list(await why(core, await core.enqueue("limited"))) == ["next"]


async def test_it_runs_already(core: Core) -> None:
    job = await core.running("free")
    found = await why(core, job["id"])
    assert list(found) == ["running"]
    assert "attempt 1" in found["running"]["detail"]
    await core.cancel("free", job["id"])
    assert "stop" in (await why(core, job["id"]))["running"]["fix"]


async def test_it_has_ended(core: Core) -> None:
    job = await core.running("free")
    await core.fail(job, "fatal", {"code": "x", "message": "no such font"})
    found = await why(core, job["id"])
    assert list(found) == ["dead"]
    assert "no such font" in found["dead"]["detail"]
    assert "retry" in found["dead"]["fix"]


async def test_it_has_ended_and_nobody_said_why(core: Core) -> None:
    done, failed = await core.running("free"), await core.running("free")
    await core.finish(done)
    await core.fail(failed, "fatal", {"code": "x"})
    assert (await why(core, done["id"]))["done"]["detail"].endswith(": well")
    assert (await why(core, failed["id"]))["dead"]["detail"].endswith(": no reason was given")


async def test_it_is_not_due(core: Core) -> None:
    await core.worker()
    job = await core.running("free")
    await core.fail(job, "retry", {"code": "x", "message": "no such font"})
    found = await why(core, job["id"])
    assert list(found) == ["not_due"]
    assert "no such font" in found["not_due"]["detail"]
    await core.db.execute(found["not_due"]["fix"].split(" makes ")[0])
    assert list(await why(core, job["id"])) == ["next"]


async def test_its_queue_has_not_admitted_it(core: Core) -> None:
    await core.worker()
    job = await core.db.fetchval("select makeready.enqueue('free', due => 'infinity')")
    assert list(await why(core, job)) == ["not_admitted"]


async def test_its_deadline_has_passed(core: Core, clock: Clock) -> None:
    job = await core.enqueue("free", deadline=await core.call("now") + seconds(5))
    await clock.advance(6)
    await core.worker()
    assert list(await why(core, job)) == ["deadline_passed"]


async def test_its_queue_is_paused(core: Core) -> None:
    await core.worker()
    job = await core.enqueue("free")
    await core.call("queue_pause", queue_name="free")
    found = await why(core, job)
    assert list(found) == ["paused"]
    await core.db.execute(found["paused"]["fix"])
    assert list(await why(core, job)) == ["next"]


async def test_the_limit_of_its_queue_is_reached(core: Core) -> None:
    await core.many("limited", 3)
    await core.claim("limited", 3)
    job = await core.enqueue("limited")
    found = await why(core, job)
    assert list(found) == ["limit"]
    assert "3 of 3" in found["limit"]["detail"]
    await core.db.execute(found["limit"]["fix"])
    assert list(await why(core, job)) == ["next"]


async def test_its_lane_is_full(core: Core) -> None:
    await core.lane("limited", "gemini", 1)
    await core.running("limited", lane_name="gemini")
    job = await core.enqueue("limited", lane_name="gemini")
    other = await core.enqueue("limited")
    found = await why(core, job)
    assert list(found) == ["lane_full"]
    assert list(await why(core, other)) == ["next"]
    await core.db.execute(found["lane_full"]["fix"])
    assert list(await why(core, job)) == ["next"]


async def test_no_worker_serves_its_queue(core: Core, clock: Clock) -> None:
    job = await core.enqueue("free")
    assert list(await why(core, job)) == ["no_worker"]
    await core.worker("limited")
    assert list(await why(core, job)) == ["no_worker"]
    await core.worker("free")
    assert list(await why(core, job)) == ["next"]
    await clock.advance(11)
    assert list(await why(core, job)) == ["no_worker"]


async def test_no_worker_on_its_host_serves_its_queue(core: Core) -> None:
    await core.worker(host="here")
    job = await core.enqueue("free", host_name="there")
    found = await why(core, job)
    assert list(found) == ["no_worker"]
    assert "there" in found["no_worker"]["detail"]


async def test_every_worker_is_stopping(core: Core) -> None:
    worker = await core.worker("free")
    await core.call("worker_drain", worker=worker)
    job = await core.enqueue("free")
    assert list(await why(core, job)) == ["all_draining"]


async def test_a_session_holds_the_claim_gate(core: Core, session: Session) -> None:
    await core.worker()
    job = await core.enqueue("limited")
    other = await core.enqueue("bounded")
    holder = await session()
    pid = await holder.db.fetchval("select pg_backend_pid()")
    async with holder.db.transaction():
        await holder.db.execute(
            "select from makeready.gates where queue = 'limited' and kind = 'claim' for update"
        )
        found = await why(core, job)
        assert list(found) == ["gate_held"]
        assert str(pid) in found["gate_held"]["fix"]
        assert list(await why(core, other)) == ["next"]
    assert list(await why(core, job)) == ["next"]


async def test_an_open_admission_is_no_reason(core: Core, session: Session) -> None:
    await core.worker()
    job = await core.enqueue("bounded")
    client = await session()
    async with client.db.transaction():
        await client.enqueue("bounded")
        assert list(await why(core, job)) == ["next"]


async def test_a_queue_without_a_limit_has_no_gate_to_wait_for(
    core: Core, session: Session
) -> None:
    await core.worker()
    job = await core.enqueue("free")
    holder = await session()
    async with holder.db.transaction():
        await holder.db.execute("select from makeready.gates for update")
        assert list(await why(core, job)) == ["next"]


async def test_a_session_holds_its_row(core: Core, session: Session) -> None:
    await core.worker()
    job = await core.enqueue("free")
    holder = await session()
    async with holder.db.transaction():
        await holder.db.execute("select from makeready.jobs where id = $1 for update", job)
        assert list(await why(core, job)) == ["row_locked"]


async def test_others_come_first(core: Core) -> None:
    await core.worker()
    await core.many("free", 3)
    await core.enqueue("free", rank=5)
    job = await core.enqueue("free")
    found = await why(core, job)
    assert list(found) == ["behind"]
    assert found["behind"]["detail"].startswith("3 ")


async def test_all_reasons_that_hold_are_told(core: Core) -> None:
    await core.many("limited", 3)
    await core.claim("limited", 3)
    await core.call("queue_pause", queue_name="limited")
    await core.db.execute("delete from makeready.workers")
    job = await core.enqueue("limited", due=await core.call("now") + seconds(60))
    assert set(await why(core, job)) == {"not_due", "paused", "limit", "no_worker"}


async def test_asking_holds_nothing_up(core: Core, session: Session) -> None:
    """An operator who asks inside an open transaction must not keep the job from its worker."""
    job = await core.enqueue("limited")
    worker = await core.worker()
    operator = await session()
    async with operator.db.transaction():
        await why(operator, job)
        await core.db.execute("set lock_timeout = '1s'")
        (claimed,) = await core.claim("limited", 1, worker)
        assert claimed["id"] == job
