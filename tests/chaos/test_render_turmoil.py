"""Everybody at once: who orders, cancels, publishes, downloads, is forgotten; retention and two
purges without patience; a store that goes away. Afterwards rows and objects agree."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import random
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import library, orphans, people, render, webhooks
from makeready.config import Secret, Settings
from makeready.db import open_pool
from makeready.documents import designs, shipped, versions
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.errors import Conflict, Gone, NotFound, Rejected
from makeready.storage import Storage, open_storage
from makeready.storage_errors import StorageError
from makeready_workers.chromium.records import Fault, RenderError, RenderResult
from makeready_workers.deliver import open_handler as open_deliver
from makeready_workers.handler import Context
from makeready_workers.render import RenderHandler
from tests.chaos.conftest import Witness
from tests.support.in_process import working
from tests.support.paper import PaperEngine
from tests.support.receiver import Receiver, hang, receiving, status
from tests.support.waiting import until

SECONDS = 25.0
STORE_AWAY_S = 4.0
CROWD = 10
GRACE = timedelta(seconds=0.3)  # who relies on ten minutes alone is found out
LOOK_S = 0.2  # what was shown to its owner this long ago is there
DOCS = ("invoice", "letter", "report")
REFUSALS = (
    Conflict,
    Gone,
    NotFound,
    Rejected,
    StorageError,
    asyncpg.ForeignKeyViolationError,  # forgotten at this very moment
)
WEIGHTS = {
    "order": 8,
    "order_html": 3,
    "order_again": 6,
    "cancel": 2,
    "retry": 3,
    "publish_type": 1,
    "forget": 1,
    "retain": 3,
    "purge": 5,
    "download": 8,
    "hook": 1,
    "unhook": 1,
}
NEVER = {
    "a count that is wrong": "select count(*) from makeready.packs p where p.open_count <> (select"
    " count(*) from makeready.pack_documents d where d.pack_id = p.id and d.state = 'queued')",
    "an open document without an open job": "select count(*) from makeready.pack_documents d where"
    " (d.state = 'queued') <> exists (select from makeready.jobs j where j.id = d.job_id"
    " and j.finished_at is null)",
    "a job done without a document, or the reverse": "select count(*) from makeready.jobs j"
    " join makeready.pack_documents d on d.job_id = j.id"
    " where (d.state = 'ready') <> (j.state = 'done')",
    "a latest file that was let go": "select count(*) from makeready.pack_documents d"
    " join makeready.artifact_files a on a.id = d.file_id where a.stored_id is null and not exists"
    " (select from makeready.pack_documents n where n.pack_id = d.pack_id"
    " and n.doc_id = d.doc_id and n.seq > d.seq and n.state = 'ready')",
    "a file that nobody needs": "select count(*) from makeready.files f where f.unused_at is not"
    " null or not exists (select from makeready.file_references r where r.file_id = f.id)",
    "a reference of nobody": "select count(*) from makeready.file_references r where r.refers_id"
    " not in (select id from makeready.artifact_files union select id from"
    " makeready.render_contents union select id from makeready.render_evidence"
    " union select id from makeready.document_type_versions)",
    "a file without its reference": "select count(*) from makeready.artifact_files a where"
    " a.stored_id is not null and not exists (select from makeready.file_references r"
    " where r.file_id = a.stored_id and r.refers_id = a.id)",
    "an artifact of nothing": "select count(*) from makeready.artifact_files a where not exists"
    " (select from makeready.pack_documents d where d.file_id = a.id) and not exists (select"
    " from makeready.render_bundles b where a.id in (b.pdf_file_id, b.zip_file_id))",
    "a pack without its bundle": "select count(*) from makeready.packs p where p.is_bundled and"
    " exists (select from makeready.render_ready(p.id)) and not exists (select from"
    " makeready.render_bundles b where b.pack_id = p.id and b.state in ('ready', 'failed') and"
    " b.upto_seq = (select max(seq) from makeready.pack_documents d where d.pack_id = p.id))",
    "a message that is not sent": "select count(*) from makeready.webhook_deliveries"
    " where state = 'pending'",
    "a chore that fails": "select count(*) from makeready.chores where failures > 0",
}

pytestmark = pytest.mark.timeout(170)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedObjectStore]:
    running = EmbeddedObjectStore(tmp_path / "s3")
    running.start()
    yield running
    running.kill()


class Engine(PaperEngine):
    """Takes a moment, and fails now and then."""

    async def render(self, *args: Any, **options: Any) -> RenderResult:
        await asyncio.sleep(random.random() * 0.05)
        if random.random() < 0.15:
            raise RenderError(Fault.RENDER_TIMEOUT, "so")
        return await super().render(*args, **options)


class Crowd:
    """What people, staff and operators do; each method is one of them."""

    def __init__(self, pool: asyncpg.Pool, storage: Storage, receiver: Receiver) -> None:
        self.db, self.storage, self.receiver = pool, storage, receiver
        self.users: list[UUID] = []
        self.did: Counter[str] = Counter()
        self.data = {name: shipped.sample(shipped.document_type(name), "ru") for name in DOCS}

    async def act(self, end: float) -> None:
        while time.monotonic() < end:
            (name,) = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            try:
                await getattr(self, name)()
            except REFUSALS:
                continue
            self.did[name] += 1
            await asyncio.sleep(random.random() * 0.05)

    async def order(self) -> None:
        """Equal data: most of it is used again."""
        user = random.choice(self.users)
        data = {name: self.data[name] for name in random.sample(DOCS, random.randint(1, 3))}
        made = await render.pack_create(self.db, user, data, language="ru")
        await render.render_pack(self.db, user, made.pack_id)

    async def order_html(self) -> None:
        user, content = random.choice(self.users), uuid4()
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("index.html", f"<!doctype html><p>{content}")
        stored = await self.storage.put(f"sources/{content}.zip", body.getvalue())
        await render.render_html(self.db, user, {"options": {}}, stored, content_id=content)

    async def order_again(self) -> None:
        row = await self._any(
            "select p.user_id, p.id, d.doc_id from makeready.packs p join"
            " makeready.pack_documents d on d.pack_id = p.id where p.user_id is not null"
        )
        await render.render_document(self.db, *row)

    async def cancel(self) -> None:
        (job,) = await self._any("select id from makeready.render_jobs where finished_at is null")
        await self.db.execute("select makeready.cancel('render', $1)", job)

    async def retry(self) -> None:
        (job,) = await self._any(
            "select id from makeready.render_jobs where state in ('dead', 'cancelled')"
        )
        await self.db.execute("select makeready.retry('render', $1)", job)

    async def publish_type(self) -> None:
        """A version of its own, which is tried, and then put in force or thrown away."""
        doc = random.choice(DOCS)
        design = designs.design_of(shipped.document_type(doc))
        design |= {"assets": {}, "titles": {"ru": random.choice("абв"), "en": "x"}}
        number = await versions.draft(self.db, doc, design, [])
        row, _ = await versions.version(self.db, doc, number)
        await versions.checked(self.db, doc, number, row.hash, [])
        await versions.trial(
            self.db, doc, number, seen=row.hash, language="ru", data=self.data[doc]
        )
        await asyncio.sleep(random.random() / 2)
        step = random.choice((versions.publish, versions.discard))
        await step(self.db, doc, number)

    async def forget(self) -> None:
        """A pack or a user, by the function or by hand."""
        table, call = random.choice(
            (("packs", "render_pack_forget"), ("packs", ""), ("users", "user_forget"))
        )
        if table == "users":
            newcomer = await people.user_create(self.db, "Анна")
            which = self.users.pop(random.randrange(len(self.users)))
            self.users.append(newcomer)
        else:
            (which,) = await self._any("select id from makeready.packs where user_id is not null")
        by_hand = f"delete from makeready.{table} where id = $1"
        await self.db.execute(f"select makeready.{call}($1)" if call else by_hand, which)

    async def retain(self) -> None:
        await self.db.execute("select makeready.render_policy_set(1 + (random() < 0.5)::int)")
        await self.db.execute("select makeready.render_retention(100)")
        await self.db.execute(
            "update makeready.render_contents set sources_until = makeready.now()"
            " where sources_id is not null and random() < 0.3"
        )

    async def purge(self, grace: timedelta = GRACE) -> None:
        rows = await self.db.fetch("select * from makeready.files_purge_mark(50, $1)", grace)
        await self.storage.delete([row["object_name"] for row in rows])
        await self.db.execute("select makeready.files_purged($1)", [row["file"] for row in rows])

    async def download(self) -> None:
        row = await self._any(
            "select s.user_id, a.id from makeready.artifact_files a join makeready.artifacts t"
            " on t.id = a.artifact_id join makeready.sessions s on s.id = t.session_id"
            " where a.stored_id is not null and s.user_id is not null"
        )
        file = await library.file(self.db, *row)
        shown = time.monotonic()
        if file.key not in [facts.key async for facts in self.storage.listing(file.key)]:
            assert time.monotonic() - shown > LOOK_S, file.key

    async def hook(self) -> None:
        self.receiver.script[:] = [random.choice((status(204), status(500), hang))]
        url, user = self.receiver.url, random.choice(self.users)
        await webhooks.create(self.db, user, url, ["render.ready", "pack.done"])

    async def unhook(self) -> None:
        row = await self._any("select user_id, id from makeready.webhook_endpoints")
        await self.db.execute("select makeready.webhook_delete($1, $2)", *row)

    async def _any(self, query: str) -> asyncpg.Record:
        row = await self.db.fetchrow(f"{query} order by random() limit 1")
        if row is None:
            raise NotFound("there is none yet")
        return row


@asynccontextmanager
async def worker(settings: Settings, storage: Storage, name: str) -> AsyncIterator[None]:
    pool = await open_pool(settings, "makeready_worker", size=6)
    context = Context(settings=settings, pool=pool, storage=storage)
    printing = RenderHandler(context, storage, Engine())
    async with (
        open_deliver(context) as telling,
        working(settings, printing, telling, instance=name),
    ):
        yield
    await pool.close()


async def prepare(db: asyncpg.Pool) -> None:
    """Retries and chores come within the second."""
    async with db.acquire() as connection:
        await render.sync_types(connection, render.shipped_types())
    for queue, setting, value in (
        ("render", "retry_base", "100 milliseconds"),
        ("render", "max_attempts", "3"),
        ("deliver", "retry_base", "100 milliseconds"),
        ("deliver", "retry_factor", "1"),
        ("deliver", "max_in_flight", "8"),
    ):
        await db.execute("select makeready.queue_set($1, $2, $3)", queue, setting, value)
    await db.execute("update makeready.chores set every = '1 second' where not in_process")


async def test_after_a_turmoil_rows_and_objects_agree(
    dsn: str, store: EmbeddedObjectStore, settings: Settings, witness: Witness
) -> None:
    settings = dataclasses.replace(
        settings,
        s3_endpoint=store.endpoint,
        s3_bucket=store.bucket,
        s3_access_key=store.access_key,
        s3_secret_key=Secret(store.secret_key),
        webhook_private=True,
        tasks=4,
    )
    async with (
        asyncpg.create_pool(dsn, max_size=CROWD) as db,
        open_storage(settings) as storage,
        receiving() as receiver,
    ):
        await storage.ensure_bucket()
        await prepare(db)
        crowd = Crowd(db, storage, receiver)
        crowd.users = [await people.user_create(db, "Анна") for _ in range(4)]
        async with worker(settings, storage, "a"), worker(settings, storage, "b"):
            end = time.monotonic() + SECONDS
            async with asyncio.TaskGroup() as group:
                for _ in range(CROWD):
                    group.create_task(crowd.act(end))
                await asyncio.sleep(SECONDS / 2)
                await asyncio.to_thread(store.stop)
                await asyncio.sleep(STORE_AWAY_S)
                await asyncio.to_thread(store.start)
            receiver.script.clear()
            await witness.until_all_ended(timeout_s=90)
        assert crowd.did.keys() == WEIGHTS.keys()
        await swept(crowd)
        for what, statement in NEVER.items():
            assert await witness.number(statement) == 0, what
        rows = await db.fetch("select object_key from makeready.files")
        objects = {facts.key async for facts in storage.listing()} - {".ready"}
        assert objects == {row[0] for row in rows}


async def swept(crowd: Crowd) -> None:
    """All that a purge and the scan may take is gone."""
    await crowd.db.execute("select makeready.render_retention(10000)")
    await crowd.db.execute("update makeready.files set purging_at = null")
    waits = "select count(*) from makeready.files where unused_at is not null"

    async def none_waits() -> bool:
        await crowd.purge(timedelta(0))
        return bool(await crowd.db.fetchval(waits) == 0)

    await until(none_waits, what="the purge of all files that nobody needs")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await orphans.scan(crowd.db, crowd.storage, older_than=tomorrow)
