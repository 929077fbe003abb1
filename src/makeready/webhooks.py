"""Webhooks: a user's endpoints, what was sent to them, and how a message is signed.

One typed call for each SQL function; `sql/060_webhooks.sql` knows whose an endpoint is. A secret
leaves the database when it is made, for its owner, and when a message is to be signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from makeready.db import Executor, one
from makeready.jobs import Lease
from makeready.values import Secret

QUEUE = "deliver"
EVENTS = ("render.ready", "render.failed", "pack.done", "pack.bundled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a user wants to be told."""

    id: UUID
    url: str
    events: Sequence[str]
    disabled_at: datetime | None
    disabled_why: str | None
    """owner, gone or failing."""
    failures: int
    """Deliveries given up since the last that went through."""
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What became of a request for an endpoint."""

    id: UUID
    secret: Secret
    is_new: bool
    """False: the same request had made it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message for one endpoint."""

    id: UUID
    event: str
    status: str
    """pending, delivered or failed."""
    attempts: int
    tries: Sequence[Mapping[str, Any]]
    """The last 20 attempts: at, status, ms, error."""
    last_error: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a worker is to send."""

    endpoint_id: UUID
    url: str = field(repr=False)
    text: str
    keys: Sequence[bytes] = field(repr=False)
    is_stopped: bool
    """Its endpoint is disabled."""


async def create(
    db: Executor, user: UUID, url: str, events: Iterable[str], *, request_key: str | None = None
) -> Created:
    """Registers an endpoint; Conflict: there are ten. Rejected: the key is another request's."""
    row = await one(
        db,
        "select verdict, hook, shown_once from makeready.webhook_create($1, $2, $3, $4)",
        user,
        url,
        list(dict.fromkeys(events)),
        request_key,
    )
    return Created(
        id=row["hook"], secret=Secret(row["shown_once"]), is_new=row["verdict"] == "created"
    )


async def endpoints(db: Executor, user: UUID) -> list[Endpoint]:
    """The user's endpoints, oldest first."""
    rows = await db.fetch(
        "select hook as id, address as url, event_list as events, stopped_at as disabled_at,"
        " stopped_why as disabled_why, given_up as failures, trouble_since as failing_since,"
        " made_at as created_at from makeready.webhook_list($1)",
        user,
    )
    return [Endpoint(**row) for row in rows]


async def change(
    db: Executor,
    user: UUID,
    endpoint: UUID,
    *,
    events: Iterable[str] | None = None,
    enabled: bool | None = None,
) -> None:
    """Changes what is given; NotFound."""
    wanted = None if events is None else list(dict.fromkeys(events))
    await db.execute(
        "select makeready.webhook_set($1, $2, $3, $4)", user, endpoint, wanted, enabled
    )


async def rotate(db: Executor, user: UUID, endpoint: UUID) -> Secret:
    """A new secret; the one before signs too for a day. NotFound."""
    return Secret(
        str(await db.fetchval("select makeready.webhook_rotate($1, $2)", user, endpoint))
    )


async def delete(db: Executor, user: UUID, endpoint: UUID) -> None:
    """Forgets an endpoint and its deliveries; NotFound."""
    await db.execute("select makeready.webhook_delete($1, $2)", user, endpoint)


async def deliveries(
    db: Executor, user: UUID, endpoint: UUID, *, limit: int, older_than: UUID | None = None
) -> list[Delivery]:
    """What was and is to be sent, newest first; NotFound."""
    rows = await db.fetch(
        "select delivery as id, what as event, public_state as status, tries_made as attempts,"
        " last_tries::text as tries, problem::text as last_error, happened_at as created_at,"
        " ended_at as finished_at, next_try_at from makeready.webhook_tries($1, $2, $3, $4)",
        user,
        endpoint,
        limit,
        older_than,
    )
    return [
        Delivery(
            **{
                **row,
                "tries": json.loads(row["tries"]),
                "last_error": json.loads(row["last_error"] or "null"),
            }
        )
        for row in rows
    ]


async def retry(db: Executor, user: UUID, endpoint: UUID, delivery: UUID) -> None:
    """Sends an ended delivery again; NotFound, Conflict."""
    await db.execute("select makeready.webhook_retry($1, $2, $3)", user, endpoint, delivery)


async def message_of(db: Executor, delivery: UUID) -> Message | None:
    """What to send; None when the delivery has ended or its endpoint was deleted."""
    row = await db.fetchrow(
        "select endpoint as endpoint_id, address as url, message as text, signing_keys as keys,"
        " is_stopped from makeready.webhook_input($1)",
        delivery,
    )
    return None if row is None else Message(**row)


async def note_failure(
    db: Executor, delivery: UUID, *, status: int | None, ms: float, code: str, text: str
) -> None:
    """Notes an attempt that the receiver did not take."""
    await db.execute(
        "select makeready.webhook_tried($1, $2, $3, $4::text::jsonb)",
        delivery,
        status,
        ms,
        json.dumps({"code": code, "message": text}),
    )


async def delivered(db: Executor, lease: Lease, delivery: UUID, *, status: int, ms: float) -> str:
    """Ends a delivery that was taken; `ok` or `repeat`. LeaseLost."""
    return str(
        await db.fetchval(
            "select makeready.webhook_delivered($1, $2, $3, $4, $5)",
            lease.job_id,
            lease.token,
            delivery,
            status,
            ms,
        )
    )


def signed(message_id: str, text: str, keys: Iterable[bytes], *, at: int) -> dict[str, str]:
    """The headers of a message as Standard Webhooks say; a signature for each key.

    `at` is the time of this attempt in whole Unix seconds.
    """
    content = f"{message_id}.{at}.{text}".encode()
    digests = [hmac.new(key, content, hashlib.sha256).digest() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(digest).decode()}" for digest in digests
        ),
    }
