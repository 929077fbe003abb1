"""Databases of tests: each test has one of its own, cloned from a template."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from tests.support.cluster import TEMPLATE, Cluster

Connect = Callable[..., Awaitable[asyncpg.Connection]]
"""`await connect(role=None, **options of asyncpg.connect)`: one more connection of the test."""
Fill = Callable[[asyncpg.Connection], Awaitable[None]]
_NUMBERS = itertools.count(1)


async def template(cluster: Cluster, admin: asyncpg.Connection, name: str, fill: Fill) -> str:
    """A further template: the one with the schema, and what `fill` adds to it."""
    made = f"{TEMPLATE}_{name}"
    await admin.execute(f"create database {made} template {TEMPLATE} strategy file_copy")
    connection = await asyncpg.connect(cluster.dsn(made))
    try:
        await fill(connection)
    finally:
        await connection.close()
    return made


@asynccontextmanager
async def cloned(
    cluster: Cluster, admin: asyncpg.Connection, template: str = TEMPLATE
) -> AsyncIterator[str]:
    """The superuser's URL of a new database; it is dropped at the end."""
    name = f"test_{next(_NUMBERS)}"
    await admin.execute(f"create database {name} template {template} strategy file_copy")
    yield cluster.dsn(name)
    await admin.execute(f"drop database {name} with (force)")
