"""The job of a bundle: put together, stored, published; and what storage and time do to it."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pymupdf
import pytest

from makeready import library, printing, render
from makeready.config import Settings
from makeready.db import open_pool
from makeready.documents import shipped
from makeready.errors import LeaseLost
from makeready.jobs import Done, JobFailed
from makeready.leases import Claimed
from makeready.storage import ObjectFacts, Storage, open_storage
from makeready.storage_errors import StorageUnavailable
from makeready_workers import storing
from makeready_workers.attempt import Attempt
from makeready_workers.handler import Context
from makeready_workers.render import RenderHandler
from tests.support.objectstore import S3
from tests.support.paper import PaperEngine
from tests.support.rendering import Press


@dataclasses.dataclass(kw_only=True)
class Room:
    """A pack of two documents, and a worker whose engine prints paper."""

    db: asyncpg.Connection
    press: Press
    pool: asyncpg.Pool
    storage: Storage
    handler: RenderHandler
    user: UUID
    pack: UUID

    async def work(self, claimed: Claimed) -> Done:
        """Runs the handler."""
        attempt = Attempt(claimed, self.pool, asked_at=asyncio.get_running_loop().time())
        done = await attempt.work(self.handler)
        assert isinstance(done, Done)
        return done

    async def end(self, claimed: Claimed, done: Done) -> str:
        """Runs its commit, as the loop does."""
        assert done.commit is not None
        async with self.pool.acquire() as connection:
            return await done.commit(connection, claimed.job)

    async def printed(self) -> Claimed:
        """Prints all documents; the claimed job of the bundle."""
        for claimed in await self.press.claim(9):
            await self.end(claimed, await self.work(claimed))
        return await self.press.bundle()

    async def facts(self) -> library.PackFacts:
        return await library.pack(self.db, self.user, self.pack)

    async def keys(self, name: str = "pack.") -> list[str]:
        """What lies in storage of bundles."""
        return [facts.key async for facts in self.storage.listing() if name in facts.key]


@pytest.fixture
async def room(db: asyncpg.Connection, settings: Settings, s3: S3) -> AsyncIterator[Room]:
    assert settings.s3_bucket == s3.bucket
    pool = await open_pool(settings, "makeready_worker", size=4)
    await render.sync_types(db, render.shipped_types())
    press = Press(db)
    user = await press.user()
    data = {
        name: shipped.sample(shipped.document_type(name), "ru") for name in ("invoice", "letter")
    }
    pack = (await render.pack_create(db, user, data, language="ru")).pack_id
    await render.render_pack(db, user, pack)
    async with open_storage(settings) as storage:
        context = Context(settings=settings, pool=pool, storage=storage)
        handler = RenderHandler(context, storage, PaperEngine())
        yield Room(
            db=db,
            press=press,
            pool=pool,
            storage=storage,
            handler=handler,
            user=user,
            pack=pack,
        )
        await storage.delete([facts.key async for facts in storage.listing()])
    await pool.close()


async def test_a_bundle_has_every_document_with_a_bookmark(room: Room) -> None:
    claimed = await room.printed()
    assert await room.end(claimed, await room.work(claimed)) == "ok"

    found = await room.facts()
    assert found.bundle_status == "ready"
    assert found.pack_file_id is not None
    assert found.zip_file_id is not None
    whole = await library.file(room.db, room.user, found.pack_file_id)
    packed = await library.file(room.db, room.user, found.zip_file_id)
    with pymupdf.open(stream=await room.storage.get(whole.key)) as document:
        assert [entry[1] for entry in document.get_toc()] == ["Счёт на оплату", "Деловое письмо"]
        assert len(document) == 2
    with zipfile.ZipFile(io.BytesIO(await room.storage.get(packed.key))) as archive:
        assert archive.namelist() == ["01-invoice.pdf", "02-letter.pdf"]
        assert archive.testzip() is None


async def test_equal_documents_make_equal_bundles(room: Room) -> None:
    claimed = await room.printed()
    await room.work(claimed)
    await room.db.execute("select makeready.job_evict('render', $1)", claimed.job.id)
    await room.work(await room.press.bundle())
    assert len(await room.keys()) == 2  # other bytes would have got another key


async def test_a_worker_killed_between_storing_and_publishing_leaves_no_half_bundle(
    room: Room,
) -> None:
    lost = await room.printed()
    done = await room.work(lost)  # stored; then its process is gone
    assert len(await room.keys()) == 2
    assert (await room.facts()).bundle_status == "queued"
    await room.db.execute("select makeready.job_evict('render', $1)", lost.job.id)

    claimed = await room.press.bundle()
    assert await room.end(claimed, await room.work(claimed)) == "ok"
    with pytest.raises(LeaseLost):  # it was not gone after all
        await room.end(lost, done)
    assert (await room.facts()).bundle_status == "ready"
    count = await room.db.fetchval(
        "select count(*) from makeready.artifacts where kind like 'pack%'"
    )
    assert count == 2


async def test_a_pack_that_is_rendered_again_meanwhile_gets_one_bundle_of_the_newest(
    room: Room,
) -> None:
    stale = await room.printed()
    done = await room.work(stale)
    await room.press.job_of(room.user, room.pack, "invoice")
    assert await room.end(stale, done) == "ok"
    assert await room.keys() == []  # nobody refers to what was stored
    assert (await room.facts()).pack_file_id is None

    claimed = await room.printed()
    assert await room.end(claimed, await room.work(claimed)) == "ok"
    newest = (await room.press.document(room.user, room.pack, "invoice")).file_id
    assert newest is not None
    file = await library.file(room.db, room.user, newest)
    zipped = (await room.facts()).zip_file_id
    assert zipped is not None
    packed = await library.file(room.db, room.user, zipped)
    with zipfile.ZipFile(io.BytesIO(await room.storage.get(packed.key))) as archive:
        assert archive.read("01-invoice.pdf") == await room.storage.get(file.key)


async def test_a_superseded_bundle_ends_at_once(room: Room) -> None:
    claimed = await room.printed()
    await room.press.job_of(room.user, room.pack, "invoice")

    assert (await room.work(claimed)).result == {"superseded": True}
    assert await room.keys() == []


@pytest.mark.parametrize("name", ["put", "get"])
async def test_a_bundle_waits_for_storage_and_is_retried_when_it_stays_away(
    room: Room, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await room.printed()
    whole = getattr(Storage, name)
    calls = 0

    async def flaky(self: Storage, *values: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise StorageUnavailable("away")
        return await whole(self, *values, **named)

    monkeypatch.setattr(Storage, name, flaky)
    assert await room.end(claimed, await room.work(claimed)) == "ok"
    assert calls > 3
    assert (await room.facts()).bundle_status == "ready"


async def test_storage_that_stays_away_is_a_retry(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await room.printed()

    async def full(*_: Any, **__: Any) -> ObjectFacts:
        raise StorageUnavailable("full")

    monkeypatch.setattr(Storage, "put", full)
    monkeypatch.setattr(storing, "AFTERWORK_S", 1e6)
    with pytest.raises(JobFailed) as raised:
        await room.work(claimed)
    assert (raised.value.kind, raised.value.code) == ("retry", "STORAGE_ERROR")
    assert (await room.facts()).bundle_status == "queued"


async def test_a_document_that_is_gone_from_storage_fails_the_bundle_alone(room: Room) -> None:
    claimed = await room.printed()
    await room.storage.delete(await room.keys("invoice.pdf"))
    with pytest.raises(JobFailed) as raised:
        await room.work(claimed)
    await room.press.fail(claimed, "fatal", raised.value.code)

    assert (await room.facts()).bundle_status == "failed"
    assert await room.press.states(room.user, room.pack) == ["ready", "ready"]


async def test_a_bundle_that_is_too_large_says_so(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await room.printed()
    whole = printing.bundle_parts

    async def heavy(*values: Any) -> list[printing.BundlePart]:
        return [dataclasses.replace(part, byte_count=1 << 30) for part in await whole(*values)]

    monkeypatch.setattr(printing, "bundle_parts", heavy)
    with pytest.raises(JobFailed) as raised:
        await room.work(claimed)
    assert (raised.value.kind, raised.value.code) == ("fatal", "BUNDLE_TOO_LARGE")
