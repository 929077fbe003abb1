"""A photo that is claimed as it is let in, over a real socket: at once, in order, never twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from makeready import ingest, jobs
from makeready.config import Settings
from makeready.ingest import Admitted, Begun
from makeready.jobs import Ended
from makeready.waiting import Waiting
from makeready_workers import strays
from tests.support.booth import (
    Answer,
    Studio,
    StudioWorker,
    form,
    payloads,
    photo,
    post,
    waits_for,
)
from tests.support.database import Connect
from tests.support.in_process import without_polls
from tests.support.photographing import Darkroom
from tests.support.proxy import proxied
from tests.support.service import Service, serving
from tests.support.waiting import until

pytestmark = [pytest.mark.notified, pytest.mark.usefixtures("open_slots")]

WITH_ITS_ADMISSION = """
select a.job_id from makeready.processing_logs a join makeready.processing_logs b
    on b.job_id = a.job_id and b.status = 'dispatched' and b.xmin::text = a.xmin::text
 where a.status = 'received'"""
STRAYS = "select count(*) from makeready.attempts where error ->> 'code' = 'claim_lost'"
AT_THE_GATE = """
select count(*) from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'
   and query like '%makeready.ingest_admit(%'"""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """See `without_polls`."""
    return without_polls(monkeypatch)


@asynccontextmanager
async def idle(
    settings: Settings, studio: Studio, quiet: asyncio.Event
) -> AsyncIterator[tuple[Service, StudioWorker]]:
    """A service none of whose tasks has anything to do, nor asks for it."""
    async with serving(settings, photo_workers=studio.open) as service:
        worker = studio.worker
        assert worker is not None

        def is_still() -> bool:
            return quiet.is_set() and not worker._kick.is_set() and not worker._reserved

        await until(is_still, what="a loop that waits")
        yield service, worker


async def ids(db: asyncpg.Connection, query: str) -> list[UUID]:
    return [row[0] for row in await db.fetch(query)]


async def states(db: asyncpg.Connection) -> dict[UUID, str]:
    return {row[0]: row[1] for row in await db.fetch("select id, state from makeready.jobs")}


async def test_a_photo_for_an_idle_service_is_claimed_with_its_admission(
    settings: Settings, db: asyncpg.Connection, studio: Studio, quiet: asyncio.Event
) -> None:
    """One transaction lets it in, claims it and begins it; no claim of the loop is asked for."""
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    async with idle(settings, studio, quiet) as (service, worker):
        claims = worker.statistics().claims
        asked = asyncio.create_task(post(service.url))
        await until(lambda: studio.begun)
        assert worker.statistics().claims == claims
        ready.set()
        answer = await asked

    assert answer.status == 200
    job = UUID(answer.headers["x-job-id"])
    assert await ids(db, WITH_ITS_ADMISSION) == [job] == studio.begun


async def test_who_waits_where_the_worker_is_is_told_without_a_look(
    settings: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is told is what any other process reads."""
    told: list[Ended] = []
    peek, tell = jobs.peek, Waiting.tell

    async def never(*_: object) -> list[Ended]:
        await asyncio.Event().wait()
        return []

    def heard(waiting: Waiting, ended: Ended) -> None:
        told.append(ended)
        tell(waiting, ended)

    monkeypatch.setattr(jobs, "peek", never)
    monkeypatch.setattr(Waiting, "tell", heard)
    async with serving(settings) as service:
        answer = await post(service.url)

    assert (answer.status, answer.body) == (200, photo())
    (ended,) = told
    (read,) = await peek(db, ingest.QUEUE, [ended.job_id])
    assert (read.queue, read.job_id, read.state) == (ended.queue, ended.job_id, ended.state)
    assert read.result is not None
    assert ended.result is not None
    assert read.result["stored"] == ended.result["stored"]
    assert all(
        json.loads(json.dumps(ended.result))[key] == read.result[key] for key in read.result
    )


