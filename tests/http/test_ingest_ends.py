"""How waits end otherwise: the process stops, the database goes, another process works."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready.config import ConfigError, Settings
from makeready.faults import alone
from makeready.media_folder import FolderStore, open_folder
from makeready_http import photo_requests
from makeready_http.photo_services import Photos, PhotoWorkers
from makeready_http.services import services_opened
from tests.support.booth import (
    Answer,
    Studio,
    form,
    line_to,
    opened,
    payloads,
    photo,
    post,
    waits_for,
)
from tests.support.cluster import Cluster
from tests.support.database import cloned
from tests.support.proxy import proxied
from tests.support.service import Service, serving
from tests.support.waiting import until

pytestmark = [pytest.mark.notified, pytest.mark.usefixtures("open_slots")]

NOWHERE = "http://127.0.0.1:9"


async def test_a_process_that_ends_lets_its_photos_end(settings: Settings, studio: Studio) -> None:
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            serving(settings, photo_workers=studio.open, grace_s=20)
        )
        asked = [asyncio.create_task(post(service.url, form(photo(50 + n)))) for n in range(6)]
        await until(lambda: len(studio.begun) == 4)  # two wait for a worker
        async with line_to(service.url) as late:
            await late.head(len(form()))  # let in before, its photo comes too late
            ending = asyncio.create_task(stack.aclose())
            await until(lambda: _refuses(service))
            await late.send(form())
            answer = await late.answer()
        ready.set()
        await ending

    assert (answer.status, answer.code) == (503, "queue_unavailable")
    assert [(await task).status for task in asked] == [200] * 6
    assert not payloads(settings.media_folder)


async def test_a_photo_that_still_comes_when_the_grace_is_over_is_refused_ing_036(
    settings: Settings, studio: Studio
) -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            serving(settings, photo_workers=studio.open, grace_s=0.2)
        )
        assert (await post(service.url)).status == 200  # it has begun
        async with line_to(service.url) as slow:
            await slow.head(len(form()))
            await slow.send(form()[:300])
            await asyncio.sleep(0.2)
            ending = asyncio.create_task(stack.aclose())
            answer = await slow.answer()
        await ending

    assert (answer.status, answer.code) == (503, "queue_unavailable")
    assert answer.error["details"] == {"reason": "draining"}
    assert not payloads(settings.media_folder)


async def _refuses(service: Service) -> bool:
    """Whether no new connection is taken."""
    try:
        async with line_to(service.url):
            return False
    except ConnectionError:
        return True


async def test_what_is_not_ready_when_the_grace_is_over_is_cancelled_ing_036(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> None:
    # ING-036
    studio.script = waits_for(asyncio.Event())
    async with serving(settings, photo_workers=studio.open, grace_s=0.2) as service:
        asked = [asyncio.create_task(post(service.url, form(photo(50 + n)))) for n in range(6)]
        await until(lambda: len(studio.begun) == 4)
    answers = [await task for task in asked]

    assert {(answer.status, answer.code) for answer in answers} == {(503, "job_cancelled")}
    for answer in answers:
        assert answer.error["details"] == {"job_id": answer.headers["x-job-id"]}
        assert answer.headers["cache-control"] == "no-store"
    assert len(studio.stopped) == 4  # the calls of the provider were cancelled
    reasons = "select array_agg(distinct failure_reason) from makeready.photos"
    assert await db.fetchval(reasons) == ["cancelled"]
    assert not payloads(settings.media_folder)


async def test_another_process_may_do_the_work_ing_037(settings: Settings, studio: Studio) -> None:
    ready, neighbour = asyncio.Event(), Studio()
    studio.script = waits_for(ready)
    async with (
        serving(settings, photo_workers=studio.open) as service,
        serving(replace(settings, instance="neighbour"), photo_workers=neighbour.open),
    ):
        busy: list[asyncio.Task[Answer]] = []

        def are_begun() -> bool:
            return len(studio.begun) + len(neighbour.begun) == len(busy)

        while len(studio.begun) < 4:
            busy.append(asyncio.create_task(post(service.url, form(photo(50 + len(busy))))))
            await until(are_begun)
        answer = await post(service.url)

        assert answer.status == 200
        assert UUID(answer.headers["x-job-id"]) in neighbour.begun
        ready.set()
        assert {(await task).status for task in busy} == {200}


async def test_a_database_that_is_silent_at_the_deadline_is_504_in_time(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> None:
    """Silent, not away: once the database speaks again, it ends the photo as a timeout itself."""
    await opened(db, window_s=1)
    studio.script = waits_for(asyncio.Event())
    assert settings.database_url is not None
    with proxied(settings.database_url) as proxy:
        far = replace(settings, database_url=proxy.dsn)
        async with serving(far, photo_workers=studio.open, grace_s=0.1) as service:
            asked = asyncio.create_task(post(service.url))
            await until(lambda: studio.begun)
            proxy.silence()
            answer = await asked
            proxy.cut()
            proxy.restore_connectivity()

    assert (answer.status, answer.code) == (504, "sync_timeout")
    assert answer.error["details"]["job_id"] == answer.headers["x-job-id"]
    assert not payloads(settings.media_folder)  # whatever the database says


async def test_connections_that_break_while_photos_wait_cost_none(
    settings: Settings, studio: Studio
) -> None:
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    assert settings.database_url is not None
    with proxied(settings.database_url) as proxy:
        far = replace(settings, database_url=proxy.dsn)
        async with serving(far, photo_workers=studio.open) as service:
            asked = asyncio.create_task(post(service.url))
            await until(lambda: studio.begun)
            proxy.cut()
            ready.set()
            assert (await asked).status == 200


async def test_the_workers_of_the_service_are_its_own_and_four_ing_027_ing_078(
    settings: Settings, db: asyncpg.Connection
) -> None:
    """The queue, its workers and the log are those that the service is run with."""
    # ING-027
    with capture_logs() as logs:
        async with serving(settings) as service:
            answer = await post(service.url)
            tasks = "select tasks from makeready.workers where 'ingest' = any (queues)"
            assert await db.fetchval(tasks) == 4

    assert (answer.status, answer.body) == (200, photo())
    (started,) = [line for line in logs if line["event"] == "ingest_workers_started"]
    assert started["tasks"] == 4
    events = "select array_agg(status order by id) from makeready.processing_logs"
    assert await db.fetchval(events) == [
        "received",
        "dispatched",
        "provider_responded",
        "succeeded",
    ]
    told = "select distinct job_id::text from makeready.processing_logs"
    assert await db.fetchval(told) == answer.headers["x-job-id"]


async def test_a_statement_may_not_take_as_long_as_a_booth_waits_ing_024(
    settings: Settings, db: asyncpg.Connection
) -> None:
    await opened(db, window_s=48)
    slow = replace(settings, ingest_statement_timeout_ms=48_000)
    with pytest.raises(ExceptionGroup) as raised:
        async with services_opened(slow):
            raise AssertionError
    told = str(alone(alone(raised.value)))
    assert told == (
        "lower QUEUE_STATEMENT_TIMEOUT_MS: a statement may take 48 s, and a booth is answered "
        "within 48 s"
    )


async def test_a_window_of_tests_is_for_tests_ing_026_ing_085(
    settings: Settings, db: asyncpg.Connection
) -> None:
    # ING-026
    await opened(db, window_s=44.9)
    with pytest.raises(ExceptionGroup) as raised:
        async with services_opened(replace(settings, testing=False)):
            raise AssertionError
    told = str(alone(alone(raised.value)))
    assert told.startswith("a booth is answered within 44.9 s, which is for tests")
    assert "ingest_settings_put" in told


async def test_a_folder_of_photos_that_cannot_be_written_to_is_named(settings: Settings) -> None:
    settings.data_dir.joinpath("file").touch()
    nowhere = replace(settings, media_root=settings.data_dir / "file" / "media")
    with pytest.raises(ConfigError, match="make MEDIA_ROOT a folder"):
        async with services_opened(nowhere):
            raise AssertionError


async def test_a_service_that_cannot_start_says_why_in_a_line(
    settings: Settings, db: asyncpg.Connection
) -> None:
    await opened(db, window_s=20)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "makeready", "http", "--port", "0"),
        env=os.environ | replace(settings, testing=False, s3_endpoint=NOWHERE).to_env(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    assert b"Traceback" not in out + told
    line = told.decode().splitlines()[-1]
    assert line.startswith("makeready http: a booth is answered within 20 s, which is for tests")


class Faulty:
    """Workers that end by a defect when they are told to."""

    def __init__(self) -> None:
        self.id = uuid4()
        self.fault = asyncio.Event()

    @asynccontextmanager
    async def open(self, *_: object) -> AsyncIterator[PhotoWorkers]:
        """As the service wants them opened."""
        yield self

    async def run(self) -> None:
        await self.fault.wait()
        raise ZeroDivisionError

    async def wait_registered(self) -> None:
        return

    async def ping(self) -> Mapping[str, str]:
        return {}

    def reserved(self) -> AbstractContextManager[None]:
        return nullcontext()

    def kick(self) -> bool:
        return False

    def stop(self, grace_s: float | None = None) -> None:
        del grace_s


async def test_a_service_whose_workers_break_ends_to_be_started_anew(settings: Settings) -> None:
    workers = Faulty()
    async with serving(settings, photo_workers=workers.open) as service:
        workers.fault.set()
        await until(lambda: _refuses(service))


class Slow(Faulty):
    """Workers that are known to the database when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.registered = asyncio.Event()
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        await self.stopped.wait()

    async def wait_registered(self) -> None:
        await self.registered.wait()

    def stop(self, grace_s: float | None = None) -> None:
        del grace_s
        self.stopped.set()


