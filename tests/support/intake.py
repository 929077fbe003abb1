"""The receiver of photos over a real socket, without database, queue or workers behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from dataclasses import field as fresh
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from makeready.ingest import Door
from makeready.media import MediaStore
from makeready.media_folder import ID_FILE, open_folder
from makeready.pictures import MAX_PIXELS, MEDIA_TYPES
from makeready_http.early_answers import EarlyAnswers
from makeready_http.middleware import RequestScope
from makeready_http.photo_upload import received_photo
from makeready_http.problems import Problem
from makeready_http.protocol import BoundedProtocol
from tests.support.pictures import BOUNDARY, field
from tests.support.waiting import until

PASSWORD = "correct horse"
PATH = "/ingest/slot-001"
RIGHT, WRONG = field("password", PASSWORD), field("password", "wrong")
DOOR = Door(
    slot="slot-001",
    max_bytes=2 << 30,
    max_pixels=MAX_PIXELS,
    media_types=MEDIA_TYPES,
    password_hash="",
    password_version=1,
    min_free_bytes=0,
)


@dataclass(kw_only=True)
class Intake:
    """The running service and what it has seen."""

    root: Path
    store: MediaStore
    port: int = 0
    door: Door = DOOR
    tried: list[str] = fresh(default_factory=list)
    """Passwords."""
    taken: list[bytes] = fresh(default_factory=list)
    """Photos that came whole."""

    def limit(self, **changes: Any) -> None:
        """Changes the door."""
        self.door = replace(self.door, **changes)

    def left(self) -> list[str]:
        """All files in the store."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(path.name for path in found if path.name != ID_FILE)

    def open_files(self) -> int:
        """Files without a name that this process holds open in the store."""
        links = (_target(each) for each in Path("/proc/self/fd").iterdir())
        return sum(link.startswith(str(self.root)) for link in links)

    async def check(self, password: str) -> None:
        """As the route checks it."""
        self.tried.append(password)
        if password != PASSWORD:
            text = "Wrong password."
            raise Problem("invalid_credentials", text, details={"field": "password"})

    async def ingest(self, request: Request) -> Response:
        """The endpoint: takes the photo and tells what it is."""
        async with received_photo(
            request, store=self.store, limits=self.door, check_password=self.check
        ) as photo:
            self.taken.append(photo.file.read())
            return JSONResponse({
                "media_type": photo.media_type,
                "size_bytes": photo.size_bytes,
                "sha256": photo.sha256.hex(),
                "size": [photo.width, photo.height],
                "orientation": photo.orientation,
                "name": photo.name,
                "fields": dict(photo.fields),
                "declared_type": photo.declared_type,
                "ignored_files": photo.ignored_files,
                "hash_matches": photo.hash_matches,
            })  # fmt: skip


@dataclass(kw_only=True)
class Answer:
    """What a client reads."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    continued: bool
    """Whether `100 Continue` came before."""

    @property
    def code(self) -> str:
        """Of a refusal."""
        return str(self.body["error"]["code"])

    @property
    def details(self) -> dict[str, Any]:
        """Of a refusal."""
        found: dict[str, Any] = self.body["error"]["details"]
        return found


class Booth:
    """One connection of a client that does exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self, *lines: str, length: int | None = None) -> None:
        """Sends a head; of a body in chunks unless its length is told."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        form = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
        await self.send("\r\n".join([f"POST {PATH} HTTP/1.1", "Host: x", form, size, *lines]))
        await self.send("\r\n\r\n")

    async def send(self, data: bytes | str) -> None:
        """Sends as it is."""
        self._writer.write(data if isinstance(data, bytes) else data.encode())
        await self._writer.drain()

    async def continued(self) -> bool:
        """Waits for `100 Continue`."""
        return b" 100 " in await self._head()

    async def answer(self) -> Answer:
        """The next answer."""
        head, continued = await self._head(), False
        if b" 100 " in head:
            head, continued = await self._head(), True
        status, *lines = head.decode().strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(
            status=int(status.split()[1]),
            headers=headers,
            body=json.loads(body),
            continued=continued,
        )

    async def is_closed(self) -> bool:
        """Waits for the end; False when something else comes."""
        try:
            return await asyncio.wait_for(self._reader.read(), 10) == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Goes away without a word."""
        self._writer.transport.abort()

    async def _head(self) -> bytes:
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)


@asynccontextmanager
async def booth(intake: Intake) -> AsyncIterator[Booth]:
    """A connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", intake.port)
    try:
        yield Booth(reader, writer)
    finally:
        writer.close()


async def posted(intake: Intake, body: bytes, *lines: str) -> Answer:
    """One form, sent in one go."""
    async with booth(intake) as client:
        await client.head(*lines, length=len(body))
        await client.send(body)
        return await client.answer()


@asynccontextmanager
async def taking_in(root: Path) -> AsyncIterator[Intake]:
    """Runs it; a store is a folder below `root`."""
    intake = Intake(root=root, store=await open_folder(root))
    app = Starlette(
        routes=[Route("/ingest/{slot}", intake.ingest, methods=["POST"])],
        middleware=[Middleware(EarlyAnswers), Middleware(RequestScope)],
    )
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=BoundedProtocol, ws="none", lifespan="off",
        log_config=None, access_log=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server._serve(None))
        try:
            await until(lambda: server.started or task.done())
            intake.port = server.servers[0].sockets[0].getsockname()[1]
            yield intake
        finally:
            server.should_exit = True


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""
