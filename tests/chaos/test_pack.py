"""Packs are printed by real workers while a worker, the database or the object store goes away."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from makeready import documents, people, render
from makeready.config import Secret, Settings
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.storage import open_storage
from tests.chaos.conftest import Witness
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess, worker_process

pytestmark = pytest.mark.timeout(180)

PACKS = 5
LIMIT = 3
DOCUMENTS = ("invoice", "report", "letter")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedObjectStore]:
    with EmbeddedObjectStore(tmp_path / "s3") as running:
        yield running


@pytest.fixture
def settings(dsn: str, store: EmbeddedObjectStore, tmp_path: Path) -> Settings:
    return Settings(
        database_url=dsn,
        data_dir=tmp_path,
        s3_endpoint=store.endpoint,
        s3_bucket=store.bucket,
        s3_access_key=store.access_key,
        s3_secret_key=Secret(store.secret_key),
        s3_region=store.region,
    )


@asynccontextmanager
async def printer(settings: Settings, folder: Path, name: str) -> AsyncIterator[WorkerProcess]:
    """A worker as it ships."""
    async with worker_process(
        str(settings.database_url),
        folder,
        name,
        command=("makeready", "work", "render"),
        tasks=2,
        drain_grace_s=1,
        s3_endpoint=settings.s3_endpoint,
        s3_bucket=settings.s3_bucket,
        s3_access_key=settings.s3_access_key,
        s3_secret_key=settings.s3_secret_key.reveal() if settings.s3_secret_key else "",
    ) as worker:
        yield worker


async def _order(dsn: str) -> None:
    """Packs of three documents each, Russian and English by turns."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            f"select makeready.queue_set('render', 'max_in_flight', '{LIMIT}')"
        )
        await render.sync_types(connection, render.shipped_types())
        user = await people.user_create(connection, "chaos")
        for number in range(PACKS):
            language = "ru" if number % 2 else "en"
            data = {
                doc: documents.sample(documents.document_type(doc), language) for doc in DOCUMENTS
            }
            pack = await render.pack_create(connection, user, data, language=language)
            await render.render_pack(connection, user, pack.pack_id)
    finally:
        await connection.close()


async def _until_ready(witness: Witness, count: int, *, timeout_s: float = 90) -> None:
    async def ready() -> bool:
        try:
            statement = "select count(*) from makeready.pack_documents where state = 'ready'"
            return await witness.number(statement) >= count
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False  # the database is away, as it should be

    await until(ready, timeout_s=timeout_s, what=f"{count} documents")


@asynccontextmanager
async def _limit_watched(dsn: str) -> AsyncIterator[None]:
    """Fails the test when more documents are in work than the limit allows."""
    most = 0
    stop = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        observer = Witness(dsn)
        while not stop.is_set():
            try:
                statement = "select count(*) from makeready.jobs where state = 'running'"
                most = max(most, await observer.number(statement))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.005)
        await observer.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        yield
        stop.set()
    assert 0 < most <= LIMIT


async def _complete_and_once(witness: Witness, settings: Settings) -> None:
    total = PACKS * len(DOCUMENTS)
    count = "select count(*)::int from makeready."
    assert await witness.number(f"{count}pack_documents where state = 'ready'") == total
    assert await witness.number(f"{count}pack_documents") == total
    assert await witness.number(f"{count}artifacts") == total
    assert await witness.number(f"{count}artifact_files") == total
    assert await witness.number("select sum(open_count)::int from makeready.packs") == 0
    assert await witness.number(f"{count}jobs where state = 'done'") == total
    keys = str(await witness.value("select string_agg(object_key, ' ') from makeready.files"))
    async with open_storage(settings) as storage:
        for key in keys.split():
            assert (await storage.get(key)).startswith(b"%PDF-")


async def test_packs_complete_when_a_worker_is_killed_in_the_middle(
    settings: Settings, dsn: str, witness: Witness, tmp_path: Path
) -> None:
    await _order(dsn)
    async with (
        _limit_watched(dsn),
        printer(settings, tmp_path, "steady") as steady,
        printer(settings, tmp_path, "shaky") as shaky,
    ):
        await shaky.until_event("render_start")
        shaky.send(signal.SIGKILL)
        await shaky.ended()
        await _until_ready(witness, PACKS * len(DOCUMENTS))
        assert steady.is_alive

    await _complete_and_once(witness, settings)
    lost = "select count(*) from makeready.attempts where outcome = 'lost'"
    assert await witness.number(lost) >= 1


async def test_packs_complete_when_the_database_is_restarted_in_the_middle(
    settings: Settings, dsn: str, witness: Witness, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    await _order(dsn)
    async with (
        _limit_watched(dsn),
        printer(settings, tmp_path, "one") as one,
        printer(settings, tmp_path, "two") as two,
    ):
        await _until_ready(witness, 2)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(3)
        await asyncio.to_thread(server.start)
        await _until_ready(witness, 5)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await _until_ready(witness, PACKS * len(DOCUMENTS))
        assert one.is_alive
        assert two.is_alive

    await _complete_and_once(witness, settings)
    assert await witness.number("select max(attempt) from makeready.jobs") == 1


async def test_packs_complete_when_the_object_store_is_away_for_ten_seconds(
    settings: Settings, dsn: str, witness: Witness, store: EmbeddedObjectStore, tmp_path: Path
) -> None:
    await _order(dsn)
    async with (
        _limit_watched(dsn),
        printer(settings, tmp_path, "one") as one,
        printer(settings, tmp_path, "two") as two,
    ):
        await _until_ready(witness, 2)
        await asyncio.to_thread(store.stop)
        await asyncio.sleep(10)
        await asyncio.to_thread(store.start)
        await _until_ready(witness, PACKS * len(DOCUMENTS))
        assert one.is_alive
        assert two.is_alive

    await _complete_and_once(witness, settings)
