"""Photos in two sessions, stepped by hand."""

from __future__ import annotations

from typing import Any

import asyncpg

from tests.sql.interleave import Open, begin, step
from tests.support.core import Core
from tests.support.photographing import Darkroom


class Two:
    """Two sessions and who watches them."""

    def __init__(self, first: Core, second: Core, watcher: asyncpg.Connection) -> None:
        self.first, self.second, self.watcher = first, second, watcher
        self.one, self.two = Darkroom(first.db), Darkroom(second.db)

    async def begin(self) -> Open:
        """Opens a transaction of the first one."""
        return await begin(self.first)

    async def step(self, call: Any) -> Any:
        """Starts a call of the second one."""
        return await step(self.watcher, self.second, call)
