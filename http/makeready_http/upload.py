"""Multipart bodies of files, read as they come and written into one archive in a temporary file.

Memory holds one batch of the body at a time. The temporary file has no name: however the request
ends, nothing is left behind. What the client calls its files are paths inside the archive, and
never paths of this machine.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import unquote

from anyio import to_thread
from starlette.requests import Request

from makeready.shapes import cut
from makeready_http.bodies import BodyChunks
from makeready_http.form_parts import Bytes, FormParts, boundary_of, utf8
from makeready_http.problems import Problem, invalid_request

FIELD_BYTES = 64 << 10
PATH_LENGTH = 500
IN_MEMORY_BYTES = 1 << 20
BATCH_BYTES = 1 << 20
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # equal files make equal archives


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one body."""

    body_bytes: int = 256 << 20
    parts: int = 200
    file_bytes: int = 64 << 20
    of_path: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the files with these paths, where they are others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A body that was read to its end."""

    fields: Mapping[str, bytes]
    digests: Mapping[str, bytes]
    """SHA-256 of each file, by its path."""
    archive: IO[bytes]
    size: int
    sha256: bytes


@asynccontextmanager
async def received(request: Request, limits: Limits) -> AsyncGenerator[Upload, None]:
    """The body as long as the block runs; 400, 408 or 413 for what cannot be taken."""
    boundary = boundary_of(request)
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as file:
        reader = _Reader(file, boundary, limits)
        try:
            await _read(request, reader, limits)
            yield await to_thread.run_sync(reader.upload)
        finally:
            reader.close()


async def _read(request: Request, reader: _Reader, limits: Limits) -> None:
    batch = bytearray()
    with BodyChunks(request, limits.body_bytes) as chunks:
        try:
            async for chunk in chunks:
                batch += chunk
                if len(batch) >= BATCH_BYTES:
                    await to_thread.run_sync(reader.feed, bytes(batch))
                    batch.clear()
            await to_thread.run_sync(reader.feed, bytes(batch))
        except Problem:
            await chunks.linger()
            raise


class _Reader(FormParts):
    """Writes what it is fed into an archive; runs in one thread at a time."""

    def __init__(self, file: IO[bytes], boundary: bytes, limits: Limits) -> None:
        super().__init__(boundary)
        self._file = file
        self._limits = limits
        self._archive = zipfile.ZipFile(file, "w")
        self._fields: dict[str, bytes] = {}
        self._digests: dict[str, bytes] = {}
        self._entry: IO[bytes] | None = None
        """The file in the archive that is being written."""

    def upload(self) -> Upload:
        """What has been read, if it is whole; raises Problem."""
        self.finish()
        self._archive.close()
        size = self._file.tell()
        self._file.seek(0)
        digest = hashlib.sha256()
        while piece := self._file.read(BATCH_BYTES):
            digest.update(piece)
        return Upload(
            fields=self._fields,
            digests=self._digests,
            archive=self._file,
            size=size,
            sha256=digest.digest(),
        )

    def close(self) -> None:
        """Lets the archive go, also in the middle of a file: nobody reads what is left of it."""
        if self._entry is not None:
            self._entry.close()
        self._archive.close()

    def _count(self, parts: int) -> None:
        if parts > self._limits.parts:
            raise Problem(
                "payload_too_large",
                f"The body may have {self._limits.parts} parts.",
                details={"max_parts": self._limits.parts},
                headers={"Connection": "close"},
            )

    def _open(self, name: bytes, filename: bytes | None, media_type: str) -> None:  # noqa: ARG002
        told = _text(name)
        if filename is None:
            self._open_field(told)
        else:
            # Many clients cannot say how a file is to be called: then the field says it.
            is_named = told in self._limits.of_path
            self._open_file(told if is_named else _path(_text(filename)))

    def _open_field(self, name: str) -> None:
        if name in self._fields:
            raise invalid_request(f"{cut(name)} is there twice.", field=cut(name), reason="twice")
        body = bytearray()

        def take(data: Bytes) -> None:
            body.extend(data)
            _refuse_above(FIELD_BYTES, len(body), name)

        def close() -> None:
            self._fields[name] = bytes(body)

        self._take, self._close = take, close

    def _open_file(self, path: str) -> None:
        if path in self._digests:
            raise invalid_request(f"{cut(path)} is there twice.", field=cut(path), reason="twice")
        most = self._limits.of_path.get(path, self._limits.file_bytes)
        digest = hashlib.sha256()
        self._digests[path] = b""
        entry = self._entry = self._archive.open(zipfile.ZipInfo(path, _LONG_AGO), "w")
        count = 0

        def take(data: Bytes) -> None:
            nonlocal count
            count += len(data)
            _refuse_above(most, count, path)
            digest.update(data)
            entry.write(data)

        def close() -> None:
            entry.close()
            self._digests[path] = digest.digest()

        self._take, self._close = take, close


def _path(name: str) -> str:
    """A path inside the archive; 400 for one that leads out of it, or nowhere."""
    steps = name.split("/")
    is_odd = any(step in {"", ".", ".."} for step in steps) or "\\" in name or ":" in steps[0]
    if is_odd or len(name) > PATH_LENGTH or not name.isprintable():
        text = f"{cut(name)} is no relative path, such as img/logo.png."
        raise invalid_request(text, field=cut(name), reason="path")
    return name


def _text(value: bytes) -> str:
    text = utf8(value)
    # A quotation mark as browsers write it; a slash as some libraries do.
    return unquote(text) if "%22" in text or "%2f" in text.lower() else text


def _refuse_above(most: int, count: int, name: str) -> None:
    if count > most:
        raise Problem(
            "payload_too_large",
            f"{cut(name)} may have {most} bytes.",
            details={"field": cut(name), "max_bytes": most, "received_bytes": count},
            headers={"Connection": "close"},
        )
