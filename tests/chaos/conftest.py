"""Fixtures of the chaos tests: a server of its own for each test, to be stopped and killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from makeready.embedded.postgres import EmbeddedPostgres
from makeready.faults import BROKEN
from makeready.schema import migrate
from tests.support.drill import SQL
from tests.support.waiting import until

AWAY = (OSError, asyncpg.PostgresError, *BROKEN)
"""What a question to a database raises that is stopped, killed or not yet there again."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A durable server: nothing of it is switched off for speed."""
    with EmbeddedPostgres(tmp_path / "pg", die_with_parent=True) as running:
        yield running


@pytest.fixture
async def dsn(server: EmbeddedPostgres) -> str:
    dsn = await asyncio.to_thread(server.ensure_database, "chaos")
    await migrate(dsn, extra=[SQL])
    return dsn


class Witness:
    """Looks at the database from outside, and connects again when it was away."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None

    async def value(self, query: str, *values: object) -> object:
        """One value; raises while the database is away."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._dsn, timeout=5)
        return await self._connection.fetchval(query, *values, timeout=10)

    async def number(self, query: str, *values: object) -> int:
        found = await self.value(query, *values)
        assert isinstance(found, int)
        return found

    async def enqueue(self, count: int, **body: object) -> None:
        await self.value(
            "select makeready.enqueue_many('drill', array_fill($1::text::jsonb, array[$2::int]),"
            " wake => true)",
            json.dumps(body),
            count,
        )

    async def until_all_ended(self, *, timeout_s: float) -> None:
        async def ended() -> bool:
            try:
                statement = "select count(*) from makeready.jobs where finished_at is null"
                return await self.number(statement) == 0
            except AWAY:
                return False

        await until(ended, timeout_s=timeout_s, what="the end of all jobs")

    async def done_once(self) -> int:
        """How many jobs are done: each with one result, none with two."""
        doubled = await self.number(
            "select count(*) from (select from makeready.drill_results group by job_id"
            " having count(*) > 1) twice"
        )
        assert doubled == 0
        results = await self.number("select count(*) from makeready.drill_results")
        done = await self.number("select count(*) from makeready.jobs where state = 'done'")
        assert done == results
        return done

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


@asynccontextmanager
async def limit_watched(dsn: str, limit: int) -> AsyncIterator[None]:
    """Fails the test when more jobs are in work at a time than the limit, or never so many."""
    most = 0
    stop = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        observer = Witness(dsn)
        while not stop.is_set():
            try:
                statement = "select count(*) from makeready.jobs where state = 'running'"
                most = max(most, await observer.number(statement))
            except AWAY:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.003)
        await observer.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        yield
        stop.set()
    assert most == limit


@pytest.fixture
async def witness(dsn: str) -> AsyncIterator[Witness]:
    looking = Witness(dsn)
    yield looking
    await looking.close()
