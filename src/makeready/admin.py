"""What staff sees of everybody's work, and what they may do to it; calls of `sql/920_admin.sql`.

Rows come back as they are answered: their keys are the public names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from makeready.db import Executor, one
from makeready.errors import unknown
from makeready.jobs import json_value
from makeready.library import StoredFile
from makeready.render import PackRender, pack_render

Row: TypeAlias = Mapping[str, Any]
STATES = ("queued", "rendering", "ready", "failed")
LOG_KINDS = ("audit", "alert", "render", "posm")

_RENDERS = (
    "select job as job_id, pack as pack_id, session as session_id, owner_id as user_id,"
    " doc as doc_id, public_state as status, attempts_made as attempts,"
    " attempts_allowed as max_attempts, error_text as last_error, file as file_id,"
    " made_at as created_at, changed_at as updated_at"
    " from makeready.admin_renders($1, $2, $3, $4, $5, $6)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueCounts:
    """What became of an attempt to render again all that has failed."""

    considered: int
    enqueued: int
    in_progress: int
    incomplete: int
    """Left out since the document is disabled, or its pack has nobody's data for it."""
    errors: tuple[str, ...]
    """At most ten."""


async def renders(
    db: Executor,
    *,
    status: str | None = None,
    pack: UUID | None = None,
    document: str | None = None,
    limit: int = 50,
    after: UUID | None = None,
) -> list[Row]:
    """Renders of all users, the last changed first; `after` is the last job of the page before."""
    found = await db.fetch(_RENDERS, status, pack, document, None, limit, after)
    return [dict(row) for row in found]


async def render(db: Executor, job: UUID) -> Row:
    """One render with its files and attempts; NotFound."""
    row = await db.fetchrow(_RENDERS, None, None, None, job, 1, None)
    if row is None:
        raise unknown("job_not_found", job_id=job)
    files = await db.fetch(
        "select artifact as artifact_id, sort as kind, made_at as created_at, file as file_id,"
        " download_name as filename, media_type as content_type, byte_count as size_bytes"
        " from makeready.admin_artifacts($1)",
        job,
    )
    attempts = await db.fetch(
        "select attempt_number as attempt, how as outcome, problem::text as error,"
        " began_at as started_at, over_at as ended_at from makeready.admin_attempts($1)",
        job,
    )
    return {
        **row,
        "artifacts": [dict(each) for each in files],
        "attempt_list": [{**each, "error": json_value(each["error"])} for each in attempts],
        "latest_file_id": row["file_id"],
    }


async def requeue(db: Executor, job: UUID) -> UUID:
    """Renders a failed document once more, by a new job.

    Raises NotFound, Rejected (it has not failed), Conflict (a later render of it is open).
    """
    return UUID(str(await db.fetchval("select makeready.admin_requeue($1)", job)))


async def requeue_failed(db: Executor, limit: int) -> RequeueCounts:
    """Renders again up to `limit` documents whose latest render has failed."""
    row = await one(db, "select * from makeready.admin_requeue_failed($1)", limit)
    return RequeueCounts(
        considered=row["failed_considered"],
        enqueued=row["jobs_enqueued"],
        in_progress=row["skipped_in_progress"],
        incomplete=row["skipped_incomplete"],
        errors=tuple(row["error_texts"]),
    )


async def render_pack(db: Executor, pack: UUID) -> PackRender:
    """Renders what anybody's pack lacks; NotFound, Conflict when nothing is enabled."""
    row = await one(db, "select * from makeready.admin_render_pack($1)", pack)
    return pack_render(row)


async def packs(
    db: Executor, *, user: UUID | None = None, limit: int = 50, after: UUID | None = None
) -> list[Row]:
    """Packs of all users, newest first; `after` is the last one of the page before."""
    found = await db.fetch(
        "select pack as pack_id, session as session_id, owner_id as user_id,"
        " owner_name as user_name, made_at as created_at, language_code as language, documents,"
        " documents_open as open_count from makeready.admin_packs($1, $2, $3)",
        user,
        limit,
        after,
    )
    return [dict(row) for row in found]


async def owner_of(db: Executor, pack: UUID) -> UUID | None:
    """Whose a pack is; None: nobody's. Raises NotFound."""
    found = await db.fetchval("select makeready.admin_owner($1)", pack)
    return None if found is None else UUID(str(found))


async def file(db: Executor, file_id: UUID) -> StoredFile:
    """Where any user's file lies; audited. NotFound."""
    row = await db.fetchrow(
        "select bucket_name as bucket, object_name as key, download_name as filename,"
        " media_type, byte_count, hash_sha256 as sha256 from makeready.admin_file($1)",
        file_id,
    )
    if row is None:
        raise unknown("file_not_found", file_id=file_id)
    return StoredFile(**row)


async def audit(
    db: Executor,
    *,
    action: str | None = None,
    target: str | None = None,
    limit: int = 50,
    after: int | None = None,
) -> list[Row]:
    """The audit log, newest first; `after` is the last line of the page before."""
    found = await db.fetch(
        "select line as id, happened_at as at, who as actor, what as action, object as target,"
        " hash_before as before_hash, hash_after as after_hash, before_values::text as before,"
        " after_values::text as after, why as reason, request as request_id,"
        " asked_from as address from makeready.admin_audit($1, $2, $3, $4)",
        action,
        target,
        limit,
        after,
    )
    parsed = ("before", "after")
    return [{**row, **{name: json_value(row[name]) for name in parsed}} for row in found]


async def log(
    db: Executor,
    *,
    kind: str | None = None,
    limit: int = 50,
    before: datetime | None = None,
    below: str = "",
) -> list[Row]:
    """Audit lines, alerts, ended renders and generations in one list, newest first.

    `before` and `below` are time and line of the last one of the page before.
    """
    found = await db.fetch(
        "select happened_at as at, line, kind, event, severity, object as target,"
        " facts::text as facts, request as request_id"
        " from makeready.admin_log($1, $2, $3, $4)",
        kind,
        limit,
        before,
        below,
    )
    return [{**row, "facts": json_value(row["facts"])} for row in found]


async def overview(db: Executor) -> Row:
    """Queues, workers, open alerts, failures by code, failing chores."""
    found: Row = json.loads(await db.fetchval("select makeready.admin_overview()::text"))
    return found
