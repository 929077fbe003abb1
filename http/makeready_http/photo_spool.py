"""The bytes of a photo on their way from its form into a file without a name.

A thread writes and hashes one batch while the loop gathers the next, and never more than one: so
memory holds two, however large the photo is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from typing import IO, Any

import anyio

from makeready.media import MediaStore, NoRoom
from makeready.threads import in_thread
from makeready_http.form_parts import Bytes
from makeready_http.photo_form import PhotoForm
from makeready_http.problems import Problem, retry_after

BATCH_BYTES = 768 << 10
"""A larger one makes others on the loop wait longer, a smaller one makes more hops."""
BATCH_PIECES = 1 << 10
"""Of what comes in drops: each weighs more than what it holds."""
ROOM_EVERY_BYTES = 64 << 20
"""Written between two looks at how much room is left."""

_SHA1 = re.compile(r"[0-9a-fA-F]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class PhotoSpool:
    """One photo's; `close` it. The file is begun with its first batch, or by `begin`."""

    def __init__(self, store: MediaStore, form: PhotoForm, min_free_bytes: int) -> None:
        self.form = form
        self.sha256 = hashlib.sha256()
        self._store = store
        self._file: IO[bytes] | None = None
        self._min_free_bytes = min_free_bytes
        self._sha1: Any = None
        self._written = 0
        self._writing: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def file(self) -> IO[bytes]:
        """The file, which has begun."""
        if self._file is None:
            raise RuntimeError("nothing was written")
        return self._file

    async def begin(self, size: int) -> None:
        """Refuses a body for which there is no room before any of it comes."""
        await in_thread(self._begin, size)

    async def close(self) -> None:
        """Lets the file go; what nobody has named is gone then."""
        await self.idle()
        if self._file is None:
            return
        if self._written < BATCH_BYTES:
            self._file.close()
        else:
            with anyio.CancelScope(shield=True):
                await in_thread(self._file.close)  # its blocks take their time to be freed

    @property
    def hash_matches(self) -> bool | None:
        """Whether the booth's `hash` is one of the file; what else it may be of is not known."""
        stated = self.form.fields.get("hash", "").lower()
        if self._sha1 is not None:
            return bool(self._sha1.hexdigest() == stated)
        if _SHA256.fullmatch(stated):
            return self.sha256.hexdigest() == stated
        return None

    async def hand_over(self) -> None:
        """Gives a full batch to the thread; raises what became of the one before."""
        form = self.form
        if form.pending_bytes >= BATCH_BYTES or len(form.pending) >= BATCH_PIECES:
            await self.written()
            self._writing = asyncio.create_task(in_thread(self._write, self._batch()))

    async def written(self) -> None:
        """Waits until all that was handed over is written; raises what came in between."""
        await self.idle()
        if self._failure is not None:
            raise self._failure

    async def idle(self) -> None:
        """Waits until the thread is done, also when cancelled."""
        if self._writing is not None:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self._writing])
            self._failure, self._writing = self._writing.exception(), None

    def write_rest(self) -> None:
        """Writes and hashes what is left; blocks."""
        self._write(self._batch())

    def _batch(self) -> list[Bytes]:
        if not self._written and _SHA1.fullmatch(self.form.fields.get("hash", "")):
            self._sha1 = hashlib.sha1(usedforsecurity=False)
        return self.form.taken()

    def _begin(self, size: int) -> None:
        try:
            self._file = self._store.nameless(self._min_free_bytes + size)
        except NoRoom:
            raise no_room() from None

    def _write(self, pieces: list[Bytes]) -> None:
        batch = b"".join(pieces)  # each call that works without the GIL has to get it back
        if self._file is None:
            self._begin(len(batch))
        self.file.write(batch)
        self.sha256.update(batch)
        if self._sha1 is not None:
            self._sha1.update(batch)
        before, self._written = self._written, self._written + len(batch)
        if before // ROOM_EVERY_BYTES != self._written // ROOM_EVERY_BYTES:
            facts = os.fstatvfs(self.file.fileno())
            if facts.f_bavail * facts.f_frsize < self._min_free_bytes:
                raise no_room()


def no_room() -> Problem:
    """503: the disk is to keep more than it has left."""
    return Problem(
        "queue_unavailable",
        "There is no room for photos now.",
        details={"reason": "disk"},
        headers=retry_after(),
    )
