"""Tells the workers of a queue that there is something, after the commit and at a bounded rate.

The first wish goes out at once, so an idle system starts a job within a millisecond. While one is
under way, and for `GAP_S` after it, further wishes become one: workers that are busy claim again
by themselves, and a thousand enqueues a second need no thousand notifications.
"""

from __future__ import annotations

import anyio

from makeready import jobs
from makeready.db import Control

GAP_S = 0.005


class Waker:
    """One a process. `wake` only notes the wish; `run` sends."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._queues: set[str] = set()
        self._wanted = anyio.Event()
        self.sent = 0
        """Notifications so far."""

    def wake(self, queue: str) -> None:
        """Has the workers of a queue told. Call it after the commit; it returns at once.

        One that cannot be sent is dropped: workers poll, within two seconds.
        """
        self._queues.add(queue)
        self._wanted.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            queues, self._queues = self._queues, set()
            for queue in sorted(queues):
                await jobs.wake(self._control, queue)
                self.sent += 1
            await anyio.sleep(GAP_S)