async def test_a_service_that_is_told_to_end_while_its_workers_start_ends_ing_036(
    settings: Settings, tmp_path: Path
) -> None:
    workers = Slow()
    photos = Photos(
        settings,
        await open_folder(tmp_path),
        password_limiter=anyio.CapacityLimiter(1),
        open_workers=workers.open,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(photos.run)
        await photos.leave(0)
        workers.registered.set()
        with anyio.fail_after(10):
            await workers.stopped.wait()
            await photos.leave(0)
        tasks.cancel_scope.cancel()
    await photos.close()


async def test_photos_may_have_a_database_of_their_own_ing_085(
    settings: Settings, cluster: Cluster, admin: asyncpg.Connection, db: asyncpg.Connection
) -> None:
    async with cloned(cluster, admin) as url:
        own = await asyncpg.connect(url)
        try:
            await opened(own)
            apart = replace(settings, ingest_database_url=url)
            async with serving(apart) as service:
                answer = await post(service.url)
            count = "select count(*) from makeready.photos"
            assert (await own.fetchval(count), await db.fetchval(count)) == (1, 0)
        finally:
            await own.close()

    assert (answer.status, answer.body) == (200, photo())


async def test_a_store_that_hangs_is_a_refusal_before_the_window_begins(
    settings: Settings, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(FolderStore, "publish", hangs)
    monkeypatch.setattr(photo_requests, "STORE_S", 0.05)
    async with serving(settings, photo_workers=studio.open) as service:
        refused = await post(service.url)
    assert (refused.status, refused.code) == (503, "storage_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert "x-job-id" not in refused.headers
    assert studio.begun == []
