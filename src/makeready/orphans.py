"""Finds objects in the store that no row knows, and deletes them.

A worker stores first and publishes second; one that dies in between leaves an object. The scan
lists the store first and asks the database second, so an object that is published meanwhile is
known by then. It leaves alone what is younger than `YOUNG`, and looks only below `PREFIXES`: the
bucket may hold other people's objects.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import asyncpg
import structlog

from makeready.storage import ObjectFacts

CHORE = "files_scan"
PREFIXES = ("renders/", "types/", "sources/", "evidence/", "debug/", "posm/")  # all we store under
YOUNG = timedelta(days=1)
BATCH = 1000  # objects asked for at a time

_log = structlog.get_logger(__name__)


class ObjectStore(Protocol):
    """What upkeep needs of object storage."""

    @property
    def bucket(self) -> str:
        """Its bucket."""

    def listing(self, prefix: str = "") -> AsyncGenerator[ObjectFacts, None]:
        """All objects below a prefix."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; one that is gone already is no error."""


async def scan_if_due(pool: asyncpg.Pool, store: ObjectStore) -> int | None:
    """Scans when the chore is due and no other process has it; objects deleted, or None."""
    if not await pool.fetchval("select makeready.chore_take($1)", CHORE):
        return None
    began = time.perf_counter()
    count = await scan(pool, store, older_than=datetime.now(UTC) - YOUNG)
    ms = (time.perf_counter() - began) * 1000
    await pool.execute("select makeready.chore_done($1, $2, $3)", CHORE, count, ms)
    _log.info("files_scanned", deleted=count, ms=round(ms))
    return count


async def scan(pool: asyncpg.Pool, store: ObjectStore, *, older_than: datetime) -> int:
    """Deletes unknown objects last written before `older_than`, by the store's clock; how many."""
    count = 0
    for prefix in PREFIXES:
        batch: list[str] = []
        async for found in store.listing(prefix):
            if found.modified_at is not None and found.modified_at < older_than:
                batch.append(found.key)
            if len(batch) == BATCH:
                count += await _delete_unknown(pool, store, batch)
                batch = []
        count += await _delete_unknown(pool, store, batch)
    return count


async def _delete_unknown(pool: asyncpg.Pool, store: ObjectStore, keys: Sequence[str]) -> int:
    if not keys:
        return 0
    rows = await pool.fetch("select makeready.files_unknown($1, $2)", store.bucket, list(keys))
    unknown = [str(row[0]) for row in rows]
    if unknown:
        await store.delete(unknown)
    return len(unknown)
