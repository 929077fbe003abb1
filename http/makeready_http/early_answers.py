"""Answers that go out before a body has come whole reach their client all the same.

A socket that is closed with something unread in it takes the answer with it, and many clients read
none while they send. So the answer goes out, the connection is to be closed, and what still comes
is thrown away for a while. Who asked first whether to send is told no, and mostly sends nothing.
"""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from makeready_http.inputs import has_body

PREFIXES = ("/ingest/", "/api/")
DRAIN_S = 2.0
UNASKED_S = 0.25
"""For the first bytes of a client that asked whether to send, and may have sent all the same."""
DRAIN_BYTES = 32 << 20


class EarlyAnswers:
    """The outermost middleware, of the routes that take photos."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIXES):
            await self._app(scope, receive, send)
            return
        body = _Body(receive, Headers(scope=scope))
        await self._app(scope, body.receive, body.answering(send))


class _Body:
    """What is known of a body that somebody reads."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._is_over = not has_body(headers)
        self._is_asking = headers.get("expect", "").lower() == "100-continue"
        """The client waits to be told to send it, and nobody has."""

    async def receive(self) -> Message:
        self._is_asking = False
        message = await self._receive()
        self._is_over = not message.get("more_body", False)
        return message

    def answering(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if self._is_over:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                await self._drain()
                await send({"type": "http.response.body", "body": b""})

        return answer

    async def _drain(self) -> None:
        left = DRAIN_BYTES
        with anyio.move_on_after(UNASKED_S if self._is_asking else DRAIN_S) as patience:
            if self._is_asking:
                left -= len((await self.receive()).get("body", b""))
                patience.deadline += DRAIN_S
            while left > 0 and not self._is_over:
                left -= len((await self.receive()).get("body", b""))
