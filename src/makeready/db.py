"""Connections to PostgreSQL: the pool, the control connection, and what to do when they break.

A process holds one pool for its work, one `Control` for small calls that need no flush, and one
`Listener` (makeready.listening). Nothing here knows a job. A database that goes away is an
ordinary event: every wait has a bound, every retry has jitter, and only the caller knows when to
give up.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias, TypeVar

import anyio
import asyncpg
import structlog

from makeready.config import Settings

Role: TypeAlias = Literal["makeready_http", "makeready_worker", "makeready_ops"]
Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
Executor: TypeAlias = "asyncpg.Pool | asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
"""Anything that runs one statement: a pool takes a connection of its own for it."""
T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 30.0  # the server ends a statement of the pool
ANSWER_TIMEOUT_S = 35.0  # a socket that died without a word; above the server's own limit
LOCK_TIMEOUT_S = 2.0  # behind a forgotten psql session, fail loudly
IDLE_IN_TRANSACTION_S = 10.0
CLOSE_TIMEOUT_S = 2.0
CONTROL_TIMEOUT_S = 3.0  # one call, connecting included
CONTROL_STATEMENT_TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.05  # a killed backend: back before a second beat is missed
LONGEST_PAUSE_S = 2.0

_RETRY_CLASSES = ("08", "53")  # connection exceptions; insufficient resources
_RETRY_STATES = frozenset({
    "57P01", "57P02", "57P03",  # shut down, crashed, starting up
    "40001", "40P01",  # serialization failure, deadlock
    "25006",  # read-only: the primary has moved
    "55P03", "57014",  # lock_timeout, statement_timeout
    "55000",  # the database accepts no connections at the moment
})  # fmt: skip
# InternalClientError: a statement sent between the server's last word and the end of the socket.
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError)
_AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "25006"})

_log = structlog.get_logger(__name__)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later, in a new connection if need be."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        return state in _RETRY_STATES or state.startswith(_RETRY_CLASSES)
    return isinstance(error, (OSError, TimeoutError, *_BROKEN))


def is_away(error: BaseException) -> bool:
    """Whether the database itself said that it is going, gone or not yet there."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        return state in _AWAY_STATES or state.startswith(_RETRY_CLASSES)
    return isinstance(error, _BROKEN)


class Backoff:
    """Pauses between tries: from 50 ms, doubling to 2 s, each shortened by up to a half."""

    def __init__(
        self, *, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S
    ) -> None:
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def reset(self) -> None:
        """The last try went well: the next pause is the shortest again."""
        self._next_s = self._first_s

    def pause_s(self) -> float:
        """Seconds to wait before the next try."""
        pause, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        return pause * random.uniform(0.5, 1)  # noqa: S311 -- jitter, not a secret


async def again(call: Callable[[], Awaitable[T]], *, patience_s: float) -> T:
    """Repeats a call through transient faults for at most `patience_s` seconds.

    Then raises the last fault. Only for calls that may happen twice: reads, and writes that a
    lease or a key fences.
    """
    backoff = Backoff()
    until = time.monotonic() + patience_s
    while True:
        try:
            return await call()
        except Exception as error:
            pause = backoff.pause_s()
            if not is_transient(error) or time.monotonic() + pause > until:
                raise
        await anyio.sleep(pause)


def session_settings(settings: Settings, role: Role | None, *, part: str) -> dict[str, str]:
    """What every session of this process is started with; `part` shows in pg_stat_activity."""
    chosen = {
        "application_name": f"makeready {part} {settings.instance}"[:63],
        "jit": "off",
        "lock_timeout": _ms(LOCK_TIMEOUT_S),
        "idle_in_transaction_session_timeout": _ms(IDLE_IN_TRANSACTION_S),
    }
    if role and settings.database_roles:
        chosen["role"] = role
    return chosen


async def open_pool(
    settings: Settings, role: Role, *, size: int, patience_s: float = 0
) -> asyncpg.Pool:
    """Opens the pool of a process, at most `size` connections, the first one at once.

    A database that is not there yet is waited for `patience_s` seconds; then the fault is raised.
    Connections go back without a reset query: nothing in Makeready leaves session state behind,
    and an open transaction is rolled back all the same.
    """
    chosen = session_settings(settings, role, part="pool")
    chosen["statement_timeout"] = _ms(STATEMENT_TIMEOUT_S)

    async def connect() -> asyncpg.Pool:
        pool = await asyncpg.create_pool(
            settings.database_url,
            min_size=0,  # a floor would be restored by a task that complains all through an outage
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=ANSWER_TIMEOUT_S,
            max_inactive_connection_lifetime=300,
            max_cached_statement_lifetime=0,  # preparing anew costs a claim its millisecond
            server_settings=chosen,
            reset=_no_reset,
        )
        try:
            async with pool.acquire():
                return pool
        except BaseException:
            pool.terminate()
            raise

    return await again(connect, patience_s=patience_s)


@asynccontextmanager
async def pool_opened(
    settings: Settings, role: Role, *, size: int, patience_s: float = 0
) -> AsyncIterator[asyncpg.Pool]:
    """`open_pool` as a context: closes in 2 s at most, by force if connections are still out."""
    pool = await open_pool(settings, role, size=size, patience_s=patience_s)
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
    except (TimeoutError, OSError, asyncpg.PostgresError, *_BROKEN):
        pool.terminate()


class Control:
    """One connection for small calls that need no flush: beat, tick, wake, announce.

    It opens at the first call, breaks and comes back by itself. A call that finds its connection
    dead is repeated once on a new one, so every call made here must bear that. Calls take turns.
    """

    def __init__(self, settings: Settings, role: Role, *, part: str = "control") -> None:
        self._dsn = settings.listener_url  # session state: not through a transaction pooler
        self._settings = session_settings(settings, role, part=part)
        self._settings |= {
            "synchronous_commit": "off",
            "statement_timeout": _ms(CONTROL_STATEMENT_TIMEOUT_S),
        }
        self._connection: asyncpg.Connection | None = None
        self._turn = anyio.Lock()
        self._backoff = Backoff()
        self._not_before = 0.0

    async def fetch(
        self, query: str, *values: Any, timeout_s: float = CONTROL_TIMEOUT_S
    ) -> list[asyncpg.Record]:
        """Runs one statement within `timeout_s` seconds, connecting included.

        Raises what `is_transient` knows when the database is away; other errors as they are.
        """
        with anyio.fail_after(timeout_s):
            async with self._turn:
                connection = self._connection
                if connection is not None:
                    try:
                        return await self._run(connection, query, values)
                    except Exception as error:
                        if connection is self._connection or not is_transient(error):
                            raise
                return await self._run(await self._connect(), query, values)

    async def close(self) -> None:
        """Closes the connection; a later call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                try:
                    await connection.close(timeout=CLOSE_TIMEOUT_S)
                except (OSError, asyncpg.PostgresError, *_BROKEN):
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
                connection.terminate()
            raise

    async def _connect(self) -> asyncpg.Connection:
        await anyio.sleep(max(0.0, self._not_before - time.monotonic()))
        try:
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                max_cached_statement_lifetime=0,
                server_settings=self._settings,
            )
        except Exception:
            self._not_before = time.monotonic() + self._backoff.pause_s()
            raise
        self._backoff.reset()
        return self._connection


async def _no_reset(_: asyncpg.Connection) -> None:
    """In place of asyncpg's reset query: one round trip less for each use."""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
