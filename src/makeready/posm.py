"""POSM: generations of table cards; one typed call for each SQL function of the slice.

The HTTP service asks for generations and shows them. No rule is decided here: which tables a
generation has, what it freezes, and when it is admitted are answers of `sql/126_posm_enqueue.sql`
and `sql/122_posm.sql`. What a worker calls is in `makeready.posm_making`, templates and the
policy are in `makeready.posm_templates`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from makeready.cards.values import Row
from makeready.db import Executor, one
from makeready.errors import unknown
from makeready.jobs import json_value

QUEUE = "posm"
STATES = ("created", "scheduled", "in-progress", "done", "error", "deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationMade:
    """What became of a press of the button."""

    id: UUID
    version: int
    status: str
    is_new: bool
    """False: the same request had made it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generation, as the history shows it."""

    id: UUID
    version: int
    status: str
    """One of STATES."""
    restaurant_id: UUID | None
    restaurant_name: str | None
    template_id: UUID
    template_name: str
    author: str
    scope: str
    """all, chosen, new or uuids."""
    settings: Mapping[str, Any]
    tables_total: int
    tables_done: int
    error_code: str | None
    comment: str | None
    """Why it failed, naming the table."""
    attempts: int
    max_attempts: int
    stamper: str | None
    report: Mapping[str, Any] | None
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deleted_at: datetime | None
    """Since when nothing of it can be downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """One card of a generation; without `made_at` it is not there yet."""

    uuid: UUID
    place: int
    label: str
    data: Row
    """{"table": {…}, "row": {…}}, frozen."""
    byte_count: int | None
    sha256: bytes | None
    crc32: int | None
    evidence: Mapping[str, Any] | None
    made_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCard:
    """One card that can be downloaded, and where it lies."""

    uuid: UUID
    place: int
    label: str
    data: Row
    bucket: str
    key: str
    byte_count: int
    sha256: bytes
    crc32: int
    evidence: Mapping[str, Any] | None


_GENERATIONS = (
    "select generation as id, generation_version as version, public_state as status,"
    " restaurant as restaurant_id, restaurant_title as restaurant_name, template as template_id,"
    " template_title as template_name, author_name as author, which_tables as scope,"
    " fields::text as settings, cards_total as tables_total, cards_done as tables_done,"
    " failure_code as error_code, remark as comment, attempts_made as attempts,"
    " attempts_allowed as max_attempts, stamped_by as stamper, outcome::text as report,"
    " made_at as created_at, admitted_at as scheduled_at, began_at as started_at,"
    " over_at as finished_at, gone_since as deleted_at"
    " from makeready.posm_generation_list($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
)


async def enqueue(
    db: Executor,
    template: UUID,
    *,
    author: str | None,
    restaurant: UUID | None = None,
    tables: Sequence[UUID] | None = None,
    cards: Sequence[Mapping[str, Any]] | None = None,
    since_version: int | None = None,
    settings: Mapping[str, Any] | None = None,
    request_key: str | None = None,
    wake: bool = True,
) -> GenerationMade:
    """Asks for cards: of all tables, the chosen ones, those new since a version, or bare uuids.

    A bare uuid is {uuid, number, name, section, seats, url, row}. With `wake` it is admitted in
    this transaction, which should then be a short one. Raises NotFound, Forbidden (not visible),
    Rejected, Conflict (already_in_progress: `details` names the active one).
    """
    row = await one(
        db,
        "select verdict, generation, generation_version, public_state"
        " from makeready.posm_enqueue("
        "$1, $2, $3, $4::text::jsonb, $5, $6::text::jsonb, $7, $8, $9)",
        template,
        restaurant,
        None if tables is None else list(tables),
        None if cards is None else json.dumps(cards),
        since_version,
        None if settings is None else json.dumps(settings),
        request_key,
        author,
        wake,
    )
    return GenerationMade(
        id=row["generation"],
        version=row["generation_version"],
        status=row["public_state"],
        is_new=row["verdict"] == "created",
    )


async def seen(
    db: Executor,
    template: UUID,
    *,
    author: str | None,
    restaurant: UUID | None = None,
    tables: Sequence[UUID] | None = None,
    cards: Sequence[Mapping[str, Any]] | None = None,
    since_version: int | None = None,
    settings: Mapping[str, Any] | None = None,
    request_key: str | None = None,
) -> GenerationMade | None:
    """What this press has made before; None: it may be asked for, as far as can be said early.

    Raises NotFound, Forbidden, Conflict and Rejected (idempotency_mismatch) as `enqueue` would.
    """
    row = await db.fetchrow(
        "select generation, generation_version, public_state from makeready.posm_seen("
        "$1, $2, $3, $4::text::jsonb, $5, $6::text::jsonb, $7, $8)",
        template,
        restaurant,
        None if tables is None else list(tables),
        None if cards is None else json.dumps(cards),
        since_version,
        None if settings is None else json.dumps(settings),
        request_key,
        author,
    )
    if row is None:
        return None
    return GenerationMade(
        id=row["generation"],
        version=row["generation_version"],
        status=row["public_state"],
        is_new=False,
    )


