"""Card templates, their assets and the policy of cards: one typed call for each SQL function.

What may be used by whom, and what is refused, is decided in `sql/123_posm_templates.sql` and
`sql/124_posm_assets.sql`. Whoever calls stores the bytes first and states what was stored. A
writer states the version that was read; None skips the question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from makeready.db import Executor, one
from makeready.errors import unknown
from makeready.storage import ObjectFacts, kept_json

VISIBILITIES = ("global", "restaurant", "brand")
ASSET_KINDS = ("font", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template with its present PDF."""

    id: UUID
    name: str
    description: str
    settings: Mapping[str, Any]
    visibility: str
    brand: str | None
    restaurants: Sequence[UUID]
    version: int
    """What `change` and `delete` take as `known`."""
    author: str
    created_at: datetime
    updated_at: datetime
    file_id: UUID
    bucket: str
    key: str
    sha256: bytes
    byte_count: int
    inspection: Mapping[str, Any]
    """What was found in the PDF when it came: `stamping.facts_of` reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMade:
    """What became of a request for a template."""

    id: UUID
    version: int
    is_new: bool
    """False: the same request had made it before, and the PDF that was stored is not needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One uploaded font or picture."""

    id: UUID
    kind: str
    name: str
    sha256: bytes
    bucket: str
    key: str
    media_type: str
    byte_count: int
    inspection: Mapping[str, Any]
    author: str
    created_at: datetime

    @property
    def reference(self) -> str:
        """What settings call it."""
        return f"sha256:{self.sha256.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetMade:
    """What became of an upload."""

    id: UUID
    is_new: bool
    """False: these bytes are there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The policy of cards."""

    max_active: int
    keep_generations: int
    keep_days: int
    max_tables: int
    max_template_bytes: int
    link_template: str | None
    """With {uuid}; None: only tables with a link of their own can be printed."""


_POLICY = (
    "select max_active, keep_generations, keep_days, max_tables, max_template_bytes,"
    " link_template from "
)
_TEMPLATES = (
    "select template as id, title as name, about as description, fields::text as settings,"
    " for_whom as visibility, brand_name as brand, restaurant_ids as restaurants,"
    " row_version as version, made_by as author, made_at as created_at, changed_at as updated_at,"
    " file as file_id, bucket_name as bucket, object_name as key, hash_sha256 as sha256,"
    " byte_count, found_in_it::text as inspection"
    " from makeready.posm_template_list($1, $2, $3, $4, $5)"
)
_ASSETS = (
    "select asset as id, sort as kind, title as name, hash_sha256 as sha256,"
    " bucket_name as bucket, object_name as key, media_type, byte_count,"
    " found_in_it::text as inspection, made_by as author, made_at as created_at"
    " from makeready.posm_asset_list($1, $2, $3, $4, $5)"
)


async def policy(db: Executor) -> Policy:
    """The policy as it is now."""
    return Policy(**await one(db, f"{_POLICY} makeready.posm_policy_read()"))


async def set_policy(db: Executor, *, because: str | None = None, **changes: Any) -> Policy:
    """Changes what is named of `Policy`; Rejected."""
    names = (
        "max_active",
        "keep_generations",
        "keep_days",
        "max_tables",
        "max_template_bytes",
        "link_template",
    )
    call = f"{_POLICY} makeready.posm_policy_set($1, $2, $3, $4, $5, $6, $7)"
    return Policy(**await one(db, call, *(changes.get(name) for name in names), because))


async def link_seed(db: Executor, link: str) -> bool:
    """Sets the common link unless there is one: True if it was set."""
    seeded: bool = await db.fetchval("select makeready.posm_link_seed($1)", link)
    return seeded


async def create(
    db: Executor,
    facts: Mapping[str, Any],
    stored: ObjectFacts,
    inspection: Mapping[str, Any],
    *,
    author: str | None = None,
    request_key: str | None = None,
    body_hash: bytes | None = None,
) -> TemplateMade:
    """Enters a template: {name, description, settings, visibility, brand, restaurants}.

    Raises NotFound (a restaurant), Rejected (also too big; key used for another body), Conflict
    (its object is being deleted: store it again).
    """
    row = await one(
        db,
        "select verdict, template, row_version from makeready.posm_template_create("
        "$1::text::jsonb, $2::text::jsonb, $3::text::jsonb, $4, $5, $6)",
        json.dumps(facts),
        kept_json(stored),
        json.dumps(inspection),
        author,
        request_key,
        body_hash,
    )
    return TemplateMade(
        id=row["template"], version=row["row_version"], is_new=row["verdict"] == "created"
    )


async def change(
    db: Executor,
    template: UUID,
    changes: Mapping[str, Any],
    *,
    known: int | None = None,
    stored: ObjectFacts | None = None,
    inspection: Mapping[str, Any] | None = None,
) -> int:
    """Changes what is named, and with `stored` the PDF; the new version.

    Raises NotFound, Conflict (stale_version), Rejected.
    """
    return int(
        await db.fetchval(
            "select makeready.posm_template_set("
            "$1, $2::text::jsonb, $3, $4::text::jsonb, $5::text::jsonb)",
            template,
            json.dumps(changes),
            known,
            None if stored is None else kept_json(stored),
            None if inspection is None else json.dumps(inspection),
        )
    )


async def delete(db: Executor, template: UUID, *, known: int | None = None) -> None:
    """No longer offers it; what was made of it stays. NotFound, Conflict (stale_version)."""
    await db.execute("select makeready.posm_template_delete($1, $2)", template, known)


async def read(db: Executor, template: UUID) -> Template:
    """One template; NotFound."""
    row = await db.fetchrow(_TEMPLATES, None, None, 1, None, template)
    if row is None:
        raise unknown("template_not_found", template_id=template)
    return _template(row)


async def page(
    db: Executor,
    *,
    restaurant: UUID | None = None,
    search: str | None = None,
    limit: int = 50,
    after: UUID | None = None,
) -> list[Template]:
    """Templates, newest first: all, or those offered to a restaurant. NotFound (restaurant)."""
    rows = await db.fetch(_TEMPLATES, restaurant, search, limit, after, None)
    return [_template(row) for row in rows]


async def asset_add(
    db: Executor,
    kind: str,
    name: str,
    stored: ObjectFacts,
    *,
    inspection: Mapping[str, Any] | None = None,
    author: str | None = None,
) -> AssetMade:
    """Enters a stored font or image; Rejected, Conflict (its object is being deleted)."""
    row = await one(
        db,
        "select verdict, asset from makeready.posm_asset_add("
        "$1, $2, $3::text::jsonb, $4::text::jsonb, $5)",
        kind,
        name,
        kept_json(stored),
        json.dumps(inspection or {}),
        author,
    )
    return AssetMade(id=row["asset"], is_new=row["verdict"] == "created")


async def asset_delete(db: Executor, asset: UUID) -> None:
    """Deletes an asset that no template names. NotFound, Conflict (in_use)."""
    await db.execute("select makeready.posm_asset_delete($1)", asset)


async def asset(db: Executor, asset_id: UUID) -> Asset:
    """One asset; NotFound."""
    row = await db.fetchrow(_ASSETS, None, None, 1, None, asset_id)
    if row is None:
        raise unknown("media_not_found", asset_id=asset_id)
    return _asset(row)


async def assets(
    db: Executor,
    *,
    kind: str | None = None,
    hashes: Sequence[bytes] | None = None,
    limit: int = 50,
    after: UUID | None = None,
) -> list[Asset]:
    """Assets, newest first, by kind or by hash."""
    rows = await db.fetch(
        _ASSETS, kind, None if hashes is None else list(hashes), limit, after, None
    )
    return [_asset(row) for row in rows]


def _template(row: asyncpg.Record) -> Template:
    parsed = {name: json.loads(row[name]) for name in ("settings", "inspection")}
    return Template(**{**row, **parsed})


def _asset(row: asyncpg.Record) -> Asset:
    return Asset(**{**row, "inspection": json.loads(row["inspection"])})
