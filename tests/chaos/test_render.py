"""Packs in mid-work while a worker, the database or object storage goes away: all documents come,
none of them twice. Real worker processes, a real browser, a real store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from makeready import people, render
from makeready.config import Secret, Settings
from makeready.documents import shipped
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.storage import open_storage
from tests.chaos.conftest import AWAY, Witness, limit_watched
from tests.support.waiting import until

PACKS = 8
DOCS = ("invoice", "letter", "report")
LIMIT = 3  # below the tasks of two workers
STORE_AWAY_S = 10.0
TIMEOUT_S = 100.0

pytestmark = pytest.mark.timeout(170)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedObjectStore]:
    running = EmbeddedObjectStore(tmp_path / "s3")
    running.start()
    yield running
    running.kill()


class Workers:
    """Real `makeready work render` processes."""

    def __init__(self, dsn: str, store: EmbeddedObjectStore, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MAKEREADY_")},
            "MAKEREADY_DATABASE_URL": dsn,
            "MAKEREADY_S3_ENDPOINT": store.endpoint,
            "MAKEREADY_S3_ACCESS_KEY": store.access_key,
            "MAKEREADY_S3_SECRET_KEY": store.secret_key,
            "MAKEREADY_S3_BUCKET": store.bucket,
            "MAKEREADY_DATA_DIR": str(folder / "var"),
            "MAKEREADY_TASKS": "2",
            "MAKEREADY_LOG_FORMAT": "json",
        }
        self._count = 0

    def said(self, event: str) -> bool:
        """Whether any worker has logged such a line."""
        return any(event in log.read_text() for log in self._folder.glob("worker-*.log"))

    @asynccontextmanager
    async def one(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        """A worker for the time of the block, then killed if it still runs."""
        self._count += 1
        log = self._folder / f"worker-{self._count}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "makeready", "work", "render"],
                env=self._environment,
                stdout=sink,
                stderr=sink,
            )
        try:
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


@pytest.fixture
def workers(dsn: str, store: EmbeddedObjectStore, tmp_path: Path) -> Workers:
    return Workers(dsn, store, tmp_path)


async def ask(dsn: str) -> list[UUID]:
    """Packs of all documents, asked to be rendered."""
    db = await asyncpg.connect(dsn)
    try:
        await render.sync_types(db, render.shipped_types())
        await db.execute(f"select makeready.queue_set('render', 'max_in_flight', '{LIMIT}')")
        user = await people.user_create(db, "Анна")
        packs = [
            (await render.pack_create(db, user, _data(number), language="ru")).pack_id
            for number in range(PACKS)
        ]
        for pack in packs:
            assert (await render.render_pack(db, user, pack)).jobs_created == len(DOCS)
    finally:
        await db.close()
    return packs


def _data(number: int) -> dict[str, Any]:
    """Data that no other pack has: equal documents would not be printed twice."""
    data = {name: shipped.sample(shipped.document_type(name), "ru") for name in DOCS}
    for document, field in (("invoice", "number"), ("letter", "number"), ("report", "title")):
        data[document][field] += f" {number}"
    return data


async def until_ready(witness: Witness, count: int) -> None:
    """Waits until so many documents are ready; the database may be away meanwhile."""

    async def ready() -> bool:
        statement = "select count(*) from makeready.pack_documents where state = 'ready'"
        try:
            return await witness.number(statement) >= count
        except AWAY:
            return False

    await until(ready, timeout_s=TIMEOUT_S, what=f"{count} documents")


async def until_bundled(witness: Witness) -> None:
    """Waits until each pack is one PDF and one ZIP."""
    statement = "select count(*) from makeready.render_bundles where state = 'ready'"

    async def bundled() -> bool:
        return await witness.number(statement) == PACKS

    await until(bundled, timeout_s=TIMEOUT_S, what=f"{PACKS} bundles")


async def assert_each_once(witness: Witness, store: EmbeddedObjectStore) -> None:
    """Every document is ready, every pack put together; each has one artifact a file, once."""
    await until_bundled(witness)
    documents = PACKS * len(DOCS)
    for statement, expected in {
        "select count(*) from makeready.pack_documents where state = 'ready'": documents,
        "select count(*) from makeready.pack_documents": documents,
        "select count(*) from makeready.artifacts where meta ? 'render_job_id'": documents,
        "select count(distinct meta ->> 'render_job_id') from makeready.artifacts": documents,
        "select count(*) from makeready.render_bundles": PACKS,
        "select count(*) from makeready.artifacts where meta ? 'pack_job_id'": 2 * PACKS,
        "select count(*) from makeready.file_references": 2 * documents + 2 * PACKS,
        "select count(*) from makeready.jobs where state = 'done'": documents + PACKS,
    }.items():
        assert await witness.number(statement) == expected, statement
    assert await witness.number("select sum(open_count)::int from makeready.packs") == 0
    await assert_stored(witness, store)


async def assert_stored(witness: Witness, store: EmbeddedObjectStore) -> None:
    """What the database says of each object is what lies in the store."""
    settings = Settings(
        s3_endpoint=store.endpoint,
        s3_bucket=store.bucket,
        s3_access_key=store.access_key,
        s3_secret_key=Secret(store.secret_key),
    )
    listed = await witness.value(
        "select array_agg(object_key || ' ' || encode(sha256, 'hex')) from makeready.files"
    )
    assert isinstance(listed, list)
    async with open_storage(settings) as storage:
        for line in listed:
            key, digest = str(line).rsplit(" ", 1)
            facts = await storage.head(key)
            assert facts.sha256 is not None
            assert facts.sha256.hex() == digest


async def test_a_killed_worker_in_mid_pack_costs_no_document(
    dsn: str, witness: Witness, workers: Workers, store: EmbeddedObjectStore
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(limit_watched(dsn, LIMIT))
        victim = await stack.enter_async_context(workers.one())
        await ask(dsn)
        await stack.enter_async_context(workers.one())
        await until_ready(witness, 3)
        victim.send_signal(signal.SIGKILL)
        await until_ready(witness, PACKS * len(DOCS))

        await assert_each_once(witness, store)


async def test_a_database_that_restarts_in_mid_pack_costs_no_document(
    dsn: str,
    server: EmbeddedPostgres,
    witness: Witness,
    workers: Workers,
    store: EmbeddedObjectStore,
) -> None:
    async with limit_watched(dsn, LIMIT), workers.one(), workers.one():
        await ask(dsn)
        await until_ready(witness, 3)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await until_ready(witness, PACKS * len(DOCS))

        await assert_each_once(witness, store)
        # An outage is not the documents' fault.
        assert await witness.number("select count(*) from makeready.jobs where attempt > 1") == 0


async def test_a_store_that_is_away_for_ten_seconds_costs_no_document(
    dsn: str, witness: Witness, workers: Workers, store: EmbeddedObjectStore
) -> None:
    async with limit_watched(dsn, LIMIT), workers.one(), workers.one():
        await ask(dsn)
        await until_ready(witness, 3)
        await asyncio.to_thread(store.kill)
        await until(lambda: workers.said("storage_awaited"), what="a document that waits")
        await asyncio.sleep(STORE_AWAY_S)  # the length of the outage is the point
        await asyncio.to_thread(store.start)
        await until_ready(witness, PACKS * len(DOCS))

        await assert_each_once(witness, store)
        # An outage is not the documents' fault, and what was printed is not printed again.
        assert await witness.number("select count(*) from makeready.attempts") == 0
