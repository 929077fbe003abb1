"""Users, tokens and sessions."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import people
from makeready.errors import Forbidden, NotFound, Rejected
from makeready.schema import sql_directory
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.rendering import Press


async def test_a_token_proves_its_user_and_nobody_else(db: asyncpg.Connection) -> None:
    anna, boris = await people.user_create(db, "Анна"), await people.user_create(db, "Борис")
    secret = await people.token_create(db, anna, purpose="booth")

    assert await people.user_of_token(db, secret.reveal()) == anna
    assert await people.user_of_token(db, secret.reveal() + "x") is None
    assert await people.user_of_token(db, "") is None
    other = await people.token_create(db, boris)
    assert await people.user_of_token(db, other.reveal()) == boris


async def test_the_secret_of_a_token_is_nowhere_in_the_database(db: asyncpg.Connection) -> None:
    secret = (await people.token_create(db, await people.user_create(db, "A"))).reveal()

    for table in ("tokens", "audit_log", "users"):
        rows = await db.fetch(f"select t::text from makeready.{table} t")
        assert rows
        assert all(secret not in row[0] and secret[3:] not in row[0] for row in rows)
    assert await db.fetchval("select secret_hash from makeready.tokens") == people.token_hash(
        secret
    )


async def test_a_token_ends_with_its_time(db: asyncpg.Connection, clock: Clock) -> None:
    user = await people.user_create(db, "A")
    secret = (await people.token_create(db, user, valid_for=timedelta(hours=1))).reveal()

    await clock.advance(3590)
    assert await people.user_of_token(db, secret) == user
    await clock.advance(20)
    assert await people.user_of_token(db, secret) is None


async def test_a_revoked_token_and_a_disabled_user_prove_nothing(db: asyncpg.Connection) -> None:
    user = await people.user_create(db, "A")
    first = (await people.token_create(db, user)).reveal()
    second = (await people.token_create(db, user)).reveal()
    token = await db.fetchval("select id from makeready.tokens order by created_at limit 1")

    revoke = "select makeready.token_revoke($1, 'lost')"
    assert await db.fetchval(revoke, token) is True
    assert await db.fetchval(revoke, token) is False
    assert await people.user_of_token(db, first) is None
    assert await people.user_of_token(db, second) == user
    await db.execute("update makeready.users set disabled_at = makeready.now()")
    assert await people.user_of_token(db, second) is None
    with pytest.raises(NotFound):
        await people.token_create(db, user)


async def test_a_token_needs_a_user_and_a_sensible_time(db: asyncpg.Connection) -> None:
    user = await people.user_create(db, "A")

    with pytest.raises(NotFound) as raised:
        await people.token_create(db, uuid4())
    assert raised.value.details["code"] == "user_not_found"
    for wrong in (timedelta(), timedelta(days=-1), timedelta(days=4000)):
        with pytest.raises(Rejected):
            await people.token_create(db, user, valid_for=wrong)


async def test_two_with_one_number_are_one_user(db: asyncpg.Connection, connect: Connect) -> None:
    other = await connect()
    first = await people.user_create(db, "A", phone="+79001234567")

    assert await people.user_create(other, "B", phone="+79001234567") == first
    assert await people.user_create(db, "A") != await people.user_create(db, "A")


async def test_the_http_role_checks_tokens_but_makes_none(connect: Connect) -> None:
    http = await connect("makeready_http")

    assert await people.user_of_token(http, "mk_nothing") is None
    for statement in (
        "select makeready.token_create(makeready.uuid7())",
        "select makeready.user_create('x')",
        "select * from makeready.tokens",
        "update makeready.users set name = 'x'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await http.execute(statement)


async def newcomer(db: asyncpg.Connection) -> UUID:
    """A user who has accepted nothing."""
    found: UUID = await db.fetchval("select makeready.user_add('Вера', '+79001234567', false)")
    return found


async def test_nobody_orders_before_the_offer_is_accepted(
    db: asyncpg.Connection, press: Press
) -> None:
    """RND-035: the database refuses, whoever asks it."""
    vera = await newcomer(db)

    with pytest.raises(Forbidden) as raised:
        await press.pack(vera, "invoice")
    assert raised.value.details == {"code": "forbidden", "needs": "offer"}
    with pytest.raises(Forbidden):
        await db.execute("select makeready.render_enqueue('invoice', '{}', for_user => $1)", vera)
    await db.execute("select makeready.render_enqueue('invoice', '{}')")

    await people.offer_accept(db, vera)
    pack = await press.pack(vera, "invoice")
    await db.execute("update makeready.users set offer_accepted_at = null where id = $1", vera)
    for call in ("render_pack($1, $2)", "render_document($1, $2, 'invoice')"):
        with pytest.raises(Forbidden):
            await db.execute(f"select makeready.{call}", vera, pack)


async def test_the_first_time_an_offer_is_accepted_counts(
    db: asyncpg.Connection, clock: Clock
) -> None:
    vera = await newcomer(db)
    first = await people.offer_accept(db, vera)
    await clock.advance(60)

    assert await people.offer_accept(db, vera) == first
    operators = await people.user(db, await people.user_create(db, "A"))
    assert operators is not None
    assert operators.offer_accepted_at is not None


async def test_users_of_the_version_before_have_accepted(db: asyncpg.Connection) -> None:
    vera = await newcomer(db)
    migration = sql_directory() / "migrations" / "0001_offers_of_operators.sql"

    await db.execute(migration.read_text("utf-8"))

    found = await people.user(db, vera)
    assert found is not None
    assert found.offer_accepted_at == found.created_at


async def test_a_token_makes_tokens_for_its_own_user_for_a_year_at_most(
    db: asyncpg.Connection, connect: Connect
) -> None:
    anna = await people.user_create(db, "Анна")
    own = (await people.token_create(db, anna)).reveal()
    http = await connect("makeready_http")

    year = timedelta(days=365)
    made = await people.token_derive(http, own, purpose="booth", valid_for=year)
    assert await people.user_of_token(db, made.secret.reveal()) == anna
    with pytest.raises(Rejected):
        await people.token_derive(http, own, purpose="x", valid_for=timedelta(days=400))
    await people.token_end(http, own)
    assert await people.user_of_token(db, own) is None
    for nobodys in (own, "mk_nothing"):
        with pytest.raises(NotFound):
            await people.token_derive(http, nobodys, purpose="x", valid_for=year)


async def test_a_token_is_withdrawn_by_its_own_user(db: asyncpg.Connection) -> None:
    anna, boris = await people.user_create(db, "Анна"), await people.user_create(db, "Борис")
    own = (await people.token_create(db, anna, purpose="booth")).reveal()
    (token,) = await people.tokens(db, anna)
    assert token.label == "booth"

    assert await people.token_revoke_of(db, boris, token.id) is False
    assert await people.user_of_token(db, own) == anna
    assert await people.token_revoke_of(db, anna, token.id) is True
    assert await people.token_revoke_of(db, anna, token.id) is False
    assert await people.user_of_token(db, own) is None
    assert await people.tokens(db, anna) == []


async def test_a_session_is_its_owners(db: asyncpg.Connection) -> None:
    anna, boris = await people.user_create(db, "Анна"), await people.user_create(db, "Борис")
    session = await db.fetchval("select makeready.session_create($1, 'бариста')", anna)

    assert await people.session_topic(db, anna, session) == "бариста"
    with pytest.raises(NotFound):
        await people.session_topic(db, boris, session)
    with pytest.raises(NotFound):
        await people.session_topic(db, anna, uuid4())
