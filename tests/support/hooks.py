"""What tests of webhooks and alerts share: endpoints, the outbox, a look at what is in them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg

EVENTS = ("render.ready", "render.failed", "pack.done")


async def endpoint(
    db: asyncpg.Connection, user: UUID, *events: str, url: str = "https://example.com/hook"
) -> tuple[UUID, str]:
    """A new endpoint of the user, and its secret."""
    row = await db.fetchrow(
        "select hook, shown_once from makeready.webhook_create($1, $2, $3)",
        user,
        url,
        list(events or EVENTS),
    )
    assert row is not None
    return row["hook"], row["shown_once"]


async def outbox(db: asyncpg.Connection) -> list[dict[str, Any]]:
    """The deliveries there are, oldest first, each with its message."""
    rows = await db.fetch("select * from makeready.webhook_deliveries order by created_at, id")
    return [dict(row) | {"message": json.loads(row["content"])} for row in rows]


async def told(db: asyncpg.Connection) -> list[str]:
    """The events in the outbox, in order of their names."""
    return sorted(entry["event_type"] for entry in await outbox(db))


async def alerts(db: asyncpg.Connection) -> list[dict[str, Any]]:
    """The alerts there are, oldest first."""
    rows = await db.fetch("select * from makeready.alerts order by created_at, id")
    return [dict(row) | {"context": json.loads(row["context"])} for row in rows]
