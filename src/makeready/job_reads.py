"""Photos as they are looked at: results, temporary media, lists for staff. Nothing here writes.

What a link may still show is decided by its row at the moment of the call, not by whether the
cleaner has been there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import asyncpg

from makeready.db import Executor, one
from makeready.errors import unknown
from makeready.jobs import json_value
from makeready.media import StoredMedia

Side: TypeAlias = Literal["before", "after"]
Sort: TypeAlias = Literal["created_at", "expires_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A file that may be shown until a moment."""

    stored: StoredMedia
    expires_at: datetime
    seconds_left: float
    """Until then, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentResult:
    """A result that can be downloaded."""

    job_id: UUID
    completed_at: datetime
    result_expires_at: datetime
    media_type: str
    size_bytes: int
    has_thumbnail: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A photo as staff sees it."""

    facts: Mapping[str, Any]
    """The columns of the view `ingest_job_view`."""
    seconds_left: float
    """Until its deadline, negative after it."""
    queue_wait_ms: int | None
    """Null while it waits."""
    processing_ms: int | None
    """Null before it is processed; of one that is, until now."""
    total_elapsed_ms: int
    """Until its end, or until now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of the processing log."""

    status: str
    occurred_at: datetime
    message: str | None
    provider_latency_ms: int | None
    details: Mapping[str, Any]


async def result(db: Executor, job: UUID) -> Shown:
    """The result of a photo; NotFound (result_not_found), Gone (result_expired)."""
    return await _shown(db, "select * from makeready.photo_result($1)", job)


async def thumbnail(db: Executor, job: UUID, side: Side) -> Shown:
    """A small picture of a photo before or after; NotFound, Gone, as its result."""
    return await _shown(db, "select * from makeready.photo_thumbnail($1, $2)", job, side)


async def temporary(db: Executor, media: UUID, client: str) -> Shown:
    """Temporary media, or a prepared image.

    NotFound (media_not_found), Gone (media_link_expired), Busy.
    """
    query = "select * from makeready.media_shown($1, $2)"
    return await _shown(db, query, media, client)


async def recent(db: Executor, slot: str) -> list[RecentResult]:
    """The newest results of a slot that can be downloaded, newest first; NotFound."""
    rows = await db.fetch(
        "select photo as job_id, ended_at as completed_at, kept_until as result_expires_at,"
        " file_type as media_type, byte_count as size_bytes, has_thumbnail"
        " from makeready.photo_recent($1)",
        slot,
    )
    return [RecentResult(**row) for row in rows]


async def page(
    db: Executor,
    *,
    status: str | None = None,
    is_finalized: bool | None = None,
    failure_reason: str | None = None,
    slot: str | None = None,
    sort: Sort = "created_at",
    descending: bool = True,
    number: int = 1,
    size: int = 20,
) -> tuple[list[Photo], int]:
    """A page of photos, and how many there are in all."""
    filters = (status, is_finalized, failure_reason, slot)
    rows = await db.fetch(_PHOTOS, *filters, sort, descending, size, (number - 1) * size, None)
    total = await db.fetchval("select makeready.photo_count($1, $2, $3, $4)", *filters)
    return [_photo(row) for row in rows], int(total)


async def read(db: Executor, job: UUID) -> tuple[Photo, list[Event]]:
    """A photo and its processing log; NotFound (job_not_found)."""
    row = await db.fetchrow(_PHOTOS, *[None] * 4, "created_at", True, 1, 0, job)
    if row is None:
        raise unknown("job_not_found", job_id=job)
    rows = await db.fetch(
        "select status_name as status, happened_at as occurred_at, remark as message,"
        " latency_ms as provider_latency_ms, facts::text as details"
        " from makeready.photo_events($1)",
        job,
    )
    events = [Event(**{**each, "details": json_value(each["details"])}) for each in rows]
    return _photo(row), events


_PHOTOS = (
    "select facts::text, seconds_left, wait_ms, work_ms, elapsed_ms"
    " from makeready.photo_list($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)


def _photo(row: asyncpg.Record) -> Photo:
    return Photo(
        facts=json.loads(row["facts"]),
        seconds_left=row["seconds_left"],
        queue_wait_ms=row["wait_ms"],
        processing_ms=row["work_ms"],
        total_elapsed_ms=row["elapsed_ms"],
    )


async def _shown(db: Executor, query: str, *values: Any) -> Shown:
    row = await one(db, query, *values)
    return Shown(
        stored=StoredMedia.of(json.loads(row["stored"])),
        expires_at=row["shown_until"],
        seconds_left=row["seconds_left"],
    )
