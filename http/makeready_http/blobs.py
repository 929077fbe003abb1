"""Stored bytes that are asked for again and again: templates, fonts, pictures, by their SHA-256.

What a hash stands for never changes, so nothing here gets old; what was not asked for the longest
makes room.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from anyio import to_thread

from makeready.storage import Storage
from makeready.storage_errors import StorageUnavailable

MOST_BYTES = 64 << 20


class Blobs:
    """A cache before object storage; one a process."""

    def __init__(self, storage: Storage, most_bytes: int = MOST_BYTES) -> None:
        self._storage = storage
        self._most_bytes = most_bytes
        self._byte_count = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, sha256: str, *, bucket: str, key: str) -> bytes:
        """The bytes of this hash, which lie under this key; raises StorageError.

        Other bytes than were stored count as not there, and are not remembered.
        """
        found = self._kept.get(sha256)
        if found is not None:
            self._kept.move_to_end(sha256)
            return found
        found = await self._storage.of_bucket(bucket).get(key)
        if await to_thread.run_sync(_digest, found) != sha256:
            raise StorageUnavailable(f"get {key}: these are other bytes than were stored")
        self.keep(sha256, found)
        return found

    def keep(self, sha256: str, content: bytes) -> None:
        """Remembers bytes that were stored, or read, just now."""
        if len(content) > self._most_bytes or sha256 in self._kept:
            return
        self._kept[sha256] = content
        self._byte_count += len(content)
        while self._byte_count > self._most_bytes:
            _, forgotten = self._kept.popitem(last=False)
            self._byte_count -= len(forgotten)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
