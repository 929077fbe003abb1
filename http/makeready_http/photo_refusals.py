"""Counts requests that were refused before there was a photo, for statistics.

Counted in memory and written together, once a second: in a rush each refusal would cost a
statement of its own, and while the database is away none could be written at all. What a process
has not written when it is killed is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import anyio
import asyncpg
import structlog

from makeready import ingest
from makeready.faults import note_fault

WRITE_S = 1.0
WRITE_TIMEOUT_S = 2.0
MOST = 10_000  # slots, reasons and minutes that are remembered while they cannot be written
AWAY = frozenset({"queue_unavailable", "storage_unavailable", "internal_error"})

_SLOT = re.compile("slot-[0-9]{3}")
_log = structlog.get_logger(__name__)


class Refusals:
    """Of one process; `run` writes while it runs, `write` what is left at the end."""

    def __init__(self) -> None:
        self._counts: Counter[ingest.Refused] = Counter()
        self._some = anyio.Event()

    @property
    def unwritten(self) -> Mapping[ingest.Refused, int]:
        """What is not in the database yet."""
        return self._counts

    def note(self, slot: str, code: str, reason: object) -> None:
        """One more, if it is one that statistics know: no place, no time, or something away."""
        why = "unavailable" if code in AWAY else str(reason) if code == "queue_busy" else None
        if why is None or not _SLOT.fullmatch(slot):
            return
        minute = datetime.now(UTC).replace(second=0, microsecond=0)
        what = ingest.Refused(slot=slot, reason=why, minute=minute)
        if what in self._counts or len(self._counts) < MOST:
            self._counts[what] += 1
        self._some.set()

    async def run(self, pool: asyncpg.Pool) -> None:
        """Writes until cancelled; what cannot be written is tried again."""
        while True:
            await self._some.wait()
            self._some = anyio.Event()
            await self.write(pool)
            if self._counts:
                self._some.set()
            await anyio.sleep(WRITE_S)

    async def write(self, pool: asyncpg.Pool) -> None:
        """Writes all there is; what could not be written is kept."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            with anyio.fail_after(WRITE_TIMEOUT_S):
                await ingest.refused(pool, counts)
        except Exception as error:  # noqa: BLE001 -- the answers are out long since
            self._counts.update(counts)
            note_fault(_log, "ingest_refusals_unwritten", error, count=counts.total())
