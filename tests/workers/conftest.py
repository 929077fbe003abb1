"""Fixtures: databases that have the queues of the core's tests and `drill`; a place to post to."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from makeready.config import Secret, Settings
from makeready.schema import migrate
from tests.support.clock import Clock
from tests.support.cluster import TEMPLATE, Cluster
from tests.support.core import QUEUES_SQL
from tests.support.drill import SQL
from tests.support.objectstore import S3
from tests.support.posting import Post, posting
from tests.support.receiver import Receiver, receiving
from tests.support.room import Room, furnished

WORK_TEMPLATE = f"{TEMPLATE}_work"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
async def work_template(cluster: Cluster, admin: asyncpg.Connection) -> str:
    await admin.execute(f"create database {WORK_TEMPLATE} template {TEMPLATE}")
    dsn = cluster.dsn(WORK_TEMPLATE)
    await migrate(dsn, extra=[SQL])
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(QUEUES_SQL.read_text("utf-8"))
    finally:
        await connection.close()
    return WORK_TEMPLATE


@pytest.fixture
async def dsn(
    cluster: Cluster, admin: asyncpg.Connection, work_template: str
) -> AsyncIterator[str]:
    name = f"work_{next(_NUMBERS)}"
    await admin.execute(f"create database {name} template {work_template} strategy file_copy")
    connection = await asyncpg.connect(cluster.dsn(name))
    # A clone looks as if nobody had ticked since the template was made: an outage, to the reaper.
    await connection.execute("update makeready.reaper set ran_at = now(), trusts_after = now()")
    await connection.close()
    yield cluster.dsn(name)
    await admin.execute(f"drop database {name} with (force)")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def post(
    db: asyncpg.Connection, settings: Settings, clock: Clock, receiver: Receiver
) -> AsyncIterator[Post]:
    settings = dataclasses.replace(
        settings, webhook_private=True, alert_webhook_url=Secret(receiver.url)
    )
    async with posting(db, settings, clock, receiver) as running:
        yield running


@pytest.fixture
async def room(db: asyncpg.Connection, settings: Settings, s3: S3) -> AsyncIterator[Room]:
    assert settings.s3_bucket == s3.bucket
    async with furnished(db, settings) as made:
        yield made
