"""What is known of an attempt while it runs, and how that is kept when it fails.

An archive has `evidence.json` (the error, what the engine noted, what was printed with which
version), `document.html` as it was given to the engine, and `screenshot.jpg` if there is one.
Keeping is bounded in time and size and never changes how the attempt ends: where storage or
database are away, the attempt fails without evidence.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import asyncpg
import structlog
from anyio import to_thread

from makeready import evidence
from makeready.errors import LeaseLost, NotFound
from makeready.jobs import Job, JobFailed
from makeready.log import mask
from makeready.storage import Storage
from makeready.storage_errors import StorageError
from makeready_workers.attempt import HeldLease

KEEP_TIMEOUT_S = 5.0
LEFT_FOR_THE_END_S = 3.0  # of the attempt's time, for the call that ends it
HTML_BYTES = 8 << 20
SCREENSHOT_BYTES = 2 << 20
NOTES_BYTES = 256 << 10
KINDS = frozenset({"retry", "fatal"})  # the others are not the document's fault

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Witness:
    """What one attempt has come to, for the case that it fails; filled by whoever prints."""

    html: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What is printed: layout, version, language, options."""

    async def keep(
        self, pool: asyncpg.Pool, storage: Storage, job: Job, lease: HeldLease, failure: JobFailed
    ) -> None:
        """Keeps what is known of an attempt that is about to fail; never raises but cancelled."""
        cause = failure.__cause__
        if failure.kind not in KINDS:
            return
        if isinstance(cause, StorageError):  # it would only be waited for once more
            _log.info("evidence_lost", reason="StorageError")
            return
        allowed_s = min(KEEP_TIMEOUT_S, lease.seconds_left - LEFT_FOR_THE_END_S)
        try:
            with anyio.fail_after(max(0.0, allowed_s)):
                screenshot = getattr(cause, "screenshot", None)
                body = await to_thread.run_sync(self._archive, job, failure, screenshot)
                stored = await storage.put(
                    f"evidence/{job.id}/{lease.token}.zip", body, media_type="application/zip"
                )
                try:
                    await evidence.keep(pool, lease, failure.code, stored)
                except (LeaseLost, NotFound):  # somebody else's by now, or its pack was deleted
                    await storage.delete([stored.key])
                    raise
        except Exception as error:  # noqa: BLE001 -- the attempt ends as it would have
            _log.warning("evidence_lost", reason=type(error).__name__)
        else:
            _log.info("evidence_kept", key=stored.key, size_bytes=stored.byte_count)

    def _archive(self, job: Job, failure: JobFailed, screenshot: bytes | None) -> bytes:
        notes = {
            "at": datetime.now(UTC).isoformat(),
            "job_id": str(job.id),
            "attempt": job.attempt,
            "payload": dict(job.payload),
            "kind": failure.kind,
            "code": failure.code,
            "message": failure.message,
            "evidence": failure.evidence,
            "printed": self.facts,
        }
        text = json.dumps(mask(notes), ensure_ascii=False, indent=2, default=str)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("evidence.json", _cut(text, NOTES_BYTES))
            if self.html is not None:
                archive.writestr("document.html", _cut(self.html, HTML_BYTES))
            if screenshot is not None and len(screenshot) <= SCREENSHOT_BYTES:
                archive.writestr("screenshot.jpg", screenshot, zipfile.ZIP_STORED)
        return packed.getvalue()


def _cut(text: str, most: int) -> bytes:
    body = text.encode("utf-8", "replace")
    return body if len(body) <= most else body[:most] + b"\n... cut\n"
