"""Evidence of failed renders: one typed call for each SQL function. Workers keep, staff looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from makeready.db import Executor
from makeready.jobs import Lease
from makeready.storage import ObjectFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The archive of one failed attempt."""

    id: UUID
    attempt: int
    code: str
    kept_at: datetime
    kept_until: datetime
    bucket: str
    key: str
    byte_count: int


async def keep(db: Executor, lease: Lease, code: str, stored: ObjectFacts) -> None:
    """Enters an archive that was stored; LeaseLost when the job is somebody else's by now."""
    await db.execute(
        "select makeready.render_evidence_keep($1, $2, $3, $4, $5, $6, $7, $8)",
        lease.job_id,
        lease.token,
        code,
        stored.bucket,
        stored.key,
        stored.byte_count,
        stored.sha256,
        stored.etag,
    )


async def of_job(db: Executor, job: UUID) -> list[Evidence]:
    """What was kept of a job, the newest attempt first; the look is audited. NotFound."""
    rows = await db.fetch(
        "select evidence_id as id, attempt_number as attempt, fault as code, kept_at, kept_until,"
        " bucket_name as bucket, object_name as key, byte_count"
        " from makeready.render_evidence_of($1)",
        job,
    )
    return [Evidence(**row) for row in rows]
