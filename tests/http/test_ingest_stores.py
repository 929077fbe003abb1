"""A photo from its post to the end of its result, wherever photos lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import asyncpg
import pytest

from makeready.config import Settings
from makeready.media import MediaStore
from makeready.media_cleanup import MediaCleanup
from makeready.media_opening import open_media
from makeready.storage import Storage
from makeready_workers.ingest import open_photos
from tests.support.booth import opened, photo, post
from tests.support.service import Service, serving
from tests.support.waiting import until


@dataclass(frozen=True, kw_only=True)
class Place:
    """A service with its database, and the store of its photos as the test sees it."""

    service: Service
    media: MediaStore
    pool: asyncpg.Pool

    async def files(self, *prefixes: str) -> list[str]:
        """What lies there."""
        return sorted([f.path for prefix in prefixes async for f in self.media.listing(prefix)])

    async def nothing_is_left_of_clients(self) -> bool:
        """Neither files nor rows of what was posted."""
        rows: int = await self.pool.fetchval("select count(*) from makeready.media_objects")
        return not rows and not await self.files("payloads/", "temporary/")


@pytest.fixture(params=["folder", "bucket"])
async def place(
    request: pytest.FixtureRequest,
    settings: Settings,
    storage: Storage,
    dsn: str,
    db: asyncpg.Connection,
) -> AsyncIterator[Place]:
    await opened(db)
    settings = replace(settings, media_store=request.param)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(settings, photo_workers=open_photos))
        media = await stack.enter_async_context(open_media(settings, storage))
        pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=2))
        yield Place(service=service, media=media, pool=pool)


async def test_a_photo_leaves_its_result_for_its_time_and_nothing_else_ing_046_ing_048_ing_054(
    place: Place,
) -> None:
    """ING-047, ING-050: in a folder and in a bucket alike."""
    answer = await post(place.service.url)
    assert (answer.status, answer.body) == (200, photo())
    await until(place.nothing_is_left_of_clients, what="the end of the payload")

    job = answer.headers["x-job-id"]
    names = [f"results/{job}.{name}" for name in ("after.jpg", "before.jpg", "jpg")]

    async def are_there() -> bool:
        return await place.files("results/") == names

    await until(are_there, what="thumbnails")
    client = place.service.client
    link = f"/public/results/{job}"
    assert (await client.get(link, follow_redirects=True)).content == photo()

    rows = place.pool
    await rows.execute("update makeready.photos set result_expires_at = makeready.now()")
    two = [MediaCleanup(place.pool, place.media) for _ in range(2)]
    assert [await each.clean("results") for each in two] == [{"results": 1}, {"results": 0}]
    assert await place.files("results/") == []
    kept = "select result_path is null and result_sha256 is not null from makeready.photos"
    assert await rows.fetchval(kept)
    assert (await client.get(link)).status_code == 410
