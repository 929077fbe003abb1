"""Results of photos: stored before the end is written, deleted when it comes too late.

Thumbnails are made when the booth has its answer, a few at a time; a photo that finds too many
waiting goes without. The payload may be deleted meanwhile: it is still open.
"""

from __future__ import annotations

import errno
import functools
import io
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import IO
from uuid import UUID

import anyio
import anyio.abc
import asyncpg
import structlog

from makeready import ingest, picture_work
from makeready.faults import database_fault, note_fault
from makeready.media import PIECE_BYTES, MediaStore, StoredMedia
from makeready.picture_work import PictureUnfit
from makeready.pictures import EXTENSIONS, JPEG
from makeready.pictures_aside import holds_lock, thumbnail_aside
from makeready_workers.photo import Photo
from makeready_workers.picture_threads import in_quiet_thread
from makeready_workers.providers.base import Image
from makeready_workers.providers.tally import Tally

WAITING_MOST = 16  # photos whose thumbnails are still to be made
HELD_MOST = 128 << 20  # bytes of their results, in memory
PAUSE_S = 0.25
"""Before what can wait: by then the booth has its answer, and the next photo is let in."""
PART_TIMEOUT_S = 10.0  # for the thumbnails of one, or one deletion
_ONE_NAME = frozenset({errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
CLOSING_S = 2.0  # what is left then is cut off: the cleaner finds it

_log = structlog.get_logger(__name__)


class Results:
    """Stores and forgets; what may take longer is done in the background, within bounds."""

    def __init__(self, pool: asyncpg.Pool, media: MediaStore, group: anyio.abc.TaskGroup) -> None:
        self._pool = pool
        self._media = media
        self._group = group
        self._pending = 0
        self._idle = anyio.Event()
        self._pictures = self._held = 0

    async def store(self, photo: Photo, image: Image | None) -> StoredMedia:
        """Stores a result; None: the payload itself, which is never loaded."""
        media_type = photo.begun.payload.media_type if image is None else image.media_type
        path = f"results/{photo.lease.job_id}.{EXTENSIONS[media_type]}"
        try:
            if image is None:
                return await self._store_again(photo, path)
            return await self._media.write(path, image.content, media_type)
        except BaseException:  # cut off: it may lie there all the same
            self.forget(path)
            raise

    async def _store_again(self, photo: Photo, path: str) -> StoredMedia:
        """The payload under a second name; a copy where files have but one."""
        payload = photo.begun.payload
        publish = functools.partial(
            self._media.publish,
            path=path,
            media_type=payload.media_type,
            size_bytes=payload.size_bytes,
            sha256=payload.sha256,
        )
        photo.file.seek(0)
        try:
            return await publish(photo.file)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno not in _ONE_NAME:
                raise
        async with self._media.spool() as spooled:
            await anyio.to_thread.run_sync(_copy, photo.file, spooled)
            return await publish(spooled)

    def forget(self, *paths: str) -> None:
        """Deletes what nobody will ask for."""
        self.in_background(functools.partial(self._media.delete, paths), "forget")

    def count(self, tally: Tally) -> None:
        """Adds what providers were asked to their counters."""
        calls = tally.calls()

        async def count() -> None:
            await anyio.sleep(PAUSE_S)
            await ingest.providers_asked(self._pool, calls)

        if calls:
            self.in_background(count, "count")

    def picture(
        self, job: UUID, files: AsyncExitStack, before: IO[bytes], after: Image | None
    ) -> None:
        """Makes thumbnails of a finished photo and closes its files."""
        size = len(after.content) if after is not None else 0
        if self._pictures >= WAITING_MOST or self._held + size > HELD_MOST:
            _log.info("photo_thumbnails_skipped", job_id=str(job))
            self.in_background(files.aclose, "close")
            return
        self._pictures += 1
        self._held += size

        async def make() -> None:
            try:
                async with files:
                    await anyio.sleep(PAUSE_S)
                    await self._make_pictures(job, before, after)
            finally:
                self._pictures -= 1
                self._held -= size

        self.in_background(make, "thumbnails")

    def in_background(self, call: Callable[[], Awaitable[object]], what: str) -> None:
        """Runs a call that nobody waits for; a fault is noted, and what it was for."""
        self._pending += 1
        self._group.start_soon(self._run, call, what)

    async def close(self) -> None:
        """Lets what is under way end, for a moment."""
        with anyio.move_on_after(CLOSING_S, shield=True):
            while self._pending:
                await self._idle.wait()
        self._group.cancel_scope.cancel()

    async def _run(self, call: Callable[[], Awaitable[object]], what: str) -> None:
        try:
            with anyio.fail_after(PART_TIMEOUT_S), database_fault():
                await call()
        except Exception as error:  # noqa: BLE001 -- nobody waits; the cleaner makes up for it
            note_fault(_log, "photo_background_failed", error, what=what)
        finally:
            self._pending -= 1
            if not self._pending:
                self._idle.set()
                self._idle = anyio.Event()

    async def _make_pictures(self, job: UUID, before: IO[bytes], after: Image | None) -> None:
        made: list[StoredMedia] = []
        try:
            first = second = await thumbnail(before)
            if after is not None:
                second = await thumbnail(io.BytesIO(after.content))
            for name, content in (("before", first), ("after", second)):
                path = f"results/{job}.{name}.jpg"
                made.append(await self._media.write(path, content, JPEG))
            if not await ingest.pictured(self._pool, job, *made):
                self.forget(*(each.path for each in made))
        except PictureUnfit as error:
            _log.info("photo_thumbnails_failed", job_id=str(job), error=str(error))
        except BaseException:
            self.forget(*(each.path for each in made))
            raise


async def thumbnail(file: IO[bytes]) -> bytes:
    """A small JPEG of a picture, made where it holds nobody up; raises PictureUnfit."""
    if await in_quiet_thread(functools.partial(holds_lock, file)):
        return await thumbnail_aside(
            await in_quiet_thread(functools.partial(picture_work.whole, file))
        )
    return await in_quiet_thread(functools.partial(picture_work.thumbnail, file))


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target, PIECE_BYTES)
    target.flush()
