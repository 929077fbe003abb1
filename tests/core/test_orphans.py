"""The scan for objects that no row knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from makeready.config import Settings
from makeready.orphans import scan, scan_if_due
from makeready.storage import Storage, open_storage

pytestmark = pytest.mark.usefixtures("s3")

TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def _keys(storage: Storage) -> list[str]:
    return [found.key async for found in storage.listing()]


async def test_an_old_object_that_no_row_knows_is_deleted_and_nothing_else(
    db: asyncpg.Connection, dsn: str, settings: Settings
) -> None:
    async with open_storage(settings) as storage, asyncpg.create_pool(dsn, min_size=1) as pool:
        await storage.ensure_bucket()
        for key in ("renders/known.pdf", "renders/orphan.pdf", "elsewhere/orphan.pdf"):
            await storage.put(key, b"%PDF-1.4")
        await db.execute(
            "select makeready.file_store($1, 'renders/known.pdf', 'application/pdf', 8,"
            " sha256('x'), 'e', $2)",
            storage.bucket,
            uuid4(),
        )
        assert await scan(pool, storage, older_than=TOMORROW) == 1
        assert await _keys(storage) == ["elsewhere/orphan.pdf", "renders/known.pdf"]


async def test_whatever_a_process_stores_under_is_looked_through(
    dsn: str, settings: Settings
) -> None:
    async with open_storage(settings) as storage, asyncpg.create_pool(dsn, min_size=1) as pool:
        await storage.ensure_bucket()
        for prefix in ("debug", "evidence", "renders", "sources", "types"):
            await storage.put(f"{prefix}/orphan", b"x")
        assert await scan(pool, storage, older_than=TOMORROW) == 5
        assert await _keys(storage) == []


async def test_a_young_object_is_left_alone(dsn: str, settings: Settings) -> None:
    async with open_storage(settings) as storage, asyncpg.create_pool(dsn, min_size=1) as pool:
        await storage.ensure_bucket()
        await storage.put("renders/young.pdf", b"%PDF-1.4")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        assert await scan(pool, storage, older_than=yesterday) == 0
        assert await _keys(storage) == ["renders/young.pdf"]


async def test_one_process_a_day_scans_and_none_after_a_restore(
    db: asyncpg.Connection, dsn: str, settings: Settings
) -> None:
    async with open_storage(settings) as storage, asyncpg.create_pool(dsn, min_size=1) as pool:
        await storage.ensure_bucket()
        assert await scan_if_due(pool, storage) is None, "off until an operator says so"
        await db.execute("select makeready.chore_set('files_scan', true, because => 'our bucket')")
        assert await scan_if_due(pool, storage) == 0
        assert await scan_if_due(pool, storage) is None
        await db.execute("select makeready.after_restore('of last night')")
        await db.execute(
            "update makeready.chores set due_at = makeready.now() where chore = 'files_scan'"
        )
        assert await scan_if_due(pool, storage) is None
        await db.execute("select makeready.chore_set('files_scan', true, because => 'checked')")
        assert await scan_if_due(pool, storage) == 0
