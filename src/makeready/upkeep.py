"""Maintenance: every process ticks once a second and runs the chores that are due.

The tick takes back what lost workers held, so nothing may delay it: chores run beside it, each by
a call of its own with a time limit, and a bad one stops no other. The database decides who does
what; there is no leader. Files are purged here because only a process can delete an object.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import anyio
import anyio.abc
import asyncpg
import structlog

from makeready.db import Control
from makeready.faults import database_fault, note_fault
from makeready.orphans import CHORE as SCAN
from makeready.orphans import ObjectStore, scan_if_due

TICK_S = (0.9, 1.1)
TICK_TIMEOUT_S = 3.0
CHORE_TIMEOUT_S = 20.0  # below the pool's statement_timeout
CHORES_AT_A_TIME = 2
PURGE_S = (50.0, 70.0)
PURGE_FILES = 100  # marked and deleted at a time
PURGE_TIMEOUT_S = 60.0
GRACE_S = 600  # unused so long, at least: an attempt may have found it a moment before
SCAN_TIMEOUT_S = 3600.0  # what is left is found a day later

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepStatistics:
    """What this process has done for the whole system."""

    ticks: int
    missed: int
    """Ticks that failed."""
    chores: Mapping[str, int]
    """Runs of this process, by chore."""
    failures: Mapping[str, int]
    files_purged: int


async def keep_failure(db: Control | asyncpg.Pool, chore: str, error: Exception) -> None:
    """Logs that a chore has failed, and keeps it: its own transaction could not."""
    note_fault(_log, "chore_failed", error, chore=chore)
    text = f"{type(error).__name__}: {error}"
    try:
        with database_fault():
            await db.fetch("select makeready.chore_failed($1, $2)", chore, text)
    except Exception as second:  # noqa: BLE001 -- it is due again and fails again
        note_fault(_log, "chore_failure_unrecorded", second, chore=chore)


class Upkeep:
    """Ticks while `run` runs. Without a storage it purges no files; other processes do."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        control: Control,
        *,
        storage: ObjectStore | None = None,
        link_ttl_s: int = 0,
    ) -> None:
        self._pool = pool
        self._control = control
        self._storage = storage
        self._grace = timedelta(seconds=max(GRACE_S, link_ttl_s))
        self._ticks_well = True
        self._under_way: set[str] = set()
        self._room = anyio.CapacityLimiter(CHORES_AT_A_TIME)
        self._counts: Counter[str] = Counter()
        self._chores: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def statistics(self) -> UpkeepStatistics:
        """Figures for metrics and tests."""
        return UpkeepStatistics(
            ticks=self._counts["ticks"],
            missed=self._counts["missed"],
            chores=dict(self._chores),
            failures=dict(self._failures),
            files_purged=self._counts["files_purged"],
        )

    async def run(self) -> None:
        """Ticks until cancelled; no fault of the database ends it."""
        try:
            async with anyio.create_task_group() as group:
                if self._storage is not None:
                    group.start_soon(self._purge_for_ever, self._storage)
                while True:
                    await self._tick(group)
                    await anyio.sleep(random.uniform(*TICK_S))  # noqa: S311
        finally:
            await self._control.close()

    async def _tick(self, group: anyio.abc.TaskGroup) -> None:
        try:
            rows = await self._control.fetch("select makeready.tick()", timeout_s=TICK_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 -- the next tick comes anyhow
            self._counts["missed"] += 1
            if self._ticks_well:  # once an outage, not each try
                note_fault(_log, "tick_failed", error)
            self._ticks_well = False
            return
        self._ticks_well = True
        self._counts["ticks"] += 1
        for row in rows:
            if row[0] not in self._under_way:
                self._under_way.add(row[0])
                group.start_soon(self._chore, row[0])

    async def _chore(self, chore: str) -> None:
        try:
            async with self._room:
                with database_fault():
                    done = await self._pool.fetchval(
                        "select makeready.chore_run($1)", chore, timeout=CHORE_TIMEOUT_S
                    )
            if done >= 0:  # else another process was faster
                self._chores[chore] += 1
        except Exception as error:  # noqa: BLE001 -- one bad chore stops no other
            await self._chore_failed(chore, error)
        finally:
            self._under_way.discard(chore)

    async def _chore_failed(self, chore: str, error: Exception) -> None:
        self._failures[chore] += 1
        await keep_failure(self._control, chore, error)

    async def _purge_for_ever(self, storage: ObjectStore) -> None:
        while True:
            await anyio.sleep(random.uniform(*PURGE_S))  # noqa: S311
            try:
                with anyio.fail_after(PURGE_TIMEOUT_S), database_fault():
                    while await self.purge_files(storage) == PURGE_FILES:
                        pass
            except Exception as error:  # noqa: BLE001 -- what is marked stays marked
                note_fault(_log, "purge_failed", error)
            await self.scan_files(storage)

    async def scan_files(self, storage: ObjectStore) -> None:
        """Runs the chore that deletes unknown objects, when it is due; notes when it fails."""
        try:
            with anyio.fail_after(SCAN_TIMEOUT_S), database_fault():
                if await scan_if_due(self._pool, storage) is not None:
                    self._chores[SCAN] += 1
        except Exception as error:  # noqa: BLE001 -- it comes round again
            await self._chore_failed(SCAN, error)

    async def purge_files(self, storage: ObjectStore) -> int:
        """Marks files that nobody refers to, deletes their objects, then their rows; how many.

        Cut off in between, a marked file is handed out again later: deleting twice is no error.
        Files of another bucket are not asked for: they wait for a process that has it. A link
        that was handed out just before the last reference went holds as long as it said.
        """
        rows = await self._pool.fetch(
            "select file, object_name from makeready.files_purge_mark($1, $2, $3)",
            PURGE_FILES,
            self._grace,
            storage.bucket,
        )
        if rows:
            await storage.delete([row["object_name"] for row in rows])
            ids: list[UUID] = [row["file"] for row in rows]
            await self._pool.fetchval("select makeready.files_purged($1)", ids)
            self._counts["files_purged"] += len(rows)
            _log.info("files_purged", files=len(rows))
        return len(rows)
