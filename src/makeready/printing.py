"""Printing: what a worker asks about a job of the queue `render`, and how it publishes.

One typed call for each SQL function of `sql/104_render_ends.sql`, `106_render_bundles.sql` and
`109_render_retention.sql`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from makeready.db import Executor
from makeready.jobs import Lease
from makeready.storage import ObjectFacts, kept_json, object_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderInput:
    """What a job is to print."""

    pack_id: UUID
    doc_id: str
    layout: str
    """The document type whose template prints it."""
    type_version: str
    """The version of the layout."""
    language: str
    data: Mapping[str, Any]
    """What it is called; None: as its type."""
    bucket: str | None
    key: str | None
    """Where the archive of its sources lies, if it has any."""
    may_reuse: bool
    """Whether stored bytes of an equal document serve as well."""
    is_trial: bool
    """Whether exactly this version is to be tried, and nothing printed in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reusable:
    """What was printed of equal content before."""

    stored: ObjectFacts
    thumbnail: ObjectFacts | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePart:
    """One document of a bundle."""

    pack_id: UUID
    language: str
    doc_id: str
    title: str
    bucket: str
    key: str
    byte_count: int


async def input_of(db: Executor, job_id: UUID) -> RenderInput | None:
    """What the job is to print; None when it renders no document of a pack."""
    row = await db.fetchrow(
        "select pack_id, doc_id, layout, type_version, language_code as language, content::text as"
        " data, bucket_name as bucket, object_name as key, may_reuse, is_trial"
        " from makeready.render_input($1)",
        job_id,
    )
    return None if row is None else RenderInput(**{**row, "data": json.loads(row["data"])})


async def engine_of(db: Executor, document: str, asked: str | None) -> str:
    """The engine that prints this type, which itself asks for one or for none."""
    return str(await db.fetchval("select makeready.render_engine($1, $2)", document, asked))


async def reusable(db: Executor, job_id: UUID, fingerprint: str) -> Reusable | None:
    """A file of the same user with this fingerprint; None: there is none, or it must print."""
    row = await db.fetchrow(
        "select stored::text, picture::text, facts::text from makeready.render_reuse($1, $2)",
        job_id,
        fingerprint,
    )
    if row is None:
        return None
    return Reusable(
        stored=object_of(json.loads(row["stored"])),
        thumbnail=None if row["picture"] is None else object_of(json.loads(row["picture"])),
        facts=json.loads(row["facts"]),
    )


async def publish(
    db: Executor,
    lease: Lease,
    stored: ObjectFacts,
    facts: Mapping[str, Any],
    thumbnail: ObjectFacts | None = None,
) -> str:
    """Ends a render with its stored file; `ok`, or `repeat` when this lease did so before.

    Raises LeaseLost: then nothing is published, and the object is left to the orphan scan.
    """
    return str(
        await db.fetchval(
            "select makeready.render_finish("
            "$1, $2, $3::text::jsonb, $4::text::jsonb, $5::text::jsonb)",
            lease.job_id,
            lease.token,
            kept_json(stored),
            json.dumps(facts),
            None if thumbnail is None else kept_json(thumbnail),
        )
    )


async def bundle_parts(db: Executor, job_id: UUID) -> list[BundlePart]:
    """What the job of a bundle puts together; empty when the pack was rendered again meanwhile."""
    rows = await db.fetch(
        "select pack_id, language_code as language, doc_id, title, bucket_name as bucket,"
        " object_name as key, byte_count from makeready.render_bundle_parts($1)",
        job_id,
    )
    return [BundlePart(**row) for row in rows]


async def publish_bundle(
    db: Executor, lease: Lease, pdf: ObjectFacts, archive: ObjectFacts, facts: Mapping[str, Any]
) -> str:
    """Ends the job of a bundle: `ok`, `repeat`, or `superseded`: then nothing is published."""
    return str(
        await db.fetchval(
            "select makeready.render_bundle_finish("
            "$1, $2, $3::text::jsonb, $4::text::jsonb, $5::text::jsonb)",
            lease.job_id,
            lease.token,
            kept_json(pdf),
            kept_json(archive),
            json.dumps(facts),
        )
    )
