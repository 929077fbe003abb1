"""Bodies of requests as they come: bounded in their length, and in how slowly they may come."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
from starlette.requests import Request

from makeready_http.problems import Problem, invalid_request

LINGER_S = 1.0
TIMEOUT_S = 15.0
BYTES_PER_S = 32 << 10  # a body that comes faster than this has all the time it needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slowly a body may come."""

    first_s: float
    """Before it has to come at all."""
    bytes_per_s: int
    """What comes faster has all the time it needs."""
    silence_s: float = math.inf
    """At a time, however fast it came before."""


class BodyChunks:
    """A body, read while its block runs.

    413 over the limit, 408 when it comes too slowly, 400 when it ends early. Only waiting for the
    client counts against its time.
    """

    def __init__(self, request: Request, max_bytes: int, pace: Pace | None = None) -> None:
        self._declared = declared_length(request)
        self._is_asked_first = request.headers.get("expect", "").lower() == "100-continue"
        self._receive = request.receive
        self._max_bytes = max_bytes
        self._received = 0
        self._is_over = False
        self._patience = _Patience(pace or Pace(first_s=TIMEOUT_S, bytes_per_s=BYTES_PER_S))

    def __enter__(self) -> Self:
        self._patience.scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patience.end()
        if self._patience.scope.__exit__(kind, error, trace):
            raise _too_slow(self._received) from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._declared > self._max_bytes:
            if self._is_asked_first:
                self._is_over = True  # whoever asks for more would have it sent
            await self.linger()
            raise _too_large(self._max_bytes, self._declared)
        self._patience.wait()
        chunk = await self._next()
        self._patience.came(len(chunk))
        if not chunk:
            raise StopAsyncIteration
        self._received += len(chunk)
        if self._received > self._max_bytes:
            await self.linger()
            raise _too_large(self._max_bytes, self._received)
        return chunk

    async def linger(self) -> None:
        """Throws away what still comes, for a while: most clients read no answer while they send.

        Nothing can be read after it.
        """
        with anyio.move_on_after(LINGER_S):
            while await self._next():
                pass
        self._is_over = True

    async def _next(self) -> bytes:
        """What comes next; nothing at the end."""
        while not self._is_over:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._is_over = True
                raise invalid_request("The body ended early.", field="body", reason="aborted")
            self._is_over = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            if chunk:
                return chunk
        return b""


class _Patience:
    """Cancels its scope when a client is waited for too long.

    One timer for all waits, which goes off too early and is set anew then: a time limit of its own
    for each wait costs more than the reading.
    """

    def __init__(self, pace: Pace) -> None:
        self.scope = anyio.CancelScope()
        self._pace = pace
        self._left_s = pace.first_s
        self._since: float | None = None
        """When the wait began that goes on."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._loop = asyncio.get_running_loop()

    def wait(self) -> None:
        """From now on the client is waited for."""
        self._since = time.monotonic()
        if self._since + self._left_s < self._alarm_at:
            self._set_alarm(self._left_s)

    def came(self, size: int) -> None:
        """Something has come, or the end."""
        if self._since is not None:
            left_s = self._left_s + size / self._pace.bytes_per_s
            self._left_s = min(left_s - (time.monotonic() - self._since), self._pace.silence_s)
            self._since = None

    def end(self) -> None:
        """Nobody is waited for any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _set_alarm(self, seconds: float) -> None:
        self.end()
        self._alarm = self._loop.call_later(seconds, self._look)
        self._alarm_at = time.monotonic() + seconds

    def _look(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._since is not None:
            left_s = self._since + self._left_s - time.monotonic()
            if left_s > 0:
                self._set_alarm(left_s)
            else:
                self.scope.cancel()


def declared_length(request: Request) -> int:
    """In bytes; 0 when the client does not say."""
    stated = request.headers.get("content-length", "")
    return int(stated) if stated.isdecimal() else 0


def _too_slow(received: int) -> Problem:
    return Problem(
        "upload_timeout",
        "The body came too slowly.",
        details={"received_bytes": received},
        headers={"Connection": "close"},
    )


def _too_large(max_bytes: int, received: int) -> Problem:
    return Problem(
        "payload_too_large",
        f"The body may have {max_bytes} bytes.",
        details={"max_bytes": max_bytes, "received_bytes": received},
        headers={"Connection": "close"},  # the rest is not read
    )
