"""Making cards: what a worker asks about a job of the queue `posm`, and how it keeps cards.

One typed call for each SQL function of `sql/127_posm_work.sql`. Whoever makes print files of a
generation that is done asks the same: its order is frozen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from makeready.cards.order import Order
from makeready.cards.values import Row
from makeready.db import Executor, one
from makeready.faults import first_of
from makeready.jobs import Lease
from makeready.posm import row_of
from makeready.storage import ObjectFacts, kept, object_of
from makeready.storage_errors import StorageUnavailable

READ_AT_ONCE = 200  # cards, before others may use the loop


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCard:
    """One card that a generation has, or is to have."""

    uuid: UUID
    label: str
    row: Row
    """All that its values read."""
    sha256: bytes | None
    """Of the card that is stored; None: it is to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationInput:
    """All that a generation is made of."""

    id: UUID
    version: int
    author: str
    made_on: date
    restaurant_id: UUID | None
    settings: Mapping[str, Any]
    template_id: UUID
    template: ObjectFacts
    """Its PDF, as it was pinned."""
    inspection: Mapping[str, Any]
    """What was found in the PDF when it came: `stamping.facts_of` reads it."""
    assets: Mapping[str, ObjectFacts]
    """By `sha256:…`."""
    cards: Sequence[InputCard]
    """In the order of the tables."""
    stamper: str | None
    """The version that was pinned by the first attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCard:
    """One card that is stored and verified."""

    uuid: UUID
    stored: ObjectFacts
    crc32: int
    evidence: Mapping[str, Any]


async def input_of(db: Executor, generation: UUID) -> GenerationInput | None:
    """What a generation is made of; None when there is none."""
    row = await db.fetchrow(
        "select generation_version, author_name, made_on, restaurant, place_facts::text as place,"
        " fields::text as fields, template, bucket_name, object_name, hash_sha256, byte_count,"
        " found_in_it::text as inspection, assets::text as assets, stamped_by"
        " from makeready.posm_input($1)",
        generation,
    )
    if row is None:
        return None
    place = json.loads(row["place"])
    facts = {"version": row["generation_version"], "made_on": row["made_on"]}
    facts |= {"author": row["author_name"]}
    cards = await _cards(db, generation, lambda data: row_of(data, place, **facts))
    return GenerationInput(
        id=generation,
        restaurant_id=row["restaurant"],
        settings=json.loads(row["fields"]),
        template_id=row["template"],
        template=ObjectFacts(
            bucket=row["bucket_name"],
            key=row["object_name"],
            byte_count=row["byte_count"],
            etag="",
            media_type="application/pdf",
            sha256=row["hash_sha256"],
        ),
        inspection=json.loads(row["inspection"]),
        assets={name: object_of(each) for name, each in json.loads(row["assets"]).items()},
        cards=cards,
        stamper=row["stamped_by"],
        **facts,
    )


async def _cards(
    db: Executor, generation: UUID, row: Callable[[Mapping[str, Any]], Row]
) -> tuple[InputCard, ...]:
    rows = await db.fetch(
        "select table_uuid, label, row_data::text as data, hash_sha256"
        " from makeready.posm_input_cards($1)",
        generation,
    )
    cards: list[InputCard] = []
    for each in rows:
        data = row(json.loads(each["data"]))
        cards.append(
            InputCard(
                uuid=each["table_uuid"], label=each["label"], row=data, sha256=each["hash_sha256"]
            )
        )
        if len(cards) % READ_AT_ONCE == 0:
            await checkpoint()
    return tuple(cards)


async def order_of(
    given: GenerationInput, fetch: Callable[[ObjectFacts], Awaitable[bytes]]
) -> Order:
    """The order of a generation with its files; other bytes than were stored count as not there.

    Raises StorageUnavailable, and what `fetch` raises.
    """
    found: dict[str, bytes] = {}

    async def bring(name: str, file: ObjectFacts) -> None:
        body = await fetch(file)
        if hashlib.sha256(body).digest() != file.sha256:
            raise StorageUnavailable(f"get {file.key}: these are other bytes than were stored")
        found[name] = body

    try:
        async with anyio.create_task_group() as group:
            for name, file in {"": given.template, **given.assets}.items():
                group.start_soon(bring, name, file)
    except ExceptionGroup as several:
        raise first_of(several) from None
    return Order(
        pdf=found[""],
        settings=given.settings,
        rows=[card.row for card in given.cards],
        assets={name: found[name] for name in given.assets},
    )


async def begin(db: Executor, lease: Lease, stamper: str) -> int:
    """Begins an attempt with a version of the stamper; cards that another one made are forgotten.

    Returns how many that were: call it before `input_of`. Raises LeaseLost, NotFound.
    """
    row = await one(
        db,
        "select cards_forgotten from makeready.posm_begin($1, $2, $3)",
        lease.job_id,
        lease.token,
        stamper,
    )
    return int(row["cards_forgotten"])


async def keep(db: Executor, lease: Lease, made: Sequence[MadeCard]) -> int:
    """Keeps a chunk of cards and gives the attempt its full time again; how many there are now.

    Raises LeaseLost: then nothing is kept, and the objects are left to the orphan scan.
    """
    cards = [
        {
            "table": str(card.uuid),
            "stored": kept(card.stored),
            "crc32": card.crc32,
            "evidence": card.evidence,
        }
        for card in made
    ]
    return int(
        await db.fetchval(
            "select makeready.posm_cards_keep($1, $2, $3::text::jsonb)",
            lease.job_id,
            lease.token,
            json.dumps(cards),
        )
    )


async def finish(db: Executor, lease: Lease, report: Mapping[str, Any]) -> str:
    """Ends a generation as done: `ok`, or `repeat` when this lease did so before.

    Raises Conflict (incomplete) while a card is missing, LeaseLost.
    """
    return str(
        await db.fetchval(
            "select makeready.posm_finish($1, $2, $3::text::jsonb)",
            lease.job_id,
            lease.token,
            json.dumps(report),
        )
    )
