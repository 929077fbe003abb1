"""The render handler: with a paper engine for what goes wrong, with Chromium for the whole.

Proves RND-014, RND-025, RND-031.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import library, pdf, render
from makeready.aside import HelperLost
from makeready.config import Secret, Settings
from makeready.db import open_pool, pool_opened
from makeready.documents import shipped
from makeready.errors import LeaseLost, NotFound
from makeready.jobs import JobFailed
from makeready.leases import Claimed
from makeready.pdf import text_of
from makeready.storage import ObjectFacts, Storage, open_storage
from makeready.storage_errors import ObjectMissing, StorageUnavailable
from makeready_workers.attempt import Attempt
from makeready_workers.chromium.records import (
    Fault,
    RenderError,
    RenderResult,
)
from makeready_workers.handler import Context
from makeready_workers.render import BROWSER_LOSSES, RenderHandler, _warm_up, open_handler
from tests.support.in_process import working
from tests.support.objectstore import S3
from tests.support.paper import PaperEngine, small_pdf
from tests.support.pdfs import without_glyphs
from tests.support.rendering import Press


@dataclasses.dataclass(kw_only=True)
class Room:
    """Everything that one attempt needs."""

    db: asyncpg.Connection
    press: Press
    pool: asyncpg.Pool
    storage: Storage
    engine: PaperEngine
    handler: RenderHandler
    user: UUID
    pack: UUID

    async def claimed(self) -> Claimed:
        """A new render of the invoice, taken."""
        await render.render_document(self.db, self.user, self.pack, "invoice")
        return await self.press.one()

    async def attempt(self, claimed: Claimed) -> str:
        """Runs the handler and its commit, as the loop does."""
        attempt = Attempt(claimed, self.pool, asked_at=asyncio.get_running_loop().time())
        done = await attempt.work(self.handler)
        assert done is not None
        assert done.commit is not None
        async with self.pool.acquire() as connection:
            return await done.commit(connection, claimed.job)

    async def failure(self, claimed: Claimed | None = None) -> JobFailed:
        """How an attempt failed."""
        with pytest.raises(JobFailed) as raised:
            await self.attempt(claimed or await self.claimed())
        return raised.value

    async def keys(self) -> list[str]:
        """The documents in storage."""
        found = [facts.key async for facts in self.storage.listing()]
        return [key for key in found if key.startswith("renders/") and not key.endswith(".jpg")]


@pytest.fixture
async def room(db: asyncpg.Connection, settings: Settings, s3: S3) -> AsyncIterator[Room]:
    assert settings.s3_bucket == s3.bucket
    pool = await open_pool(settings, "makeready_worker", size=4)
    press = Press(db)
    await render.sync_types(db, render.shipped_types())
    user = await press.user()
    data = {"invoice": shipped.sample(shipped.document_type("invoice"), "ru")}
    pack = (await render.pack_create(db, user, data, language="ru")).pack_id
    engine = PaperEngine()
    async with open_storage(settings) as storage:
        context = Context(settings=settings, pool=pool, storage=storage)
        yield Room(
            db=db,
            press=press,
            pool=pool,
            storage=storage,
            engine=engine,
            handler=RenderHandler(context, storage, engine),
            user=user,
            pack=pack,
        )
        await storage.delete([facts.key async for facts in storage.listing()])
    await pool.close()


async def test_the_first_lease_stores_under_the_jobs_own_key_rnd_025(room: Room) -> None:
    claimed = await room.claimed()
    assert await room.attempt(claimed) == "ok"

    key = f"renders/{claimed.job.id}/invoice.pdf"
    assert await room.keys() == [key]
    assert (await room.storage.get(key)).startswith(b"%PDF")  # RND-021
    state = await room.press.document(room.user, room.pack, "invoice")
    assert state.status == "ready"
    assert state.file_id is not None
    file = await library.file(room.db, room.user, state.file_id)
    facts = await room.storage.head(key)
    assert (file.key, file.byte_count, file.sha256) == (key, facts.byte_count, facts.sha256)
    assert room.engine.packs == [str(room.pack)]
    assert room.engine.timeouts == [120]  # RND-019


async def test_a_document_gets_the_seconds_that_are_set_but_none_of_the_last_ones_rnd_019(
    room: Room, settings: Settings
) -> None:
    context = Context(settings=settings, pool=room.pool, storage=room.storage)
    for seconds in (7, 3600):
        context = dataclasses.replace(
            context, settings=dataclasses.replace(settings, render_timeout_s=seconds)
        )
        room.handler = RenderHandler(context, room.storage, room.engine)
        await room.attempt(await room.claimed())
    brief, long = room.engine.timeouts
    assert brief == 7
    assert 120 < long < 240 - 19  # of an attempt of four minutes


async def test_a_later_lease_never_writes_over_an_earlier_one(room: Room) -> None:
    zombie = await room.claimed()
    await room.db.execute("select makeready.job_evict('render', $1)", zombie.job.id)
    held = await room.press.one()
    with pytest.raises(LeaseLost):
        await room.attempt(zombie)  # it goes on, stores, and may not publish
    room.engine.pdf = small_pdf() + b"\n%"
    assert await room.attempt(held) == "ok"

    first, second = (
        f"renders/{held.job.id}/{held.lease.token}/invoice.pdf",
        f"renders/{held.job.id}/invoice.pdf",
    )
    assert sorted(await room.keys()) == sorted([first, second])
    published = (await room.press.document(room.user, room.pack, "invoice")).file_id
    assert published is not None
    file = await library.file(room.db, room.user, published)
    assert file.key == first
    assert (await room.storage.get(first)).endswith(b"%")


async def test_a_lost_lease_has_its_own_key(room: Room) -> None:
    claimed = await room.claimed()
    lost = dataclasses.replace(claimed, job=dataclasses.replace(claimed.job, lost=1))
    assert await room.attempt(lost) == "ok"

    key = f"renders/{claimed.job.id}/{claimed.lease.token}/invoice.pdf"
    assert await room.keys() == [key]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.TEMPLATE_ERROR, "fatal"),
        (Fault.ASSET_MISSING, "fatal"),
        (Fault.INVALID_PRINT_OPTIONS, "fatal"),
        (Fault.RENDER_OUT_OF_MEMORY, "fatal"),
        (Fault.RENDER_TIMEOUT, "retry"),
        (Fault.RENDER_CRASHED, "retry"),
        (Fault.BROWSER_LOST, "interrupted"),
        (Fault.FONTS_MISSING, "snooze"),
        (Fault.ENGINE_MISSING, "retry"),
    ],
)
async def test_each_fault_of_the_engine_has_its_way_on_rnd_014(
    room: Room, fault: Fault, kind: str
) -> None:
    room.engine.fault = RenderError(fault, "so it was", evidence={"line": 7})
    failure = await room.failure()

    assert (failure.kind, failure.code) == (kind, fault.value)
    assert "so it was" in failure.message


async def test_a_document_that_loses_the_browser_for_ever_is_counted_in_the_end(
    room: Room,
) -> None:
    room.engine.fault = RenderError(Fault.BROWSER_LOST, "gone")
    claimed = await room.claimed()
    kinds = [(await room.failure(claimed)).kind for _ in range(BROWSER_LOSSES + 2)]

    assert kinds == ["interrupted"] * BROWSER_LOSSES + ["retry"] * 2


@pytest.mark.parametrize("place", ["printing", "checking"])
async def test_a_document_that_is_late_twice_is_given_up_rnd_014(
    room: Room, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async def late(*_: object, **__: object) -> None:
        raise TimeoutError

    if place == "printing":
        room.engine.fault = RenderError(Fault.RENDER_TIMEOUT, "late")
    else:
        monkeypatch.setattr(pdf, "finish_aside", late)
    claimed = await room.claimed()
    jobs = [dataclasses.replace(claimed.job, attempt=number) for number in (1, 2, 5)]
    failures = [await room.failure(dataclasses.replace(claimed, job=job)) for job in jobs]

    assert [failure.kind for failure in failures] == ["retry", "fatal", "fatal"]
    assert {failure.code for failure in failures} == {"RENDER_TIMEOUT"}


async def test_data_that_does_not_fit_is_fatal_with_every_problem(room: Room) -> None:
    await room.db.execute("update makeready.pack_contents set content = '{\"oops\": 1}'")
    failure = await room.failure()

    assert (failure.kind, failure.code) == ("fatal", "DATA_INVALID")
    assert len(failure.evidence["problems"]) > 1


async def test_a_document_of_a_newer_version_is_left_to_another_worker(room: Room) -> None:
    await room.press.sync("invoice", "hologram", version="v9")
    made = await render.pack_create(room.db, room.user, {"hologram": {}}, language="ru")
    await render.render_document(room.db, room.user, made.pack_id, "hologram")
    failure = await room.failure(await room.press.one())

    assert (failure.kind, failure.code) == ("retry", "DOCUMENT_UNKNOWN")


async def test_a_job_without_a_document_is_fatal(room: Room) -> None:
    await room.db.execute("select makeready.enqueue('render')")
    failure = await room.failure(await room.press.one())

    assert (failure.kind, failure.code) == ("fatal", "NO_DOCUMENT")


async def test_what_was_printed_of_a_pack_that_is_deleted_meanwhile_does_not_stay(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*args: Any, **options: Any) -> RenderResult:
        await room.db.execute("delete from makeready.packs")
        return await PaperEngine.render(room.engine, *args, **options)

    monkeypatch.setattr(room.engine, "render", late)
    with pytest.raises(NotFound):
        await room.attempt(await room.claimed())
    assert [facts.key async for facts in room.storage.listing()] == []


async def test_a_job_whose_pack_was_deleted_is_nobody_s_failure(room: Room) -> None:
    made = await render.pack_create(room.db, room.user, {"invoice": {}}, language="ru")
    await render.render_document(room.db, room.user, made.pack_id, "invoice")
    await room.db.execute("delete from makeready.packs where id = $1", made.pack_id)
    failure = await room.failure(await room.press.one())

    assert (failure.kind, failure.code) == ("cancelled", "NO_DOCUMENT")


@pytest.mark.parametrize("body", [b"", b"<html>", b"%PDF-1.7\nnothing"])
async def test_what_is_no_pdf_is_never_stored_rnd_021(room: Room, body: bytes) -> None:
    room.engine.pdf = body
    failure = await room.failure()

    assert (failure.kind, failure.code) == ("retry", "render_invalid_pdf")
    assert await room.keys() == []
    state = await room.press.document(room.user, room.pack, "invoice")
    assert state.status == "rendering"


async def test_letters_that_no_font_has_fail_at_once_and_are_named(room: Room) -> None:
    room.engine.pdf = without_glyphs(small_pdf())
    failure = await room.failure()

    assert (failure.kind, failure.code) == ("fatal", Fault.FONTS_MISSING)
    assert "no font has a letter for" in failure.message
    assert "(U+04" in failure.message  # of the invoice, which is not in this PDF
    assert await room.keys() == []


async def test_a_document_without_a_picture_is_published_too(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: bytes) -> bytes:
        raise HelperLost

    monkeypatch.setattr(pdf, "thumbnail_aside", fail)
    claimed = await room.claimed()
    assert await room.attempt(claimed) == "ok"
    state = await room.press.document(room.user, room.pack, "invoice")
    assert state.status == "ready"


async def test_a_checker_that_dies_of_the_pdf_is_named(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object, **__: object) -> pdf.PdfFacts:
        raise HelperLost

    monkeypatch.setattr(pdf, "verify_aside", dies)
    failure = await room.failure()

    assert (failure.kind, failure.code) == ("retry", "helper_lost")
    assert failure.message == "The helper process ended in the middle of a question."
    assert await room.keys() == []


async def test_a_finished_document_waits_for_storage(room: Room) -> None:
    class Shaky:
        """Away twice, then there."""

        faults = 2
        ensure_bucket = room.storage.ensure_bucket

        async def put(self, key: str, body: bytes, **options: Any) -> ObjectFacts:
            self.faults -= 1
            if self.faults >= 0:
                raise StorageUnavailable("not now")
            return await room.storage.put(key, body, **options)

    shaky: Any = Shaky()
    context = Context(settings=Settings(), pool=room.pool, storage=shaky)
    room.handler = RenderHandler(context, shaky, room.engine)
    with capture_logs() as lines:
        assert await room.attempt(await room.claimed()) == "ok"

    assert [line["event"] for line in lines].count("storage_awaited") == 2
    assert len(room.engine.packs) == 1


async def test_storage_that_stays_away_is_a_retry(room: Room, settings: Settings) -> None:
    away = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    async with open_storage(away) as storage:
        context = Context(settings=away, pool=room.pool, storage=storage)
        room.handler = RenderHandler(context, storage, room.engine)
        claimed = dataclasses.replace(await room.claimed(), limit_s=20.0)
        failure = await room.failure(claimed)

    assert (failure.kind, failure.code) == ("retry", "STORAGE_ERROR")
    assert "127.0.0.1" not in failure.message


async def test_a_bucket_that_was_removed_is_made_again_rnd_031(room: Room, s3: S3) -> None:
    assert s3.call("DELETE", f"/{s3.bucket}") == 204
    with pytest.raises(ObjectMissing):
        await room.storage.check()

    assert await room.attempt(await room.claimed()) == "ok"


async def test_the_queue_needs_storage(room: Room, settings: Settings) -> None:
    context = Context(settings=settings, pool=room.pool)
    with pytest.raises(ValueError, match="object storage"):
        async with open_handler(context):
            pass


async def test_whatever_goes_wrong_in_the_warm_up_ends_no_worker(room: Room) -> None:
    room.engine.fault = OSError("no room")
    with capture_logs() as lines:
        await _warm_up(room.engine)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("render_warm_up_failed", "warning")
    ]


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_a_pack_is_rendered_by_a_browser_and_published_rnd_019_rnd_024(
    db: asyncpg.Connection, settings: Settings, s3: S3
) -> None:
    press, docs = Press(db), shipped.registry()
    async with (
        open_storage(settings) as storage,
        pool_opened(settings, "makeready_worker", size=6) as pool,
    ):
        context = Context(settings=settings, pool=pool, storage=storage)
        async with open_handler(context) as handler, working(settings, handler) as shop:
            user = await press.user()
            data = {name: shipped.sample(doc, "ru") for name, doc in docs.items()}
            pack = (await render.pack_create(db, user, data, language="ru")).pack_id
            await render.render_pack(db, user, pack)
            ends = await shop.until_ends(len(docs), timeout_s=60)

            assert ends == {"done": len(docs)}
            assert await press.states(user, pack) == ["ready"] * len(docs)
            for row in await library.files(db, user, limit=9):
                file = await library.file(db, user, row.file_id)
                text = await asyncio.to_thread(text_of, await storage.get(file.key))
                assert len(text) > 500
                assert str(pack) not in text  # RND-023
            await storage.delete([facts.key async for facts in storage.listing()])
    assert s3.bucket == settings.s3_bucket
