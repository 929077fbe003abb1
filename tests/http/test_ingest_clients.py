"""Booths that send at once, slowly, or go away: what they are told, and that nothing stays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from makeready.config import Settings
from makeready_http import photo_upload
from makeready_http.bodies import Pace
from tests.support.booth import Studio, form, line_to, opened, payloads, photo, post, waits_for
from tests.support.service import Service, serving
from tests.support.waiting import until

EXPECT = {"Expect": "100-continue"}


@pytest.fixture
async def service(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> AsyncIterator[Service]:
    await opened(db)
    async with serving(settings, photo_workers=studio.open) as running:
        yield running


@pytest.fixture
def media(settings: Settings) -> Path:
    """Where photos lie."""
    return settings.media_folder


async def test_who_sends_at_once_is_told_as_well_and_can_read_it(service: Service) -> None:
    body = form(photo() + bytes(3 << 20))
    async with line_to(service.url) as line:
        await line.head(len(body), slot="slot-099")
        sending = asyncio.create_task(line.send(body))
        answer = await line.answer()
        await sending

        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert await line.ends()


async def test_what_is_asked_first_is_let_send_then(service: Service) -> None:
    async with line_to(service.url) as line:
        body = form(password_last=True)
        await line.head(len(body), headers=EXPECT)
        assert await line.status_line() == b"HTTP/1.1 100 Continue\r\n"
        assert await line.status_line() == b"\r\n"
        await line.send(body)
        assert (await line.answer()).status == 200


async def test_a_body_that_stays_away_is_408(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(first_s=0.1, bytes_per_s=64 << 10, silence_s=0.1)
    monkeypatch.setattr(photo_upload, "PACE", pace)
    async with line_to(service.url) as line:
        await line.head(1000)
        await line.send(form()[:200])
        answer = await line.answer()

    assert (answer.status, answer.code) == (408, "upload_timeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("by", ["close", "reset"])
async def test_a_client_that_goes_frees_its_place_at_once_ing_038(
    service: Service, db: asyncpg.Connection, studio: Studio, media: Path, by: str
) -> None:
    studio.script = waits_for(asyncio.Event())
    body = form()
    async with line_to(service.url) as line:
        await line.head(len(body))
        await line.send(body)
        await until(lambda: studio.begun)
        getattr(line, by)()
        (job,) = studio.begun
        why = "select failure_reason from makeready.photos where id = $1"
        assert await until(lambda: db.fetchval(why, job)) == "cancelled"

    await until(lambda: studio.stopped == [job], what="the end of the provider's call")
    await until(lambda: not payloads(media))
    status = "select answered_with from makeready.photos where id = $1"
    assert await until(lambda: db.fetchval(status, job)) == 499


async def test_a_client_that_goes_while_its_photo_waits_costs_no_call(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    busy = [asyncio.create_task(post(service.url, form(photo(90 + n)))) for n in range(4)]
    await until(lambda: len(studio.begun) == 4)
    body = form(photo(99))
    async with line_to(service.url) as line:
        await line.head(len(body))
        await line.send(body)
        queued = "select count(*) from makeready.jobs where queue = 'ingest' and state = 'queued'"
        await until(lambda: db.fetchval(queued))
        line.reset()
        await until(lambda: _has_none(db, "jobs", "queue = 'ingest' and state = 'queued'"))
    ready.set()

    assert [(await task).status for task in busy] == [200] * 4
    assert len(studio.begun) == 4


async def test_clients_that_go_at_any_moment_leave_nothing(
    service: Service, db: asyncpg.Connection, studio: Studio, media: Path
) -> None:
    chance = random.Random(20)

    async def script(_: object) -> bytes:
        await asyncio.sleep(chance.uniform(0, 0.05))
        return photo()

    async def visit(number: int) -> None:
        body = form(photo(50 + number) + bytes(200_000))
        async with line_to(service.url) as line:
            await line.head(len(body))
            whole = chance.random() < 0.6
            await line.send(body if whole else body[: chance.randrange(len(body))])
            await asyncio.sleep(chance.uniform(0, 0.1))
            chance.choice([line.reset, line.close])()

    studio.script = script
    await asyncio.gather(*(visit(number) for number in range(40)))
    await until(lambda: _has_none(db, "photos", "finished_at is null"), what="the end of all")
    await until(lambda: not payloads(media), what="no file of any")
    await until(lambda: _has_none(db, "media_objects"), what="no row of any")
    await until(lambda: _is_served(service), what="room for others")


async def _has_none(db: asyncpg.Connection, table: str, where: str = "true") -> bool:
    """Whether there are no such rows."""
    return not await db.fetchval(f"select count(*) from makeready.{table} where {where}")


async def _is_served(service: Service) -> bool:
    return (await post(service.url)).status == 200
