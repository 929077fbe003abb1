"""A limit holds at every moment, changes at the next claim, and never drifts."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from tests.sql.conftest import Session
from tests.support.core import PATIENT_S, Core, seconds


async def test_never_more_than_the_limit_run(core: Core) -> None:
    await core.many("limited", 10)
    assert len(await core.claim("limited", 10)) == 3
    assert await core.claim("limited", 10) == []


async def test_seats_are_numbered_from_one_and_unique(core: Core) -> None:
    await core.many("limited", 3)
    assert sorted(job["seat"] for job in await core.claim("limited", 3)) == [1, 2, 3]


async def test_jobs_of_a_batch_are_seated_in_the_order_of_the_line(core: Core) -> None:
    jobs = await core.many("limited", 3)
    claimed = {job["seat"]: job["id"] for job in await core.claim("limited", 3)}
    assert [claimed[seat] for seat in (1, 2, 3)] == jobs


async def test_a_seat_cannot_be_given_twice_even_by_hand(core: Core) -> None:
    await core.many("limited", 2)
    await core.claim("limited", 2)
    with pytest.raises(asyncpg.UniqueViolationError):
        await core.db.execute("update makeready.jobs set seat = 1 where queue = 'limited'")


@pytest.mark.parametrize("end", ["finish", "retry", "fatal", "interrupted", "give_up", "reap"])
async def test_an_ended_attempt_frees_its_seat_at_once(core: Core, end: str) -> None:
    """S1: the count is derived from the rows, so no failure makes it drift."""
    await core.many("limited", 4)
    first, *_ = await core.claim("limited", 3)
    if end == "finish":
        await core.finish(first)
    elif end == "give_up":
        await core.give_up("limited", first["id"])
    elif end == "reap":
        await core.db.execute(
            "update makeready.jobs set run_until = '2000-01-01' where id = $1", first["id"]
        )
        assert await core.reap() == 1
    else:
        await core.fail(first, end)
    assert (await core.job(first["id"]))["seat"] is None
    (next_one,) = await core.claim("limited", 3)
    assert next_one["seat"] == first["seat"]


async def test_a_failed_enqueue_and_a_prune_do_not_move_the_count(
    core: Core, session: Session
) -> None:
    """S1: drift after a failed enqueue or a discard."""
    other = await session()
    transaction = other.db.transaction()
    await transaction.start()
    await other.many("limited", 5)
    await transaction.rollback()
    await core.many("limited", 3)
    for job in await core.claim("limited", 3):
        await core.finish(job)
    await core.db.execute("update makeready.jobs set finished_at = '2000-01-01'")
    assert await core.call("prune", max_jobs=100) == 3
    await core.many("limited", 5)
    assert len(await core.claim("limited", 5)) == 3


async def test_a_higher_limit_holds_from_the_next_claim_on(core: Core) -> None:
    await core.many("limited", 6)
    await core.claim("limited", 6)
    await core.set("limited", max_in_flight=5)
    assert sorted(job["seat"] for job in await core.claim("limited", 6)) == [4, 5]


async def test_a_lower_limit_drains_what_runs(core: Core) -> None:
    await core.many("limited", 6)
    running = await core.claim("limited", 3)
    await core.set("limited", max_in_flight=1)
    for job in running[:2]:
        await core.finish(job)
        assert await core.claim("limited", 6) == []
    await core.finish(running[2])
    assert len(await core.claim("limited", 6)) == 1


async def test_high_seats_of_a_former_limit_do_not_collide(core: Core) -> None:
    await core.many("limited", 8)
    running = {job["seat"]: job for job in await core.claim("limited", 3)}
    await core.set("limited", max_in_flight=2)
    await core.finish(running[1])
    await core.finish(running[2])
    assert [job["seat"] for job in await core.claim("limited", 8)] == [1]
    await core.set("limited", max_in_flight=4)
    assert sorted(job["seat"] for job in await core.claim("limited", 8)) == [2, 4]


async def test_a_limit_of_zero_stops_the_queue(core: Core) -> None:
    await core.enqueue("limited")
    await core.set("limited", max_in_flight=0)
    assert await core.claim("limited") == []


async def test_a_queue_without_a_limit_has_no_seats_and_no_gate(
    core: Core, session: Session
) -> None:
    holder = await session()
    await core.many("free", 20)
    async with holder.db.transaction():
        await holder.db.execute("select from makeready.gates for update")
        claimed = await core.claim("free", 20)
    assert len(claimed) == 20
    assert {job["seat"] for job in claimed} == {None}


async def test_jobs_claimed_without_a_limit_count_when_one_is_set(core: Core) -> None:
    await core.many("free", 6)
    running = await core.claim("free", 2)
    await core.set("free", max_in_flight=3)
    assert len(await core.claim("free", 6)) == 1
    await core.finish(running[0])
    assert len(await core.claim("free", 6)) == 1


async def test_taking_the_limit_away_takes_it_away(core: Core) -> None:
    await core.many("limited", 10)
    await core.claim("limited", 10)
    await core.set("limited", max_in_flight=None)
    assert len(await core.claim("limited", 10)) == 7


async def test_a_queue_of_one_runs_in_strict_order(core: Core, session: Session) -> None:
    """G1: many workers on a serial queue."""
    await core.set("limited", max_in_flight=1)
    jobs = await core.many("limited", 12)
    sessions = [await session() for _ in range(6)]
    for other in sessions:
        other.me = await other.worker(stale=PATIENT_S)
    order: list[UUID] = []
    while len(order) < len(jobs):
        found = await asyncio.gather(*(other.claim("limited", 4) for other in sessions))
        (job,) = [row for rows in found for row in rows]
        order.append(job["id"])
        await core.finish(job)
    assert order == jobs


async def test_a_long_admission_does_not_hold_claims_up(core: Core, session: Session) -> None:
    """Two gates a queue: a slow enqueuing transaction blocks other enqueues only."""
    await core.enqueue("bounded")
    slow = await session()
    async with slow.db.transaction():
        await slow.enqueue("bounded")
        await core.db.execute("set lock_timeout = '2s'")
        assert len(await core.claim("bounded")) == 1


async def test_the_clock_of_a_claim_is_read_after_the_gate(core: Core, session: Session) -> None:
    """A job whose deadline passes while a claim waits for the gate is not handed out."""
    await core.enqueue("limited", deadline=await core.call("now") + seconds(0.6))
    holder, claimer = await session(), await session()
    claimer.me = await claimer.worker(stale=PATIENT_S)
    transaction = holder.db.transaction()
    await transaction.start()
    await holder.db.execute("select from makeready.gates where queue = 'limited' for update")
    waiting = asyncio.create_task(claimer.claim("limited"))
    await core.db.execute("select pg_sleep(0.7)")  # no clock moves a call that is under way
    await transaction.rollback()
    assert await waiting == []
