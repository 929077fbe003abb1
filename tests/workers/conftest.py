"""Fixtures: databases that have the queues of the core's tests and `drill`; a place to post to."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import asyncpg
import pytest

from makeready.config import Secret, Settings
from makeready.schema import migrate
from tests.support.clock import Clock
from tests.support.cluster import TEMPLATE, Cluster
from tests.support.core import QUEUES_SQL
from tests.support.database import cloned, template
from tests.support.drill import SQL
from tests.support.objectstore import S3
from tests.support.posting import Post, posting
from tests.support.receiver import Receiver, receiving
from tests.support.room import Room, furnished

TICKED = "update makeready.reaper set ran_at = now(), trusts_after = now()"
"""Else a clone looks as if nobody had ticked since the template was made: an outage."""


@pytest.fixture(scope="session")
async def work_template(cluster: Cluster, admin: asyncpg.Connection) -> str:
    async def fill(connection: asyncpg.Connection) -> None:
        await migrate(cluster.dsn(f"{TEMPLATE}_work"), extra=[SQL])
        await connection.execute(QUEUES_SQL.read_text("utf-8"))

    return await template(cluster, admin, "work", fill)


@pytest.fixture
async def dsn(
    cluster: Cluster, admin: asyncpg.Connection, work_template: str
) -> AsyncIterator[str]:
    async with cloned(cluster, admin, work_template) as made:
        connection = await asyncpg.connect(made)
        await connection.execute(TICKED)
        await connection.close()
        yield made


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
