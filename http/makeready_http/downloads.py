"""Downloads of stored bytes that can be resumed: one object, or many in an archive.

The length is known before the first byte, so a download that breaks off is noticed and goes on
with `Range`; what is not whole breaks off too, and is never padded. HEAD answers as GET would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import anyio
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from makeready.archive import Piece
from makeready.read_ahead import Read, deliver
from makeready.storage import content_disposition
from makeready_http.problems import Problem

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"([^"]*)"')

Pieces: TypeAlias = Callable[[int, int], Iterator[Piece]]
"""The bytes from the first to the last, both included."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What can be downloaded under one address."""

    filename: str
    media_type: str
    byte_count: int
    etag: str
    """Without quotes; strong: other bytes have another."""
    pieces: Pieces
    read: Read
    is_inline: bool = False
    """To be shown, not saved."""


def not_modified(request: Request, etag: str) -> Response | None:
    """304 when the client has these very bytes: before anything is looked up in storage."""
    known = request.headers.get("if-none-match")
    if known is None or not (known.strip() == "*" or etag in _TAG.findall(known)):
        return None
    return Response(status_code=304, headers=validators(etag))


def answer_download(request: Request, download: Download) -> Response:
    """All of it, or the range that is asked for; raises Problem for one that lies outside."""
    size = download.byte_count
    bounds = _range(request, download) if request.method == "GET" else None
    first, last = bounds or (0, size - 1)
    headers = {
        **validators(download.etag),
        "Accept-Ranges": "bytes",
        "Content-Length": str(last - first + 1),
        "Content-Disposition": _disposition(download),
        "X-Content-Type-Options": "nosniff",
    }
    if bounds is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    if request.method == "HEAD" or not size:
        return Response(headers=headers, media_type=download.media_type)
    return _Streamed(download, first, last, headers, is_part=bounds is not None)


class _Streamed(Response):
    """An answer whose body is read from storage while it is sent."""

    def __init__(
        self, download: Download, first: int, last: int, headers: dict[str, str], *, is_part: bool
    ) -> None:
        super().__init__(
            status_code=206 if is_part else 200, headers=headers, media_type=download.media_type
        )
        self._download, self._first, self._last = download, first, last
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Sends it. Raises what makes it break off; a client that goes away ends the reading."""
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_at_disconnect, receive, tasks.cancel_scope)
                try:
                    await self._send(send)
                except Exception as error:  # noqa: BLE001 -- raised below, not as a group
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            sent = self._sent
            is_whole = sent == self._last - self._first + 1
            _log.info("download_finished", first=self._first, sent_bytes=sent, is_whole=is_whole)
        if failure is not None:
            raise failure

    async def _send(self, send: Send) -> None:
        async def take(some: bytes) -> None:
            await send({"type": "http.response.body", "body": some, "more_body": True})
            self._sent += len(some)

        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        pieces = self._download.pieces(self._first, self._last)
        await deliver(pieces, self._download.read, take)
        await send({"type": "http.response.body", "body": b""})


def _disposition(download: Download) -> str:
    return content_disposition(download.filename, is_inline=download.is_inline)


async def _cancel_at_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def validators(etag: str) -> dict[str, str]:
    """A browser may keep it, and asks each time whether its user still may have it."""
    return {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}


def _range(request: Request, download: Download) -> tuple[int, int] | None:
    """First and last byte that are asked for; None: all of it.

    What is no range, several at once, or meant for other bytes than these, is let be (RFC 9110).
    """
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if not found or not any(found.groups()) or condition not in {None, f'"{download.etag}"'}:
        return None
    size, (low, high) = download.byte_count, found.groups()
    if not low:  # so many at the end
        first, last = max(size - int(high), 0), size - 1
    else:
        first, last = int(low), min(int(high or size), size - 1)
        if high and int(high) < int(low):
            return None
    if first > last:
        raise Problem(
            "range_not_satisfiable",
            f"It has {size} bytes.",
            details={"size_bytes": size},
            headers={"Content-Range": f"bytes */{size}"},
        )
    return first, last
