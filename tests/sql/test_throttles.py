"""Throttles: how many tries get through, over a window that slides (ING-063)."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from makeready import people
from makeready.errors import Busy, NotFound, Rejected
from tests.support.clock import Clock
from tests.support.database import Connect

SPAN_S = 600


async def tried(db: asyncpg.Connection, who: str = "anna 1.2.3.4") -> bool:
    """Whether one more try got through."""
    try:
        await people.throttle(db, "login", who)
    except Busy:
        return False
    return True


async def test_five_in_ten_minutes_get_through_and_the_rest_hear_how_long_to_wait(
    db: asyncpg.Connection, clock: Clock
) -> None:
    for _ in range(5):
        assert await tried(db)
        await clock.advance(60)

    with pytest.raises(Busy) as raised:
        await people.throttle(db, "login", "anna 1.2.3.4")
    assert raised.value.details["code"] == "rate_limited"
    assert 298 <= raised.value.details["retry_after_s"] <= 300
    assert await tried(db, "anna 5.6.7.8")


async def test_no_window_of_ten_minutes_holds_more_than_five(
    db: asyncpg.Connection, clock: Clock
) -> None:
    """A fixed window would let nine through around its turn."""
    times: list[float] = []
    for _ in range(40):
        if await tried(db):
            times.append(clock.offset_s)
        await clock.advance(50)

    assert len(times) > 10
    assert all(later - first >= SPAN_S - 1 for first, later in zip(times, times[5:], strict=False))


async def test_of_many_at_once_five_get_through(connect: Connect) -> None:
    sessions = [await connect() for _ in range(12)]

    through = await asyncio.gather(*(tried(session) for session in sessions))

    assert sum(through) == 5


async def test_a_try_that_was_refused_does_not_make_the_wait_longer(
    db: asyncpg.Connection, clock: Clock
) -> None:
    for _ in range(5):
        await tried(db)
    await clock.advance(SPAN_S - 10)
    assert not await tried(db)

    await clock.advance(11)
    assert await tried(db)


async def test_who_has_succeeded_begins_anew(db: asyncpg.Connection) -> None:
    for _ in range(5):
        await tried(db)

    await db.execute("select makeready.throttle_clear('login', 'anna 1.2.3.4')")

    assert await tried(db)


async def test_operators_change_a_rule_and_the_next_try_obeys(
    db: asyncpg.Connection, connect: Connect
) -> None:
    ops = await connect("makeready_ops")
    await ops.execute("select makeready.throttle_set('login', 1, '1 minute', 'attack')")

    assert [await tried(db), await tried(db)] == [True, False]
    row = await db.fetchrow("select * from makeready.audit_log where action = 'throttle_set'")
    assert row is not None
    assert (row["target"], row["reason"]) == ("login", "attack")
    for wrong in ("'login', 0, '1 minute'", "'login', 5, '2 days'", "'login', null, null"):
        with pytest.raises(Rejected):
            await ops.execute(f"select makeready.throttle_set({wrong})")
    with pytest.raises(NotFound):
        await ops.execute("select makeready.throttle_set('nothing', 5, '1 minute')")


async def test_who_tried_is_not_to_be_read(db: asyncpg.Connection) -> None:
    await tried(db)

    row = await db.fetchval("select t::text from makeready.throttles t")
    assert "anna" not in row
    assert "1.2.3.4" not in row


async def test_old_tries_are_forgotten(db: asyncpg.Connection, clock: Clock) -> None:
    await tried(db)
    await clock.advance(86_000)
    assert await db.fetchval("select makeready.throttles_sweep(100)") == 0
    await clock.advance(1_000)
    assert await db.fetchval("select makeready.throttles_sweep(100)") == 1
