"""The registry of processes: one name, one live process, and a takeover only from the dead."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import pytest

from makeready.errors import Conflict, NotFound, WorkerGone
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, plain


async def hold_session(core: Core, worker: object) -> None:
    """Takes the lock that a worker's listening session holds while its process lives."""
    await core.db.execute("select pg_advisory_lock(makeready.session_key($1))", worker)


async def test_a_new_name_is_entered(core: Core) -> None:
    assert await core.register(uuid4(), "free", instance="a") == 0
    row = await core.db.fetchrow("select * from makeready.workers")
    assert row is not None
    assert (row["instance"], row["host"], row["tasks"], row["queues"]) == (
        "a",
        "here",
        4,
        ["free"],
    )
    assert row["started_at"] == row["beat_at"]


async def test_a_restarted_process_takes_over_at_once(core: Core, session: Session) -> None:
    """Promise 5: a supervised restart recovers in no waiting at all."""
    old = await core.worker(instance="a", session=True)
    life = await session()
    await hold_session(life, old)
    await core.beat(old)
    await core.many("free", 2)
    jobs = await core.claim("free", 2, old)
    await life.db.execute("select pg_advisory_unlock_all()")  # killed
    new = uuid4()
    assert await core.register(new, instance="a", session=True) == 2
    again = await core.claim("free", 2, new)
    assert {job["id"] for job in again} == {job["id"] for job in jobs}
    with pytest.raises(WorkerGone):
        await core.beat(old)


async def test_a_live_incumbent_keeps_its_name(core: Core, session: Session) -> None:
    """Registration races: taken over only when the incumbent's session lock is free."""
    old = await core.worker(instance="a", session=True)
    life = await session()
    await hold_session(life, old)
    await core.beat(old)
    await core.enqueue("free")
    (job,) = await core.claim("free", 1, old)
    with pytest.raises(Conflict) as refusal:
        await core.register(uuid4(), instance="a")
    assert refusal.value.details["instance"] == "a"
    assert await core.finish(job) == "ok"


async def test_without_a_session_the_heartbeat_decides(core: Core, clock: Clock) -> None:
    await core.worker(instance="a")
    with pytest.raises(Conflict):
        await core.register(uuid4(), instance="a")
    await clock.advance(11)
    await core.register(uuid4(), instance="a")


async def test_registering_again_heals_a_row_that_is_gone(core: Core) -> None:
    """MR002 at a beat: register again, leases that nobody took are still good."""
    worker = await core.worker(instance="a")
    await core.enqueue("free")
    (job,) = await core.claim("free", 1, worker)
    await core.db.execute("delete from makeready.workers")
    with pytest.raises(WorkerGone):
        await core.beat(worker)
    assert await core.register(worker, instance="a") == 0
    assert await core.beat(worker, job) == {}
    assert await core.finish(job) == "ok"


async def test_registering_again_keeps_its_jobs_and_its_drain(core: Core, clock: Clock) -> None:
    worker = await core.worker(instance="a")
    await core.enqueue("free")
    (job,) = await core.claim("free", 1, worker)
    await core.call("worker_drain", worker=worker)
    await clock.advance(30)
    assert await core.register(worker, instance="a") == 0
    with pytest.raises(WorkerGone):
        await core.claim("free", 1, worker)
    assert await core.beat(worker, job) == {}


async def test_a_beat_of_an_unknown_worker_is_refused(core: Core) -> None:
    with pytest.raises(WorkerGone):
        await core.beat(uuid4())


async def test_a_beat_moves_only_its_own_row_and_no_index(core: Core, clock: Clock) -> None:
    """One HOT update a process and second instead of one a job."""
    mine, other = await core.worker(), await core.worker()
    await clock.advance(3)
    await core.beat(mine)
    text = "select makeready.now() - beat_at as age, id from makeready.workers"
    ages = {row["id"]: row["age"] for row in await core.db.fetch(text)}
    assert (ages[other] - ages[mine]).total_seconds() >= 3
    for _ in range(20):
        await core.beat(mine)
    await core.db.execute("select pg_stat_force_next_flush()")
    row = await core.db.fetchrow(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'workers'"
    )
    assert row is not None
    assert row["n_tup_upd"] == row["n_tup_hot_upd"] >= 20


