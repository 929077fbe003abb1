"""One file as the whole body, or as a part of a form: in a temporary file without a name."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from anyio import to_thread
from starlette.requests import Request

from makeready_http.bodies import BodyChunks
from makeready_http.problems import invalid_request
from makeready_http.upload import BATCH_BYTES, IN_MEMORY_BYTES, Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """A file that came whole."""

    file: IO[bytes]
    size: int
    sha256: bytes

    async def content(self) -> bytes:
        """All of it; for what is bounded, while few are looked at at a time."""
        await to_thread.run_sync(self.file.seek, 0)
        return await to_thread.run_sync(self.file.read)


@asynccontextmanager
async def received_file(request: Request, max_bytes: int) -> AsyncGenerator[ReceivedFile, None]:
    """The body as long as the block runs; 400, 408 or 413 for what cannot be taken."""
    digest, size, batch = hashlib.sha256(), 0, bytearray()
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as file:

        def write(piece: bytes) -> None:
            digest.update(piece)
            file.write(piece)

        with BodyChunks(request, max_bytes) as chunks:
            async for chunk in chunks:
                batch += chunk
                size += len(chunk)
                if len(batch) >= BATCH_BYTES:
                    await to_thread.run_sync(write, bytes(batch))
                    batch.clear()
        await to_thread.run_sync(write, bytes(batch))
        yield ReceivedFile(file=file, size=size, sha256=digest.digest())


@asynccontextmanager
async def file_of(upload: Upload, name: str) -> AsyncGenerator[ReceivedFile, None]:
    """A file of a form; 400 when it is not there."""
    if name not in upload.digests:
        raise invalid_request(f"The file {name} is missing.", field=name, reason="missing")
    with zipfile.ZipFile(upload.archive) as archive:
        size = archive.getinfo(name).file_size
        with archive.open(name) as file:
            yield ReceivedFile(file=file, size=size, sha256=upload.digests[name])
