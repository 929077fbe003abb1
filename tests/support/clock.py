"""Moves `makeready.now()` in one test's database."""

from __future__ import annotations

import asyncpg


class Clock:
    """The clock of one database: open connections follow at once, later ones start there."""

    def __init__(self, admin: asyncpg.Connection, database: str) -> None:
        self._admin = admin
        self._database = database
        self._connections: list[asyncpg.Connection] = []
        self._pools: list[asyncpg.Pool] = []
        self.offset_s = 0.0

    def follow(self, target: asyncpg.Connection | asyncpg.Pool) -> None:
        """Makes one more connection or pool move with this clock."""
        if isinstance(target, asyncpg.Pool):
            self._pools.append(target)
        else:
            self._connections.append(target)

    async def advance(self, seconds: float) -> None:
        """Moves the clock; a connection that is in the middle of a statement makes this fail."""
        self.offset_s += seconds
        text = f"{self.offset_s} seconds"
        await self._admin.execute(
            f"alter database {self._database} set makeready.clock_offset = '{text}'"
        )
        for connection in self._connections:
            if not connection.is_closed():
                await connection.execute(
                    "select set_config('makeready.clock_offset', $1, false)", text
                )
        for pool in self._pools:  # new connections read the setting
            await pool.expire_connections()
