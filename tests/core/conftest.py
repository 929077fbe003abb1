"""Fixtures of the core's tests: `work_dsn` is a database that has the queues of the SQL tests."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.core import QUEUES_SQL, Core


@pytest.fixture
async def core(db: asyncpg.Connection) -> Core:
    await db.execute(QUEUES_SQL.read_text("utf-8"))
    return Core(db)
