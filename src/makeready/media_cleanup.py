"""Deletes files of photos whose time is over: object first, row after, and never another store's.

    photochanger-media-cleanup   every 15 minutes: expired results and their thumbnails
    media_temporary              every 30 seconds: temporary media, payloads that nobody removed
    media_scan                   once a day: files that no row knows

The database says what is due, so a restart forgets nothing. Whoever is cut off between the two
steps leaves a row that is due again, and deleting twice is no error: two nodes may do the same at
the same time. Public links check the time themselves and wait for nobody here.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

import anyio
import asyncpg
import structlog

from makeready.db import Executor, one
from makeready.faults import database_fault, note_fault
from makeready.media import MediaStore
from makeready.upkeep import keep_failure

Scope: TypeAlias = Literal["results", "temporary", "payloads"]
CLEANUP = "photochanger-media-cleanup"
TEMPORARY = "media_temporary"
SCAN = "media_scan"
CHORES: Mapping[str, tuple[Scope, ...]] = {
    TEMPORARY: ("payloads", "temporary"),
    CLEANUP: ("results",),
    SCAN: (),
}
BRIEF = ("payloads/", "temporary/")
"""No file below lives for a day, whoever's it is: what is older is nobody's."""
LASTING = ("results/", "templates/")
"""What no row knows may be another database's, or newer than a restored one."""
YOUNG = timedelta(days=1)
BATCH = 100  # rows, and so files, at a time
SCAN_BATCH = 1000
LOOK_S = (4.0, 6.0)
RUN_TIMEOUT_S = 600.0  # what is left is due the next time
SCAN_TIMEOUT_S = 3600.0

_TAKE = "select makeready.media_take($1, $2)"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """A cleaning that was asked for."""

    id: UUID
    cutoff: datetime
    """What has expired by then goes."""


async def ask(db: Executor, scope: Literal["full", "media_objects"]) -> Purge:
    """Makes the cleaner due at once, for temporary media or for results too; audited."""
    row = await one(db, "select * from makeready.media_purge($1)", scope)
    return Purge(id=row["purge_id"], cutoff=row["cutoff"])


class MediaCleanup:
    """Cleans one store while `run` runs; of those who reach it one at a time does each chore."""

    def __init__(self, pool: asyncpg.Pool, media: MediaStore) -> None:
        self._pool = pool
        self._media = media
        self._asked = anyio.Event()

    def hurry(self) -> None:
        """Looks at once whether something is due."""
        self._asked.set()

    async def run(self) -> None:
        """Looks every few seconds until cancelled; no fault ends it."""
        while True:
            for chore in CHORES:
                await self.clean_if_due(chore)
            with anyio.move_on_after(random.uniform(*LOOK_S)):  # noqa: S311
                await self._asked.wait()
            self._asked = anyio.Event()

    async def clean_if_due(self, chore: str) -> Mapping[str, int] | None:
        """Does a chore if it is due and nobody else has it: how many of what; None if not."""
        try:
            with database_fault():
                if not await self._pool.fetchval(_TAKE, chore, self._media.name):
                    return None
        except Exception as error:  # noqa: BLE001 -- it comes round again
            note_fault(_log, "chore_failed", error, chore=chore)
            return None
        try:
            with anyio.fail_after(SCAN_TIMEOUT_S if chore == SCAN else RUN_TIMEOUT_S):
                return await self._clean(chore)
        except Exception as error:  # noqa: BLE001 -- as above
            await keep_failure(self._pool, chore, error)
            return None

    async def _clean(self, chore: str) -> Mapping[str, int]:
        began = time.perf_counter()
        counts: Counter[str] = Counter()
        with database_fault():
            for scope in CHORES[chore]:
                counts.update(await self.clean(scope))
            if chore == SCAN:
                counts["orphans"] = await self.scan(older_than=datetime.now(UTC) - YOUNG)
            ms = (time.perf_counter() - began) * 1000
            done = sum(counts.values()) - counts["failed"]
            await self._pool.execute("select makeready.chore_done($1, $2, $3)", chore, done, ms)
        if chore != TEMPORARY or done or counts["failed"]:
            _log.info("media_cleanup", chore=chore, **counts, ms=round(ms))
        return counts

    async def clean(self, scope: Scope) -> Counter[str]:
        """Deletes all files that are due, batch by batch: how many rows, and how many `failed`.

        A file that cannot be deleted is left out for this time and keeps no other one waiting.
        """
        counts: Counter[str] = Counter({scope: 0})
        failed: list[UUID] = []
        while True:
            rows = await self._pool.fetch(
                "select due_id, file_paths from makeready.media_due($1, $2, $3, $4)",
                scope,
                self._media.name,
                BATCH,
                failed,
            )
            gone = await self._delete({row["due_id"]: row["file_paths"] for row in rows})
            failed += [row["due_id"] for row in rows if row["due_id"] not in gone]
            if gone:
                await self._pool.fetchval("select makeready.media_gone($1, $2)", scope, gone)
            counts[scope] += len(gone)
            if len(rows) < BATCH:
                break
        if failed:
            counts["failed"] = len(failed)
        return counts

    async def _delete(self, due: Mapping[UUID, Sequence[str]]) -> list[UUID]:
        """Those whose files are gone; one by one when all at once does not go."""
        try:
            await self._media.delete([path for paths in due.values() for path in paths])
            return list(due)
        except OSError as error:  # of one file; a store that is away ends the run
            if len(due) == 1:
                note_fault(_log, "media_delete_failed", error, due_id=str(next(iter(due))))
                return []
        return [each for each, paths in due.items() if await self._delete({each: paths})]

    async def scan(self, *, older_than: datetime) -> int:
        """Deletes files that no row knows, last written before; how many.

        The store is listed first and the database asked second: a file that is entered meanwhile
        is known by then. Results and templates are looked at once an operator has confirmed that
        the store is this database's alone, by switching on the chore `files_scan`.
        """
        is_ours = await self._pool.fetchval("select makeready.media_is_ours()")
        count = 0
        for prefix in BRIEF + (LASTING if is_ours else ()):
            batch: list[str] = []
            async for found in self._media.listing(prefix):
                if found.modified_at < older_than:
                    batch.append(found.path)
                if len(batch) == SCAN_BATCH:
                    count += await self._delete_unknown(batch)
                    batch = []
            count += await self._delete_unknown(batch)
        return count

    async def _delete_unknown(self, paths: Sequence[str]) -> int:
        if not paths:
            return 0
        rows = await self._pool.fetch(
            "select makeready.media_unknown($1, $2)", self._media.name, list(paths)
        )
        unknown = [str(row[0]) for row in rows]
        if unknown:
            await self._media.delete(unknown)
        return len(unknown)
