"""The DevTools protocol as pages see it, whatever carries it: calls, answers, events.

A link is one browser process and the calls that are under way in it. `Pipe` carries them over two
descriptors, `PyppeteerLink` over a websocket. When the browser is gone every pending call fails in
the same turn of the event loop; a page that is gone fails its own calls and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

SEND_LIMIT_BYTES = 96 * 1024 * 1024  # Chromium never answers a message above 100 MiB
RECEIVE_LIMIT_BYTES = 192 * 1024 * 1024

Handler = Callable[[str, Mapping[str, Any]], None]


class LinkError(Exception):
    """Base of what a call can raise besides TimeoutError."""


class BrowserGone(LinkError):
    """The browser ended or closed its side."""


class SessionGone(LinkError):
    """The page that the call was for crashed or was closed."""


class CallRefused(LinkError):
    """The browser answered with an error."""

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method}: {text}")
        self.code = code
        """The number of JSON-RPC; 0 where the transport does not tell."""
        self.text = text


class MessageTooLarge(LinkError):
    """A command or an answer is above the limit of the link."""


class Link(asyncio.SubprocessProtocol):
    """One browser process and the calls that are under way in it.

    Used from one event loop. Calls take no time-out of their own: callers hold the deadline, and a
    call that is cancelled is forgotten (its late answer is dropped).
    """

    streams_always = False
    """Whether even a small PDF is read in pieces, because one large answer would end the link."""

    def __init__(self) -> None:
        self._process: asyncio.SubprocessTransport | None = None
        self._next_id = 0
        self._calls: dict[int, tuple[asyncio.Future[Any], str, str | None]] = {}
        self._handlers: dict[str | None, Handler] = {}
        self._ended: str | None = None
        self.exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether calls can be made; False from the first sign of the browser's end."""
        return self._ended is None

    @property
    def pid(self) -> int:
        """The browser process, leader of its own session and process group."""
        if self._process is None:
            raise BrowserGone("the browser was never started")
        return self._process.get_pid()

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, session: str | None = None
    ) -> dict[str, Any]:
        """Sends one command and waits for its answer; raises LinkError."""
        call_id, waiting = self._send(method, params, session)
        try:
            answer: dict[str, Any] = await waiting
        finally:
            self._calls.pop(call_id, None)
        return answer

    def notify(
        self, method: str, params: Mapping[str, Any] | None = None, *, session: str | None = None
    ) -> None:
        """Sends one command whose answer interests nobody; a browser that is gone is no error."""
        with contextlib.suppress(LinkError):
            call_id, forgotten = self._send(method, params, session)
            self._calls.pop(call_id, None)
            forgotten.cancel()

    def listen(self, session: str | None, handler: Handler) -> None:
        """Hands the events of one session (None: of the browser) to `handler`, as they come."""
        self._handlers[session] = handler

    def drop_session(self, session: str, reason: str) -> None:
        """Fails the calls of one session and forgets its handler; the other sessions go on."""
        self._handlers.pop(session, None)
        for future, _, owner in self._calls.values():
            if owner == session and not future.done():
                future.set_exception(SessionGone(reason))

    def close(self) -> None:
        """Closes our side, which makes a healthy browser exit; pending calls fail."""
        self._end("the browser was closed")
        if self._process is not None:
            self._process.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process was started."""
        self._process = cast("asyncio.SubprocessTransport", transport)  # uvloop's is no subclass

    def process_exited(self) -> None:
        """The process was reaped."""
        code = self._process.get_returncode() if self._process else None
        self._end(f"the browser exited with {code}")
        if not self.exited.done():
            self.exited.set_result(code)

    # What a transport brings, and what it calls.

    @abstractmethod
    def _write(
        self, call_id: int, method: str, params: Mapping[str, Any], session: str | None
    ) -> None:
        """Puts one command on the wire; raises LinkError when it can't."""

    def _answered(self, call_id: int, answer: Mapping[str, Any] | LinkError) -> None:
        future, *_ = self._calls.get(call_id, (None,))
        if future is None or future.done():
            return
        if isinstance(answer, LinkError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _happened(self, session: str | None, name: str, params: Mapping[str, Any]) -> None:
        handler = self._handlers.get(session)
        if handler is not None:
            handler(name, params)

    def _closed(self, session: str) -> None:
        """A page went without a crash: what it was asked stays unanswered."""
        self._happened(session, "Makeready.pageClosed", {"reason": "the page was closed"})

    def _end(self, reason: str) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        for future, _, _ in self._calls.values():
            if not future.done():
                future.set_exception(BrowserGone(reason))
        handlers, self._handlers = self._handlers, {}
        for handler in handlers.values():
            handler("Makeready.browserGone", {"reason": reason})

    def _send(
        self, method: str, params: Mapping[str, Any] | None, session: str | None
    ) -> tuple[int, asyncio.Future[Any]]:
        if self._ended is not None or self._process is None:
            raise BrowserGone(self._ended or "the browser was never started")
        self._next_id += 1
        future = asyncio.get_running_loop().create_future()
        self._calls[self._next_id] = (future, method, session)
        try:
            self._write(self._next_id, method, params or {}, session)
        except LinkError:
            del self._calls[self._next_id]
            raise
        return self._next_id, future
