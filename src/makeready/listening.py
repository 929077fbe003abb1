"""The one LISTEN connection of a process.

Notifications on the channel `makeready` are words: `wake <queue>`, `end <queue> <id>…`,
`cancel <queue> <id>`, `ping <token>`. Each is a hint: whoever gets one reads the truth from the
database, and works without it, slower. The callbacks run inside the connection's own reader and
only set flags; a listener that is slow to read would hold back vacuum.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import asyncpg
import structlog

from makeready.config import Settings
from makeready.db import CONNECT_TIMEOUT_S, Role, connect, session_settings
from makeready.faults import Backoff, database_fault, note_fault

CHANNEL = "makeready"
CANARY_EVERY_S = 5.0
CANARY_WITHIN_S = 3.0  # a notification that takes longer means a dead or half-open socket
STATEMENT_TIMEOUT_S = 3.0
SESSION = {
    "synchronous_commit": "off",  # a ping must not wait for the disk while it holds NOTIFY's lock
    # The server's side: a host that lost power frees its session lock within some 11 s.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

OnHint: TypeAlias = Callable[[list[str]], None]
OnSweep: TypeAlias = Callable[[], None]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatistics:
    """What the listener has seen since it started."""

    hears: bool
    """False while there is no connection whose canary came back."""
    holds_lock: bool
    connects: int
    notifications: int
    canary_ms: float | None
    """How long the last ping took, there and back."""


class Listener:
    """Listens while `run` runs; comes back by itself, at most 2 s after each fault.

    After each (re)connection the sweep callbacks are called: whatever was notified meanwhile is
    lost, so look at everything once. `lock_for` makes the session hold a worker's advisory lock;
    PostgreSQL frees it the moment the process dies.
    """

    def __init__(self, settings: Settings, role: Role) -> None:
        self._dsn = settings.listener_url
        self._settings = session_settings(settings, role, part="listener") | SESSION
        self._callbacks: dict[str, list[OnHint]] = {"ping": [self._on_ping]}
        self._sweeps: list[OnSweep] = []
        self._worker: uuid.UUID | None = None
        self._me = uuid.uuid4().hex
        self._heard = asyncio.Event()
        self._pong = asyncio.Event()
        self._holds_lock = False
        self._connects = 0
        self._notifications = 0
        self._canary_ms: float | None = None

    @property
    def hears(self) -> bool:
        """True while notifications arrive; else callers poll more often."""
        return self._heard.is_set()

    @property
    def holds_lock(self) -> bool:
        """True while the session holds the worker's lock."""
        return self._holds_lock

    def on(self, verb: str, callback: OnHint) -> None:
        """Calls back with the words after `verb` of each such notification; must not block."""
        self._callbacks.setdefault(verb, []).append(callback)

    def on_sweep(self, callback: OnSweep) -> None:
        """Calls back after each (re)connection, and when hearing ends."""
        self._sweeps.append(callback)

    def lock_for(self, worker: uuid.UUID) -> None:
        """Has the session hold the lock of this worker, some seconds from now at the latest."""
        self._worker = worker

    async def wait_hearing(self, timeout_s: float) -> bool:
        """Waits until notifications arrive; False when that takes longer than `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self._heard.wait()
        return self.hears

    def statistics(self) -> ListenerStatistics:
        """Figures for metrics and tests."""
        return ListenerStatistics(
            hears=self.hears,
            holds_lock=self._holds_lock,
            connects=self._connects,
            notifications=self._notifications,
            canary_ms=self._canary_ms,
        )

    async def run(self) -> None:
        """Listens until cancelled; no fault of the database ends it."""
        backoff = Backoff()
        reported = -1
        while True:
            try:
                with database_fault():
                    await self._session(backoff)
            except Exception as error:  # noqa: BLE001 -- a process must not die of its listener
                if reported != self._connects:  # once an outage, not each try
                    reported = self._connects
                    note_fault(_log, "listener_lost", error)
            await anyio.sleep(backoff.pause_s())

    async def _session(self, backoff: Backoff) -> None:
        connection = await connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            server_settings=self._settings,
        )
        try:
            gone = asyncio.Event()
            connection.add_termination_listener(lambda *_: gone.set())
            await connection.add_listener(CHANNEL, self._on_notification)
            self._connects += 1
            while not gone.is_set():
                await self._take_lock(connection)
                await self._canary(connection)
                if not self.hears:
                    self._set_hearing(hears=True)
                    backoff.reset()
                with anyio.move_on_after(CANARY_EVERY_S):
                    await gone.wait()
        finally:
            self._holds_lock = False
            self._set_hearing(hears=False)
            connection.terminate()

    async def _take_lock(self, connection: asyncpg.Connection) -> None:
        if self._worker is None or self._holds_lock:
            return
        # Tried, never waited for: our own previous session may hold it until its socket times out.
        self._holds_lock = bool(
            await connection.fetchval(
                "select pg_try_advisory_lock(makeready.session_key($1))", self._worker
            )
        )

    async def _canary(self, connection: asyncpg.Connection) -> None:
        self._pong.clear()
        clock = asyncio.get_running_loop().time
        sent = clock()
        with anyio.fail_after(CANARY_WITHIN_S):
            await connection.execute("select pg_notify($1, $2)", CHANNEL, f"ping {self._me}")
            await self._pong.wait()
        self._canary_ms = (clock() - sent) * 1000

    def _set_hearing(self, *, hears: bool) -> None:
        if hears == self.hears:
            return
        if hears:
            self._heard.set()
        else:
            self._heard.clear()
        for callback in self._sweeps:
            callback()

    def _on_notification(self, _: Any, __: int, ___: str, payload: object) -> None:
        self._notifications += 1
        verb, *words = str(payload).split() or [""]  # anybody may notify anything
        for callback in self._callbacks.get(verb, ()):
            callback(words)

    def _on_ping(self, words: list[str]) -> None:
        if words == [self._me]:
            self._pong.set()
