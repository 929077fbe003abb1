"""HTTP/1.1 for callers that cannot be trusted: bounds on what uvicorn reads without asking.

uvicorn's protocol has no limit on a head and no time limit on a request. Here a head has 64 KiB
and ten seconds, and so has what still comes of a body after its answer; a body that a route reads
has a time limit there. A refusal is in the envelope of all others, and closes the connection.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from makeready_http.problems import answer, invalid_request

HEAD_MAX_BYTES = 64 << 10
HEAD_TIMEOUT_S = 10.0
LINGER_S = 1.0
REST_TIMEOUT_S = 10.0  # for the rest of a body that nobody reads any more

_log = structlog.get_logger(__name__)


class HeadTooLargeError(Exception):
    """Raised in the parser's callbacks, which stops it."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._is_in_message = self._is_refused = False
        self._head_bytes = 0
        """Of the fields of this message that are complete."""
        self._bare_bytes = 0
        """Since the message began, its head ended or a piece of its body came."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is closed like one that stops in its head."""
        super().connection_made(transport)
        self._expect(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The last call."""
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; uvicorn answers what it cannot read."""
        if self._is_refused:
            return
        self._bare_bytes += len(data)
        super().data_received(data)
        if self._has_ended():
            return
        if self._bare_bytes > HEAD_MAX_BYTES:
            self._refuse_head()
        elif self._timer is None and not self._is_in_message and self._is_answered():
            self._expect(HEAD_TIMEOUT_S)  # blank lines between requests: they end the keep-alive

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._is_in_message = True
        self._head_bytes = self._bare_bytes = 0
        self._expect(HEAD_TIMEOUT_S)

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, of the head or after a chunked body."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: from here on the route has the time limits."""
        self._bare_bytes = 0
        self._expect(None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._bare_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._is_in_message = False
        self._bare_bytes = 0
        if self._is_answered():
            self._expect(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out; the rest of the request may still be on its way."""
        super().on_response_complete()
        if self._is_in_message and not self.transport.is_closing() and self._is_answered():
            self._expect(REST_TIMEOUT_S)

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's plain text."""
        if self._head_bytes > HEAD_MAX_BYTES:
            self._refuse_head()
        else:
            self._refuse(msg, "http")

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_MAX_BYTES:
            raise HeadTooLargeError

    def _has_ended(self) -> bool:
        return self._is_refused or self.transport.is_closing()

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]

    def _expect(self, timeout_s: float | None) -> None:
        """Closes the connection unless what is expected comes in time; None: nothing is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout_s is not None:
            self._timer = self.loop.call_later(timeout_s, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if not self._is_answered():  # half of the next request came while this one is served
            self._expect(HEAD_TIMEOUT_S)
        elif not self.transport.is_closing():
            _log.info("connection_closed", reason="timeout")
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(f"A head may have {HEAD_MAX_BYTES} bytes.", "headers_too_large")

    def _refuse(self, message: str, reason: str) -> None:
        """Answers, unless an answer is under way already; closes in any case.

        What still comes is thrown away for a second: a socket that is closed with something unread
        in it takes the answer with it.
        """
        _log.info("connection_closed", reason=reason)
        if not self._is_answered():
            self.transport.close()
        else:
            self._is_refused = True
            refusal = invalid_request(message, field="head", reason=reason).refusal
            response = answer(refusal)
            response.headers["X-Request-Id"] = str(uuid.uuid4())
            response.headers["Connection"] = "close"
            response.headers["Cache-Control"] = "no-store"  # whatever was asked for
            head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
            status = b"HTTP/1.1 400 Bad Request\r\n"
            self.transport.write(status + head + b"\r\n" + bytes(response.body))
            self.transport.write_eof()
            self._expect(None)
            self._timer = self.loop.call_later(LINGER_S, self.transport.close)
