"""Settings of photos: changed by staff, seeded by processes once, and never with a secret."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from makeready import passwords, photo_policy
from makeready.config import Settings
from makeready.errors import Conflict, Rejected
from makeready.values import Secret
from tests.support.database import Connect
from tests.support.generating import refusals

PASSWORD = "let the booth in"
GIVEN = Settings(
    data_dir=Path("/nowhere"),
    ingest_password=Secret(PASSWORD),
    sync_response_s=50.0,
    ingest_max_in_flight=16,
    result_retention_hours=24,
)
ALL = ["ingest_password", "sync_response_s", "ingest_max_in_flight", "result_retention_hours"]


async def audited(db: asyncpg.Connection) -> list[str]:
    rows = await db.fetch("select action from makeready.audit_log order by id")
    return [row["action"] for row in rows]


async def test_ing_026_what_is_in_force_at_first(db: asyncpg.Connection) -> None:
    # ING-026
    found = await photo_policy.read(db)
    assert (found.sync_response_s, found.max_in_flight) == (48, 12)
    assert (found.result_retention_hours, found.refuses_late) == (72, True)
    assert (found.has_password, found.password_at) == (False, None)


@pytest.mark.parametrize("seconds", [44.9, 60.1, 0, -1, "50", None, 1e300])
async def test_ing_026_a_booth_waits_45_to_60_seconds(
    db: asyncpg.Connection, seconds: Any
) -> None:
    # ING-026
    with pytest.raises(Rejected) as refused:
        await photo_policy.put(db, {"sync_response_s": seconds})
    (problem,) = refused.value.details["problems"]
    assert problem["path"] == "sync_response_s"
    assert "45 to 60" in problem["message"]
    for fine in (45, 60):
        await photo_policy.put(db, {"sync_response_s": fine})
        assert (await photo_policy.read(db)).sync_response_s == fine


async def test_all_that_is_wrong_is_told_at_once(db: asyncpg.Connection) -> None:
    wrong = {
        "sync_response_s": 3,
        "max_in_flight": 0,
        "result_retention_hours": 23.5,
        "refuses_late": 1,
        "colour": "red",
    }
    with pytest.raises(Rejected) as refused:
        await photo_policy.put(db, wrong)
    found = {each["path"] for each in refused.value.details["problems"]}
    assert found == set(wrong)
    assert (await photo_policy.read(db)).version == 1


async def test_a_change_is_versioned_and_audited(db: asyncpg.Connection) -> None:
    assert await photo_policy.put(db, {"max_in_flight": 16, "is_durable": True}, known=1) == 2
    found = await refusals(Conflict, photo_policy.put(db, {"max_in_flight": 1}, known=1))
    assert found == ["stale_version"]
    assert await photo_policy.put(db, {"max_in_flight": 16}) == 2  # as it was: no change
    after = await photo_policy.read(db)
    assert (after.max_in_flight, after.is_durable, after.version) == (16, True, 2)
    assert await audited(db) == ["queue_set", "ingest_settings_put"]


async def test_ing_067_a_new_password_is_audited_and_counts_at_once(
    db: asyncpg.Connection,
) -> None:
    """ING-006: what is kept of it is a hash."""
    # ING-067
    digest = await asyncio.to_thread(photo_policy.hashed, PASSWORD)
    assert await photo_policy.set_password(db, digest) == 1
    assert await photo_policy.set_password(db, digest) == 2

    line = await db.fetchrow(
        "select * from makeready.audit_log where action = 'settings.rotate_ingest_password'"
        " order by id desc limit 1"
    )
    assert "argon2" not in str(line)
    assert PASSWORD not in str(line)
    found = await photo_policy.read(db)
    assert found.has_password
    assert found.password_by.startswith("database:")  # type: ignore[union-attr]
    (door,) = await db.fetch("select * from makeready.ingest_password")
    assert passwords.is_right(PASSWORD, door["password_hash"])
    assert door["version"] == 2


async def test_ing_006_only_a_hash_is_taken(db: asyncpg.Connection) -> None:
    for plain in (PASSWORD, "", None):
        with pytest.raises((Rejected, asyncpg.DataError)):
            await photo_policy.set_password(db, plain)  # type: ignore[arg-type]
    for short in ("1234567", "x" * 129):
        with pytest.raises(Rejected):
            photo_policy.hashed(short)


async def test_ing_085_an_environment_seeds_once(db: asyncpg.Connection) -> None:
    assert await photo_policy.seed(db, GIVEN) == ALL
    found = await photo_policy.read(db)
    assert (found.sync_response_s, found.max_in_flight) == (50, 16)
    assert found.result_retention_hours == 24
    assert found.has_password

    other = dataclasses.replace(
        GIVEN,
        ingest_password=Secret("quite another one"),
        sync_response_s=60.0,
        ingest_max_in_flight=1,
        result_retention_hours=168,
    )
    assert await photo_policy.seed(db, other) == []
    assert await photo_policy.read(db) == found


async def test_ing_085_what_staff_has_changed_is_not_seeded(db: asyncpg.Connection) -> None:
    await photo_policy.put(db, {"sync_response_s": 55, "max_in_flight": 3})
    await photo_policy.set_password(db, await asyncio.to_thread(photo_policy.hashed, PASSWORD))
    assert await photo_policy.seed(db, GIVEN) == ["result_retention_hours"]
    found = await photo_policy.read(db)
    assert (found.sync_response_s, found.max_in_flight) == (55, 3)


async def test_ing_085_less_than_45_seconds_is_for_tests(db: asyncpg.Connection) -> None:
    short = dataclasses.replace(GIVEN, sync_response_s=0.5)
    with pytest.raises(Rejected):
        await photo_policy.seed(db, short)
    assert not (await photo_policy.read(db)).has_password  # nothing of it was taken
    assert await photo_policy.seed(db, dataclasses.replace(short, testing=True)) == ALL
    assert (await photo_policy.read(db)).sync_response_s == 0.5
    # What tests have seeded does not stand in the way of other changes.
    await photo_policy.put(db, {"refuses_late": False})


async def test_seeds_of_processes_that_start_together_are_taken_once(connect: Connect) -> None:
    sessions = [await connect() for _ in range(4)]
    given = dataclasses.replace(GIVEN, ingest_password=None)
    found = await asyncio.gather(*(photo_policy.seed(each, given) for each in sessions))
    assert sorted(name for taken in found for name in taken) == sorted(ALL[1:])


async def test_ing_085_differences_are_told_without_the_password(db: asyncpg.Connection) -> None:
    await photo_policy.seed(db, GIVEN)
    assert await photo_policy.differences(db, GIVEN) == []
    assert await photo_policy.differences(db, Settings(data_dir=Path("/nowhere"))) == []

    other = dataclasses.replace(
        GIVEN, ingest_password=Secret("quite another one"), sync_response_s=60.0
    )
    found = await photo_policy.differences(db, other)
    assert [(each.setting, each.given) for each in found] == [
        ("MAKEREADY_SYNC_RESPONSE_S", "60"),
        ("MAKEREADY_INGEST_PASSWORD", "a password"),
    ]
    assert "quite another one" not in str(found)
    assert PASSWORD not in str(found)


async def test_no_role_but_the_service_reads_the_hash(connect: Connect) -> None:
    for role in ("makeready_app", "makeready_worker", "makeready_ops", "makeready_read"):
        session = await connect(role)
        for statement in (
            "select password_hash from makeready.ingest_password",
            "select makeready.ingest_password_hash()",
            "select sealed from makeready.provider_keys",
            "select makeready.provider_keys_sealed()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.fetch(statement)
