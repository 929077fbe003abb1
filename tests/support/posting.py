"""One worker and one endpoint, for tests of what `deliver` does with a message."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from makeready import leases
from makeready.config import Settings
from makeready.db import pool_opened
from makeready.jobs import JobFailed
from makeready.leases import Claimed
from makeready_workers.attempt import Attempt
from makeready_workers.deliver import DeliverHandler, open_handler
from makeready_workers.handler import Context
from tests.support.clock import Clock
from tests.support.core import Core
from tests.support.hooks import endpoint, outbox
from tests.support.receiver import Receiver
from tests.support.rendering import Press


@dataclasses.dataclass(kw_only=True)
class Post:
    """Everything that one attempt needs; the endpoint wants `render.ready`."""

    core: Core
    press: Press
    pool: asyncpg.Pool
    handler: DeliverHandler
    receiver: Receiver
    user: UUID
    endpoint: UUID
    secret: str

    async def happens(self) -> None:
        """One document becomes ready."""
        pack = await self.press.pack(self.user, "invoice")
        await self.press.rendered(self.user, pack, "invoice")

    async def claimed(self) -> Claimed:
        """The next message, taken by a worker that lives."""
        self.core.me = await self.core.worker("deliver")
        (claimed,) = await leases.claim(self.core.db, ["deliver"], self.core.me, 1)
        return claimed

    async def work(self, claimed: Claimed) -> Any:
        """What the handler says of it; the end is the caller's."""
        attempt = Attempt(claimed, self.pool, asked_at=asyncio.get_running_loop().time())
        return await attempt.work(self.handler)

    async def attempt(self, claimed: Claimed | None = None) -> str:
        """One attempt to its end, as the loop makes it; the job's state."""
        claimed = claimed or await self.claimed()
        try:
            done = await self.work(claimed)
        except JobFailed as failure:
            return await leases.fail(
                self.core.db,
                claimed.lease,
                failure.kind,
                failure.problem(),
                retry_after=failure.retry_after,
            )
        if done.commit is None:
            return await leases.finish(self.core.db, claimed.lease, done.result)
        async with self.pool.acquire() as connection:
            return str(await done.commit(connection, claimed.job))

    async def entry(self) -> dict[str, Any]:
        """The newest delivery."""
        return (await outbox(self.core.db))[-1]


@asynccontextmanager
async def posting(
    db: asyncpg.Connection, settings: Settings, clock: Clock, receiver: Receiver
) -> AsyncIterator[Post]:
    """An endpoint that wants `render.ready`, and a handler that is open."""
    press = await Press(db).open()
    user = await press.user()
    which, secret = await endpoint(db, user, "render.ready", url=receiver.url)
    async with (
        pool_opened(settings, "makeready_worker", size=4) as pool,
        open_handler(Context(settings=settings, pool=pool)) as handler,
    ):
        clock.follow(pool)
        yield Post(
            core=Core(db),
            press=press,
            pool=pool,
            handler=handler,
            receiver=receiver,
            user=user,
            endpoint=which,
            secret=secret,
        )
