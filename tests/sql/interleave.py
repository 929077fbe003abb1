"""An isolation tester in Python: sessions stepped statement by statement, up to a lock.

transaction = await begin(first)
await first.finish(job)
second = await step(core.db, other, other.finish(job))   # until it ends or waits for a lock
assert second.waits
await transaction.end("commit")
assert await second == "repeat"
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import asyncpg
import pytest

from tests.support.core import Core
from tests.support.database import Connect

BOTH = pytest.mark.parametrize("how", ["commit", "rollback"])
"""How the first of two ends its transaction: what the second one sees depends on it."""
PATIENCE_S = 10.0
LOOK_S = 0.003
WAITS = """
    select exists (select from pg_stat_activity a
                    where a.pid = $1 and a.state = 'active' and a.wait_event_type = 'Lock')"""
Room = TypeVar("Room")


class Step:
    """A statement that was started in a session."""

    def __init__(self, task: asyncio.Task[Any], *, waits: bool) -> None:
        self._task = task
        self.waits = waits
        """True when it was seen waiting for a lock of another session."""

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wait_for(self._task, PATIENCE_S).__await__()


async def step(
    observer: asyncpg.Connection, session: Core, statement: Coroutine[Any, Any, Any]
) -> Step:
    """Starts a statement and returns when it has ended or waits for a lock."""
    pid = session.db.get_server_pid()
    task = asyncio.ensure_future(statement)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await asyncio.sleep(LOOK_S)
            if task.done():
                return Step(task, waits=False)
            if await observer.fetchval(WAITS, pid):
                return Step(task, waits=True)


class Open:
    """A transaction left open on purpose."""

    def __init__(self, session: Core) -> None:
        self._transaction = session.db.transaction()

    async def start(self) -> Open:
        """Begins it."""
        await self._transaction.start()
        return self

    async def end(self, how: str) -> None:
        """Ends it by `commit` or `rollback`."""
        await (self._transaction.commit() if how == "commit" else self._transaction.rollback())


async def begin(session: Core) -> Open:
    """Opens a transaction in a session."""
    return await Open(session).start()


async def pair(session: Callable[[], Awaitable[Core]]) -> tuple[Core, Core]:
    """Two sessions, each with a worker of its own."""
    first, second = await session(), await session()
    first.me, second.me = await first.worker(), await second.worker()
    return first, second


class Two(Generic[Room]):
    """Two sessions, each with its room, and who watches them."""

    def __init__(
        self, make: Callable[[asyncpg.Connection], Room], first: Core, second: Core, watcher: Core
    ) -> None:
        self.first, self.second, self._watcher = first, second, watcher
        self.one, self.two = make(first.db), make(second.db)

    async def begin(self) -> Open:
        """Opens a transaction of the first one."""
        return await begin(self.first)

    async def step(self, call: Coroutine[Any, Any, Any]) -> Step:
        """Starts a call of the second one."""
        return await step(self._watcher.db, self.second, call)


async def two_of(make: Callable[[asyncpg.Connection], Room], connect: Connect) -> Two[Room]:
    """Two of these rooms."""
    return Two(make, *[Core(await connect()) for _ in range(3)])
