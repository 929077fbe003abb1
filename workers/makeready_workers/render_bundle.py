"""The documents of a pack as one PDF with bookmarks, and as one ZIP.

    parts ─ fetched ─► merged in the helper process ─► object storage ─► published, or superseded

Which files belong to the bundle is answered once, at the beginning; whether it still counts, in
the transaction that publishes it. A bundle of a pack that was rendered again meanwhile publishes
nothing: the later render has asked for one of its own.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import asyncpg
import structlog
from anyio import to_thread

from makeready import pdf, printing
from makeready.db import Connection
from makeready.jobs import Done, Job, JobFailed
from makeready.printing import BundlePart
from makeready.storage import ObjectFacts
from makeready_workers.render_store import Shelf

TITLES = {"ru": "Документы", "en": "Documents"}
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # equal documents make equal archives

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    """What is stored of one."""

    pdf: ObjectFacts
    archive: ObjectFacts
    facts: dict[str, Any]


async def make_bundle(pool: asyncpg.Pool, shelf: Shelf) -> Done:
    """Runs the job of a bundle."""
    parts = await printing.bundle_parts(pool, shelf.job.id)
    if not parts:
        _log.info("render_bundle_superseded")
        return Done(result={"superseded": True})
    size = sum(part.byte_count for part in parts)
    if size > pdf.SIZE_LIMIT_BYTES:
        text = f"its documents have {size} bytes, {pdf.SIZE_LIMIT_BYTES} can be bundled"
        raise JobFailed("fatal", "BUNDLE_TOO_LARGE", text)
    bundle = await _stored(shelf, parts)

    async def commit(connection: Connection, _: Job, /) -> str:
        verdict = await printing.publish_bundle(
            connection, shelf.lease, bundle.pdf, bundle.archive, bundle.facts
        )
        if verdict == "superseded":
            _log.info("render_bundle_superseded")
            await shelf.forget([bundle.pdf, bundle.archive])
            return "ok"
        for stored in (bundle.pdf, bundle.archive):
            _log.info("file_created", key=stored.key, verdict=verdict)
        return verdict

    return Done(commit=commit)


async def _stored(shelf: Shelf, parts: Sequence[BundlePart]) -> _Bundle:
    bodies = [await shelf.get(part.bucket, part.key) for part in parts]
    named = [(part.title, body) for part, body in zip(parts, bodies, strict=True)]
    merged = await pdf.merge_aside(named, title=TITLES[parts[0].language])
    packed = await to_thread.run_sync(_archive, parts, bodies)
    return _Bundle(
        pdf=await shelf.put("pack.pdf", merged, media_type="application/pdf"),
        archive=await shelf.put("pack.zip", packed, media_type="application/zip"),
        facts={"documents": [part.doc_id for part in parts]},
    )


def _archive(parts: Sequence[BundlePart], bodies: Sequence[bytes]) -> bytes:
    """All PDFs, numbered in their order; stored as they are, since a PDF is compressed already."""
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for place, (part, body) in enumerate(zip(parts, bodies, strict=True), start=1):
            entry = zipfile.ZipInfo(f"{place:02d}-{part.doc_id}.pdf", _LONG_AGO)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, body)
    return written.getvalue()
