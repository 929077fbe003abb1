"""Finds the version of a document type that a render has pinned, or that is in force now.

A version never changes under its hash, so what was loaded is kept as long as there is room; which
version is in force is asked again after half a minute. Where a version cannot be used (a file of
it is gone, its design was damaged) the type is taken as it is shipped, and an alert says so; where
none is shipped the document fails with a clear word. Storage that is merely away is neither: the
caller tries again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
import structlog

from makeready.db import Executor
from makeready.documents.designs import WITHOUT_TEMPLATE, type_of
from makeready.documents.shipped import registry
from makeready.documents.typesetting import Asset, DocumentType
from makeready.errors import MakereadyError, NotFound, Rejected
from makeready.shapes import cut
from makeready.storage import Storage
from makeready.storage_errors import ObjectMissing

IN_FORCE_S = 30.0  # how long an answer about the version in force counts
BROKEN_S = 30.0  # until a version that could not be used is tried again
TYPES_KEPT = 64
ID_MAX = 63
BYTES_KEPT = 64 * 1024 * 1024  # of their assets

_log = structlog.get_logger(__name__)


class TypeUnusable(MakereadyError):
    """A version of a document type cannot be used, and none is shipped in its place."""

    code = "document_type_unusable"


class Catalogue:
    """The document types of a process."""

    def __init__(
        self,
        db: Executor,
        storage: Storage | None,
        *,
        source: str = "db",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._storage = storage
        self._is_file = source == "file"
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], DocumentType] = OrderedDict()
        self._in_force: dict[str, tuple[str, float]] = {}
        self._broken: dict[tuple[str, str], tuple[str, float]] = {}

    async def current(self, doc_id: str) -> DocumentType:
        """The version in force; raises NotFound when there is none, TypeUnusable."""
        if self._is_file or doc_id == WITHOUT_TEMPLATE or len(doc_id) > ID_MAX:
            return _shipped(doc_id)
        version, until = self._in_force.get(doc_id, ("", 0.0))
        if self._clock() >= until:
            row = await self._db.fetchrow(
                "select version, shipped_version from makeready.document_list($1)", doc_id
            )
            if row is None:
                return _shipped(doc_id)
            version = row["version"] or row["shipped_version"]
            if len(self._in_force) >= TYPES_KEPT:
                self._in_force.clear()
            self._in_force[doc_id] = (version, self._clock() + IN_FORCE_S)
        return await self.load(doc_id, version) if version else _shipped(doc_id)

    async def load(self, doc_id: str, version: str, *, may_fall_back: bool = True) -> DocumentType:
        """The type in this version; without `may_fall_back` exactly this one.

        Raises NotFound for what is neither kept nor shipped, TypeUnusable, and StorageError while
        a file of it cannot be fetched.
        """
        shipped = registry().get(doc_id)
        if self._is_file or (shipped is not None and version in {"", shipped.version}):
            return _shipped(doc_id)
        key = (doc_id, version)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        why, until = self._broken.get(key, ("", 0.0))
        if self._clock() >= until:
            try:
                return self._keep(key, await self._fetch(*key))
            except TypeUnusable as error:
                why = str(error)
            if len(self._broken) >= TYPES_KEPT:
                self._broken.clear()
            self._broken[key] = (why, self._clock() + BROKEN_S)
            if shipped is not None and may_fall_back:
                await self._tell(doc_id, version, why)
        if shipped is None or not may_fall_back:
            facts = {"doc_id": doc_id, "version": version, "reason": TypeUnusable.code}
            raise TypeUnusable(why, details=facts)
        return shipped

    def forget(self, doc_id: str) -> None:
        """Asks again which version is in force: this process has just changed it."""
        self._in_force.pop(doc_id, None)

    async def _fetch(self, doc_id: str, version: str) -> DocumentType:
        row = await self._db.fetchrow(
            "select design::text, assets::text from makeready.document_design($1, $2)",
            doc_id,
            version,
        )
        if row is None:
            raise TypeUnusable(f"{doc_id} has no version {version} any more")
        design, places = json.loads(row["design"]), json.loads(row["assets"])
        try:
            contents = await self._contents(doc_id, design, places)
            return type_of(doc_id, version, design, contents)
        except (AttributeError, LookupError, Rejected, TypeError, ValueError) as error:
            text = f"version {version} of {doc_id} cannot be read: {type(error).__name__}: {error}"
            raise TypeUnusable(text) from error

    async def _contents(
        self, doc_id: str, design: Mapping[str, Any], places: Mapping[str, Any]
    ) -> dict[str, Asset]:
        """The bytes of a version's assets, by SHA-256; those that are shipped come from there."""
        shipped = registry().get(doc_id)
        known = {
            hashlib.sha256(asset.content).hexdigest(): asset
            for asset in (shipped.assets.values() if shipped else ())
        }
        found: dict[str, Asset] = {}
        for name, facts in design.get("assets", {}).items():
            digest = facts["sha256"]
            if digest in known:
                found[digest] = known[digest]
            elif digest not in found:
                place = places.get(digest)
                found[digest] = Asset(
                    media_type=facts["media_type"],
                    content=await self._bytes(name, digest, place),
                )
        return found

    async def _bytes(self, name: str, digest: str, place: Mapping[str, str] | None) -> bytes:
        if place is None or self._storage is None or place["bucket"] != self._storage.bucket:
            raise TypeUnusable(f"the asset {name} is not in this storage")
        try:
            content = await self._storage.get(place["key"])
        except ObjectMissing:
            raise TypeUnusable(f"the asset {name} is gone from storage") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise TypeUnusable(f"the asset {name} is not what was stored")
        return content

    def _keep(self, key: tuple[str, str], doc: DocumentType) -> DocumentType:
        self._kept[key] = doc
        while len(self._kept) > 1 and (
            len(self._kept) > TYPES_KEPT or sum(map(_weight, self._kept.values())) > BYTES_KEPT
        ):
            self._kept.popitem(last=False)
        return doc

    async def _tell(self, doc_id: str, version: str, why: str) -> None:
        """Once a version and day, however many processes meet it."""
        _log.warning("bad_config_fallback", doc_id=doc_id, version=version, reason=why)
        try:
            await self._db.execute(
                "select makeready.document_fallback($1, $2, $3)", doc_id, version, why
            )
        except (asyncpg.PostgresError, OSError) as error:
            _log.warning("alert_record_error", error=type(error).__name__)


def _shipped(doc_id: str) -> DocumentType:
    found = registry().get(doc_id)
    if found is None:
        facts = {"code": "document_not_found", "doc_id": cut(doc_id)}
        raise NotFound(f"there is no document {cut(doc_id)}", details=facts)
    return found


def _weight(doc: DocumentType) -> int:
    return sum(len(asset.content) for asset in doc.assets.values())
