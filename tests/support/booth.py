"""A booth that posts photos over a real socket, and workers whose provider is the test."""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from PIL import Image

from makeready import ingest, passwords
from makeready.config import Settings
from makeready.db import Connection, Control, pool_opened
from makeready.ingest import Begun
from makeready.jobs import Done, Job
from makeready.listening import Listener
from makeready.media import MediaStore
from makeready_workers.attempt import HeldLease
from makeready_workers.ending import OnEnd
from makeready_workers.ingest import FAILURES, MARGIN_SHARE, PhotoFailed
from makeready_workers.loop import Worker

PASSWORD = "a booth's password"
SLOT = "slot-001"
BOUNDARY = "------------090378560109"
CAPTURED: Mapping[str, str] = {
    "time": "1732270000",
    "user_id": "1",
    "id": "CY04N068111304S2L_00000001.",
    "profile": r"C:\Users\booth\profile.xml",
    "status": r"C:\Users\booth\status.xml",
    "hash": "0" * 40,
    "name": "IMG_0003.JPG",
    "model": "Canon EOS R50",
    "version": "3.30.2",
}
"""What DSLR Remote Pro sends beside the password, in its order."""


@cache
def photo(width: int = 64, *, kind: str = "JPEG") -> bytes:
    """A small image; another width is another image."""
    out = io.BytesIO()
    Image.new("RGB", (width, 48), (200, 120, 40)).save(out, kind)
    return out.getvalue()


@cache
def password_hash(password: str = PASSWORD) -> str:
    """Its hash, which takes a while."""
    return passwords.rehashed(password)


async def opened(db: asyncpg.Connection, *, window_s: float = 20, **policy: Any) -> None:
    """Sets the password of the slots and how long a booth waits."""
    await set_password(db)
    chosen = {"sync_response_s": window_s, **policy}
    words = ", ".join(f"{name} = ${place}" for place, name in enumerate(chosen, 1))
    await db.execute(f"update makeready.ingest_policy set {words}", *chosen.values())


async def set_password(db: asyncpg.Connection, password: str = PASSWORD) -> None:
    """As staff does, without the audit."""
    await db.execute(
        "update makeready.ingest_password set password_hash = $1, version = version + 1",
        password_hash(password),
    )


def form(
    content: bytes | None = None,
    *,
    password: str | None = PASSWORD,
    fields: Mapping[str, str] = CAPTURED,
    file_field: str = "fileToUpload",
    password_last: bool = False,
) -> bytes:
    """The body that a booth sends."""
    content = photo() if content is None else content
    texts = dict(fields) | ({} if password is None or password_last else {"password": password})
    parts = [_part(f'name="{name}"', text.encode()) for name, text in texts.items()]
    about = f'name="{file_field}"; filename="IMG_0003.JPG"\r\nContent-Type: image/jpeg'
    parts.append(_part(about, content))
    if password is not None and password_last:
        parts.append(_part('name="password"', password.encode()))
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(about: str, content: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {about}\r\n\r\n"
    return head.encode() + content + b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    was_asked: bool = False
    """100 Continue came before."""

    @property
    def error(self) -> dict[str, Any]:
        """The error of the envelope, which has no other keys."""
        found = json.loads(self.body)
        assert self.headers["content-type"] == "application/json"
        assert found.keys() == {"error"}
        error: dict[str, Any] = found["error"]
        assert {"code", "message"} <= error.keys() <= {"code", "message", "details"}
        return error

    @property
    def code(self) -> str:
        """Which error of the table."""
        return str(self.error["code"])


class Line:
    """One connection of a booth."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Sends, also to one that reads no more."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def head(
        self,
        size: int,
        *,
        slot: str = SLOT,
        path: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The head of a POST with a body of this size."""
        lines = [
            f"POST {path or f'/ingest/{slot}'} HTTP/1.1",
            "Host: booth.example",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            f"Content-Length: {size}",
            *(f"{name}: {text}" for name, text in (headers or {}).items()),
        ]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def status_line(self) -> bytes:
        """The next line, such as that of 100 Continue."""
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n"), 20)

    async def answer(self) -> Answer:
        """The next answer, past any 100 Continue."""
        was_asked = False
        while True:
            found = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)
            status, *lines = found.decode().strip().split("\r\n")
            if " 100 " not in status:
                break
            was_asked = True
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", "0"))
        body = await asyncio.wait_for(self._reader.readexactly(size), 20)
        code = int(status.split()[1])
        return Answer(status=code, headers=headers, body=body, was_asked=was_asked)

    async def ends(self) -> bool:
        """Waits for the end of the connection; False when something else comes."""
        try:
            return await asyncio.wait_for(self._reader.read(1), 10) == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Ends it by RST."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Ends it by FIN."""
        self._writer.close()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A connection to a service."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    line = Line(reader, writer)
    try:
        yield line
    finally:
        writer.transport.abort()


