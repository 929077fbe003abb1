"""Versions of document types as staff work on them; one typed call for each SQL function.

What may follow on what is decided in `sql/101_document_versions.sql`. Assets are stored before the
row that names them: an upload that no row comes to know is removed by the orphan scan.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from makeready.db import Executor, one
from makeready.documents.designs import Payload, design_of
from makeready.documents.shipped import registry
from makeready.errors import NotFound, Rejected
from makeready.shapes import problem
from makeready.storage import Storage

PREFIX = "types/"  # of their keys in storage
_COLUMNS = (
    "number, origin, hash, state, problems::text, remark, made_by, created_at, changed_at,"
    " checked_at, published_at, trial_job, is_tried"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version, without its content."""

    number: int
    origin: str
    """shipped or staff."""
    hash: str
    state: str
    """draft, valid, invalid, published or retired."""
    problems: list[dict[str, str]]
    remark: str | None
    made_by: str
    created_at: datetime
    changed_at: datetime
    checked_at: datetime | None
    published_at: datetime | None
    trial_job: UUID | None
    is_tried: bool
    """Whether a trial render has printed exactly this content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a trial render stands."""

    status: str
    file_id: UUID | None
    error: str | None
    pages: int | None


async def versions(
    db: Executor, doc_id: str, *, limit: int | None = None, older_than: int | None = None
) -> list[Version]:
    """Those of a type, newest first, a page or all; NotFound when the type is unknown."""
    rows = await db.fetch(
        f"select {_COLUMNS} from makeready.document_versions("  # noqa: S608
        "$1, max_rows => $2, older_than => $3)",
        doc_id,
        limit,
        older_than,
    )
    if not rows and await db.fetchval("select 1 from makeready.document_list($1)", doc_id) is None:
        raise NotFound(f"there is no document {doc_id}", details=_unknown(doc_id))
    return [_version(row) for row in rows]


async def version(db: Executor, doc_id: str, number: int) -> tuple[Version, dict[str, Any]]:
    """One of a type, with its design; raises NotFound."""
    row = await db.fetchrow(
        f"select {_COLUMNS}, design::text from makeready.document_versions($1, $2)",  # noqa: S608
        doc_id,
        number,
    )
    if row is None:
        raise NotFound(
            f"{doc_id} has no version {number}", details={**_unknown(doc_id), "version": number}
        )
    return _version(row), json.loads(row["design"])


async def draft_base(db: Executor, doc_id: str) -> dict[str, Any]:
    """What a new draft begins with: the version in force, else what is shipped, else nothing."""
    row = await db.fetchrow(
        "select d.design::text from makeready.document_list($1) l,"
        " makeready.document_design($1, l.version) d",
        doc_id,
    )
    if row is not None:
        return dict(json.loads(row["design"]))
    shipped = registry().get(doc_id)
    return {} if shipped is None else design_of(shipped)


async def store_assets(
    db: Executor, storage: Storage, doc_id: str, payload: Payload
) -> list[dict[str, Any]]:
    """Stores what is not stored yet; what `draft` and `update` take as `uploads`.

    Raises Rejected for an asset whose bytes are nowhere, StorageError.
    """
    assets = payload.design.get("assets", {})
    wanted = {facts["sha256"]: name for name, facts in assets.items()}
    rows = await db.fetch("select makeready.document_stored($1, $2)", doc_id, list(wanted))
    shipped = registry().get(doc_id)
    contents = {digest: asset.content for digest, asset in payload.contents.items()}
    for asset in shipped.assets.values() if shipped else ():
        contents.setdefault(hashlib.sha256(asset.content).hexdigest(), asset.content)
    missing = {digest: wanted[digest] for digest in wanted.keys() - {row[0] for row in rows}}
    lost = [name for digest, name in missing.items() if digest not in contents]
    if lost:
        hint = "send it as base64"
        problems = [
            problem("asset_missing", f"assets.{name}", "these bytes are not stored", hint)
            for name in sorted(lost)
        ]
        raise Rejected("an asset is missing", details={"problems": problems})
    uploads = []
    for digest, name in missing.items():
        facts = await storage.put(
            f"{PREFIX}{doc_id}/{uuid.uuid4()}",
            contents[digest],
            media_type=assets[name]["media_type"],
        )
        uploads.append(
            {
                "bucket": facts.bucket,
                "key": facts.key,
                "media_type": facts.media_type,
                "size_bytes": facts.byte_count,
                "sha256": digest,
                "etag": facts.etag,
            }
        )
    return uploads


