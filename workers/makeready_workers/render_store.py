"""Where the handler of the queue `render` stores what it has made, and fetches what it needs.

Nothing is visible before it is published. Until then an object is only bytes under a key that no
other attempt writes to; if the attempt fails, the orphan scan removes them.
"""

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


class Shelf:
    """The part of the store that one attempt works with."""

    def __init__(self, pool: asyncpg.Pool, storage: Storage, job: Job, lease: HeldLease) -> None:
        self._pool = pool
        self._storage = storage
        self.job = job
        self.lease = lease

    async def put(self, name: str, body: bytes, *, media_type: str) -> ObjectFacts:
        """Stores as soon as storage takes it: an outage throws no finished document away.

        Waits as long as the attempt has time; then the job is retried, which counts.
        """
        return await self._patiently(lambda: self._store(name, body, media_type), name)

    async def try_put(self, name: str, body: bytes, *, media_type: str) -> ObjectFacts:
        """Stores if storage takes it now; raises StorageError."""
        return await self._store(name, body, media_type)

    async def get(self, bucket: str, key: str) -> bytes:
        """The whole object, as soon as storage gives it; raises ObjectMissing."""
        held = self._storage.of_bucket(bucket)
        return await self._patiently(lambda: held.get(key), key)

    async def has(self, stored: ObjectFacts) -> bool:
        """Whether the object is there as it was stored; raises when storage does not answer."""
        held = self._storage.of_bucket(stored.bucket)
        try:
            return (await held.head(stored.key)).byte_count == stored.byte_count
        except ObjectMissing:
            return False

    async def forget(self, stored: list[ObjectFacts]) -> None:
        """Deletes what nobody will refer to; what stays is left to the orphan scan."""
        try:
            await self._storage.delete([each.key for each in stored])
        except StorageUnavailable as error:
            _log.info("render_leftover", objects=len(stored), error=type(error).__name__)

    async def _patiently(self, call: Callable[[], Awaitable[T]], name: str) -> T:
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

    async def _store(self, name: str, body: bytes, media_type: str) -> ObjectFacts:
        """Stores under a key that belongs to this attempt alone.

        The first lease of a job owns `renders/<job>/<name>`; each later one gets a key with its
        token. So a worker that has lost its lease and goes on writing never touches the bytes of
        its successor, whatever the store makes of conditional requests; where the short key is
        taken all the same (a redriven job begins to count anew), the long one is used.
        """
        own_key = f"renders/{self.job.id}/{self.lease.token}/{name}"
        if self.job.attempt == 1 and self.job.lost == 0:
            try:
                return await self._put(f"renders/{self.job.id}/{name}", body, media_type)
            except ObjectExists:
                _log.info("render_key_taken", name=name)
        return await self._put(own_key, body, media_type)

    async def _put(self, key: str, body: bytes, media_type: str) -> ObjectFacts:
        try:
            return await self._put_anywhere(key, body, media_type)
        except ObjectExists:
            raise
        except StorageError as error:
            facts = {"job_id": str(self.job.id), "key": key, "reason": type(error).__name__}
            await alerts.record(
                self._pool,
                "error",
                "s3_upload_error",
                facts,
                request_id=str(self.job.id),
                within=ALERT_GAP,
            )
            raise

    async def _put_anywhere(self, key: str, body: bytes, media_type: str) -> ObjectFacts:
        try:
            return await self._storage.put(key, body, media_type=media_type, only_new=True)
        except ObjectMissing:  # somebody has removed the bucket
            await self._storage.ensure_bucket()
            return await self._storage.put(key, body, media_type=media_type, only_new=True)