async def post(url: str, body: bytes | None = None, **head: Any) -> Answer:
    """Posts a form on a connection of its own."""
    body = form() if body is None else body
    async with line_to(url) as line:
        await line.head(len(body), **head)
        await line.send(body)
        return await line.answer()


Script = Callable[[Begun], Awaitable[bytes]]


class StudioWorker(Worker):
    """A worker without providers."""

    async def ping(self) -> Mapping[str, str]:
        """There are none."""
        return {}


@dataclass
class Studio:
    """Workers that do with a photo what the test says; unless it does, they give it back."""

    script: Script | None = None
    begun: list[UUID] = field(default_factory=list)
    """Photos in work so far, in their order."""
    stopped: list[UUID] = field(default_factory=list)
    """Those that were stopped from outside."""
    at_once: int = 0
    most_at_once: int = 0
    worker: StudioWorker | None = None

    @asynccontextmanager
    async def open(
        self, settings: Settings, media: MediaStore, listener: Listener | None, on_end: OnEnd
    ) -> AsyncIterator[StudioWorker]:
        """As the service wants them opened."""
        name = f"{settings.instance} studio {secrets.token_hex(4)}"
        settings = replace(settings, tasks=4, instance=name, drain_grace_s=0)
        async with pool_opened(settings, "makeready_worker", size=6) as pool:
            control = Control(settings, "makeready_worker")
            try:
                self.worker = StudioWorker(
                    settings,
                    pool,
                    [_Handler(self, pool, media)],
                    control=control,
                    listener=listener,
                    host=media.host,
                    failures=FAILURES,
                    margin_share=MARGIN_SHARE,
                    on_end=on_end,
                    claim=ingest.claim,
                )
                yield self.worker
            finally:
                await control.close()


class _Handler:
    queue = ingest.QUEUE

    def __init__(self, studio: Studio, pool: asyncpg.Pool, media: MediaStore) -> None:
        self._studio, self._pool, self._media = studio, pool, media

    async def run(self, job: Job, lease: HeldLease) -> Done:
        studio = self._studio
        begun = Begun.of(job.payload)
        studio.begun.append(job.id)
        studio.at_once += 1
        studio.most_at_once = max(studio.most_at_once, studio.at_once)
        try:
            content = await self._made(begun)
        except asyncio.CancelledError:
            studio.stopped.append(job.id)
            raise
        finally:
            studio.at_once -= 1
        stored = await self._media.write(f"results/{job.id}.jpg", content, "image/jpeg")

        async def commit(connection: Connection, _: Job, /) -> str:
            facts = {"provider": "local", "operation": "echo"}
            return await ingest.finish(connection, job.id, lease.token, stored, facts)

        return Done(commit=commit)

    async def _made(self, begun: Begun) -> bytes:
        if self._studio.script is None:
            return await self._media.read(begun.payload)
        return await self._studio.script(begun)


def refuses(reason: str) -> Script:
    """A provider that gives no image."""

    async def script(_: Begun) -> bytes:
        raise PhotoFailed("fatal", "provider_error", "so", {"reason": reason})

    return script


def waits_for(event: asyncio.Event) -> Script:
    """A provider that takes until the test says so."""

    async def script(_: Begun) -> bytes:
        await event.wait()
        return photo(80)

    return script


def payloads(media: Path) -> list[Path]:
    """Files of booths that are still there; folders may go while they are looked through."""
    found = [Path(folder) / name for folder, _, names in os.walk(media) for name in names]
    return [path for path in found if not {"results", "store-id"} & set(path.parts)]


def is_job_id(text: str) -> bool:
    """Whether it is a random UUID."""
    try:
        return UUID(text).version == 4
    except ValueError:
        return False
