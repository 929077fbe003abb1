"""The workers of photos in the test's own process, with a folder for a media store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest

from makeready import ingest
from makeready.config import Settings
from makeready.ingest import Admitted
from makeready.jobs import Ended
from makeready.listening import Listener
from makeready.media import MediaStore
from makeready.media_folder import open_folder
from makeready_workers import ingest as photos
from makeready_workers.ingest import PhotoWorker
from makeready_workers.providers import by_kind
from makeready_workers.providers.base import Call, Image, Task
from tests.support.photo_pictures import quarters, saved
from tests.support.photographing import SLOT
from tests.support.waiting import until

RESULT = Image(content=saved(quarters((32, 24)), "PNG"), media_type="image/png")


@dataclass(kw_only=True)
class Scripted:
    """A provider that does as the test says, and keeps what it was asked."""

    does: Callable[[Task, Call], Awaitable[Image]]
    tasks: list[Task] = field(default_factory=list)
    cancelled: list[Any] = field(default_factory=list)

    async def process(self, task: Task, call: Call) -> Image:
        self.tasks.append(task)
        return await self.does(task, call)

    async def cancel(self, call: Call) -> None:
        self.cancelled.append(call.notes.get("provider_reference"))

    async def ping(self, call: Call) -> None:
        raise NotImplementedError


def scripted(
    monkeypatch: pytest.MonkeyPatch, does: Callable[[Task, Call], Awaitable[Image]]
) -> Scripted:
    """Puts a provider in the place of the webhook's, before the workers are opened."""
    made = Scripted(does=does)
    kinds = {**by_kind(), "webhook": made}
    monkeypatch.setattr(photos, "by_kind", lambda: kinds)
    return made


async def brings(_: Task, call: Call) -> Image:
    """An image, by an order that cost something."""
    call.notes |= {"provider_reference": "order-1", "cost": 0.25, "http_status": 200}
    return RESULT


async def hangs(_: Task, call: Call) -> Image:
    """Takes an order and is never done with it."""
    call.notes["provider_reference"] = "order-1"
    await asyncio.Event().wait()
    return RESULT


@dataclass(kw_only=True)
class Lab:
    """Working photo workers and what a test does with them."""

    db: asyncpg.Connection
    worker: PhotoWorker
    media: MediaStore
    root: Path
    ended: list[UUID] = field(default_factory=list)
    """As the waiting requests of the process are told."""

    async def slot(
        self,
        provider: str,
        operation: str,
        settings: Mapping[str, Any] | None = None,
        *fallbacks: Mapping[str, Any],
    ) -> None:
        """What the slot does with its photos from now on."""
        await self.db.execute(
            "update makeready.slots set provider_id = $2, operation_id = $3, settings_json = $4,"
            " fallbacks = $5 where id = $1",
            SLOT,
            provider,
            operation,
            json.dumps(settings or {}),
            json.dumps(fallbacks),
        )

    async def template(self, key: str, content: bytes, media_type: str = "image/png") -> None:
        """A template image of the slot."""
        stored = await self.media.write(f"templates/{uuid4()}.png", content, media_type)
        await self.db.execute(
            "insert into makeready.slot_templates (id, slot_id, setting_key, store, path, mime,"
            " size_bytes, checksum, uploaded_by, created_at, updated_at)"
            " values ($1, $2, $3, $4, $5, $6, $7, $8, 'anna', now(), now())",
            uuid4(),
            SLOT,
            key,
            stored.store,
            stored.path,
            stored.media_type,
            stored.size_bytes,
            stored.sha256,
        )

    async def window(self, seconds: float) -> None:
        """How long a booth waits."""
        await self.db.execute("update makeready.ingest_policy set sync_response_s = $1", seconds)

    async def post(
        self, content: bytes, media_type: str = "image/jpeg", *, waiter: UUID | None = None
    ) -> Admitted:
        """Stores a payload and lets its photo in, as the route does."""
        job = uuid4()
        stored = await self.media.write(f"payloads/{job}/IMG.JPG", content, media_type)
        admitted = await ingest.admit(
            self.db, job, SLOT, stored, facts={"name": "IMG.JPG"}, waiter=waiter or self.worker.id
        )
        self.worker.kick()
        return admitted

    async def end_of(self, job: UUID) -> asyncpg.Record:
        """The photo's row once it has ended."""

        async def ended() -> list[asyncpg.Record]:
            query = "select * from makeready.photos where id = $1 and finished_at is not null"
            return await self.db.fetch(query, job)

        return (await until(ended, what=f"the end of photo {job}"))[0]

    async def processed(self, content: bytes, media_type: str = "image/jpeg") -> asyncpg.Record:
        """The row of a photo that was posted and has ended."""
        return await self.end_of((await self.post(content, media_type)).job_id)

    async def problem(self, job: UUID) -> dict[str, Any]:
        """Why a photo failed, as its job has it."""
        text = await self.db.fetchval("select error from makeready.jobs where id = $1", job)
        found: dict[str, Any] = json.loads(text)
        return found

    async def log(self, job: UUID) -> list[str]:
        """What happened to a photo."""
        rows = await self.db.fetch(
            "select status from makeready.processing_logs where job_id = $1 order by id", job
        )
        return [row[0] for row in rows]

    async def until_idle(self) -> None:
        """Waits until no task works."""
        await until(lambda: not self.worker.statistics().running, what="idle tasks")

    def results(self) -> list[str]:
        """The names of all results, thumbnails too."""
        return sorted(path.name for path in (self.root / "results").glob("*"))

    def result(self, row: asyncpg.Record) -> bytes:
        """The bytes of a result."""
        return (self.root / str(row["result_path"])).read_bytes()


@asynccontextmanager
async def photo_lab(
    db: asyncpg.Connection,
    settings: Settings,
    root: Path,
    media: MediaStore | None = None,
    **changes: Any,
) -> AsyncIterator[Lab]:
    """Runs the photo workers for the time of the block, then stops them as a service does."""
    settings = replace(settings, **changes)
    store = await open_folder(root) if media is None else media
    listener = Listener(settings, "makeready_http") if settings.listen else None
    ended: list[UUID] = []

    def on_end(_: str, job: UUID, __: Ended | None) -> None:
        ended.append(job)

    async with anyio.create_task_group() as group:
        if listener is not None:
            group.start_soon(listener.run)
        async with (
            photos.open_photos(settings, store, listener, on_end) as worker,
            anyio.create_task_group() as working,
        ):
            working.start_soon(worker.run)
            await worker.wait_registered()
            try:
                yield Lab(db=db, worker=worker, media=store, root=root, ended=ended)
            finally:
                worker.stop()
        group.cancel_scope.cancel()
