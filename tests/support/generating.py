"""What tests of generations share: restaurants, templates, and a worker that stamps nothing."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from makeready import leases, posm, posm_making, posm_templates, restaurants
from makeready.errors import MakereadyError
from makeready.jobs import FailKind
from makeready.leases import Claimed
from makeready.posm_making import MadeCard
from makeready.storage import ObjectFacts

LINK = "https://cards.example/t/{uuid}"
STAMPER = "1/1"
AUTHOR = "olga"


class Cardroom:
    """The slice as one session sees it; links of tables are `LINK`."""

    def __init__(
        self, db: asyncpg.Connection, *, stale_after: timedelta = timedelta(seconds=10)
    ) -> None:
        self.db = db
        self._worker: UUID | None = None
        self._stale_after = stale_after
        """Of its worker, which beats at each claim only."""

    async def open(self) -> Cardroom:
        """Sets the link template."""
        await posm_templates.set_policy(self.db, link_template=LINK)
        return self

    async def restaurant(self, tables: int = 3, **facts: Any) -> UUID:
        """A new restaurant with tables numbered from 1."""
        made = await restaurants.create(self.db, {"name": "Ёлки", **facts}, author=AUTHOR)
        if tables:
            await self.put(made.id, *map(str, range(1, tables + 1)))
        return made.id

    async def put(self, restaurant: UUID, *numbers: str) -> restaurants.TablesPut:
        """Gives it these tables."""
        given = [{"number": number} for number in numbers]
        return await restaurants.put_tables(self.db, restaurant, given)

    async def uuids(self, restaurant: UUID) -> dict[str, UUID]:
        """The uuids of its tables by number."""
        found = await restaurants.tables(self.db, restaurant)
        return {table.number: table.uuid for table in found}

    async def template(self, name: str | None = "Тейбл-тент", **facts: Any) -> UUID:
        """A new template, offered to all unless `facts` say otherwise."""
        stored = an_object(f"posm/templates/{uuid4()}.pdf", str(name).encode())
        made = await posm_templates.create(
            self.db, {"name": name, **facts}, stored, {"pages": []}, author=AUTHOR
        )
        return made.id

    async def press(
        self, template: UUID, restaurant: UUID | None = None, **options: Any
    ) -> posm.GenerationMade:
        """Presses the button."""
        options.setdefault("author", AUTHOR)
        return await posm.enqueue(self.db, template, restaurant=restaurant, **options)

    async def status(self, generation: UUID) -> str:
        """Its public state."""
        return (await posm.read(self.db, generation)).status

    async def claim(self, most: int = 9) -> list[Claimed]:
        """Takes generations, as a worker that has just shown that it lives."""
        if self._worker is None:
            self._worker = uuid4()
            await self.db.execute(
                "select makeready.worker_register($1, $2, 'here', 1, 4, '{posm}', '1', $3, false)",
                self._worker,
                str(self._worker),
                self._stale_after,
            )
        await self.db.execute("select makeready.beat($1, '{}', '{}', '{}')", self._worker)
        return await leases.claim(self.db, [posm.QUEUE], self._worker, most)

    async def one(self) -> Claimed:
        """Takes the one generation that is due."""
        (claimed,) = await self.claim()
        return claimed

    async def keep(
        self, claimed: Claimed, tables: Sequence[UUID] | None = None, *, of: str = STAMPER
    ) -> int:
        """Keeps cards, by default all that are missing; `of` is what stamped them."""
        if tables is None:
            found = await posm_making.input_of(self.db, claimed.job.id)
            assert found
            tables = [card.uuid for card in found.cards if card.sha256 is None]
        made = [card_of(claimed.job.id, table, of) for table in tables]
        return await posm_making.keep(self.db, claimed.lease, made)

    async def make(self, claimed: Claimed) -> str:
        """Makes all cards and ends the generation well."""
        await posm_making.begin(self.db, claimed.lease, STAMPER)
        await self.keep(claimed)
        return await posm_making.finish(self.db, claimed.lease, {"ms": 1})

    async def fail(self, claimed: Claimed, kind: FailKind = "fatal", **problem: Any) -> str:
        """Ends an attempt badly."""
        said = {"code": "qr_contrast", "message": "so", **problem}
        return await leases.fail(self.db, claimed.lease, kind, said)

    async def made(self, template: UUID, restaurant: UUID, **options: Any) -> UUID:
        """Presses the button and makes it to its end."""
        generation = (await self.press(template, restaurant, **options)).id
        await self.make(await self.one())
        return generation


def card_of(generation: UUID, table: UUID, stamper: str = STAMPER) -> MadeCard:
    """A card of a table, as this stamper makes it."""
    pdf = f"%PDF {generation} {table} {stamper}".encode()
    digest = hashlib.sha256(pdf).hexdigest()
    key = f"posm/{generation}/{table}-{digest[:12]}.pdf"
    return MadeCard(
        uuid=table, stored=an_object(key, pdf), crc32=zlib.crc32(pdf), evidence={"decoded": True}
    )


def an_object(key: str, content: bytes, media_type: str = "application/pdf") -> ObjectFacts:
    """What storage would say of it."""
    return ObjectFacts(
        bucket="bucket",
        key=key,
        byte_count=len(content),
        etag="e",
        media_type=media_type,
        sha256=hashlib.sha256(content).digest(),
    )


async def unused(db: asyncpg.Connection) -> set[str]:
    """Keys of the objects that nothing refers to."""
    rows = await db.fetch("select object_key from makeready.files where unused_at is not null")
    return {row[0] for row in rows}


async def refusals(kind: type[MakereadyError], *calls: Awaitable[Any]) -> list[Any]:
    """The code of each refusal, None where it states none; a call that went well stands out."""
    found: list[Any] = []
    for call in calls:
        try:
            found.append(("no refusal", await call))
        except kind as error:
            found.append(error.details.get("code"))
    return found
