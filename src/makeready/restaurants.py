"""Restaurants and their tables: one typed call for each SQL function of the slice.

Staff enters them; what is refused, and what becomes of a table that a list names no more, is
decided in `sql/120_restaurants.sql` and `sql/121_restaurant_tables.sql`. A writer states the
version that was read; None skips the question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from makeready.db import Executor, one
from makeready.errors import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Restaurant:
    """One restaurant."""

    id: UUID
    name: str
    brand: str | None
    city: str | None
    logo: str | None
    version: int
    """Of itself; what `set` and `delete` take as `known`."""
    tables_version: int
    """Of its list of tables; what `put_tables` takes as `known`."""
    tables: int
    """How many it has."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RestaurantTable:
    """One table, as the list of its restaurant has it."""

    uuid: UUID
    """In the link on its card: the same for ever."""
    number: str
    name: str | None
    section: str | None
    seats: int | None
    url: str | None
    """A link of its own; None: made of the policy's link template."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RestaurantMade:
    """What became of a request for a restaurant."""

    id: UUID
    is_new: bool
    """False: the same request had made it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesPut:
    """What a new list of tables has changed, or would change."""

    added: Sequence[Mapping[str, Any]]
    """Tables as {uuid, number, name, section, seats, url}."""
    removed: Sequence[Mapping[str, Any]]
    changed: Sequence[Mapping[str, Any]]
    """{uuid, before, after}, both of them tables."""
    kept: int
    """Those that stayed as they were."""
    version: int
    """Of the list, from now on."""


_RESTAURANTS = (
    "select restaurant as id, title as name, brand_name as brand, city_name as city,"
    " logo_name as logo, row_version as version, list_version as tables_version,"
    " live_tables as tables, made_at as created_at, changed_at as updated_at"
    " from makeready.restaurant_list($1, $2, $3, $4, $5)"
)


async def create(
    db: Executor,
    facts: Mapping[str, Any],
    *,
    author: str | None = None,
    request_key: str | None = None,
) -> RestaurantMade:
    """Enters a restaurant of {name, brand, city, logo}; Rejected."""
    row = await one(
        db,
        "select verdict, restaurant from makeready.restaurant_create($1::text::jsonb, $2, $3)",
        json.dumps(facts),
        author,
        request_key,
    )
    return RestaurantMade(id=row["restaurant"], is_new=row["verdict"] == "created")


async def change(
    db: Executor, restaurant: UUID, changes: Mapping[str, Any], *, known: int | None = None
) -> int:
    """Changes what is named of {name, brand, city, logo}; the new version.

    Raises NotFound, Conflict (stale_version), Rejected.
    """
    return int(
        await db.fetchval(
            "select makeready.restaurant_set($1, $2::text::jsonb, $3)",
            restaurant,
            json.dumps(changes),
            known,
        )
    )


async def delete(db: Executor, restaurant: UUID, *, known: int | None = None) -> None:
    """Takes it out of all lists; what was made for it stays. NotFound, Conflict."""
    await db.execute("select makeready.restaurant_delete($1, $2)", restaurant, known)


async def read(db: Executor, restaurant: UUID) -> Restaurant:
    """One restaurant; NotFound."""
    row = await db.fetchrow(_RESTAURANTS, None, None, 1, None, restaurant)
    if row is None:
        raise unknown("restaurant_not_found", restaurant_id=restaurant)
    return Restaurant(**row)


async def page(
    db: Executor,
    *,
    search: str | None = None,
    brand: str | None = None,
    limit: int = 50,
    after: UUID | None = None,
) -> list[Restaurant]:
    """Restaurants, newest first; `after` is the last one of the page before."""
    rows = await db.fetch(_RESTAURANTS, search, brand, limit, after, None)
    return [Restaurant(**row) for row in rows]


async def tables(db: Executor, restaurant: UUID) -> list[RestaurantTable]:
    """The tables in their order; NotFound."""
    rows = await db.fetch(
        "select table_uuid as uuid, label as number, title as name, section_name as section,"
        " seats_there as seats, own_url as url, made_at as created_at"
        " from makeready.restaurant_tables_read($1)",
        restaurant,
    )
    return [RestaurantTable(**row) for row in rows]


async def put_tables(
    db: Executor,
    restaurant: UUID,
    given: Sequence[Mapping[str, Any]],
    *,
    known: int | None = None,
    dry_run: bool = False,
) -> TablesPut:
    """Gives a restaurant its tables, all of them and in order; `dry_run` only says what changes.

    A table is {uuid, number, name, section, seats, url}, of which only the number is needed: by
    it, and by its section, a table without a uuid is found again. Raises NotFound, Conflict
    (stale_version), Rejected with everything that is wrong, by row.
    """
    text = await db.fetchval(
        "select makeready.restaurant_tables_put($1, $2::text::jsonb, $3, $4)::text",
        restaurant,
        json.dumps(given),
        known,
        dry_run,
    )
    return TablesPut(**json.loads(text))
