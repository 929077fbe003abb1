"""What the routes of photos work with: their database, their files, the workers of this process.

The database of photos may be another one than that of everything else; then it has a listener and
maintenance of its own. The four tasks that process photos run on the event loop of the service: a
process that is killed takes its requests and their workers with it, and no photo is worked on for
nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
)
from dataclasses import replace
from typing import Protocol, TypeAlias
from uuid import UUID

import anyio
import asyncpg
import structlog

from makeready import ingest, photo_policy
from makeready.config import ConfigError, Settings
from makeready.db import Control, close_pool, open_pool
from makeready.jobs import Ended
from makeready.leases import Claimed
from makeready.listening import Listener
from makeready.media import MediaStore
from makeready.media_cleanup import MediaCleanup
from makeready.photo_settings import SYNC_MIN_S
from makeready.upkeep import Upkeep
from makeready.waiting import Waiting
from makeready.waking import Waker
from makeready_http.photo_passwords import BoothPassword
from makeready_http.photo_refusals import Refusals
from makeready_http.starting import not_yet, until_done

POOL_SIZE = 8
TURN_S = 5.0  # for a connection

_log = structlog.get_logger(__name__)


class PhotoWorkers(Protocol):
    """The tasks that process photos in this process: a worker with the queue `ingest`."""

    id: UUID

    async def run(self) -> None:
        """Works until `stop`."""

    async def wait_registered(self) -> None:
        """Returns when the database knows this worker."""

    async def ping(self) -> Mapping[str, str]:
        """What each provider that slots use says of itself now: `ok`, or why not."""

    def reserved(self) -> AbstractContextManager[Take | None]:
        """A free task for a photo that the block claims; None: there is none."""

    def kick(self) -> bool:
        """A photo was let in: claim it now. False: all tasks are busy, others may take it."""

    def stop(self, grace_s: float | None = None) -> None:
        """No new photos; those in work get so long to end."""


Take: TypeAlias = Callable[[Claimed], None]
OnEnd: TypeAlias = Callable[[str, UUID, Ended | None], object]
OpenPhotoWorkers: TypeAlias = Callable[
    [Settings, MediaStore, Listener | None, OnEnd], AbstractAsyncContextManager[PhotoWorkers]
]
"""Opens the workers of a process: for these settings and this store, with the listener that they
share with the service; they tell of each end after its commit, and how, where they know."""


class Photos:
    """One a process; `run` is a task of the services, everything else is for the routes."""

    def __init__(
        self,
        settings: Settings,
        media: MediaStore,
        *,
        listener: Listener | None = None,
        password_limiter: anyio.CapacityLimiter,
        open_workers: OpenPhotoWorkers | None = None,
    ) -> None:
        self.media = media
        self.settings = settings_of_photos(settings)
        """Those of the service, with the database of photos."""
        self.password = BoothPassword(password_limiter)
        self.refusals = Refusals()
        self._is_apart = self.settings is not settings
        if self._is_apart:
            listener = Listener(self.settings, "makeready_http") if settings.listen else None
        self._listener = listener
        self._open_workers = open_workers
        self._control = Control(self.settings, "makeready_http", part="photos")
        self._waker = Waker(self._control)
        self._pool: asyncpg.Pool | None = None
        self._waiting: Waiting | None = None
        self._cleanup: MediaCleanup | None = None
        self._workers: PhotoWorkers | None = None
        self._ready = anyio.Event()
        self._ended = anyio.Event()
        self._idle = anyio.Event()
        self._waits = 0
        self._window_s = 0.0
        self.is_leaving = False
        """The process is told to end: it takes no photos."""
        self._is_cut = False
        """The process ends now: who still waits is answered."""
        self._cuttable: set[anyio.CancelScope] = set()

    @property
    def pool(self) -> asyncpg.Pool:
        """The pool; `queue_unavailable` until the database has answered for the first time."""
        if self._pool is None:
            raise not_yet()
        return self._pool

    @property
    def waiting(self) -> Waiting:
        """For routes that wait for the end of a photo; `queue_unavailable` as `pool`."""
        if self._waiting is None:
            raise not_yet()
        return self._waiting

    @property
    def worker(self) -> UUID:
        """The worker of this process, which the database must know before a photo is let in."""
        if self._workers is None:
            raise not_yet("No worker of this process takes photos now.")
        return self._workers.id

    @property
    def cleanup(self) -> MediaCleanup:
        """What deletes files whose time is over; `queue_unavailable` as `pool`."""
        if self._cleanup is None:
            raise not_yet()
        return self._cleanup

    async def ping(self) -> Mapping[str, str]:
        """Providers that slots use: `ok`, or why not; `queue_unavailable` without workers."""
        if self._workers is None:
            raise not_yet()
        return await self._workers.ping()

    async def wait_ready(self, timeout_s: float) -> bool:
        """Waits until the database is there and knows the workers; False: it takes longer."""
        with anyio.move_on_after(timeout_s):
            await self._ready.wait()
        return self._ready.is_set()

    def reserved(self) -> AbstractContextManager[Take | None]:
        """A free task of this process, for a photo that the block claims; None: there is none."""
        return nullcontext() if self._workers is None else self._workers.reserved()

    def admitted(self) -> None:
        """A photo was let in that nobody has claimed: our workers take it, or others are told."""
        if self._workers is None or not self._workers.kick():
            self._waker.wake(ingest.QUEUE)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Somebody waits for a photo as long as the block runs: a process that ends lets them."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self._idle.set()
                self._idle = anyio.Event()

    @contextmanager
    def cuttable(self, scope: anyio.CancelScope) -> Iterator[None]:
        """As long as the block runs, its scope is cancelled when the process ends."""
        if self._is_cut:
            scope.cancel()
        self._cuttable.add(scope)
        try:
            yield
        finally:
            self._cuttable.discard(scope)

    def _cut(self) -> None:
        self._is_cut = True
        for scope in tuple(self._cuttable):
            scope.cancel()

    async def leave(self, grace_s: float) -> None:
        """No new photos; those who wait get so long, then they are answered that it is over.

        Returns when the workers have ended. Called again it only waits for that.
        """
        if not self.is_leaving:
            self.is_leaving = True
            until = anyio.current_time() + grace_s
            if self._waits:
                with anyio.move_on_after(grace_s):
                    await self._idle.wait()
            if self._waits:
                _log.warning("ingest_cut", photos=self._waits)
            self._cut()
            if self._workers is not None:
                self._workers.stop(max(0.0, until - anyio.current_time()))
        if self._workers is not None:
            await self._ended.wait()

    async def run(self) -> None:
        """Connects, prepares and works until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._waker.run)
            if self._is_apart and self._listener is not None:
                tasks.start_soon(self._listener.run)
            await until_done(self._connect, "photos")
            self._refuse_window()
            tasks.start_soon(self.waiting.run)
            tasks.start_soon(self.cleanup.run)
            tasks.start_soon(self.refusals.run, self.pool)
            if self._is_apart:
                control = Control(self.settings, "makeready_http", part="upkeep")
                tasks.start_soon(Upkeep(self.pool, control).run)
            if self._open_workers is None:
                self._ready.set()
            else:
                await self._work(self._open_workers)

    async def close(self) -> None:
        """Gives the connections back, within seconds."""
        await self._control.close()
        if self._pool is not None:
            await self.refusals.write(self._pool)
            await close_pool(self._pool)

    async def _connect(self) -> None:
        if self._pool is None:
            self._pool = await open_pool(
                self.settings,
                "makeready_http",
                size=POOL_SIZE,
                turn_s=TURN_S,
                statement_timeout_s=self.settings.ingest_statement_timeout_ms / 1000,
            )
        self._window_s = (await photo_policy.read(self._pool)).sync_response_s
        self._waiting = Waiting(self._pool, self._listener)
        self._cleanup = MediaCleanup(self._pool, self.media)

    def _refuse_window(self) -> None:
        """ConfigError when it is one of tests, or one statement could take as long."""
        statement_s = self.settings.ingest_statement_timeout_ms / 1000
        if self._window_s < SYNC_MIN_S:
            if not self.settings.testing:
                raise ConfigError(
                    f"a booth is answered within {self._window_s:g} s, which is for tests "
                    "(MAKEREADY_TESTING): "
                    """select makeready.ingest_settings_put('{"sync_response_s": 48}')"""
                )
        elif self._window_s <= statement_s:
            raise ConfigError(
                f"lower QUEUE_STATEMENT_TIMEOUT_MS: a statement may take {statement_s:g} s, and a "
                f"booth is answered within {self._window_s:g} s"
            )

    def _on_end(self, queue: str, job: UUID, end: Ended | None) -> None:
        if end is None:
            self.waiting.hint(queue, job)
        else:
            self.waiting.tell(end)

    async def _work(self, open_workers: OpenPhotoWorkers) -> None:
        opened = open_workers(self.settings, self.media, self._listener, self._on_end)
        try:
            async with (
                opened as workers,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(self._registered, workers)
                await workers.run()
                tasks.cancel_scope.cancel()
        finally:
            self._workers = None
            self._ended.set()

    async def _registered(self, workers: PhotoWorkers) -> None:
        await workers.wait_registered()
        if self.is_leaving:  # told to end while it started: `leave` had nobody to stop
            workers.stop(0)
            return
        self._workers = workers
        self._ready.set()


def settings_of_photos(settings: Settings) -> Settings:
    """The same settings, with the database of photos in place of the other."""
    if settings.photos_apart is None:
        return settings
    return replace(settings, database_url=settings.photos_apart, database_direct_url=None)
