"""Connections to PostgreSQL: the pool, the control connection, and what to do when they break.

A process holds one pool for its work, one `Control` for small calls that need no flush, and one
`Listener` (makeready.listening). Nothing here knows a job. A database that goes away is an
ordinary event: every wait has a bound, every retry has jitter, and only the caller knows when to
give up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import anyio
import asyncpg

from makeready.config import Settings
from makeready.faults import (
    BROKEN,
    Backoff,
    DatabaseAway,
    again,
    database_fault,
    is_away,
    is_transient,
)

__all__ = [
    "Backoff",
    "Connection",
    "Control",
    "DatabaseAway",
    "Executor",
    "Role",
    "again",
    "close_pool",
    "connect",
    "is_away",
    "is_transient",
    "one",
    "open_pool",
    "pool_opened",
    "session_settings",
]

Role: TypeAlias = Literal["makeready_http", "makeready_worker", "makeready_ops"]
Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
Executor: TypeAlias = "asyncpg.Pool | asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
"""Anything that runs one statement: a pool takes a connection of its own for it."""

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 30.0  # the server ends a statement of the pool
ANSWER_LATE_S = 5.0  # after the server's own limit: the socket died without a word
LOCK_TIMEOUT_S = 2.0  # behind a forgotten psql session, fail loudly
IDLE_IN_TRANSACTION_S = 10.0
CLOSE_TIMEOUT_S = 2.0
CONTROL_TIMEOUT_S = 3.0  # one call, connecting included
CONTROL_STATEMENT_TIMEOUT_S = 5.0


class _Pool(asyncpg.Pool):
    """A pool that lets nobody wait for a connection longer than `turn_s`; TimeoutError then."""

    __slots__ = ("_turn_s",)

    def __init__(self, *arguments: Any, turn_s: float | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._turn_s = turn_s

    def acquire(self, *, timeout: float | None = None) -> Any:
        """As asyncpg's, with a bound for those who name none."""
        return super().acquire(timeout=self._turn_s if timeout is None else timeout)


def session_settings(settings: Settings, role: Role | None, *, part: str) -> dict[str, str]:
    """What every session of this process is started with; `part` shows in pg_stat_activity."""
    chosen = {
        "application_name": f"makeready {part} {settings.instance}"[:63],
        "jit": "off",
        # Whoever counts behind a lock is refused anything else, whatever the database's default.
        "default_transaction_isolation": "read committed",
        "lock_timeout": _ms(LOCK_TIMEOUT_S),
        "idle_in_transaction_session_timeout": _ms(IDLE_IN_TRANSACTION_S),
    }
    if role and settings.database_roles:
        chosen["role"] = role
    return chosen


async def connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    """`asyncpg.connect`; DatabaseAway when nobody answers: not to be taken for another socket."""
    try:
        with database_fault():
            return await asyncpg.connect(*arguments, **options)
    except (OSError, TimeoutError) as error:
        raise DatabaseAway(f"{type(error).__name__}: {error}") from error


