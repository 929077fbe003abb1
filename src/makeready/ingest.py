"""Photos: one typed call for each SQL function of the slice that a request or its worker makes.

A photo is a job of the queue `ingest` that somebody waits for. The policy (limits, deadline, what
is refused) is in `sql/13*_ingest*.sql`; a job's id is its photo's. Times are the database's, spans
come as seconds by its clock, so that no skew between machines moves a deadline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from makeready import leases
from makeready.db import Connection, Control, Executor, one
from makeready.jobs import Json, json_value
from makeready.leases import Claimed
from makeready.media import StoredMedia, kept

QUEUE = "ingest"
_ADMIT = f"""
select a.job_id, a.verdict, a.expires_at, a.seconds_left, {leases.COLUMNS}
  from makeready.ingest_admit($1, $2, $3::text::jsonb, $4::text::jsonb, $5, $6, $7::text::jsonb,
                              $8, $9) a
 cross join lateral (select (a.claimed).*) c"""  # noqa: S608 -- all of it is constant
Reason: TypeAlias = Literal["timeout", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an upload is measured by."""

    max_bytes: int
    max_pixels: int
    media_types: tuple[str, ...]
    """Of a slot: its provider may take fewer than the service."""
    min_free_bytes: int
    """Room that the media store keeps; below it nothing is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door(Limits):
    """What holds at a slot for a photo before its body is read."""

    slot: str
    password_hash: str | None
    """None: none is set, and nobody gets in."""
    password_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A photo that was let in, or that of the same request before."""

    job_id: UUID
    verdict: str
    """created, joined (the same image is being processed) or replayed (it has ended)."""
    expires_at: datetime
    seconds_left: float
    """Until then, by the database's clock."""
    claimed: Claimed | None
    """What was claimed with it: this photo, unless another has waited longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One provider that may be asked, in the order of the slot's chain."""

    provider: str
    kind: str
    """Which driver speaks with it: gemini, turbotext, openai, replicate, fal, webhook, local."""
    operation: str
    settings: Json
    """Of the slot, as they were when the photo was let in."""
    options: Json
    """Of the provider: base_url, limits, prices, retry rules."""
    keys: tuple[SealedKey, ...]
    """Those that may be used before the deadline, the one that has rested longest first."""
    max_parallel: int | None = None
    """Photos that may be with it at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """An encrypted key of a provider; see `makeready.sealing`."""

    id: UUID
    nonce: bytes
    sealed: bytes
    rests_s: float = 0.0
    """Seconds in which it is not to be used yet: it was asked too often a moment ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a worker needs to process a photo."""

    slot: str
    chain: tuple[Step, ...]
    payload: StoredMedia
    templates: Mapping[str, StoredMedia]
    """Template media of the slot by setting key."""
    is_awaited: bool
    """False: the process whose client waited is gone; nothing is asked of a provider."""
    public_id: UUID
    """Of the media object under which a provider can fetch the prepared image."""

    @classmethod
    def of(cls, payload: Json) -> Begun:
        """From the payload of a claimed job."""
        return cls(
            slot=payload["slot"],
            chain=tuple(_step(each) for each in payload["chain"]),
            payload=StoredMedia.of(payload["payload"]),
            templates={k: StoredMedia.of(each) for k, each in payload["templates"].items()},
            is_awaited=payload["is_awaited"],
            public_id=UUID(payload["public_id"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Requests that were refused before there was a photo."""

    slot: str
    reason: str
    """limit, slot_limit, deadline; or unavailable: 503, or 500."""
    minute: datetime


async def door(db: Executor, slot: str, client: str, *, may_repeat: bool = False) -> Door:
    """What holds for a request; NotFound (slot_not_found), Busy (full, locked out), Closed.

    `may_repeat`: it has an Idempotency-Key. A request that came before is not refused as full.
    """
    row = await one(
        db, "select * from makeready.ingest_door($1, $2, $3)", slot, client, may_repeat
    )
    return Door(
        slot=row["slot"],
        max_bytes=row["max_bytes"],
        max_pixels=row["max_pixels"],
        media_types=tuple(row["media_types"]),
        password_hash=row["password_hash"],
        password_version=row["password_version"],
        min_free_bytes=row["min_free_bytes"],
    )


async def password_tried(db: Executor, slot: str, client: str) -> None:
    """Counts a try of a password that this process has not seen to be right; Busy."""
    await db.fetchval("select makeready.ingest_password_tried($1, $2)", slot, client)


async def password_right(db: Executor, slot: str, client: str) -> None:
    """It was right: the tries are forgotten."""
    await db.fetchval("select makeready.ingest_password_right($1, $2)", slot, client)


