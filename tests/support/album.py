"""Photos as rows, ended whenever a test likes: for what reads them, cleans up or counts."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from makeready import ingest
from makeready.media import StoredMedia, kept

WINDOW = timedelta(seconds=48)
KEPT = timedelta(hours=72)
STATUS = {"success": ("succeeded", None), "timeout": ("timeout", "timeout")}


class Album:
    """Writes rows as the functions of the queue would have; `store` is where the files lie."""

    def __init__(self, db: asyncpg.Connection, store: str = "folder:test") -> None:
        self.db = db
        self.store = store

    async def now(self) -> datetime:
        """The database's clock."""
        found: datetime = await self.db.fetchval("select makeready.now()")
        return found

    async def photo(
        self,
        slot: str = "slot-001",
        *,
        job: UUID | None = None,
        outcome: str | None = "success",
        at: datetime | None = None,
        took: float = 2,
        provider: str = "local",
        answered: int | None = 200,
        stored: StoredMedia | None = None,
        waiters: tuple[UUID, ...] = (),
        source: str = "booth",
    ) -> UUID:
        """One that ended at this time after `took` seconds, or has not (outcome None)."""
        job = job or uuid4()
        ended = at or await self.now()
        made = ended - timedelta(seconds=took)
        stored = stored or self.stored(f"results/{job}.jpg")
        is_success = outcome == "success"
        reason = None if is_success or outcome is None else outcome
        facts: dict[str, Any] = {
            "id": job,
            "slot_id": slot,
            "provider_id": provider,
            "source": source,
            "chain": "[]",
            "payload_sha256": stored.sha256,
            "waiters": list(waiters),
            "created_at": made,
            "expires_at": made + WINDOW,
            "failure_reason": reason,
            "finished_at": ended if outcome else None,
            "started_at": made + timedelta(seconds=took / 4) if outcome else None,
            "answered_at": ended if answered else None,
            "answered_with": answered,
        }
        if is_success:
            facts |= _result(stored, ended, took)
        await self._insert("photos", facts)
        await self.line(job, slot, provider, status="received", at=made)
        # The sums of that time are made as if they came after it.
        await self.db.execute(
            "update makeready.photo_sums set taken_until = least(taken_until, $1)", made
        )
        if outcome:
            status, _ = STATUS.get(outcome, ("failed", outcome))
            await self.line(job, slot, provider, status=status, at=ended, reason=reason)
        return job

    async def line(
        self,
        job: UUID,
        slot: str,
        provider: str,
        *,
        status: str,
        at: datetime,
        reason: str | None = None,
    ) -> None:
        """A line of the processing log."""
        await self._insert(
            "processing_logs",
            {
                "job_id": job,
                "slot_id": slot,
                "provider_id": provider,
                "status": status,
                "failure_reason": reason,
                "occurred_at": at,
            },
        )

    async def refused(self, slot: str = "slot-001", reason: str = "limit") -> None:
        """One that was not let in."""
        what = ingest.Refused(slot=slot, reason=reason, minute=await self.now())
        await ingest.refused(self.db, {what: 1})

    async def media(
        self,
        kind: str,
        *,
        job: UUID | None = None,
        lives_s: float = 48,
        stored: StoredMedia | None = None,
    ) -> UUID:
        """A file with a time to live."""
        media, now = uuid4(), await self.now()
        stored = stored or self.stored(f"{kind}/{media}.jpg")
        await self._insert(
            "media_objects",
            {
                "id": media,
                "kind": kind,
                "store": stored.store,
                "path": stored.path,
                "mime": stored.media_type,
                "size_bytes": stored.size_bytes,
                "sha256": stored.sha256,
                "job_id": job,
                "created_at": now,
                "expires_at": now + timedelta(seconds=lives_s),
            },
        )
        return media

    async def pictured(self, job: UUID, before: StoredMedia, after: StoredMedia) -> None:
        """Gives it thumbnails."""
        await self.db.execute(
            "update makeready.photos set before_picture = $2::text::jsonb,"
            " after_picture = $3::text::jsonb where id = $1",
            job,
            json.dumps(kept(before)),
            json.dumps(kept(after)),
        )

    def stored(self, path: str, content: bytes = b"x") -> StoredMedia:
        """What a store would say of these bytes."""
        return StoredMedia(
            store=self.store,
            path=path,
            media_type="image/jpeg",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).digest(),
        )

    async def _insert(self, table: str, facts: dict[str, Any]) -> None:
        places = ", ".join(
            f"${place}" + ("::text::jsonb" if name == "chain" else "")
            for place, name in enumerate(facts, 1)
        )
        await self.db.execute(
            f"insert into makeready.{table} ({', '.join(facts)}) values ({places})",
            *facts.values(),
        )


def _result(stored: StoredMedia, ended: datetime, took: float) -> dict[str, Any]:
    return {
        "provider_latency_ms": int(took * 500),
        "cost": 0.5,
        "result_store": stored.store,
        "result_path": stored.path,
        "result_mime": stored.media_type,
        "result_size_bytes": stored.size_bytes,
        "result_sha256": stored.sha256,
        "result_expires_at": ended + KEPT,
    }
