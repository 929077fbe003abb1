"""The render handler: with a paper engine for what goes wrong, with Chromium for the whole.

Proves RND-014.
"""

from __future__ import annotations

import asyncio
import dataclasses

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import library, pdf, render
from makeready.aside import HelperLost
from makeready.config import Settings
from makeready.db import pool_opened
from makeready.documents import shipped
from makeready.pdf import text_of
from makeready.storage import open_storage
from makeready_workers.chromium.records import (
    Fault,
    RenderError,
)
from makeready_workers.handler import Context
from makeready_workers.render import BROWSER_LOSSES, RenderHandler, _warm_up, open_handler
from tests.support.in_process import working
from tests.support.objectstore import S3
from tests.support.paper import small_pdf
from tests.support.pdfs import without_glyphs
from tests.support.rendering import Press
from tests.support.room import Room


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


async def test_a_job_whose_pack_was_deleted_is_nobody_s_failure(room: Room) -> None:
    made = await render.pack_create(room.db, room.user, {"invoice": {}}, language="ru")
    await render.render_document(room.db, room.user, made.pack_id, "invoice")
    await room.db.execute("delete from makeready.packs where id = $1", made.pack_id)
    failure = await room.failure(await room.press.one())

    assert (failure.kind, failure.code) == ("cancelled", "NO_DOCUMENT")


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


@pytest.mark.notified
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
