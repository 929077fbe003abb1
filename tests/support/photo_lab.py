"""The workers of photos in the test's own process, with a folder for a media store."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import asyncpg
from PIL import Image

from makeready import ingest
from makeready.config import Settings
from makeready.ingest import Admitted
from makeready.media import MediaStore
from makeready.media_folder import open_folder
from makeready_workers import ingest as photos
from makeready_workers.loop import Worker
from tests.support.photographing import SLOT
from tests.support.waiting import until


def picture(
    size: tuple[int, int] = (64, 48),
    *,
    colour: tuple[int, ...] = (180, 90, 40),
    kind: str = "JPEG",
    mode: str = "RGB",
    **options: Any,
) -> bytes:
    """A small picture of one colour."""
    out = io.BytesIO()
    Image.new(mode, size, colour if mode != "L" else colour[0]).save(out, kind, **options)
    return out.getvalue()


@dataclass(kw_only=True)
class Lab:
    """Working photo workers and what a test does with them."""

    db: asyncpg.Connection
    worker: Worker
    media: MediaStore
    root: Path
    ended: list[UUID] = field(default_factory=list)

    async def post(self, content: bytes, media_type: str = "image/jpeg") -> Admitted:
        """Stores a payload and lets its photo in, as the route does."""
        job = uuid4()
        stored = await self.media.write(f"payloads/{job}/IMG.JPG", content, media_type)
        admitted = await ingest.admit(
            self.db, job, SLOT, stored, facts={"name": "IMG.JPG"}, waiter=self.worker.id
        )
        self.worker.kick()
        return admitted

    async def end_of(self, job: UUID) -> asyncpg.Record:
        """The photo's row once it has ended."""

        async def ended() -> list[asyncpg.Record]:
            query = "select * from makeready.photos where id = $1 and finished_at is not null"
            return await self.db.fetch(query, job)

        return (await until(ended, what=f"the end of photo {job}"))[0]

    async def processed(self, content: bytes) -> asyncpg.Record:
        """The row of a photo that was posted and has ended."""
        return await self.end_of((await self.post(content)).job_id)

    def files(self) -> list[str]:
        """All that lies in the store, payloads left out."""
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return sorted(path for path in found if path.startswith(("results/", "temporary/")))

    def result(self, row: asyncpg.Record) -> bytes:
        """The bytes of a result."""
        return (self.root / str(row["result_path"])).read_bytes()


@asynccontextmanager
async def photo_lab(
    db: asyncpg.Connection, settings: Settings, root: Path, **changes: Any
) -> AsyncIterator[Lab]:
    """Runs the photo workers for the time of the block, then stops them as a service does."""
    media = await open_folder(root)
    ended: list[UUID] = []
    settings = replace(settings, **changes)
    async with (
        photos.open_photos(settings, media, None, lambda _, job: ended.append(job)) as worker,
        anyio.create_task_group() as group,
    ):
        group.start_soon(worker.run)
        await worker.wait_registered()
        lab = Lab(db=db, worker=worker, media=media, root=root, ended=ended)
        try:
            yield lab
        finally:
            worker.stop()