async def test_twelve_at_once_are_all_answered_four_at_a_time_in_their_order(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> None:
    gates: dict[UUID, asyncio.Event] = {}

    async def script(begun: Begun) -> bytes:
        await gates.setdefault(begun.public_id, asyncio.Event()).wait()
        return photo(80)

    studio.script = script
    async with serving(settings, photo_workers=studio.open) as service:
        asked = [asyncio.create_task(post(service.url, form(photo(50 + n)))) for n in range(12)]
        query = "select id from makeready.photos order by created_at"

        async def all_in() -> bool:
            return len(await ids(db, query)) == 12 and len(gates) == 4

        await until(all_in)
        order = await ids(db, query)
        assert set(studio.begun) == set(order[:4])
        for place in range(4, 12):
            next(gate for gate in gates.values() if not gate.is_set()).set()
            await until(lambda count=place + 1: len(studio.begun) == count)  # type: ignore[misc]
            assert studio.begun[place] == order[place]
        for gate in gates.values():
            gate.set()
        answers: list[Answer] = [await task for task in asked]

    assert [answer.status for answer in answers] == [200] * 12
    assert studio.most_at_once == 4
    assert len(set(studio.begun)) == len(studio.begun) == 12
    assert not payloads(settings.media_folder)


async def test_an_admission_that_is_cut_after_its_commit_leaves_nothing_in_a_task(
    settings: Settings,
    db: asyncpg.Connection,
    studio: Studio,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The booth has its refusal; the photo that was let in all the same does not keep a place."""
    monkeypatch.setattr(strays, "AFTER_S", 1.0)
    observer = await connect()
    assert settings.database_url is not None
    with proxied(settings.database_url) as proxy:
        far = replace(settings, database_url=proxy.dsn)
        async with serving(far, photo_workers=studio.open) as service:
            async with db.transaction():
                await db.execute(
                    "select from makeready.gates where queue = 'ingest' and kind = 'admit'"
                    " for update"
                )
                asked = asyncio.create_task(post(service.url))
                await until(lambda: observer.fetchval(AT_THE_GATE), what="it at the gate")
                proxy.cut()
                refused = await asked
            await until(lambda: observer.fetchval("select count(*) from makeready.photos"))

            async def is_over() -> bool:
                found = await states(observer)
                return bool(found) and not {"queued", "running"} & set(found.values())

            await until(is_over, timeout_s=15, what="the end of its photo")
            again = await post(service.url)

    assert refused.status == 503
    assert again.status == 200
    assert len(set(studio.begun)) == len(studio.begun)  # none is in work twice
    assert not payloads(settings.media_folder)


async def test_a_photo_whose_claim_came_with_a_lost_answer_is_processed_once(
    settings: Settings,
    db: asyncpg.Connection,
    studio: Studio,
    quiet: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older one was claimed by the admission of another: it is given back, and taken anew."""
    admit, lost = ingest.admit, []

    async def cut(*arguments: Any, **options: Any) -> Admitted:
        admitted = await admit(*arguments, **options)
        lost.append(admitted)
        raise ConnectionResetError

    async def script(_: Begun) -> bytes:
        return photo(80)

    studio.script = script
    async with idle(settings, studio, quiet) as (service, worker):
        older = (await Darkroom(db).admit(waiter=worker.id)).job_id
        with monkeypatch.context() as patched:
            patched.setattr(ingest, "admit", cut)
            refused = await post(service.url)
        (admitted,) = lost
        assert admitted.claimed is not None
        assert admitted.claimed.job.id == older

        async def is_done() -> bool:
            return (await states(db))[older] == "done"

        await until(is_done, what="the end of the older one")

    assert refused.status == 503
    assert studio.begun == [older]
    assert await states(db) == {older: "done", admitted.job_id: "cancelled"}
    assert await db.fetchval(STRAYS) == 1
