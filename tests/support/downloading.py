"""A small service with one download, over a real socket, from objects in memory."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from makeready.archive import MEDIA_TYPE, Archive, Entry, Span
from makeready.storage_errors import ObjectMissing
from makeready_http.downloads import Download, answer_download, not_modified
from makeready_http.middleware import RequestScope
from makeready_http.protocol import BoundedProtocol
from tests.support.waiting import until

MADE_AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
CHUNK_BYTES = 256 << 10


@dataclass(slots=True, kw_only=True)
class Shelf:
    """Objects in memory, each of whose reads waits so long before its first byte."""

    objects: dict[str, bytes]
    latency_s: float = 0
    asked: list[Span] = field(default_factory=list)
    open: int = 0
    pause: asyncio.Event | None = None
    """Set: reads go on beyond their first chunk."""

    async def read(self, span: Span) -> AsyncGenerator[bytes, None]:
        self.asked.append(span)
        self.open += 1
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            body = self.objects.get(span.key)
            if body is None:
                raise ObjectMissing(f"get {span.key}: it is gone")
            part = memoryview(body)[span.first : span.last + 1]
            for at in range(0, len(part), CHUNK_BYTES):
                if at and self.pause is not None:
                    await self.pause.wait()
                yield bytes(part[at : at + CHUNK_BYTES])
        finally:
            self.open -= 1

    def archive(self, *, prefix: str = "Ресторан «Ёлки»/") -> Archive:
        """All objects as a ZIP."""
        entries = [
            Entry(name=f"{prefix}{key}", byte_count=len(body), crc32=zlib.crc32(body), source=key)
            for key, body in self.objects.items()
        ]
        return Archive([*entries, Entry.of("manifest.csv", b"table\r\n")], MADE_AT)


def shelf(count: int, size: int, *, latency_s: float = 0) -> Shelf:
    """So many objects of such a size, all different."""
    chance = random.Random(size)
    common = chance.randbytes(size - 8)
    objects = {f"Стол № {n:04}.pdf": common + n.to_bytes(8, "big") for n in range(count)}
    return Shelf(objects=objects, latency_s=latency_s)


def download_of(shelf: Shelf, archive: Archive) -> Download:
    """The archive of a shelf as it is downloaded."""
    return Download(
        filename="Ресторан «Ёлки», версия 3.zip",
        media_type=MEDIA_TYPE,
        byte_count=archive.byte_count,
        etag=archive.etag,
        pieces=archive.pieces,
        read=shelf.read,
    )


@asynccontextmanager
async def offering(shelf: Shelf, archive: Archive) -> AsyncIterator[str]:
    """Serves the archive; its address."""

    async def endpoint(request: Request) -> Response:
        download = download_of(shelf, archive)
        return not_modified(request, download.etag) or answer_download(request, download)

    app = Starlette(routes=[Route("/archive", endpoint)], middleware=[Middleware(RequestScope)])
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=BoundedProtocol, ws="none", lifespan="off",
        log_config=None, access_log=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server._serve(None))
        try:
            await until(lambda: server.started or task.done())
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}/archive"
        finally:
            server.should_exit = True
