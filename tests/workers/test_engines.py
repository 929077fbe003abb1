"""Which engine prints: the operator's choice at the next job, the type's own wish, and what fails.

Proves that the second engine is opened only when it is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import printing, render
from makeready.config import Settings
from makeready.db import pool_opened
from makeready.documents.shipped import document_type, sample
from makeready.embedded.processes import EmbeddedError
from makeready.print_options import PrintOptions
from makeready.storage import open_storage
from makeready_workers.chromium.records import EngineLimits, Fault, RenderError
from makeready_workers.engines import Engines, open_engines
from makeready_workers.handler import Context
from makeready_workers.render import open_handler
from tests.support.chromium import LOOSE, SETTINGS
from tests.support.in_process import working
from tests.support.objectstore import S3
from tests.support.rendering import Press
from tests.support.waiting import until

SECOND = dataclasses.replace(LOOSE, engine="pyppeteer")


@pytest.fixture
async def press(db: asyncpg.Connection) -> Press:
    return await Press(db).open()


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without pyppeteer."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyppeteer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyppeteer", None)


async def printed_by(db: asyncpg.Connection, job: UUID) -> str:
    """Which engine printed; empty as long as none has."""
    found = await db.fetchval(
        "select meta ->> 'engine' from makeready.artifacts where meta ->> 'render_job_id' = $1",
        str(job),
    )
    return str(found or "")


async def version(engines: Engines, options: PrintOptions) -> str:
    printed = await engines.render("<p>x", {}, options, timeout_s=15)
    return printed.engine_version


async def test_the_operators_choice_for_a_type_wins_over_the_types_own_and_that_over_all(
    press: Press,
) -> None:
    async def chosen(asked: str | None = None) -> str:
        return await printing.engine_of(press.db, "invoice", asked)

    async def choose(document: str | None, engine: str | None) -> None:
        await press.db.execute("select makeready.render_engine_set($1, $2)", document, engine)

    assert await chosen() == "chromium"
    await choose(None, "pyppeteer")
    assert (await chosen(), await chosen("chromium")) == ("pyppeteer", "chromium")
    assert await printing.engine_of(press.db, "letter", None) == "pyppeteer"
    await choose("invoice", "chromium")
    assert (await chosen(), await chosen("pyppeteer")) == ("chromium", "chromium")
    await choose("invoice", None)
    await choose(None, None)
    assert (await chosen(), await chosen("pyppeteer")) == ("chromium", "pyppeteer")


async def test_a_choice_is_audited_and_a_wrong_one_refused(press: Press) -> None:
    await press.db.execute("select makeready.render_engine_set('invoice', 'pyppeteer', 'try it')")
    line = await press.db.fetchrow(
        "select target, before ->> 'engine' as before, after ->> 'engine' as after, reason"
        " from makeready.audit_log where action = 'render_engine_set'"
    )
    assert tuple(line or ()) == ("invoice", None, "pyppeteer", "try it")
    with pytest.raises(asyncpg.PostgresError, match="there is no engine 'typewriter'") as wrong:
        await press.db.execute("select makeready.render_engine_set(null, 'typewriter')")
    assert wrong.value.sqlstate == "MR422"
    with pytest.raises(asyncpg.PostgresError, match="no document type 'novel'") as unknown:
        await press.db.execute("select makeready.render_engine_set('novel', 'chromium')")
    assert unknown.value.sqlstate == "MR404"


async def test_the_second_engine_is_opened_by_the_first_document_that_asks_for_it() -> None:
    with capture_logs() as lines:
        async with open_engines(SETTINGS) as engines:
            assert await version(engines, LOOSE) == (await version(engines, LOOSE))
            assert [line["event"] for line in lines].count("chromium_started") == 1
            assert (await version(engines, SECOND)).startswith("pyppeteer 2")
            assert (await version(engines, LOOSE)).startswith("chromium 1")
            assert await engines.take("pyppeteer") is await engines.take("pyppeteer")
            assert engines.statistics().documents == 3
    closed = [line["engine"] for line in lines if line["event"] == "engine_closed"]
    assert sorted(closed) == ["chromium", "pyppeteer"]


async def test_no_document_gets_into_the_log_by_pyppeteer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with open_engines(SETTINGS) as engines:
            await engines.render("<p>письмо", {}, SECOND, timeout_s=15)
    found = [line for line in caplog.records if line.name.startswith(("pyppeteer", "websockets"))]
    assert found == []


@pytest.mark.usefixtures("absent")
async def test_without_pyppeteer_its_documents_fail_clearly_and_others_do_not() -> None:
    async with open_engines(SETTINGS, limits=EngineLimits(parallel=1)) as engines:
        for _ in range(2):  # the failure is not remembered
            with pytest.raises(RenderError, match=r"pip install 'makeready\[pyppeteer\]'") as lost:
                await version(engines, SECOND)
            assert lost.value.code == Fault.ENGINE_MISSING
            assert lost.value.retryable
            assert lost.value.counts
        assert (await version(engines, LOOSE)).startswith("chromium 1")


async def test_an_engine_that_nobody_knows_is_missing_too() -> None:
    async with open_engines(SETTINGS) as engines:
        with pytest.raises(RenderError, match="no engine 'typewriter'") as caught:
            await engines.take("typewriter")
    assert caught.value.code == Fault.ENGINE_MISSING


async def test_a_machine_without_chromium_says_what_to_install(tmp_path: Path) -> None:
    nowhere = Settings(chromium=tmp_path / "none")
    with pytest.raises(EmbeddedError, match="is no program"):
        async with open_engines(nowhere):
            pass


@pytest.mark.notified
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_choice_is_in_force_at_the_next_job_of_a_running_worker(
    db: asyncpg.Connection, settings: Settings, s3: S3
) -> None:
    press = Press(db)
    async with (
        open_storage(settings) as storage,
        pool_opened(settings, "makeready_worker", size=6) as pool,
    ):
        context = Context(settings=settings, pool=pool, storage=storage)
        async with open_handler(context) as handler, working(settings, handler):
            user = await press.user()
            data = {"letter": sample(document_type("letter"), "ru")}
            pack = (await render.pack_create(db, user, data, language="ru")).pack_id
            for name in ("pyppeteer", None):
                await db.execute("select makeready.render_engine_set(null, $1)", name)
                job = (await render.render_document(db, user, pack, "letter")).job_id
                engine = await until(functools.partial(printed_by, db, job), timeout_s=20)
                assert engine.startswith(name or "chromium")
            await storage.delete([facts.key async for facts in storage.listing()])
    assert s3.bucket == settings.s3_bucket
