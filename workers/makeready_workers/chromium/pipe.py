"""The DevTools protocol over two pipes: calls, answers, events, and nothing else.

Chromium started with `--remote-debugging-pipe` reads commands from descriptor 3 and writes answers
to descriptor 4, JSON closed by a zero byte. There is no port, so no other process can drive the
browser, and a browser whose owner died reads the end of the file and exits by itself.

When the browser is gone every pending call fails in the same turn of the event loop. An answer
that is too large fails its own call and is thrown away as it streams in; the neighbours' answers
stay readable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

SEND_LIMIT_BYTES = 96 * 1024 * 1024  # Chromium never answers a message above 100 MiB
RECEIVE_LIMIT_BYTES = 192 * 1024 * 1024

Handler = Callable[[str, Mapping[str, Any]], None]

_COMMANDS, _ANSWERS = 0, 1  # the launcher moves these to 3 and 4 (jail.py)
_CALL_ID = re.compile(rb'^\{"id":\s*(\d+)')


class PipeError(Exception):
    """Base of what a call can raise besides TimeoutError."""


class BrowserGone(PipeError):
    """The browser ended or closed its pipe."""


class SessionGone(PipeError):
    """The page that the call was for crashed or was closed."""


class CallRefused(PipeError):
    """The browser answered with an error."""

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method}: {text}")
        self.code = code
        self.text = text


class MessageTooLarge(PipeError):
    """A command or an answer is above the limit of the pipe."""


class Pipe(asyncio.SubprocessProtocol):
    """One browser process and the calls that are under way in it.

    Used from one event loop. Calls take no time-out of their own: callers hold the deadline, and a
    call that is cancelled is forgotten (its late answer is dropped).
    """

    def __init__(self, receive_limit: int = RECEIVE_LIMIT_BYTES) -> None:
        self._receive_limit = receive_limit
        self._transport: asyncio.SubprocessTransport | None = None
        self._next_id = 0
        self._calls: dict[int, tuple[asyncio.Future[Any], str, str | None]] = {}
        self._handlers: dict[str | None, Handler] = {}
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._discarding = False
        self._ended: str | None = None
        self.exited = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether calls can be made; False from the first sign of the browser's end."""
        return self._ended is None

    @property
    def pid(self) -> int:
        """The browser process, leader of its own session and process group."""
        if self._transport is None:
            raise BrowserGone("the browser was never started")
        return self._transport.get_pid()

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, session: str | None = None
    ) -> dict[str, Any]:
        """Sends one command and waits for its answer; raises PipeError."""
        waiting = self._send(method, params, session)
        call_id = self._next_id
        try:
            answer: dict[str, Any] = await waiting
        finally:
            self._calls.pop(call_id, None)
        return answer

    def notify(
        self, method: str, params: Mapping[str, Any] | None = None, *, session: str | None = None
    ) -> None:
        """Sends one command whose answer interests nobody; a browser that is gone is no error."""
        with contextlib.suppress(PipeError):
            _ = self._send(method, params, session)
            forgotten, *_ = self._calls.pop(self._next_id)
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
        """Closes both pipes, which makes a healthy browser exit; pending calls fail."""
        self._end("the browser was closed")
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process was started."""
        self._transport = cast("asyncio.SubprocessTransport", transport)  # uvloop's is no subclass

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Some of an answer, or several of them."""
        if fd != _ANSWERS:
            return
        *whole, rest = data.split(b"\0")
        for piece in whole:
            self._collect(piece)
            self._close_message()
        if rest:
            self._collect(rest)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Either pipe is closed: the browser is gone or about to go."""
        self._end("the browser closed its pipe")

    def process_exited(self) -> None:
        """The process was reaped."""
        code = self._transport.get_returncode() if self._transport else None
        self._end(f"the browser exited with {code}")
        if not self.exited.done():
            self.exited.set_result(code)

    # In the order of use.

    def _send(
        self, method: str, params: Mapping[str, Any] | None, session: str | None
    ) -> asyncio.Future[Any]:
        if self._ended is not None or self._transport is None:
            raise BrowserGone(self._ended or "the browser was never started")
        message: dict[str, Any] = {"id": self._next_id + 1, "method": method}
        if params:
            message["params"] = params
        if session is not None:
            message["sessionId"] = session
        # Plain UTF-8: escaping would make Russian text three times as long on the wire.
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace"
        )
        if len(line) > SEND_LIMIT_BYTES:
            raise MessageTooLarge(f"{method}: {len(line)} bytes, {SEND_LIMIT_BYTES} are allowed")
        self._next_id += 1
        future = asyncio.get_running_loop().create_future()
        self._calls[self._next_id] = (future, method, session)
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(_COMMANDS))
        stdin.write(line + b"\0")
        return future

    def _collect(self, piece: bytes) -> None:
        if self._discarding:
            return
        self._parts.append(piece)
        self._part_bytes += len(piece)
        if self._part_bytes > self._receive_limit:
            self._refuse_message()

    def _refuse_message(self) -> None:
        head = b"".join(self._parts[:2])[:64]
        self._discarding = True
        self._parts.clear()
        found = _CALL_ID.match(head)
        call = self._calls.get(int(found.group(1))) if found else None
        if call is not None and not call[0].done():
            call[0].set_exception(
                MessageTooLarge(f"{call[1]}: the answer is above {self._receive_limit} bytes")
            )

    def _close_message(self) -> None:
        message = b"".join(self._parts)
        discarded, self._discarding = self._discarding, False
        self._parts.clear()
        self._part_bytes = 0
        if not discarded and message:
            self._dispatch(json.loads(message))

    def _dispatch(self, message: Mapping[str, Any]) -> None:
        if "id" not in message:
            handler = self._handlers.get(message.get("sessionId"))
            if handler is not None:
                handler(message["method"], message.get("params", {}))
            return
        future, method, _ = self._calls.get(message["id"], (None, "", None))
        if future is None or future.done():
            return
        if "error" in message:
            error = message["error"]
            text = " ".join(
                str(part) for part in (error.get("message"), error.get("data")) if part
            )
            future.set_exception(CallRefused(method, int(error.get("code", 0)), text))
        else:
            future.set_result(message.get("result", {}))

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
