"""What the routes work with: the pool, storage, the waker. Made once a process, in the lifespan.

The service starts, and says that it lives, also while the database or object storage is away: both
are waited for in the background, and routes that need them answer 503 until they are there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import anyio
import asyncpg
import structlog
from starlette.requests import Request

from makeready import passwords, render, sms
from makeready.config import ConfigError, Settings
from makeready.db import Control, Executor, close_pool, open_pool
from makeready.documents.catalogue import Catalogue
from makeready.listening import Listener
from makeready.media import MediaStore
from makeready.media_opening import open_media
from makeready.storage import Storage, open_storage
from makeready.upkeep import Upkeep
from makeready.waiting import Waiting
from makeready.waking import Waker
from makeready_http.blobs import Blobs
from makeready_http.photo_services import OpenPhotoWorkers, Photos
from makeready_http.starting import not_yet, until_done

POOL_SIZE = 10
TURN_S = 5.0  # for a connection; a client behind it is answered 503 and may come again
START_PATIENCE_S = 5.0  # then the service starts without its database
WRITE_TRIES = 3
HEAVY = 2  # bodies, designs, presses or prints at a time; more would share the same processor
PREVIEWS = 8  # that wait for their helper with a template in memory

T = TypeVar("T")
_ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_log = structlog.get_logger(__name__)


class Services:
    """One a process; `run` is a task of the lifespan, everything else is for the routes."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        media: MediaStore,
        *,
        photo_workers: OpenPhotoWorkers | None = None,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.blobs = Blobs(storage)
        self.heavy = anyio.CapacityLimiter(HEAVY)
        self.bodies = anyio.CapacityLimiter(HEAVY)
        self.designs = anyio.CapacityLimiter(HEAVY)
        self.presses = anyio.CapacityLimiter(HEAVY)
        self.prints = anyio.CapacityLimiter(HEAVY)
        self.previews = anyio.CapacityLimiter(PREVIEWS)
        self.passwords = anyio.CapacityLimiter(passwords.AT_ONCE)
        self.sms = sms.code_sender(settings)
        self._control = Control(settings, "makeready_http")
        self._listener = Listener(settings, "makeready_http") if settings.listen else None
        self.photos = Photos(
            settings,
            media,
            listener=self._listener,
            password_limiter=self.passwords,
            open_workers=photo_workers,
        )
        self._waiting: Waiting | None = None
        self._pool: asyncpg.Pool | None = None
        self._catalogue: Catalogue | None = None
        self._connected = anyio.Event()
        self._waker = Waker(self._control)

    @property
    def pool(self) -> asyncpg.Pool:
        """The pool; `queue_unavailable` until the database has answered for the first time."""
        if self._pool is None:
            raise not_yet()
        return self._pool

    @property
    def catalogue(self) -> Catalogue:
        """The document types; `queue_unavailable` as `pool`."""
        if self._catalogue is None:
            raise not_yet()
        return self._catalogue

    @property
    def waiting(self) -> Waiting:
        """For routes that wait for the end of a job; `queue_unavailable` as `pool`."""
        if self._waiting is None:
            raise not_yet()
        return self._waiting

    async def wait_connected(self, timeout_s: float) -> bool:
        """Waits until the database knows this version's documents; False: it takes longer."""
        with anyio.move_on_after(timeout_s):
            await self._connected.wait()
        return self._connected.is_set()

    async def write(self, call: Callable[[Executor], Awaitable[T]]) -> T:
        """Runs one call of a function that writes; again when the database rolled it back.

        Only for what is surely undone, a deadlock or a key that was purged meanwhile: a call whose
        answer was lost may have been committed, and is the client's to repeat under its key.
        """
        for _ in range(WRITE_TRIES - 1):
            try:
                return await call(self.pool)
            except _ROLLED_BACK as error:
                _log.info("write_repeated", error=type(error).__name__)
        return await call(self.pool)

    def wake(self, queue: str) -> None:
        """Has the workers of a queue told of new jobs. Call it after the commit."""
        self._waker.wake(queue)

    async def run(self) -> None:
        """Connects, prepares and wakes until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._prepare_storage)
            tasks.start_soon(self._waker.run)
            tasks.start_soon(self.photos.run)
            if self._listener is not None:
                tasks.start_soon(self._listener.run)
            await until_done(self._connect, "database")
            tasks.start_soon(self.waiting.run)
            upkeep_control = Control(self.settings, "makeready_http", part="upkeep")
            upkeep = Upkeep(
                self.pool,
                upkeep_control,
                storage=self.storage,
                link_ttl_s=self.settings.presign_ttl_s,
            )
            tasks.start_soon(upkeep.run)
            await until_done(self._sync_types, "document_types")
            self._connected.set()

    async def close(self) -> None:
        """Gives the connections back, within seconds."""
        await self._control.close()
        await self.photos.close()
        if self._pool is not None:
            await close_pool(self._pool)

    async def _connect(self) -> None:
        self._pool = await open_pool(
            self.settings, "makeready_http", size=POOL_SIZE, turn_s=TURN_S
        )
        self._waiting = Waiting(self._pool, self._listener)
        self._catalogue = Catalogue(self._pool, self.storage, source=self.settings.config_source)

    async def _sync_types(self) -> None:
        changed = await render.sync_types(self.pool, render.shipped_types())
        if changed:
            _log.info("document_types_synced", changed=changed)

    async def _prepare_storage(self) -> None:
        async def ensure() -> None:
            if await self.storage.ensure_bucket():
                _log.info("s3_bucket_created", bucket=self.storage.bucket)

        await until_done(ensure, "storage")


@asynccontextmanager
async def services_opened(
    settings: Settings, *, photo_workers: OpenPhotoWorkers | None = None
) -> AsyncIterator[Services]:
    """Opens everything; after 5 s without a database it goes on and waits in the background."""
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(settings))
        try:
            media = await stack.enter_async_context(open_media(settings, storage))
        except OSError as error:
            text = f"make MEDIA_ROOT a folder that this user may write to ({error})"
            raise ConfigError(text) from error
        services = Services(settings, storage, media, photo_workers=photo_workers)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(services.run)
            try:
                if await services.wait_connected(START_PATIENCE_S):
                    await services.photos.wait_ready(START_PATIENCE_S)
                yield services
                await services.photos.leave(0)
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await services.close()


def services_of(request: Request) -> Services:
    """The services of the process that answers this request."""
    found: Services = request.state.services
    return found
