"""Fixtures of the core's tests: the queues of the SQL tests, a control connection, a folder."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import Control
from tests.support.cluster import scratch_folder
from tests.support.core import QUEUES_SQL, Core


@pytest.fixture
async def core(db: asyncpg.Connection) -> Core:
    await db.execute(QUEUES_SQL.read_text("utf-8"))
    return Core(db)


@pytest.fixture
async def control(settings: Settings) -> AsyncIterator[Control]:
    opened = Control(settings, "makeready_worker")
    yield opened
    await opened.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = scratch_folder()
    yield made
    subprocess.run(["/bin/rm", "-rf", str(made)], check=True)
