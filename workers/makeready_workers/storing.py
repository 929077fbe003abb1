"""What an attempt needs of object storage: patience through an outage, and one alert of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import anyio
import asyncpg
import structlog

from makeready import alerts
from makeready.faults import Backoff
from makeready.jobs import Job
from makeready.storage import ObjectFacts, Storage
from makeready.storage_errors import (
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
)
from makeready_workers.attempt import HeldLease

AFTERWORK_S = 20.0  # of an attempt's time is kept for checking, storing and publishing
ALERT_GAP = timedelta(minutes=5)  # an outage of storage is one alert, not one for each job

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Store:
    """The part of the store that one attempt works with."""

    def __init__(self, pool: asyncpg.Pool, storage: Storage, job: Job, lease: HeldLease) -> None:
        self._pool = pool
        self._storage = storage
        self.job = job
        self.lease = lease
        self._telling = anyio.Lock()
        """Puts that fail together tell one after the other: the first alert stands for all."""

    async def get(self, bucket: str, key: str) -> bytes:
        """The whole object, as soon as storage gives it; raises ObjectMissing."""
        held = self._storage.of_bucket(bucket)
        return await self.patiently(lambda: held.get(key), key)

    async def put_new(
        self, key: str, body: bytes, *, media_type: str, digest: bytes | None = None
    ) -> ObjectFacts:
        """Stores under a key that holds nothing else, in one try; raises StorageError.

        What keeps storage from it is also an alert. `digest`: SHA-256, if the caller knows it.
        """
        try:
            return await self._put_anywhere(key, body, media_type, digest)
        except ObjectExists:
            raise
        except StorageError as error:
            facts = {"job_id": str(self.job.id), "key": key, "reason": type(error).__name__}
            async with self._telling:
                await alerts.record(
                    self._pool,
                    "error",
                    "s3_upload_error",
                    facts,
                    request_id=str(self.job.id),
                    within=ALERT_GAP,
                )
            raise

    async def sizes(self, prefix: str) -> dict[str, int]:
        """Sizes by key of all objects below a prefix, as soon as storage lists them."""
        return await self.patiently(lambda: self._storage.sizes(prefix), prefix)

    async def patiently(self, call: Callable[[], Awaitable[T]], name: str) -> T:
        """Repeats a call while storage is away, as long as the attempt has time for it."""
        backoff = Backoff(first_s=0.2, longest_s=5.0)
        while True:
            try:
                return await call()
            except StorageUnavailable as error:
                pause_s = backoff.pause_s()
                if self.lease.seconds_left - pause_s < AFTERWORK_S:
                    raise
                _log.warning("storage_awaited", name=name, error=type(error).__name__)
            await anyio.sleep(pause_s)

    async def _put_anywhere(
        self, key: str, body: bytes, media_type: str, digest: bytes | None
    ) -> ObjectFacts:
        storage = self._storage
        try:
            return await storage.put(
                key, body, media_type=media_type, only_new=True, digest=digest
            )
        except ObjectMissing:  # somebody has removed the bucket
            await storage.ensure_bucket()
            return await storage.put(
                key, body, media_type=media_type, only_new=True, digest=digest
            )
