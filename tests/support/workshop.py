"""One attempt of the queue `posm` with a real stamping process, and all that it needs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from makeready import posm, posm_templates, stamping
from makeready.config import Settings
from makeready.db import pool_opened
from makeready.jobs import JobFailed
from makeready.leases import Claimed
from makeready.storage import Storage, open_storage
from makeready_workers.attempt import Attempt
from makeready_workers.handler import Context
from makeready_workers.posm import PosmHandler
from tests.support.card_templates import light, settings_for
from tests.support.generating import AUTHOR, Cardroom

PATIENCE = timedelta(minutes=10)  # real work may take as long on a busy machine


@dataclass(kw_only=True)
class Workshop:
    """Everything that one attempt needs."""

    db: asyncpg.Connection
    cards: Cardroom
    pool: asyncpg.Pool
    storage: Storage
    handler: PosmHandler

    async def template(
        self, pdf: bytes | None = None, settings: Mapping[str, Any] | None = None
    ) -> UUID:
        """A template that lies in storage."""
        return await stored_template(self.db, self.storage, pdf, settings)

    async def ordered(self, tables: int = 3, **template: Any) -> UUID:
        """A generation of a new restaurant with a new template."""
        made = await self.template(**template)
        return (await self.cards.press(made, await self.cards.restaurant(tables))).id

    async def claimed(self, tables: int = 3, **template: Any) -> Claimed:
        """The same, taken by a worker."""
        await self.ordered(tables, **template)
        return await self.cards.one()

    async def attempt(self, claimed: Claimed) -> str:
        """Runs the handler and its commit, as the loop does."""
        attempt = Attempt(claimed, self.pool, asked_at=asyncio.get_running_loop().time())
        done = await attempt.work(self.handler)
        assert done is not None
        assert done.commit is not None
        async with self.pool.acquire() as connection:
            return await done.commit(connection, claimed.job)

    async def failure(self, claimed: Claimed) -> JobFailed:
        """How an attempt failed."""
        with pytest.raises(JobFailed) as raised:
            await self.attempt(claimed)
        return raised.value

    async def keys(self, generation: UUID) -> list[str]:
        """The cards in storage."""
        return [facts.key async for facts in self.storage.listing(f"posm/{generation}/")]

    async def times_made(self, generation: UUID) -> list[Any]:
        """When each card was made, in order."""
        return [card.made_at for card in await posm.cards(self.db, generation)]


async def stored_template(
    db: asyncpg.Connection,
    storage: Storage,
    pdf: bytes | None = None,
    settings: Mapping[str, Any] | None = None,
) -> UUID:
    """A template that lies in storage; the light one, with a code and a label."""
    body = light() if pdf is None else pdf
    key = f"posm/templates/{hashlib.sha256(body).hexdigest()}.pdf"
    stored = await storage.put(key, body, media_type="application/pdf")
    inspection = stamping.facts_json(await stamping.inspect(body))
    facts = {"name": "Тейбл-тент", "settings": settings_for() if settings is None else settings}
    made = await posm_templates.create(db, facts, stored, inspection, author=AUTHOR)
    return made.id


@asynccontextmanager
async def opened(db: asyncpg.Connection, settings: Settings) -> AsyncIterator[Workshop]:
    """A workshop on the test's own database and bucket."""
    async with (
        pool_opened(settings, "makeready_worker", size=4) as pool,
        open_storage(settings) as storage,
    ):
        context = Context(settings=settings, pool=pool, storage=storage)
        yield Workshop(
            db=db,
            cards=await Cardroom(db, stale_after=PATIENCE).open(),
            pool=pool,
            storage=storage,
            handler=PosmHandler(context, storage),
        )
        await storage.delete([facts.key async for facts in storage.listing()])
    await stamping.cool_down()
