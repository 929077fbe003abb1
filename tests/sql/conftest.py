"""Fixtures of the SQL core's tests.

core      the test's session, in a database that has the queues of tests/support/queues.sql
session   `await session(role=None)`: further sessions of the same database
dsn       as everywhere, but cloned from a template that has those queues
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.support.cluster import TEMPLATE, Cluster
from tests.support.core import QUEUES_SQL, Core

Session = Callable[..., Awaitable[Core]]

MUTANT = os.environ.get("MAKEREADY_TEST_MUTANT", "")
"""A file with a damaged function that every database of the run gets: see tests/mutation."""
CORE_TEMPLATE = f"{TEMPLATE}_core"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
async def core_template(cluster: Cluster, admin: asyncpg.Connection) -> str:
    await admin.execute(f"create database {CORE_TEMPLATE} template {TEMPLATE}")
    connection = await asyncpg.connect(cluster.dsn(CORE_TEMPLATE))
    try:
        await connection.execute(QUEUES_SQL.read_text("utf-8"))
        if MUTANT:
            await connection.execute(Path(MUTANT).read_text("utf-8"))
    finally:
        await connection.close()
    return CORE_TEMPLATE


@pytest.fixture
async def dsn(
    cluster: Cluster, admin: asyncpg.Connection, core_template: str
) -> AsyncIterator[str]:
    name = f"sql_{next(_NUMBERS)}"
    await admin.execute(f"create database {name} template {core_template} strategy file_copy")
    yield cluster.dsn(name)
    await admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def core(db: asyncpg.Connection) -> Core:
    return Core(db)


@pytest.fixture
def session(connect: Callable[..., Awaitable[asyncpg.Connection]]) -> Session:
    async def open_one(role: str | None = None) -> Core:
        return Core(await connect(role))

    return open_one