async def test_a_leaving_worker_gives_back_what_it_still_held(core: Core) -> None:
    worker = await core.worker()
    await core.many("free", 2)
    await core.claim("free", 2, worker)
    assert await core.call("worker_leave", worker=worker) == 2
    assert await core.count("free", "queued") == 2
    assert await core.db.fetchval("select count(*) from makeready.workers") == 0


async def test_draining_twice_keeps_the_first_time(core: Core, clock: Clock) -> None:
    worker = await core.worker()
    await core.call("worker_drain", worker=worker)
    since = await core.db.fetchval("select draining_at from makeready.workers")
    await clock.advance(5)
    await core.call("worker_drain", worker=worker)
    assert await core.db.fetchval("select draining_at from makeready.workers") == since


async def test_a_drain_by_hand_is_written_down_and_one_of_its_own_is_not(core: Core) -> None:
    by_hand, by_itself = await core.worker(instance="a"), await core.worker(instance="b")
    for _ in range(2):
        await core.call("worker_drain", worker=by_hand, because="upgrade")
        await core.call("worker_stopping", worker=by_itself)
    (row,) = await core.db.fetch("select * from makeready.audit_log")
    assert (row["action"], row["target"], row["reason"]) == ("worker_drain", "a", "upgrade")
    drained = "select count(*) from makeready.workers where draining_at is not null"
    assert await core.db.fetchval(drained) == 2


async def test_an_evicted_worker_loses_its_jobs_and_may_come_back(core: Core) -> None:
    """G1: forced unlock of a worker."""
    worker = await core.worker(instance="a")
    await core.many("free", 2)
    jobs = await core.claim("free", 2, worker)
    assert await core.call("worker_evict", instance_name="a", because="hangs") == 2
    with pytest.raises(WorkerGone):
        await core.claim("free", 1, worker)
    await core.register(worker, instance="a")
    assert await core.beat(worker, *jobs) == {job["id"]: "lost" for job in jobs}


async def test_an_unknown_worker_cannot_be_evicted(core: Core) -> None:
    with pytest.raises(NotFound):
        await core.call("worker_evict", instance_name="nobody")


async def test_after_a_restore_everything_that_ran_is_queued(core: Core, clock: Clock) -> None:
    await core.many("free", 3)
    jobs = await core.claim("free", 3)
    await clock.advance(86400)  # the backup is a day old
    assert await core.call("after_restore", because="restored the backup of Monday") == 3
    assert await core.count("free", "queued") == 3
    error = plain((await core.job(jobs[0]["id"]))["error"])
    assert (error["message"], error["lost"]) == ("the worker is gone", 1)


async def test_a_session_key_is_stable_and_its_own(core: Core) -> None:
    one, two = uuid4(), uuid4()
    keys = [await core.call("session_key", worker=worker) for worker in (one, one, two)]
    assert keys[0] == keys[1] != keys[2]


async def test_the_lock_of_another_database_is_not_this_workers_life(
    core: Core, session: Session, admin: asyncpg.Connection
) -> None:
    worker = await core.worker(session=True)
    key = await core.call("session_key", worker=worker)
    await admin.execute("select pg_advisory_lock($1)", key)
    try:
        assert await core.call("session_is_open", worker=worker) is False
    finally:
        await admin.execute("select pg_advisory_unlock($1)", key)
    life = await session()
    await hold_session(life, worker)
    assert await core.call("session_is_open", worker=worker) is True


async def test_a_lock_on_the_two_halves_of_the_key_is_not_this_workers_life(
    core: Core, session: Session
) -> None:
    """One key of 64 bits and two of 32 are two locks; objsubid tells them apart."""
    worker = await core.worker(session=True)
    key = await core.call("session_key", worker=worker)
    other = await session()
    await other.db.execute(
        "select pg_advisory_lock(($1::bigint >> 32)::int, (($1::bigint << 32) >> 32)::int)", key
    )
    assert await core.call("session_is_open", worker=worker) is False
    await hold_session(other, worker)
    assert await core.call("session_is_open", worker=worker) is True
