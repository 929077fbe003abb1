"""What can go wrong between a process and its database, and how long to try again.

A database that goes away is an ordinary event. Whoever calls it decides here whether the same call
may succeed a moment later, and pauses with jitter between tries.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import asyncpg

T = TypeVar("T")

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
_AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "25006", "55000"})
# InternalClientError: a statement sent between the server's last word and the end of the socket.
BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseAway(ConnectionError):
    """No connection to the database is to be had at the moment."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later, in a new connection if need be."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        return state in _RETRY_STATES or state.startswith(_RETRY_CLASSES)
    return isinstance(error, (OSError, TimeoutError, *BROKEN))


def is_away(error: BaseException) -> bool:
    """Whether it is surely the database that is going, gone or not yet there."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        return state in _AWAY_STATES or state.startswith(_RETRY_CLASSES)
    return isinstance(error, (DatabaseAway, *BROKEN))


def note_fault(log: Any, event: str, error: BaseException, **facts: Any) -> None:
    """Writes a fault down: as an error if it is none of those that pass by themselves."""
    write = log.info if is_transient(error) else log.error
    write(event, error=f"{type(error).__name__}: {error}", **facts)


def alone(error: Exception) -> Exception:
    """The one error inside the groups that task groups put around it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def first_of(error: Exception) -> Exception:
    """The error itself, or the first of those that tasks side by side have raised."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def database_fault() -> Iterator[None]:
    """Turns what only a broken connection can raise here into DatabaseAway.

    Among it a CancelledError that nobody asked for: a library's own future was cancelled with its
    socket. Let through, it would end a task without a word.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise DatabaseAway("the connection broke in the middle of a call") from error


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
            with database_fault():
                return await call()
        except Exception as error:
            pause = backoff.pause_s()
            if not is_transient(error) or time.monotonic() + pause > until:
                raise
        await anyio.sleep(pause)
