"""What tests of photos share: uploads that nobody made, and a worker that asks no provider."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from makeready import ingest, leases
from makeready.ingest import Admitted, Begun, Reason
from makeready.jobs import FailKind
from makeready.leases import Claimed
from makeready.media import StoredMedia
from tests.support.core import plain

STORE = "bucket:photos"
SLOT = "slot-001"
FACTS = {"provider": "local", "operation": "echo", "provider_latency_ms": 120, "reference": "r-1"}
_IMAGES = itertools.count(1)


def upload(content: bytes | None = None, *, store: str = STORE) -> StoredMedia:
    """A payload, a new one unless its content is given."""
    content = b"photo %d" % next(_IMAGES) if content is None else content
    return a_file(f"payloads/{uuid4()}/IMG_0003.JPG", content, store)


def a_file(path: str, content: bytes, store: str = STORE) -> StoredMedia:
    """What a media store would say of it."""
    return StoredMedia(
        store=store,
        path=path,
        media_type="image/jpeg",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).digest(),
    )


def told(claimed: Claimed) -> Begun:
    """What its worker is told of a photo."""
    return Begun.of(claimed.job.payload)


class Darkroom:
    """The slice as one session sees it: a process that waits and works, until told otherwise."""

    def __init__(
        self, db: asyncpg.Connection, *, stale_after: timedelta = timedelta(seconds=10)
    ) -> None:
        self.db = db
        self.me: UUID | None = None
        """Its worker id, once it has registered."""
        self._stale_after = stale_after

    async def process(self, *, tasks: int = 4, host: str = "here", session: bool = False) -> UUID:
        """Registers one more process that serves photos."""
        worker = uuid4()
        await self.db.execute(
            "select makeready.worker_register($1, $2, $3, 1, $4, '{ingest}', '1', $5, $6)",
            worker,
            str(worker),
            host,
            tasks,
            self._stale_after,
            session,
        )
        return worker

    async def waiter(self) -> UUID:
        """This process, which beats."""
        if self.me is None:
            self.me = await self.process()
        await self.db.execute("select makeready.beat($1, '{}', '{}', '{}')", self.me)
        return self.me

    async def admit(
        self,
        slot: str = SLOT,
        content: bytes | None = None,
        *,
        waiter: UUID | None = None,
        job: UUID | None = None,
        **options: Any,
    ) -> Admitted:
        """Lets a photo in."""
        store = options.pop("store", STORE)
        return await ingest.admit(
            self.db,
            job or uuid4(),
            slot,
            upload(content, store=store),
            facts={"name": "IMG_0003.JPG"},
            waiter=waiter or await self.waiter(),
            **options,
        )

    async def claim(self, most: int = 4, worker: UUID | None = None) -> Sequence[Claimed]:
        """Takes photos."""
        return await ingest.claim(self.db, [ingest.QUEUE], worker or await self.waiter(), most)

    async def one(self) -> Claimed:
        """Takes the one photo that is there."""
        (claimed,) = await self.claim()
        return claimed

    async def finish(self, claimed: Claimed, **facts: Any) -> str:
        """Ends it as a success."""
        job = claimed.job.id
        stored = a_file(f"results/{job}.jpg", b"result %b" % job.bytes)
        return await ingest.finish(self.db, job, claimed.lease.token, stored, FACTS | facts)

    async def fail(self, claimed: Claimed, kind: FailKind = "fatal", **problem: Any) -> str:
        """Ends it badly."""
        said = {"code": "provider_error", "message": "it said no", "reason": "rejected", **problem}
        return await leases.fail(self.db, claimed.lease, kind, said)

    async def end(self, job: UUID, reason: Reason = "timeout") -> str:
        """Ends it for a request that waits."""
        return await ingest.end(self.db, job, reason)

    async def done(self, slot: str = SLOT, **options: Any) -> UUID:
        """A photo that was processed."""
        admitted = await self.admit(slot, **options)
        (claimed,) = [one for one in await self.claim(12) if one.job.id == admitted.job_id]
        await self.finish(claimed)
        return admitted.job_id

    async def row(self, query: str, *values: Any) -> asyncpg.Record:
        """The one row of a query."""
        (row,) = await self.db.fetch(query, *values)
        return row

    async def photo(self, job: UUID) -> asyncpg.Record:
        """Its row as it is now."""
        row = await self.db.fetchrow("select * from makeready.photos where id = $1", job)
        assert row is not None, f"photo {job} is gone"
        return row

    async def state(self, job: UUID) -> tuple[str, str | None]:
        """The state of its job, and why the photo failed."""
        state = await self.db.fetchval("select state from makeready.jobs where id = $1", job)
        return state, (await self.photo(job))["failure_reason"]

    async def log(self, job: UUID) -> list[str]:
        """What happened to it."""
        rows = await self.db.fetch(
            "select status from makeready.processing_logs where job_id = $1 order by id", job
        )
        return [row[0] for row in rows]

    async def details(self, job: UUID, status: str) -> dict[str, Any]:
        """The details of the one line with this status."""
        rows = await self.db.fetch(
            "select details from makeready.processing_logs where job_id = $1 and status = $2",
            job,
            status,
        )
        ((found,),) = rows
        return dict(plain(found))

    async def slot(self, slot: str = SLOT, **columns: Any) -> None:
        """Changes a slot behind everybody's back."""
        await self._change("slots", f"id = '{slot}'", columns)

    async def policy(self, **columns: Any) -> None:
        """Changes the policy behind everybody's back."""
        await self._change("ingest_policy", "true", columns)

    async def _change(self, table: str, which: str, columns: dict[str, Any]) -> None:
        for column, value in columns.items():
            await self.db.execute(
                f"update makeready.{table} set {column} = $1 where {which}",
                value,
            )
