"""Commands and photos: what is seeded, also in a database of their own, and what doctor says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import photo_policy, photo_providers
from makeready.commands import migrate, photo_checks
from makeready.commands.faults import DatabaseFault
from makeready.config import ConfigError, Settings
from makeready.sealing import Sealer
from makeready.values import Secret
from tests.support.cluster import Cluster

PASSWORD = Secret("let the booth in")
KEYS = Secret("aa" * 32), Secret("bb" * 32)


@pytest.fixture
def given(settings: Settings) -> Settings:
    return dataclasses.replace(
        settings,
        ingest_password=PASSWORD,
        sync_response_s=50.0,
        ingest_max_in_flight=16,
        secrets_key=KEYS[0],
    )


@pytest.fixture
async def apart(cluster: Cluster, admin: asyncpg.Connection) -> AsyncIterator[str]:
    """An empty database for photos."""
    await admin.execute("create database photos_apart")
    yield cluster.dsn("photos_apart")
    await admin.execute("drop database photos_apart with (force)")


async def policy(url: str) -> photo_policy.Policy:
    async with migrate.connected(url) as connection:
        return await photo_policy.read(connection)


async def test_ing_006_migrate_seeds_what_is_configured(dsn: str, given: Settings) -> None:
    """ING-085: once, whatever comes later."""
    with capture_logs() as lines:
        await migrate.brought_up(dsn, given)
    (line,) = (line for line in lines if line["event"] == "ingest_seeded")
    assert line["settings"] == ["ingest_password", "sync_response_s", "ingest_max_in_flight"]
    assert PASSWORD.reveal() not in str(lines)

    await migrate.brought_up(dsn, dataclasses.replace(given, sync_response_s=60.0))
    found = await policy(dsn)
    assert (found.sync_response_s, found.max_in_flight, found.has_password) == (50, 16, True)


async def test_ing_085_photos_may_have_a_database_of_their_own(
    dsn: str, given: Settings, apart: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(given, ingest_database_url=apart)
    applied = await migrate.brought_up(dsn, settings)

    assert "130_ingest.sql (photos)" in applied
    assert (await policy(apart)).has_password
    assert not (await policy(dsn)).has_password
    assert await migrate._checked(dsn, settings) == 0
    assert capsys.readouterr().out.count("the schema is current") == 2
    named = {one.what: one for one in await photo_checks.check_photos(settings)}
    assert named["schema of photos"].found == "current"
    assert named["password of slots"].verdict == "ok"


async def test_a_database_of_photos_that_is_away_is_named(dsn: str, given: Settings) -> None:
    away = dataclasses.replace(given, ingest_database_url="postgresql://u:hush@127.0.0.1:1/db")
    with pytest.raises(DatabaseFault, match="PHOTOCHANGER_DATABASE_URL") as fault:
        await migrate.brought_up(dsn, away)
    assert "hush" not in str(fault.value)


def test_the_same_database_by_two_names_is_one() -> None:
    url = "postgresql://u@host/db"
    one = Settings(ingest_database_url=url, database_url=url)
    assert one.photos_apart is None
    pooled = dataclasses.replace(
        one, database_url="postgresql://pooler/db", database_direct_url=url
    )
    assert pooled.photos_apart is None
    assert Settings(database_url=url).photos_apart is None


async def test_ing_085_doctor_tells_what_counts_no_more(dsn: str, given: Settings) -> None:
    await migrate.brought_up(dsn, given)
    assert {one.verdict for one in await photo_checks.check_photos(given)} == {"ok"}

    other = dataclasses.replace(
        given, ingest_password=Secret("quite another one"), ingest_max_in_flight=12
    )
    found = [one for one in await photo_checks.check_photos(other) if one.verdict != "ok"]
    assert [(one.what, one.verdict) for one in found] == [
        ("MAKEREADY_INGEST_MAX_IN_FLIGHT", "warn"),
        ("MAKEREADY_INGEST_PASSWORD", "warn"),
    ]
    assert found[0].found == "12, which counts no more: in force is 16"
    said = str(found)
    assert "quite another one" not in said
    assert PASSWORD.reveal() not in said


async def test_doctor_tells_what_photos_lack(dsn: str, settings: Settings) -> None:
    await migrate.brought_up(dsn, settings)
    named = {one.what: one for one in await photo_checks.check_photos(settings)}
    assert named["password of slots"].found == "none: no booth gets in"
    assert named["keys of providers"].verdict == "warn"
    slow = dataclasses.replace(settings, ingest_statement_timeout_ms=50_000)
    named = {one.what: one for one in await photo_checks.check_photos(slow)}
    assert named["photos"].verdict == "FAIL"  # ING-024
    async with migrate.connected(dsn) as connection:
        await connection.execute("update makeready.ingest_policy set sync_response_s = 20")
    for is_testing, verdict in ((True, "ok"), (False, "FAIL")):  # ING-085
        short = dataclasses.replace(settings, testing=is_testing)
        named = {one.what: one for one in await photo_checks.check_photos(short)}
        assert named["photos"].verdict == verdict


async def test_doctor_looks_at_the_files_of_photos(settings: Settings, dsn: str) -> None:
    (found,) = await photo_checks.check_files(settings)
    assert found.found.startswith(f"{settings.media_folder}, ")
    async with migrate.connected(dsn) as connection:
        await photo_policy.put(connection, {"min_free_bytes": 1 << 50})
    (found,) = await photo_checks.check_files(settings)
    assert found.verdict == "FAIL"


async def test_migrate_moves_keys_under_the_first_master_key(dsn: str, given: Settings) -> None:
    old, new = KEYS
    await migrate.brought_up(dsn, given)
    async with migrate.connected(dsn) as connection:
        await photo_providers.key_put(connection, Sealer.of(old), "fal", Secret("sk-1"))

    wrong = dataclasses.replace(given, secrets_key=new)
    await migrate.brought_up(dsn, wrong)  # what it cannot open it leaves alone
    named = {one.what: one for one in await photo_checks.check_photos(wrong)}
    assert named["keys of providers"].found == "cannot be opened: fal"

    both = dataclasses.replace(given, secrets_key=Secret(f"{new.reveal()},{old.reveal()}"))
    await migrate.brought_up(dsn, both)
    named = {one.what: one for one in await photo_checks.check_photos(wrong)}
    assert named["keys of providers"].verdict == "ok"


def test_ing_026_a_window_that_cannot_be_is_a_config_error() -> None:
    """ING-085: less than 45 seconds is for tests, which say so."""
    # ING-026
    names = {"T_SYNC_RESPONSE_SECONDS": "20", "QUEUE_STATEMENT_TIMEOUT_MS": "5000"}
    with pytest.raises(ConfigError, match="between 45 and 60"):
        Settings.from_env(names)
    assert Settings.from_env(names | {"MAKEREADY_TESTING": "1"}).sync_response_s == 20
    with pytest.raises(ConfigError, match="must be less than a booth waits"):  # ING-024
        Settings.from_env({"T_SYNC_RESPONSE_SECONDS": "50", "QUEUE_STATEMENT_TIMEOUT_MS": "50000"})
    with pytest.raises(ConfigError, match="8 to 128 characters") as refused:
        Settings.from_env({"INGEST_PASSWORD": "brief!!"})
    assert "brief!!" not in str(refused.value)


async def test_processes_that_start_together_seed_once(dsn: str, given: Settings) -> None:
    with capture_logs() as lines:
        await asyncio.gather(*(migrate.brought_up(dsn, given) for _ in range(3)))
    assert [line["event"] for line in lines].count("ingest_seeded") == 1