async def open_pool(
    settings: Settings,
    role: Role,
    *,
    size: int,
    patience_s: float = 0,
    turn_s: float | None = None,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> asyncpg.Pool:
    """Opens the pool of a process, at most `size` connections, the first one at once.

    Who finds all of them taken waits `turn_s` seconds at most (None: as long as it takes), so that
    a database that hangs keeps nobody in a queue. One that is not there yet is waited for
    `patience_s` seconds; then the fault is raised. Connections go back without a reset query:
    nothing in Makeready leaves session state behind, and an open transaction is rolled back all
    the same.
    """
    chosen = session_settings(settings, role, part="pool")
    chosen["statement_timeout"] = _ms(statement_timeout_s)

    async def opened() -> asyncpg.Pool:
        pool = await _Pool(
            settings.database_url,
            turn_s=turn_s,
            min_size=0,  # a floor would be restored by a task that complains all through an outage
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=statement_timeout_s + ANSWER_LATE_S,
            max_inactive_connection_lifetime=300,
            max_queries=50_000,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            loop=None,
            max_cached_statement_lifetime=0,  # preparing anew costs a claim its millisecond
            server_settings=chosen,
            connect=connect,
            reset=_no_reset,
        )
        try:
            async with pool.acquire():
                return pool
        except BaseException:
            pool.terminate()
            raise

    return await again(opened, patience_s=patience_s)


@asynccontextmanager
async def pool_opened(
    settings: Settings,
    role: Role,
    *,
    size: int,
    patience_s: float = 0,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> AsyncIterator[asyncpg.Pool]:
    """`open_pool` as a context: closes in 2 s at most, by force if connections are still out."""
    pool = await open_pool(
        settings,
        role,
        size=size,
        patience_s=patience_s,
        statement_timeout_s=statement_timeout_s,
    )
    try:
        yield pool
    finally:
        with anyio.CancelScope(shield=True):
            await close_pool(pool)


async def close_pool(pool: asyncpg.Pool) -> None:
    """Closes a pool in 2 s at most, by force if connections are still out."""
    try:
        with anyio.fail_after(CLOSE_TIMEOUT_S):
            await pool.close()
    except (TimeoutError, OSError, asyncpg.PostgresError, *BROKEN):
        pool.terminate()


async def one(db: Executor, query: str, *values: Any) -> asyncpg.Record:
    """The row of a function that returns one or raises."""
    row = await db.fetchrow(query, *values)
    if row is None:
        raise LookupError(query)
    return row


class Control:
    """One connection for small calls: beat, tick, wake, announce, claim, finish.

    It opens at the first call, breaks and comes back by itself; calls take turns. Commits wait for
    the disk only if `flush` says so, and no call waits for a row longer than `lock_timeout_s`.
    Beside the pool it saves a claim the way through it.
    """

    def __init__(
        self,
        settings: Settings,
        role: Role,
        *,
        part: str = "control",
        flush: bool = False,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        self._dsn = settings.listener_url  # session state: not through a transaction pooler
        self._settings = session_settings(settings, role, part=part)
        self._settings["statement_timeout"] = _ms(CONTROL_STATEMENT_TIMEOUT_S)
        self._settings["lock_timeout"] = _ms(lock_timeout_s)
        if not flush:
            self._settings["synchronous_commit"] = "off"
        self._connection: asyncpg.Connection | None = None
        self._was_away = False
        self._turn = asyncio.Lock()
        self._backoff = Backoff()
        self._not_before = 0.0

    async def fetch(
        self,
        query: str,
        *values: Any,
        timeout_s: float = CONTROL_TIMEOUT_S,
        repeat: bool = True,
    ) -> list[asyncpg.Record]:
        """Runs one statement within `timeout_s` seconds, connecting included.

        A call that finds its connection dead is repeated once on a new one, so it must bear that;
        `repeat=False` raises at once. Raises what `is_transient` knows when the database is away.
        """
        with anyio.fail_after(timeout_s), database_fault():
            async with self._turn:
                connection = self._connection
                if connection is not None:
                    try:
                        return await self._run(connection, query, values)
                    except Exception as error:
                        is_kept = connection is self._connection
                        if is_kept or not repeat or not is_transient(error):
                            raise
                return await self._run(await self._connect(), query, values)

    async def close(self) -> None:
        """Closes the connection; a later call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                try:
                    await connection.close(timeout=CLOSE_TIMEOUT_S)
                except (OSError, asyncpg.PostgresError, *BROKEN):
                    connection.terminate()

    async def _run(
        self, connection: asyncpg.Connection, query: str, values: tuple[Any, ...]
    ) -> list[asyncpg.Record]:
        try:
            return await connection.fetch(query, *values)
        except BaseException as error:
            # An answer that never came, or was cut, leaves nothing to rely on.
            if connection.is_closed() or not isinstance(error, asyncpg.PostgresError):
                self._connection = None
                self._was_away = True
                connection.terminate()
            raise

    async def _connect(self) -> asyncpg.Connection:
        await anyio.sleep(max(0.0, self._not_before - time.monotonic()))
        # The reaper asks: what cut its own session may have cut those of healthy workers.
        known = {"makeready.reconnected": "on"} if self._was_away else {}
        try:
            self._connection = await connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                max_cached_statement_lifetime=0,
                server_settings=self._settings | known,
            )
        except Exception:
            self._was_away = True
            self._not_before = time.monotonic() + self._backoff.pause_s()
            raise
        self._backoff.reset()
        return self._connection


async def _no_reset(_: asyncpg.Connection) -> None:
    """In place of asyncpg's reset query: one round trip less for each use."""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
