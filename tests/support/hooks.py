"""What tests of webhooks and alerts share: endpoints, the outbox, a look at what is in them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.core import Core
from tests.support.rendering import Press

EVENTS = ("render.ready", "render.failed", "pack.done", "pack.bundled")


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


async def rendered(press: Press, user: UUID) -> UUID:
    """A pack of one document that is ready; the pack."""
    pack = await press.pack(user, "invoice")
    await press.rendered(user, pack, "invoice")
    return pack


async def deliver(core: Core) -> asyncpg.Record:
    """The next delivery, claimed."""
    core.me = await core.worker("deliver")
    (job,) = await core.claim("deliver")
    return job


async def give_up(core: Core, manner: str = "fatal", code: str = "NO_ANSWER") -> str:
    """Takes the next delivery and fails it."""
    return await core.fail(await deliver(core), manner, {"code": code, "message": "so"})


async def hook(db: asyncpg.Connection, which: UUID) -> asyncpg.Record:
    """An endpoint as it stands."""
    row = await db.fetchrow("select * from makeready.webhook_endpoints where id = $1", which)
    assert row is not None
    return row
