"""Fixtures of the SQL core's tests.

core      the test's session, in a database that has the queues of tests/support/queues.sql
session   `await session(role=None)`: further sessions of the same database
heard     `await heard()`: the notifications since the test began
press     the test's session as one that renders; document types are there
room      the test's session as one that generates cards
dsn       as everywhere, but cloned from a template that has those queues
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.support.cluster import Cluster
from tests.support.core import QUEUES_SQL, Core
from tests.support.database import Connect, cloned, template
from tests.support.generating import Cardroom
from tests.support.rendering import Press

Session = Callable[..., Awaitable[Core]]
Heard = Callable[[], Awaitable[list[str]]]

MUTANT = os.environ.get("MAKEREADY_TEST_MUTANT", "")
"""A file with a damaged function that every database of the run gets: see tests/mutation."""


@pytest.fixture(scope="session")
async def core_template(cluster: Cluster, admin: asyncpg.Connection) -> str:
    async def fill(connection: asyncpg.Connection) -> None:
        await connection.execute(QUEUES_SQL.read_text("utf-8"))
        if MUTANT:
            await connection.execute(Path(MUTANT).read_text("utf-8"))

    return await template(cluster, admin, "core", fill)


@pytest.fixture
async def dsn(
    cluster: Cluster, admin: asyncpg.Connection, core_template: str
) -> AsyncIterator[str]:
    async with cloned(cluster, admin, core_template) as made:
        yield made


@pytest.fixture
def session(connect: Connect) -> Session:
    async def open_one(role: str | None = None) -> Core:
        return Core(await connect(role))

    return open_one


@pytest.fixture
async def heard(connect: Connect) -> Heard:
    messages: list[str] = []
    listener = await connect()
    await listener.add_listener("makeready", lambda *message: messages.append(str(message[-1])))

    async def so_far() -> list[str]:
        await listener.fetchval("select 1")  # what was sent before this question has come with it
        return messages

    return so_far


@pytest.fixture
async def press(db: asyncpg.Connection) -> Press:
    return await Press(db).open()


@pytest.fixture
async def room(db: asyncpg.Connection) -> Cardroom:
    return await Cardroom(db).open()
