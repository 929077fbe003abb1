"""Statistics of photos: how they ended, how long it took, what share was answered in time.

Counted in SQL from the processing log, to the event. A cache asks first whether anything has
ended since; only then it counts again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import asyncpg

from makeready.db import Executor, one

Unit: TypeAlias = Literal["hour", "day", "week", "month"]
T = TypeVar("T")
SLOT_CACHE_S = 300.0
GLOBAL_CACHE_S = 60.0
CACHE_MOST = 256
IN_TIME_TARGET = 0.95
LATE_TARGET = 0.05
AVAILABILITY_TARGET = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How photos ended."""

    success: int
    timeouts: int
    provider_errors: int
    cancelled: int

    @property
    def errors(self) -> int:
        """All that brought no image."""
        return self.timeouts + self.provider_errors + self.cancelled

    @property
    def ingest_count(self) -> int:
        """All."""
        return self.success + self.errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Period(Counts):
    """How photos ended from one moment to another, the latter not included."""

    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From a moment to another one, not included, in pieces of a unit of UTC."""

    start: datetime
    end: datetime
    unit: Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals(Counts):
    """The sums of a range, and what service levels are made of."""

    response_p50_ms: int | None
    """From admission to result, of those that ended well."""
    response_p95_ms: int | None
    response_mean_ms: int | None
    provider_p50_ms: int | None
    """The provider's part of it."""
    provider_p95_ms: int | None
    cost: Decimal
    answered: int
    """With 200, which is before the deadline or not at all."""
    broken: int
    """Answered 5xx by our own fault."""
    busy: int
    """Refused with 429."""
    unavailable: int
    """Refused with 503."""
    log_begins: datetime | None
    """All but the counts begin there; None: with the range."""

    @property
    def requests(self) -> int:
        """Photos that ended, and those that were not let in."""
        return self.ingest_count + self.busy + self.unavailable

    @property
    def in_time_share(self) -> float | None:
        """Of all requests, those answered 200 inside the window; None: there was none."""
        return self._share(self.answered)

    @property
    def late_share(self) -> float | None:
        """Answered 504."""
        return self._share(self.timeouts)

    @property
    def busy_share(self) -> float | None:
        """Refused with 429."""
        return self._share(self.busy)

    @property
    def availability(self) -> float | None:
        """Requests that met a service that worked: a refusal with a reason is an answer."""
        failed = self._share(self.unavailable + self.broken)
        return None if failed is None else 1 - failed

    def _share(self, part: int) -> float | None:
        return part / self.requests if self.requests else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A range, in all and piece by piece."""

    totals: Totals
    periods: tuple[Period, ...]
    slot_name: str | None = None
    last_reset_at: datetime | None = None


def begin_of(moment: datetime, unit: Unit) -> datetime:
    """The begin of the hour, day, week (Monday) or month of UTC in which a moment lies."""
    found = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        found = found.replace(hour=0)
    if unit == "week":
        found -= timedelta(days=found.weekday())
    return found.replace(day=1) if unit == "month" else found


async def of_slot(db: Executor, slot: str, asked: Range) -> Statistics:
    """One slot; its totals begin at its last reset. NotFound."""
    known = await one(db, "select name, last_reset_at from makeready.photo_slot_known($1)", slot)
    reset = known["last_reset_at"]
    since = min(max(asked.start, reset), asked.end) if reset else asked.start
    return Statistics(
        totals=await _totals(db, since, asked.end, slot, None),
        periods=await _periods(db, asked, slot, None),
        slot_name=known["name"],
        last_reset_at=reset,
    )


async def of_all(
    db: Executor, asked: Range, *, slot: str | None = None, provider: str | None = None
) -> Statistics:
    """All slots and providers, or some. NotFound for a slot that there is not."""
    if slot is not None:
        await one(db, "select id from makeready.photo_slot_known($1)", slot)
    return Statistics(
        totals=await _totals(db, asked.start, asked.end, slot, provider),
        periods=await _periods(db, asked, slot, provider),
    )


async def reset(db: Executor, slot: str, *, version: int | None = None) -> datetime:
    """The totals of a slot begin now. NotFound, Conflict (stale_version)."""
    query = "select makeready.slot_stats_reset($1, $2)"
    found: datetime = await db.fetchval(query, slot, version)
    return found


class StatisticsCache(Generic[T]):
    """Remembers what was counted until it is too old, or something has happened since."""

    def __init__(self, keep_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[str, float, T]] = OrderedDict()

    async def get(
        self, db: Executor, key: Hashable, slot: str | None, count: Callable[[], Awaitable[T]]
    ) -> T:
        """What `count` gives, or gave under this key; `slot` None: any event counts."""
        # Before the counting: what happens meanwhile makes it count again, not be overlooked.
        version = await db.fetchval("select makeready.photo_statistics_version($1)", slot)
        known, until, found = self._kept.get(key, ("", 0.0, None))
        if found is not None and known == version and self._clock() < until:
            return found
        made = await count()
        self._kept[key] = (version, self._clock() + self._keep_s, made)
        self._kept.move_to_end(key)
        while len(self._kept) > CACHE_MOST:
            self._kept.popitem(last=False)
        return made


async def _totals(
    db: Executor, since: datetime, until: datetime, slot: str | None, provider: str | None
) -> Totals:
    row = await one(
        db,
        "select succeeded as success, timed_out as timeouts, provider_failed as provider_errors,"
        " was_cancelled as cancelled, response_p50_ms, response_p95_ms, response_mean_ms,"
        " provider_p50_ms, provider_p95_ms, total_cost as cost, answered_well as answered, broken,"
        " refused_busy as busy, refused_away as unavailable, log_begins"
        " from makeready.photo_totals($1, $2, $3, $4)",
        since,
        until,
        slot,
        provider,
    )
    return Totals(**row)


async def _periods(
    db: Executor, asked: Range, slot: str | None, provider: str | None
) -> tuple[Period, ...]:
    rows = await db.fetch(
        "select begins_at as period_start, ends_at as period_end, succeeded as success,"
        " timed_out as timeouts, provider_failed as provider_errors, was_cancelled as cancelled"
        " from makeready.photo_counts($1, $2, $3, $4, $5)",
        asked.start,
        asked.end,
        asked.unit,
        slot,
        provider,
    )
    return tuple(_period(row) for row in rows)


def _period(row: asyncpg.Record) -> Period:
    facts: dict[str, Any] = dict(row)
    return Period(**facts)
