"""Where the handler of the queue `render` stores what it has made, and fetches what it needs.

Nothing is visible before it is published. Until then an object is only bytes under a key that no
other attempt writes to; if the attempt fails, the orphan scan removes them.
"""

from __future__ import annotations

import structlog

from makeready.storage import ObjectFacts
from makeready.storage_errors import ObjectExists, ObjectMissing, StorageUnavailable
from makeready_workers.storing import Store

_log = structlog.get_logger(__name__)


class Shelf(Store):
    """The part of the store that one attempt at a render works with."""

    async def put(self, name: str, body: bytes, *, media_type: str) -> ObjectFacts:
        """Stores as soon as storage takes it: an outage throws no finished document away.

        Waits as long as the attempt has time; then the job is retried, which counts.
        """
        return await self.patiently(lambda: self._store(name, body, media_type), name)

    async def try_put(self, name: str, body: bytes, *, media_type: str) -> ObjectFacts:
        """Stores if storage takes it now; raises StorageError."""
        return await self._store(name, body, media_type)

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
                key = f"renders/{self.job.id}/{name}"
                return await self.put_new(key, body, media_type=media_type)
            except ObjectExists:
                _log.info("render_key_taken", name=name)
        return await self.put_new(own_key, body, media_type=media_type)