async def admit(
    db: Executor,
    job: UUID,
    slot: str,
    payload: StoredMedia,
    *,
    facts: Json,
    waiter: UUID,
    source: str = "booth",
    overrides: Json | None = None,
    key: str | None = None,
    and_claim: bool = False,
) -> Admitted:
    """Lets a photo in, whose payload lies in the store already.

    `facts`: form fields and what the image's header says. `waiter`: the worker id of this process.
    `key`: the client's Idempotency-Key. `and_claim`: the process has a free task, for which a
    photo is to be claimed in the same call. Busy with `reason` limit or deadline; NotFound;
    Closed; Rejected when the key belongs to another image. Not durable: see `sql/130_ingest.sql`.
    """
    row = await one(
        db,
        _ADMIT,
        job,
        slot,
        json.dumps(kept(payload)),
        json.dumps(facts),
        waiter,
        source,
        None if overrides is None else json.dumps(overrides),
        key,
        and_claim,
    )
    return Admitted(
        job_id=row["job_id"],
        verdict=row["verdict"],
        expires_at=row["expires_at"],
        seconds_left=row["seconds_left"],
        claimed=None if row["id"] is None else leases.claimed(row),
    )


async def claim(
    db: Executor | Control, queues: Sequence[str], worker: UUID, most: int
) -> list[Claimed]:
    """As `leases.claim`; `Begun.of` reads the payload of what it takes."""
    return await leases.claim(db, queues, worker, most, function="ingest_claim")


async def offer(db: Executor, job: UUID, token: UUID, prepared: StoredMedia) -> None:
    """Lets `/public/media/{public_id}` serve the prepared image until the deadline; LeaseLost."""
    await db.fetchval(
        "select makeready.ingest_offer($1, $2, $3::text::jsonb)",
        job,
        token,
        json.dumps(kept(prepared)),
    )


async def finish(db: Connection, job: UUID, token: UUID, stored: StoredMedia, facts: Json) -> str:
    """Ends a photo as a success: ok, or repeat; LeaseLost when it has timed out meanwhile.

    `facts`: provider, operation, reference, provider_latency_ms, attempts, cost, calls.
    """
    return str(
        await db.fetchval(
            "select makeready.ingest_finish($1, $2, $3::text::jsonb, $4::text::jsonb)",
            job,
            token,
            json.dumps(kept(stored)),
            json.dumps(facts),
        )
    )


async def end(db: Executor, job: UUID, reason: Reason) -> str:
    """Ends a photo for its waiting request unless it has ended: its job's state as it stands.

    `cancelled` does so only when nobody else waits for the same photo. `done`: the result came in
    the last moment; send it.
    """
    return str(await db.fetchval("select makeready.ingest_end($1, $2)", job, reason))


async def answered(
    db: Executor, job: UUID, status: int, *, waiter: UUID | None = None
) -> Sequence[StoredMedia]:
    """The answer is out: returns what is to be deleted now, if nobody else waits for it.

    Once for each request that `admit` has let in, whatever became of it, 499 when its client had
    gone: a photo that nobody waits for any more is cancelled. `waiter`: as in `admit`. When the
    files are deleted, `forget` says so.
    """
    rows = await db.fetch(
        "select * from makeready.ingest_answered($1, $2, $3)", job, status, waiter
    )
    return [StoredMedia.of(json_value(row[0])) for row in rows]


async def forget(db: Executor, deleted: Sequence[StoredMedia]) -> None:
    """Files are deleted, their rows go too; if this is never said, the cleaner does it."""
    for store in {each.store for each in deleted}:
        paths = [each.path for each in deleted if each.store == store]
        await db.fetchval("select makeready.media_forget($1, $2)", store, paths)


async def refused(db: Executor, counts: Mapping[Refused, int]) -> None:
    """Counts requests that had no photo, by slot, reason and minute. Not durable."""
    await db.execute(
        "select makeready.ingest_refused($1, $2, $3, $4)",
        [each.slot for each in counts],
        [each.reason for each in counts],
        [each.minute for each in counts],
        list(counts.values()),
    )


async def pictured(
    db: Executor, job: UUID, before: StoredMedia | None, after: StoredMedia | None
) -> bool:
    """Keeps the thumbnails with a photo's result; False: that is gone, delete them."""
    kept_them = await db.fetchval(
        "select makeready.ingest_pictured($1, $2::text::jsonb, $3::text::jsonb)",
        job,
        *(None if each is None else json.dumps(kept(each)) for each in (before, after)),
    )
    return bool(kept_them)


async def steps_in_use(db: Executor) -> Sequence[Step]:
    """Each provider that an enabled slot may ask, without operation and settings."""
    text = await db.fetchval("select makeready.provider_steps()::text")
    return [_step(each) for each in json_value(text)]


async def key_rests(db: Executor, key: UUID, seconds: float, why: str) -> None:
    """A provider refused a key, or its quota is used up: others are taken for so long."""
    await db.fetchval("select makeready.provider_key_rests($1, $2, $3)", key, seconds, why)


async def providers_asked(db: Executor, calls: Sequence[Json]) -> None:
    """Counts what providers were asked for a photo: {provider, calls, failures, ms, cost} each."""
    await db.fetchval("select makeready.provider_asked($1::text::jsonb)", json.dumps(calls))


def _step(found: Mapping[str, Any]) -> Step:
    return Step(
        provider=found["provider"],
        kind=found["kind"],
        operation=found["operation"],
        settings=found["settings"],
        options=found["options"],
        keys=tuple(
            SealedKey(
                id=UUID(key["id"]),
                nonce=bytes.fromhex(key["nonce"]),
                sealed=bytes.fromhex(key["sealed"]),
                rests_s=key.get("rests_s", 0.0),
            )
            for key in found["keys"]
        ),
        max_parallel=found.get("max_parallel"),
    )
