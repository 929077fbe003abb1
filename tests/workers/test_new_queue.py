"""A queue is one SQL file and one handler; nothing else knows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from makeready.schema import migrate
from tests.support.cluster import TEMPLATE, Cluster
from tests.support.drill import SQL
from tests.support.waiting import until
from tests.support.worker_process import worker_process


@pytest.fixture
async def dsn(cluster: Cluster, admin: asyncpg.Connection) -> AsyncIterator[str]:
    """A database as a release makes it, without any queue of the tests."""
    await admin.execute(f"create database new_queue template {TEMPLATE} strategy file_copy")
    yield cluster.dsn("new_queue")
    await admin.execute("drop database new_queue with (force)")


async def test_a_queue_works_with_one_sql_file_and_one_handler(
    dsn: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    assert "130_drill.sql" in await migrate(dsn, extra=[SQL])
    assert await migrate(dsn, extra=[SQL]) == []

    jobs = [await db.fetchval("select makeready.enqueue('drill')") for _ in range(3)]
    failing = await db.fetchval(
        'select makeready.enqueue(\'drill\', \'{"do": "fail", "kind": "fatal"}\')'
    )
    async with worker_process(dsn, tmp_path):

        async def all_ended() -> bool:
            statement = "select count(*) from makeready.jobs where finished_at is not null"
            return bool(await db.fetchval(statement) == 4)

        await until(all_ended)

    rows = await db.fetch("select job_id from makeready.drill_results")
    assert {row["job_id"] for row in rows} == set(jobs)
    assert await db.fetchval("select state from makeready.jobs where id = $1", failing) == "dead"

    # What operators use knows it too.
    await db.execute("select makeready.queue_set('drill', 'max_in_flight', '2', 'a test')")
    reasons = await db.fetch("select reason from makeready.why($1)", failing)
    assert reasons
    overview = await db.fetch("select * from makeready.queue_overview where queue = 'drill'")
    assert len(overview) == 1
