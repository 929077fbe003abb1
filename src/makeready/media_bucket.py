"""A media store in object storage: every process of every machine reaches the same files.

Uploads come in beside it, in a folder of this machine, and are sent on when they are let in.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from makeready.media import Listed, StoredMedia
from makeready.media_folder import checked_path, free_bytes, nameless, spooled
from makeready.storage import Storage
from makeready.storage_errors import ObjectMissing
from makeready.storage_upload import put_file
from makeready.threads import in_thread

PREFIX = "photos/"
"""Of all keys: the bucket holds other things too."""


class BucketStore:
    """Made by `media_opening.open_media`; safe to use from many tasks."""

    def __init__(self, storage: Storage, spool: Path) -> None:
        self._storage = storage
        self._spool = spool
        self._name = f"bucket:{storage.bucket}"

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._name

    @property
    def host(self) -> str:
        """Every process reaches the files."""
        return ""

    def nameless(self, room: int = 0) -> IO[bytes]:
        """See `MediaStore`; a file of this machine."""
        return nameless(self._spool, room)

    def spool(self) -> AbstractAsyncContextManager[IO[bytes]]:
        """See `MediaStore`; a file of this machine."""
        return spooled(self._spool)

    async def publish(
        self, spooled: IO[bytes], path: str, *, media_type: str, size_bytes: int, sha256: bytes
    ) -> StoredMedia:
        """See `MediaStore`."""
        await in_thread(spooled.flush)
        await put_file(
            self._storage,
            _key(path),
            spooled,
            size=size_bytes,
            sha256=sha256,
            media_type=media_type,
        )
        return StoredMedia(
            store=self._name,
            path=path,
            media_type=media_type,
            size_bytes=size_bytes,
            sha256=sha256,
        )

    async def write(self, path: str, content: bytes, media_type: str) -> StoredMedia:
        """See `MediaStore`."""
        facts = await self._storage.put(_key(path), content, media_type=media_type)
        return StoredMedia(
            store=self._name,
            path=path,
            media_type=media_type,
            size_bytes=len(content),
            sha256=facts.sha256 or b"",
        )

    async def read(self, stored: StoredMedia) -> bytes:
        """See `MediaStore`."""
        with self._found(stored):
            return await self._storage.get(_key(stored.path))

    async def stream(
        self, stored: StoredMedia, first: int = 0, last: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `MediaStore`."""
        with self._found(stored):
            chunks = self._storage.stream(_key(stored.path), first=first, last=last)
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    @asynccontextmanager
    async def local(self, stored: StoredMedia) -> AsyncIterator[IO[bytes]]:
        """See `MediaStore`; a copy, as long as the block runs."""
        async with self.spool() as file, aclosing(self.stream(stored)) as chunks:
            async for chunk in chunks:
                await in_thread(file.write, chunk)
            await in_thread(file.seek, 0)
            yield file

    async def delete(self, paths: Sequence[str]) -> None:
        """See `MediaStore`."""
        await self._storage.delete([_key(path) for path in paths])

    async def listing(self, prefix: str) -> AsyncIterator[Listed]:
        """See `MediaStore`."""
        async with aclosing(self._storage.listing(_key(prefix.rstrip("/")) + "/")) as found:
            async for facts in found:
                yield Listed(
                    path=facts.key.removeprefix(PREFIX),
                    size_bytes=facts.byte_count,
                    modified_at=facts.modified_at or datetime.now(UTC),
                )

    async def link(
        self, stored: StoredMedia, *, filename: str, seconds: int, is_inline: bool = False
    ) -> str | None:
        """See `MediaStore`; a secret for as long as it works."""
        with self._found(stored):
            return await self._storage.presign(
                _key(stored.path), valid_s=seconds, filename=filename, is_inline=is_inline
            )

    async def free_bytes(self) -> int | None:
        """Room for uploads on this machine; the bucket has no bound that is known."""
        return await in_thread(free_bytes, self._spool)

    async def check(self) -> None:
        """See `MediaStore`."""
        await self._storage.check()

    @contextmanager
    def _found(self, stored: StoredMedia) -> Iterator[None]:
        """Makes what is not there, or lies in another store, FileNotFoundError."""
        if stored.store != self._name:
            raise FileNotFoundError(errno.ENOENT, f"it lies in {stored.store}", stored.path)
        try:
            yield
        except ObjectMissing:
            raise FileNotFoundError(errno.ENOENT, "no such object", stored.path) from None


def _key(path: str) -> str:
    return PREFIX + checked_path(path)
