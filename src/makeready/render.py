"""Render: packs, their documents and files; one typed call for each SQL function of the slice.

The HTTP service creates packs and asks for renders. No rule is decided here: whose a pack is and
what is skipped are answers of `sql/102_render_packs.sql`. What a worker calls is in
`makeready.printing`, what users see in `makeready.library`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import asyncpg

from makeready import __version__
from makeready.db import Executor, one
from makeready.documents import wording
from makeready.documents.designs import WITHOUT_TEMPLATE, design_of
from makeready.documents.shipped import registry
from makeready.storage import ObjectFacts

QUEUE = "render"
LANGUAGES = wording.LANGUAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedType:
    """A document type as the installed version ships it."""

    id: str
    title_ru: str
    title_en: str
    tier: str
    """free or paid."""
    enabled: bool
    version: str
    """Changes with the template, the schema, the print options or an asset."""
    description_ru: str = ""
    description_en: str = ""
    design: Mapping[str, Any] | None = None
    """All of it, without the bytes of its assets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackMade:
    """What became of a request for a pack."""

    pack_id: UUID
    is_new: bool
    """False: the same request had made it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRender:
    """What a call that renders a pack has done."""

    jobs_created: int
    jobs_skipped: int
    job_ids: tuple[UUID, ...]
    is_new: bool
    """False: the same request had been made before, and this is what it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRender:
    """What became of a request to render one document."""

    job_id: UUID
    is_new: bool
    """False: the same request had made the job before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRender:
    """What became of a request to print content of its own."""

    pack_id: UUID
    job_id: UUID
    is_new: bool
    """False: the same request had made the job before."""


HTML = ShippedType(
    id=WITHOUT_TEMPLATE, title_ru="HTML", title_en="HTML", tier="free", enabled=True, version="1"
)
"""What callers send as HTML: a document without a template, which staff may disable."""


def shipped_types() -> list[ShippedType]:
    """The document types of the installed version."""
    return [
        HTML,
        *(
            ShippedType(
                id=doc.id,
                title_ru=doc.title("ru"),
                title_en=doc.title("en"),
                tier=doc.tier,
                enabled=doc.enabled,
                version=doc.version,
                description_ru=doc.descriptions.get("ru", ""),
                description_en=doc.descriptions.get("en", ""),
                design=design_of(doc),
            )
            for doc in registry().values()
        ),
    ]


async def sync_types(
    db: Executor, types: Iterable[ShippedType], *, release: str = __version__
) -> int:
    """Enters what a release ships, unless a later one has; returns how many types changed."""
    names = [field.name for field in fields(ShippedType)]  # asdict would copy every design whole
    shipped = json.dumps([{name: getattr(each, name) for name in names} for each in types])
    numbers = [int(number) for number in re.findall(r"\d+", release)][:3]
    return int(
        await db.fetchval(
            "select makeready.render_types_sync($1::text::jsonb, $2)", shipped, numbers
        )
    )


async def pack_create(
    db: Executor,
    user: UUID,
    documents: Mapping[str, Any],
    *,
    language: str,
    session: UUID | None = None,
    request_key: str | None = None,
    bundled: bool = True,
) -> PackMade:
    """Makes a pack out of the data of each document; `bundled`: with one PDF and one ZIP of all.

    Raises NotFound (document, session), Rejected (too large; key used for another body).
    """
    row = await one(
        db,
        "select verdict, pack from makeready.render_pack_create("
        "$1, $2::text::jsonb, $3, $4, $5, $6)",
        user,
        json.dumps(documents),
        language,
        session,
        request_key,
        bundled,
    )
    return PackMade(pack_id=row["pack"], is_new=row["verdict"] == "created")


async def render_pack(
    db: Executor, user: UUID, pack: UUID, *, request_key: str | None = None
) -> PackRender:
    """Renders what is neither open nor ready; NotFound, Conflict when nothing is enabled."""
    row = await one(
        db,
        "select verdict, jobs_created, jobs_skipped, job_ids"
        " from makeready.render_pack($1, $2, $3)",
        user,
        pack,
        request_key,
    )
    return pack_render(row)


def pack_render(row: asyncpg.Record) -> PackRender:
    """What the functions of SQL that render a pack return."""
    return PackRender(
        jobs_created=row["jobs_created"],
        jobs_skipped=row["jobs_skipped"],
        job_ids=tuple(row["job_ids"]),
        is_new=row["verdict"] == "created",
    )


async def render_document(
    db: Executor, user: UUID, pack: UUID, document: str, *, request_key: str | None = None
) -> DocumentRender:
    """Renders one document anew; NotFound, Rejected (disabled), Conflict (one is open)."""
    row = await one(
        db,
        "select verdict, job_id from makeready.render_document($1, $2, $3, $4)",
        user,
        pack,
        document,
        request_key,
    )
    return DocumentRender(job_id=row["job_id"], is_new=row["verdict"] == "created")


async def render_own(
    db: Executor,
    user: UUID | None,
    document: str,
    content: Mapping[str, Any],
    *,
    layout: str,
    version: str | None = None,
    title: str | None = None,
    pack: UUID | None = None,
    session: UUID | None = None,
    language: str = "ru",
    request_key: str | None = None,
) -> OwnRender:
    """Prints content of its own by the template of `layout`, in a pack of the user or a new one.

    `version` pins one of the layout that need not be published. Raises NotFound (pack, document),
    Rejected (disabled, too large), Conflict (a render of the document is open).
    """
    row = await one(
        db,
        "select verdict, pack, job_id from makeready.render_own("
        "$1, $2, $3, $4::text::jsonb, $5, $6, $7, $8, $9, $10)",
        user,
        document,
        layout,
        json.dumps(content),
        title,
        pack,
        session,
        language,
        version,
        request_key,
    )
    return OwnRender(pack_id=row["pack"], job_id=row["job_id"], is_new=row["verdict"] == "created")


async def render_html(
    db: Executor,
    user: UUID,
    how: Mapping[str, Any],
    stored: ObjectFacts,
    *,
    content_id: UUID,
    title: str | None = None,
    language: str = "ru",
    request_key: str | None = None,
    body_hash: bytes | None = None,
) -> OwnRender:
    """Prints HTML whose archive is stored; not new: that archive is not needed. Rejected."""
    row = await one(
        db,
        "select verdict, pack, job_id from makeready.render_html("
        "$1, $2::text::jsonb, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        user,
        json.dumps(how),
        content_id,
        stored.bucket,
        stored.key,
        stored.byte_count,
        stored.sha256,
        stored.etag,
        title,
        language,
        request_key,
        body_hash,
    )
    return OwnRender(pack_id=row["pack"], job_id=row["job_id"], is_new=row["verdict"] == "created")