async def draft(
    db: Executor,
    doc_id: str,
    design: Mapping[str, Any],
    uploads: list[dict[str, Any]],
    *,
    note: str | None = None,
) -> int:
    """A new version; its number. Raises Rejected."""
    return int(
        await db.fetchval(
            "select number from"
            " makeready.document_draft($1, $2::text::jsonb, $3::text::jsonb, $4)",
            doc_id,
            json.dumps(design),
            json.dumps(uploads),
            note,
        )
    )


async def update(
    db: Executor,
    doc_id: str,
    number: int,
    design: Mapping[str, Any],
    uploads: list[dict[str, Any]],
    *,
    expected: str | None = None,
    note: str | None = None,
) -> None:
    """Replaces a draft's content; NotFound, Conflict (it is no draft, or has changed)."""
    await db.execute(
        "select makeready.document_update($1, $2, $3::text::jsonb, $4::text::jsonb, $5, $6)",
        doc_id,
        number,
        json.dumps(design),
        json.dumps(uploads),
        expected,
        note,
    )


async def discard(
    db: Executor,
    doc_id: str,
    number: int,
    *,
    expected: str | None = None,
    note: str | None = None,
) -> None:
    """Deletes a draft; NotFound, Conflict (it was in force, or has changed)."""
    await db.execute(
        "select makeready.document_discard($1, $2, $3, $4)", doc_id, number, expected, note
    )


async def checked(
    db: Executor, doc_id: str, number: int, seen: str, problems: list[dict[str, str]]
) -> None:
    """Enters what a check has found; Conflict when the content is another one by now."""
    await db.execute(
        "select makeready.document_checked($1, $2, $3, $4::text::jsonb)",
        doc_id,
        number,
        seen,
        json.dumps(problems),
    )


async def trial(
    db: Executor,
    doc_id: str,
    number: int,
    *,
    seen: str,
    language: str,
    data: Mapping[str, Any],
) -> UUID:
    """Prints a valid version; its job. Conflict when it is not valid, or another one by now."""
    job: UUID = await db.fetchval(
        "select makeready.document_trial($1, $2, $3, $4, $5::text::jsonb)",
        doc_id,
        number,
        seen,
        language,
        json.dumps(data),
    )
    return job


async def trial_state(db: Executor, job: UUID) -> Trial:
    """How a trial render stands."""
    row = await one(db, "select * from makeready.document_trial_state($1)", job)
    return Trial(
        status=row["public_state"],
        file_id=row["file_id"],
        error=row["error_text"],
        pages=row["pages"],
    )


async def publish(
    db: Executor,
    doc_id: str,
    number: int,
    *,
    expected: str | None = None,
    note: str | None = None,
) -> None:
    """Puts a version in force; Rejected when it is not valid or not tried, Conflict, NotFound."""
    await db.execute(
        "select makeready.document_publish($1, $2, $3, $4)", doc_id, number, expected, note
    )


async def rollback(db: Executor, doc_id: str, *, note: str | None = None) -> int:
    """Puts the version before back in force; its number. Rejected when there is none."""
    return int(
        await db.fetchval("select number from makeready.document_rollback($1, $2)", doc_id, note)
    )


def _version(row: Any) -> Version:
    facts = {name: row[name] for name in Version.__slots__}
    return Version(**{**facts, "problems": json.loads(row["problems"])})


def _unknown(doc_id: str) -> dict[str, Any]:
    return {"code": "document_not_found", "doc_id": doc_id}
