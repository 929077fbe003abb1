from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from makeready.config import Settings
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.objectstore import S3


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_database_of_its_own(db: asyncpg.Connection, turn: int) -> None:
    await db.execute("create table public.left_behind (turn int)")

    assert await db.fetchval("select to_regclass('makeready.jobs') is not null"), turn


async def test_the_clock_moves_for_open_and_for_later_connections(
    db: asyncpg.Connection, connect: Connect, clock: Clock
) -> None:
    before = await db.fetchval("select makeready.now()")
    await clock.advance(3600)
    later = await connect()

    for connection in (db, later):
        moved = await connection.fetchval("select makeready.now()") - before
        assert timedelta(seconds=3600) <= moved < timedelta(seconds=3660)


async def test_the_clock_moves_for_a_pool(dsn: str, clock: Clock) -> None:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        clock.follow(pool)
        before = await pool.fetchval("select makeready.now()")
        await clock.advance(60)

        moved = await pool.fetchval("select makeready.now()") - before
        assert timedelta(seconds=60) <= moved < timedelta(seconds=90)


async def test_a_connection_takes_the_role_it_is_opened_with(connect: Connect) -> None:
    worker = await connect("makeready_worker")

    assert await worker.fetchval("select current_user") == "makeready_worker"


def test_settings_name_the_bucket_when_a_test_asks_for_one(settings: Settings, s3: S3) -> None:
    assert settings.s3_bucket == s3.bucket
    assert s3.call("PUT", f"/{s3.bucket}/some/key", b"bytes") == 200
    assert s3.call("GET", f"/{s3.bucket}/some/key") == 200


def test_settings_have_no_bucket_when_nobody_asks(settings: Settings) -> None:
    assert settings.s3_endpoint is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", ""])
def test_without_a_container_engine_the_tests_are_skipped_and_say_why(address: str) -> None:
    if not address and Path("/var/run/docker.sock").exists():
        pytest.skip("a container engine is installed")
    chosen = {"MAKEREADY_TEST_PG": "testcontainers", "DOCKER_HOST": address}
    one = f"{__file__}::test_each_test_has_a_database_of_its_own"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one],
        env=os.environ | chosen,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 skipped" in done.stdout
    assert "MAKEREADY_TEST_PG=testcontainers: no container engine answers" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
