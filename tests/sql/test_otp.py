"""One-time codes: what they prove, how often, and how they end (RND-034)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from makeready import people
from makeready.errors import Busy, Rejected
from makeready.people import Proved
from makeready.values import Secret
from tests.support.clock import Clock
from tests.support.database import Connect

KEY = Secret("a key that the database never sees")
PHONE = "+79001234567"
HERE = "192.0.2.1"


async def asked(db: asyncpg.Connection, code: str = "123456", phone: str = PHONE) -> None:
    """A code was asked for; it is this one."""
    await people.code_request(db, phone, people.code_mac(KEY, phone, code), client=HERE)


async def brought(
    db: asyncpg.Connection, code: str = "123456", phone: str = PHONE
) -> Proved | None:
    """What a code gives."""
    return await people.code_verify(db, phone, people.code_mac(KEY, phone, code), client=HERE)


async def test_a_right_code_gives_a_token_and_makes_the_user_known(db: asyncpg.Connection) -> None:
    await asked(db)
    found = await brought(db)

    assert found is not None
    assert await people.user_of_token(db, found.secret.reveal()) == found.user
    assert not found.has_accepted
    await asked(db, "654321")
    again = await brought(db, "654321")
    assert again is not None
    assert again.user == found.user


async def test_a_code_works_once(db: asyncpg.Connection) -> None:
    await asked(db)

    assert await brought(db) is not None
    assert await brought(db) is None


async def test_of_two_who_bring_one_code_one_wins(connect: Connect) -> None:
    first, second = await connect(), await connect()
    await asked(first)

    found = await asyncio.gather(brought(first), brought(second))

    assert sorted(one is None for one in found) == [False, True]


async def test_a_code_bears_five_tries(db: asyncpg.Connection) -> None:
    await asked(db)
    for _ in range(5):
        assert await brought(db, "000000") is None

    assert await brought(db) is None


async def test_the_fifth_try_may_be_the_right_one(db: asyncpg.Connection) -> None:
    await asked(db)
    for _ in range(4):
        await brought(db, "000000")

    assert await brought(db) is not None


async def test_a_code_dies_with_its_time(db: asyncpg.Connection, clock: Clock) -> None:
    await asked(db)
    await clock.advance(301)

    assert await brought(db) is None


async def test_a_later_code_takes_the_place_of_the_earlier(db: asyncpg.Connection) -> None:
    await asked(db, "111111")
    await asked(db, "222222")

    assert await brought(db, "111111") is None
    assert await brought(db, "222222") is not None


async def test_a_code_is_good_for_its_own_number_only(db: asyncpg.Connection) -> None:
    await asked(db)
    await asked(db, "999999", "+79007654321")

    assert await brought(db, "123456", "+79007654321") is None
    for mac in (people.code_mac(KEY, PHONE, "123456"), b"", b"x" * 32):
        assert await people.code_verify(db, "+79007654321", mac, client=HERE) is None


async def test_a_disabled_user_gets_in_by_no_code(db: asyncpg.Connection) -> None:
    user = await people.user_create(db, "A", phone=PHONE)
    await people.user_set_disabled(db, user, disabled=True)
    await asked(db)

    assert await brought(db) is None
    assert await db.fetchval("select count(*) from makeready.tokens") == 0


async def test_a_number_and_an_address_may_ask_so_often_and_no_oftener(
    db: asyncpg.Connection, clock: Clock
) -> None:
    for _ in range(5):
        await asked(db)
    with pytest.raises(Busy) as raised:
        await asked(db)
    assert raised.value.details["code"] == "rate_limited"
    for number in range(15):
        await asked(db, phone=f"+7900000{number:04}")
    with pytest.raises(Busy):
        await asked(db, phone="+79990000000")

    await clock.advance(3601)
    await asked(db)


async def test_guessing_is_bounded_also_over_many_codes(db: asyncpg.Connection) -> None:
    await asked(db)
    for _ in range(15):
        assert await brought(db, "000000") is None

    with pytest.raises(Busy):
        await brought(db, "000000")


async def test_the_database_holds_nothing_that_a_code_could_be_guessed_from(
    db: asyncpg.Connection,
) -> None:
    await asked(db)

    row = await db.fetchrow("select * from makeready.otp_codes")
    assert row is not None
    assert row["code_mac"] != people.code_mac(Secret("another key"), PHONE, "123456")
    assert "123456" not in str(dict(row)).replace(PHONE, "")


async def test_the_policy_is_a_row(db: asyncpg.Connection, connect: Connect) -> None:
    ops = await connect("makeready_ops")
    await ops.execute("select makeready.otp_set('1 minute', 1, '1 hour', 'strict')")

    await asked(db)
    assert await brought(db, "000000") is None
    assert await brought(db) is None
    await asked(db, "222222")
    found = await brought(db, "222222")
    assert found is not None
    now = await db.fetchval("select makeready.now()")
    assert timedelta(minutes=59) < found.expires_at - now <= timedelta(hours=1)
    with pytest.raises(Rejected):
        await ops.execute("select makeready.otp_set('1 minute', 0, '1 hour')")


async def test_codes_are_forgotten_an_hour_after_their_time(
    db: asyncpg.Connection, clock: Clock
) -> None:
    await asked(db)
    assert await db.fetchval("select makeready.otp_sweep(100)") == 0
    await clock.advance(3600 + 301)
    assert await db.fetchval("select makeready.otp_sweep(100)") == 1
