"""One attempt of the queue `render` with a paper engine, and all that it needs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from makeready import render
from makeready.config import Settings
from makeready.db import open_pool
from makeready.documents import shipped
from makeready.jobs import JobFailed
from makeready.leases import Claimed
from makeready.storage import Storage, open_storage
from makeready_workers.attempt import Attempt
from makeready_workers.handler import Context
from makeready_workers.render import RenderHandler
from tests.support.paper import PaperEngine
from tests.support.rendering import Press


@dataclasses.dataclass(kw_only=True)
class Room:
    """Everything that one attempt needs."""

    db: asyncpg.Connection
    press: Press
    pool: asyncpg.Pool
    storage: Storage
    engine: PaperEngine
    handler: RenderHandler
    user: UUID
    pack: UUID

    async def claimed(self) -> Claimed:
        """A new render of the invoice, taken."""
        await render.render_document(self.db, self.user, self.pack, "invoice")
        return await self.press.one()

    async def attempt(self, claimed: Claimed) -> str:
        """Runs the handler and its commit, as the loop does."""
        attempt = Attempt(claimed, self.pool, asked_at=asyncio.get_running_loop().time())
        done = await attempt.work(self.handler)
        assert done is not None
        assert done.commit is not None
        async with self.pool.acquire() as connection:
            return await done.commit(connection, claimed.job)

    async def failure(self, claimed: Claimed | None = None) -> JobFailed:
        """How an attempt failed."""
        with pytest.raises(JobFailed) as raised:
            await self.attempt(claimed or await self.claimed())
        return raised.value

    async def keys(self) -> list[str]:
        """The documents in storage."""
        found = [facts.key async for facts in self.storage.listing()]
        return [key for key in found if key.startswith("renders/") and not key.endswith(".jpg")]


@asynccontextmanager
async def furnished(db: asyncpg.Connection, settings: Settings) -> AsyncIterator[Room]:
    """A user with a pack of one invoice, and a handler that prints on paper."""
    pool = await open_pool(settings, "makeready_worker", size=4)
    press = Press(db)
    await render.sync_types(db, render.shipped_types())
    user = await press.user()
    data = {"invoice": shipped.sample(shipped.document_type("invoice"), "ru")}
    pack = (await render.pack_create(db, user, data, language="ru")).pack_id
    engine = PaperEngine()
    async with open_storage(settings) as storage:
        context = Context(settings=settings, pool=pool, storage=storage)
        yield Room(
            db=db,
            press=press,
            pool=pool,
            storage=storage,
            engine=engine,
            handler=RenderHandler(context, storage, engine),
            user=user,
            pack=pack,
        )
        await storage.delete([facts.key async for facts in storage.listing()])
    await pool.close()
