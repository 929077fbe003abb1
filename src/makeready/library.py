"""The Library: what a user sees of packs, documents, jobs and files. Reads only.

The HTTP service asks; each function is one call of `sql/105_render_reads.sql`, which knows whose a
thing is. What belongs to somebody else is as good as not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from makeready.db import Executor, one
from makeready.errors import Gone, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentState:
    """One document of a pack as its owner sees it."""

    doc_id: str
    title: str
    status: str
    """none, queued, rendering, ready or failed: that of the latest render."""
    job_id: UUID | None
    file_id: UUID | None
    """Only when ready."""
    last_good_file_id: UUID | None
    """The newest file there is, also when a later render has failed."""
    attempts: int
    last_error: str | None
    tier: str
    is_enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """One render, by its job."""

    job_id: UUID
    pack_id: UUID
    doc_id: str
    status: str
    file_id: UUID | None
    attempts: int
    max_attempts: int
    last_error: str | None
    warnings: Sequence[str]
    """What the PDF lacks: pictures, fonts, letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """Where a file lies."""

    bucket: str
    key: str
    filename: str
    media_type: str
    byte_count: int
    sha256: bytes
    thumb_bucket: str | None = None
    thumb_key: str | None = None
    """Where a picture of its first page lies, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One line of a user's list of files."""

    file_id: UUID
    artifact_id: UUID
    kind: str
    created_at: datetime
    content_type: str
    size_bytes: int
    doc_id: str | None
    status: str
    pack_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRow:
    """One line of a user's list of packs."""

    pack_id: UUID
    session_id: UUID
    created_at: datetime
    language: str
    open_count: int
    """Documents queued or rendering now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFacts(PackRow):
    """One pack, with what its documents were bundled into."""

    bundle_status: str
    """none, queued, ready or failed."""
    pack_file_id: UUID | None
    """All documents in one PDF, while it is made of what the pack has now."""
    zip_file_id: UUID | None
    """All documents in one ZIP, likewise."""
    bundle_error: str | None


async def documents(db: Executor, user: UUID | None, pack: UUID) -> list[DocumentState]:
    """The documents of a pack in the order of printing; None: of nobody's pack. NotFound."""
    rows = await db.fetch(
        "select doc_id, title, public_state as status, job_id, file_id, last_good_file_id,"
        " attempts_made as attempts, error_text as last_error, access_tier as tier,"
        " may_render as is_enabled from makeready.render_documents($1, $2)",
        user,
        pack,
    )
    return [DocumentState(**row) for row in rows]


async def job(db: Executor, user: UUID | None, job_id: UUID) -> RenderJob:
    """One render of the user; without one, of nobody's pack. NotFound."""
    row = await db.fetchrow(
        "select job_id, pack_id, doc_id, public_state as status, file_id,"
        " attempts_made as attempts, attempts_allowed as max_attempts, error_text as last_error,"
        " warnings from makeready.render_job($1, $2)",
        user,
        job_id,
    )
    if row is None:
        raise unknown("job_not_found", job_id=job_id)
    return RenderJob(**row)


async def pack(db: Executor, user: UUID, pack_id: UUID) -> PackFacts:
    """One pack of the user; NotFound."""
    row = await one(
        db,
        "select pack_id, session_id, made_at as created_at, language_code as language,"
        " documents_open as open_count, bundle_state as bundle_status, pack_file_id, zip_file_id,"
        " bundle_error from makeready.render_pack_facts($1, $2)",
        user,
        pack_id,
    )
    return PackFacts(**row)


async def file(db: Executor, user: UUID, file_id: UUID) -> StoredFile:
    """Where the user's file lies; NotFound, Gone when retention has let it go."""
    row = await db.fetchrow(
        "select bucket_name as bucket, object_name as key, download_name as filename,"
        " media_type, byte_count, hash_sha256 as sha256, thumb_bucket, thumb_object as thumb_key,"
        " gone_since from makeready.render_file($1, $2)",
        user,
        file_id,
    )
    if row is None:
        raise unknown("file_not_found", file_id=file_id)
    facts = dict(row)
    gone_since: datetime | None = facts.pop("gone_since")
    if gone_since is not None:
        raise Gone(
            "the file is not kept any more; a newer one of its document is",
            details={"file_id": str(file_id), "gone_since": gone_since.isoformat()},
        )
    return StoredFile(**facts)


async def files(
    db: Executor, user: UUID, *, limit: int, older_than: UUID | None = None
) -> list[FileRow]:
    """The user's files, newest first; `older_than` is the last file of the page before."""
    rows = await db.fetch(
        "select file_id, artifact_id, sort as kind, made_at as created_at, media_type as"
        " content_type, byte_count as size_bytes, doc_id, public_state as status, pack_id"
        " from makeready.render_files($1, $2, $3)",
        user,
        limit,
        older_than,
    )
    return [FileRow(**row) for row in rows]


async def packs(
    db: Executor, user: UUID, *, limit: int, older_than: UUID | None = None
) -> list[PackRow]:
    """The user's packs, newest first; `older_than` is the last pack of the page before."""
    rows = await db.fetch(
        "select pack_id, session_id, made_at as created_at, language_code as language,"
        " documents_open as open_count from makeready.render_packs($1, $2, $3)",
        user,
        limit,
        older_than,
    )
    return [PackRow(**row) for row in rows]
