"""A file that no render has made, listed as a user's own: to try storage and downloads with."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from makeready.db import Executor, one
from makeready.storage import ObjectFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was listed."""

    artifact_id: UUID
    file_id: UUID


async def publish(db: Executor, user: UUID, session: UUID | None, facts: ObjectFacts) -> Published:
    """Lists what was stored; NotFound for a session that is not the user's."""
    row = await one(
        db,
        "select * from makeready.debug_file_publish($1, $2, $3, $4, $5, $6, $7, $8)",
        user,
        session,
        facts.bucket,
        facts.key,
        facts.media_type,
        facts.byte_count,
        facts.sha256,
        facts.etag,
    )
    return Published(artifact_id=row["made_artifact"], file_id=row["made_file"])
