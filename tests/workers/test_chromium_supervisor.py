"""Which browser is the current one while others start and die: told with browsers of paper."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio

from makeready_workers.chromium.records import EngineLimits
from makeready_workers.chromium.supervisor import Supervisor
from tests.support.waiting import until


class PaperBrowser:
    """A browser as its supervisor sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started_at = time.monotonic()
        self.documents = self.active = self.private_bytes = 0
        self.retiring = self.is_closed = False
        self.is_alive = True

    async def close(self) -> None:
        self.is_alive, self.is_closed = False, True


async def test_a_browser_that_dies_while_it_is_replaced_leaves_one_successor() -> None:
    made: list[PaperBrowser] = []
    go_on = asyncio.Event()
    starts = 0

    async def start() -> Any:
        nonlocal starts
        starts += 1
        number = starts
        if number > 1:
            await go_on.wait()
        made.append(PaperBrowser(number))
        return made[-1]

    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(start, EngineLimits(documents_per_browser=2), tasks)
        supervisor.release(await supervisor.acquire())
        first = await supervisor.acquire()
        await until(lambda: starts == 2, what="the start of the successor")
        made[0].is_alive = False
        supervisor.release(first)
        waiting = asyncio.create_task(supervisor.acquire())
        await asyncio.sleep(0)
        go_on.set()
        second = await waiting
        await until(lambda: made[0].is_closed, what="the end of the dead one")

        assert supervisor.current is second
        assert [one.pid for one in made if not one.is_closed] == [second.pid]
        assert starts == 2
