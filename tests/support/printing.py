"""A worker that prints, beside the service of the same test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from makeready.config import Settings
from makeready.db import pool_opened
from makeready.storage import open_storage
from makeready_workers.handler import Context
from makeready_workers.render import open_handler
from tests.support.in_process import working


@asynccontextmanager
async def printing(settings: Settings) -> AsyncIterator[None]:
    """A worker with a browser, beside the service."""
    async with (
        pool_opened(settings, "makeready_worker", size=4) as pool,
        open_storage(settings) as storage,
    ):
        context = Context(settings=settings, pool=pool, storage=storage)
        async with open_handler(context) as handler, working(settings, handler):
            yield
        await storage.delete([facts.key async for facts in storage.listing()])
