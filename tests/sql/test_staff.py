"""Accounts of staff: roles, log-ins, and that somebody is always left to administer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import staff
from makeready.errors import Busy, Conflict, NotFound, Rejected
from makeready.staff_tokens import StaffToken
from tests.sql.conftest import Session
from tests.sql.interleave import BOTH, begin, step
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.service import NO_PASSWORD

HERE = "192.0.2.1"


def token(account: UUID, version: int = 1) -> StaffToken:
    """What a token of this account says."""
    soon = datetime.now(tz=UTC) + timedelta(hours=1)
    return StaffToken(id=uuid4(), account=account, version=version, expires_at=soon)


async def test_roles_contain_one_another(db: asyncpg.Connection) -> None:
    """ING-064: what may be written may be read, and each role has all of the one below."""
    rows = await db.fetch("select role, permissions from makeready.staff_roles")
    roles = {row["role"]: set(row["permissions"]) for row in rows}

    assert roles["viewer"] < roles["operator"] < roles["admin"]
    assert {name for name in roles["viewer"] if not name.endswith(":read")} == set()
    for permissions in roles.values():
        written = {name for name in permissions if name.endswith(":write")}
        assert {name.replace(":write", ":read") for name in written} <= permissions
    parts = ("slots", "stats", "settings", "render", "posm", "queues", "people", "keys")
    assert roles["admin"] == {f"{part}:{kind}" for part in parts for kind in ("read", "write")}
    assert not {"settings:write", "people:read", "keys:read"} & roles["operator"]


async def test_names_and_roles_are_checked(db: asyncpg.Connection) -> None:
    await staff.add(db, "anna", NO_PASSWORD, "admin")

    with pytest.raises(Conflict) as raised:
        await staff.add(db, "anna", NO_PASSWORD, "viewer")
    assert raised.value.details["reason"] == "name_taken"
    for name, role in (
        ("Anna", "viewer"),
        ("ab", "viewer"),
        ("boris", "owner"),
        ("a b c", "admin"),
    ):
        with pytest.raises(Rejected):
            await staff.add(db, name, NO_PASSWORD, role)
    with pytest.raises(asyncpg.CheckViolationError):
        await staff.add(db, "boris", "plain text", "viewer")


async def test_only_a_token_of_the_present_version_counts(db: asyncpg.Connection) -> None:
    account = await staff.add(db, "anna", NO_PASSWORD, "operator")
    held = token(account)
    found = await staff.of_token(db, held)
    assert found is not None
    assert found.may("render:write")

    await staff.set_password(db, account, NO_PASSWORD, reason="leaked")

    assert await staff.of_token(db, held) is None
    assert await staff.of_token(db, token(account, 2)) is not None
    assert await staff.of_token(db, token(uuid4())) is None


async def test_one_log_in_ends_without_the_others(db: asyncpg.Connection) -> None:
    account = await staff.add(db, "anna", NO_PASSWORD, "operator")
    first, second = token(account), token(account)

    await staff.sign_out(db, first)
    assert await staff.of_token(db, first) is None
    assert await staff.of_token(db, second) is not None

    await staff.sign_out(db, second, everywhere=True)
    assert await staff.of_token(db, second) is None


async def test_a_disabled_account_is_out_at_once_and_its_old_tokens_stay_out(
    db: asyncpg.Connection,
) -> None:
    await staff.add(db, "olga", NO_PASSWORD, "admin")
    account = await staff.add(db, "anna", NO_PASSWORD, "operator")
    held = token(account)

    assert await staff.disable(db, account) is True
    assert await staff.disable(db, account) is False
    assert await staff.of_token(db, held) is None
    assert await staff.of_token(db, token(account, 2)) is None
    assert await staff.credentials(db, "anna", client=HERE) is None
    assert await staff.signed_in(db, account, client=HERE) is None
    assert await staff.enable(db, account) is True
    assert await staff.enable(db, account) is False
    assert await staff.of_token(db, held) is None
    assert await staff.of_token(db, token(account, 2)) is not None


async def test_the_last_admin_stays(db: asyncpg.Connection) -> None:
    account = await staff.add(db, "olga", NO_PASSWORD, "admin")

    with pytest.raises(Conflict) as raised:
        await staff.disable(db, account)
    assert raised.value.details["reason"] == "last_admin"
    with pytest.raises(Conflict):
        await staff.set_role(db, account, "viewer")
    other = await staff.add(db, "anna", NO_PASSWORD, "admin")
    await staff.set_role(db, account, "viewer")
    with pytest.raises(Conflict):
        await staff.disable(db, other)


@BOTH
async def test_of_two_admins_who_disable_each_other_one_stays(
    db: asyncpg.Connection, session: Session, how: str
) -> None:
    anna, olga = [await staff.add(db, name, NO_PASSWORD, "admin") for name in ("anna", "olga")]
    first, second = await session(), await session()
    held = await begin(first)
    await staff.disable(first.db, olga)

    other = await step(db, second, staff.disable(second.db, anna))

    assert other.waits
    await held.end(how)
    if how == "commit":
        with pytest.raises(Conflict):
            await other
    else:
        assert await other is True
    left = await db.fetchval("select count(*) from makeready.staff where disabled_at is null")
    assert left == 1


async def test_tries_to_sign_in_are_counted_before_they_are_judged(
    db: asyncpg.Connection, clock: Clock
) -> None:
    """ING-063: five in ten minutes a name and address, whoever has the name."""
    account = await staff.add(db, "anna", NO_PASSWORD, "admin")
    for name in ("anna", "nobody"):
        for _ in range(5):
            await staff.credentials(db, name, client=HERE)
        with pytest.raises(Busy):
            await staff.credentials(db, name, client=HERE)
    assert await staff.credentials(db, "anna", client="192.0.2.2") is not None

    await clock.advance(601)
    for _ in range(4):
        await staff.credentials(db, "anna", client=HERE)
    await staff.signed_in(db, account, client=HERE)
    for _ in range(5):
        assert await staff.credentials(db, "anna", client=HERE) is not None


async def test_every_change_says_who_made_it(db: asyncpg.Connection) -> None:
    await db.execute("select set_config('makeready.actor', 'olga', false)")
    await staff.add(db, "olga", NO_PASSWORD, "admin")
    account = await staff.add(db, "anna", NO_PASSWORD, "viewer")
    await staff.set_role(db, account, "operator", reason="helps out")
    await staff.set_role(db, account, "operator")
    await staff.set_password(db, account, NO_PASSWORD)
    await staff.disable(db, account)
    await staff.enable(db, account)

    rows = await db.fetch(
        "select * from makeready.audit_log where target = $1 order by id", str(account)
    )
    assert [row["action"] for row in rows] == [
        *("staff_add", "staff_set_role", "staff_set_password", "staff_disable", "staff_enable")
    ]
    assert all(row["actor"].startswith("olga via ") for row in rows)
    assert rows[1]["reason"] == "helps out"
    assert not any("argon2" in str(dict(row)) for row in rows)


async def test_what_is_not_there_is_said_so(db: asyncpg.Connection) -> None:
    for change in (
        staff.disable(db, uuid4()),
        staff.set_role(db, uuid4(), "viewer"),
        staff.set_password(db, uuid4(), NO_PASSWORD),
        staff.named(db, "nobody"),
    ):
        with pytest.raises(NotFound) as raised:
            await change
        assert raised.value.details["code"] == "user_not_found"


@pytest.mark.parametrize("role", ["makeready_ops", "makeready_read", "makeready_worker"])
async def test_only_the_service_gets_a_hash_to_compare_with(connect: Connect, role: str) -> None:
    other = await connect(role)

    for statement in (
        "select makeready.staff_credentials('anna', 'here')",
        "select * from makeready.staff_passwords",
        "select makeready.otp_verify('+79001234567', '', 'here')",
        "select * from makeready.otp_codes",
        "select makeready.token_add(makeready.uuid7(), '', '1 day')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await other.execute(statement)


async def test_ended_log_ins_are_forgotten_when_their_tokens_are_over(
    db: asyncpg.Connection, clock: Clock
) -> None:
    account = await staff.add(db, "anna", NO_PASSWORD, "admin")
    await staff.sign_out(db, token(account))

    await clock.advance(3600)
    assert await db.fetchval("select makeready.staff_sweep(100)") == 0
    await clock.advance(3700)
    assert await db.fetchval("select makeready.staff_sweep(100)") == 1
