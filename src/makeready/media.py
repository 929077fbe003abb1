"""Where photos lie: a folder (MEDIA_ROOT) or object storage, behind one small protocol.

    payloads/<job>/<name>           what a client has sent, until it is answered
    payloads/<job>/prepared.<ext>   what a provider fetches, as long
    results/<job>.<ext>             what came out, for its retention
    results/<job>.before.jpg        thumbnails, as long; after.jpg is that of the result
    templates/<id>.<ext>            template media of slots
    temporary/<id>.<ext>            what staff has registered for a while

A store has a name that its rows carry: files of another store are nobody's business here. Bytes
cross in pieces of at most 1 MiB; nothing here blocks the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Protocol

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMedia:
    """A file in a media store, as its row has it."""

    store: str
    path: str
    """Below the root, such as results/0192….jpg."""
    media_type: str
    size_bytes: int
    sha256: bytes

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> StoredMedia:
        """From what SQL functions give: {store, path, media_type, size_bytes, sha256 in hex}."""
        return cls(
            store=found["store"],
            path=found["path"],
            media_type=found["media_type"],
            size_bytes=found["size_bytes"],
            sha256=bytes.fromhex(found["sha256"]),
        )


def kept(stored: StoredMedia) -> dict[str, Any]:
    """As SQL functions take it; the other way round than `StoredMedia.of`."""
    return {
        "store": stored.store,
        "path": stored.path,
        "media_type": stored.media_type,
        "size_bytes": stored.size_bytes,
        "sha256": stored.sha256.hex(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file as the store lists it."""

    path: str
    size_bytes: int
    modified_at: datetime


class NoRoom(OSError):
    """The disk has less room than it is to keep."""


class MediaStore(Protocol):
    """What processes do with photos. Raises `makeready.storage_errors.StorageError`, OSError."""

    @property
    def name(self) -> str:
        """Which store it is: the same for all processes that reach the same files."""

    @property
    def host(self) -> str:
        """What jobs about its files carry as `host`: '' when every process reaches them."""

    def nameless(self, room: int = 0) -> IO[bytes]:
        """A file without a name for an upload, on the same disk as the folder. Blocks.

        It is gone when it is closed, unless it was published. Raises NoRoom when the disk has not
        so many bytes left.
        """

    def spool(self) -> AbstractAsyncContextManager[IO[bytes]]:
        """The same as long as the block runs."""

    async def publish(
        self, spooled: IO[bytes], path: str, *, media_type: str, size_bytes: int, sha256: bytes
    ) -> StoredMedia:
        """Gives a spooled file its name: a link in a folder, an upload to object storage.

        Also one that `local` has opened: another name for the same bytes; OSError where a folder
        cannot do that.
        """

    async def write(self, path: str, content: bytes, media_type: str) -> StoredMedia:
        """Stores bytes under a name at once or not at all; an older file there is replaced."""

    async def read(self, stored: StoredMedia) -> bytes:
        """All of it; FileNotFoundError when it is gone."""

    def stream(
        self, stored: StoredMedia, first: int = 0, last: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from first to last, both included; FileNotFoundError when it is gone."""

    def local(self, stored: StoredMedia) -> AbstractAsyncContextManager[IO[bytes]]:
        """The file open on this machine, for libraries that want one; not loaded into memory."""

    async def delete(self, paths: Sequence[str]) -> None:
        """Deletes files, and folders that are empty then; one that is gone is no error."""

    def listing(self, prefix: str) -> AsyncIterator[Listed]:
        """All files below a prefix."""

    async def link(
        self, stored: StoredMedia, *, filename: str, seconds: int, is_inline: bool = False
    ) -> str | None:
        """A presigned link, to be shown or saved; None: the service sends the bytes itself."""

    async def free_bytes(self) -> int | None:
        """Room that is left; None: unknown, or without bound."""

    async def check(self) -> None:
        """Raises when it cannot be written to."""
