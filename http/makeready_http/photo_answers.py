"""Answers to booths: streamed from where the image lies, followed by what is due then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from makeready.media import MediaStore, StoredMedia


class Body:
    """What a client sends, and whether the client is still there."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self.is_gone = False

    async def __call__(self) -> Message:
        """The next message, as ASGI has them."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_gone = True
        return message

    async def until_gone(self) -> None:
        """Waits until the client is gone."""
        while not self.is_gone:
            await self()


class ImageAnswer(Response):
    """A stored image, sent as it is read; what is not there is noticed before the first byte."""

    def __init__(
        self,
        stored: StoredMedia,
        pieces: AsyncGenerator[bytes, None],
        first: bytes,
    ) -> None:
        headers = {
            "Content-Length": str(stored.size_bytes),
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__(headers=headers, media_type=stored.media_type)
        self._size, self._first, self._pieces = stored.size_bytes, first, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Sends it; what breaks off breaks the connection."""
        async with aclosing(self._pieces) as pieces:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            left = self._size - len(self._first)
            await send(_piece(self._first, left))
            async for piece in pieces:
                left -= len(piece)
                await send(_piece(piece, left))


def _piece(content: bytes, left: int) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": left > 0}


async def image_answer(media: MediaStore, stored: StoredMedia) -> ImageAnswer:
    """The answer with an image whose file is there; FileNotFoundError, StorageError, OSError."""
    pieces = media.stream(stored)
    try:
        first = await anext(pieces, b"")
    except BaseException:
        await pieces.aclose()
        raise
    return ImageAnswer(stored, pieces, first)


class Followed(Response):
    """An answer after which something is to be done, however it went."""

    def __init__(self, answer: Response, then: Callable[[], Awaitable[None]]) -> None:
        super().__init__(status_code=answer.status_code)
        self._answer, self._then = answer, then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, then does that; a request that is cancelled meanwhile stops neither."""
        try:
            await self._answer(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._then()