async def rows_of(
    db: Executor,
    template: UUID,
    *,
    author: str | None,
    restaurant: UUID | None = None,
    tables: Sequence[UUID] | None = None,
    cards: Sequence[Mapping[str, Any]] | None = None,
    since_version: int | None = None,
) -> list[Row]:
    """What the cards would read if they were asked for now; refuses as `enqueue` does."""
    found = await db.fetch(
        "select row_data::text, place_facts::text, next_version, made_on"
        " from makeready.posm_rows($1, $2, $3, $4::text::jsonb, $5, $6)",
        template,
        restaurant,
        None if tables is None else list(tables),
        None if cards is None else json.dumps(cards),
        since_version,
        author,
    )
    return [
        row_of(
            json.loads(row["row_data"]),
            json.loads(row["place_facts"]),
            version=row["next_version"],
            made_on=row["made_on"],
            author=author or "",
        )
        for row in found
    ]


def row_of(
    data: Mapping[str, Any],
    place: Mapping[str, Any],
    *,
    version: int,
    made_on: date,
    author: str,
) -> Row:
    """All that the values of one card may read."""
    generation = {"version": version, "date": made_on.isoformat(), "author": author}
    return {**data, "restaurant": place, "generation": generation}


async def admit(db: Executor) -> int:
    """Schedules what there is room for; how many. Call it bare, after a commit without `wake`."""
    return int(await db.fetchval("select makeready.posm_admit()"))


async def cancel(db: Executor, generation: UUID, *, because: str | None = None) -> str:
    """Cancels an active one; its state now. NotFound, Conflict (it has ended)."""
    return str(await db.fetchval("select makeready.posm_cancel($1, $2)", generation, because))


async def retry(db: Executor, generation: UUID, *, because: str | None = None) -> str:
    """Makes a failed one again; its state now. NotFound, Conflict, Gone."""
    return str(await db.fetchval("select makeready.posm_retry($1, $2)", generation, because))


async def read(db: Executor, generation: UUID) -> Generation:
    """One generation; NotFound."""
    row = await db.fetchrow(_GENERATIONS, *[None] * 7, 1, None, generation)
    if row is None:
        raise unknown("generation_not_found", generation_id=generation)
    return _generation(row)


async def page(
    db: Executor,
    *,
    restaurant: UUID | None = None,
    template: UUID | None = None,
    status: str | None = None,
    author: str | None = None,
    made_from: datetime | None = None,
    made_before: datetime | None = None,
    table: UUID | None = None,
    limit: int = 50,
    after: UUID | None = None,
) -> list[Generation]:
    """The history, newest first; `table`: those that have a card of it."""
    rows = await db.fetch(
        _GENERATIONS,
        restaurant,
        template,
        status,
        author,
        made_from,
        made_before,
        table,
        limit,
        after,
        None,
    )
    return [_generation(row) for row in rows]


async def cards(
    db: Executor, generation: UUID, *, limit: int = 5000, after: int = -1
) -> list[CardFacts]:
    """Its cards in their order; `after` is the place of the last one of the page before."""
    rows = await db.fetch(
        "select table_uuid as uuid, place, label, row_data::text as data, byte_count,"
        " hash_sha256 as sha256, crc as crc32, evidence::text as evidence, made_at"
        " from makeready.posm_card_list($1, $2, $3)",
        generation,
        limit,
        after,
    )
    return [CardFacts(**{**row, **_parsed(row)}) for row in rows]


async def manifest(
    db: Executor, generation: UUID, *, tables: Sequence[UUID] | None = None
) -> list[StoredCard]:
    """The stored cards of one that is done, all or some, in their order.

    Raises NotFound (generation_not_found, table_not_found), Conflict (not_done), Gone.
    """
    rows = await db.fetch(
        "select table_uuid as uuid, place, label, row_data::text as data, bucket_name as bucket,"
        " object_name as key, byte_count, hash_sha256 as sha256, crc as crc32,"
        " evidence::text as evidence from makeready.posm_manifest($1, $2)",
        generation,
        None if tables is None else list(tables),
    )
    return [StoredCard(**{**row, **_parsed(row)}) for row in rows]


async def links_of(db: Executor, tables: Sequence[UUID]) -> list[str | None]:
    """What the codes of these uuids say now, in their order; None: nobody has said how."""
    rows = await db.fetch("select link from makeready.posm_links($1)", list(tables))
    return [row["link"] for row in rows]


async def check(db: Executor, generation: UUID) -> Mapping[str, Any]:
    """How the tables have changed since: {status: ok or warn, added, removed, renumbered, …}.

    Raises NotFound, Conflict (not_done), Gone.
    """
    found: Mapping[str, Any] = json.loads(
        await db.fetchval("select makeready.posm_check($1)::text", generation)
    )
    return found


def _parsed(row: asyncpg.Record) -> dict[str, Any]:
    return {name: json_value(row[name]) for name in ("data", "evidence")}


def _generation(row: asyncpg.Record) -> Generation:
    return Generation(
        **{**row, **{name: json_value(row[name]) for name in ("settings", "report")}}
    )
