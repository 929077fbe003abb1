"""What is kept of a photo while its booth waits, and what is told when something is wrong."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from makeready.config import Settings
from makeready_workers.ingest import open_photos
from tests.support.booth import (
    CAPTURED,
    PASSWORD,
    SLOT,
    Answer,
    Studio,
    form,
    payloads,
    photo,
    post,
    waits_for,
)
from tests.support.database import Connect
from tests.support.service import serving
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("open_slots")

TOUCHES = frozenset(
    {"open", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
    | {"os.scandir", "os.truncate"}
)
EVERYTHING = """
    select json_agg(j)::text || (select json_agg(p)::text from makeready.photos p)
           || (select json_agg(m)::text from makeready.media_objects m)
           || (select json_agg(l)::text from makeready.processing_logs l)
      from makeready.jobs j
"""


async def test_what_came_is_kept_with_its_photo_as_long_as_that_waits(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> None:
    # ING-012: every other field. ING-017: a safe name. ING-018: where it lies, and until when.
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    named = form().replace(b'filename="', b'filename="../../my $')
    async with serving(settings, photo_workers=studio.open) as service:
        asked = asyncio.create_task(post(service.url, named))
        (job,) = await until(lambda: studio.begun)
        row = await db.fetchrow("select * from makeready.photos")
        kept = await db.fetchrow("select * from makeready.media_objects")
        told = await db.fetchval(EVERYTHING)
        assert row is not None
        assert kept is not None
        (file,) = payloads(settings.media_folder)
        ready.set()
        assert (await asked).status == 200

    assert json.loads(row["intake"])["fields"] == CAPTURED
    assert PASSWORD not in told
    assert file.relative_to(settings.media_folder).as_posix() == kept["path"]
    folder, of_job, name = kept["path"].split("/")
    assert (folder, of_job, name) == ("payloads", str(job), "my__IMG_0003.JPG")
    assert (kept["kind"], kept["job_id"], kept["mime"]) == ("payload", job, "image/jpeg")
    assert kept["expires_at"] == row["expires_at"] == row["created_at"] + timedelta(seconds=20)


async def test_a_statement_that_takes_too_long_is_503_and_nothing_stays(
    settings: Settings, db: asyncpg.Connection, connect: Connect, studio: Studio
) -> None:
    # ING-023, ING-024: each call has a time limit; here another session holds the gate.
    hasty = replace(settings, ingest_statement_timeout_ms=300)
    async with serving(hasty, photo_workers=studio.open) as service:
        other = await connect()
        async with other.transaction():
            await other.execute(
                "select from makeready.gates where queue = 'ingest' and kind = 'admit' for update"
            )
            answer = await post(service.url)
            assert not payloads(settings.media_folder)
        again = await post(service.url)

    assert (answer.status, answer.code) == (503, "queue_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "x-job-id" not in answer.headers
    assert again.status == 200
    assert await db.fetchval("select count(*) from makeready.photos") == 1


async def test_a_defect_is_found_in_the_log_by_its_id(settings: Settings, studio: Studio) -> None:
    """ING-044: the one that the answer names; its photo is named there too."""

    async def script(_: object) -> bytes:
        raise ZeroDivisionError

    studio.script = script
    with capture_logs([merge_contextvars]) as lines:
        async with serving(settings, photo_workers=studio.open) as service:
            answer = await post(service.url)
    told = answer.error["details"]["correlation_id"]
    (line,) = [line for line in lines if line["event"] == "request_error"]
    assert line["request_id"] == told == answer.headers["x-request-id"]
    job = answer.headers["x-job-id"]
    assert job in str(line["exc_info"])
    traces = [line for line in lines if line.get("job_id") == job and "exc_info" in line]
    assert any(isinstance(line["exc_info"], ZeroDivisionError) for line in traces)


async def test_without_notifications_an_end_is_read_within_a_moment(
    settings: Settings, studio: Studio
) -> None:
    """ING-037: here another process works, and nobody hears of it."""
    deaf, ready, neighbour = replace(settings, listen=False), asyncio.Event(), Studio()
    studio.script = waits_for(ready)
    async with (
        serving(deaf, photo_workers=studio.open) as service,
        serving(replace(deaf, instance="neighbour"), photo_workers=neighbour.open),
    ):
        asked: list[asyncio.Task[Answer]] = []
        while not neighbour.begun:
            asked.append(asyncio.create_task(post(service.url, form(photo(50 + len(asked))))))
            await until(lambda: len(studio.begun) + len(neighbour.begun) == len(asked))
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status for task in done} == {200}
        ready.set()
        assert {(await task).status for task in asked} == {200}


async def test_the_type_of_the_answer_is_that_of_the_result(
    settings: Settings, db: asyncpg.Connection
) -> None:
    """ING-041: whatever the type of what was sent."""
    steps = json.dumps({"steps": [{"operation": "grayscale"}], "format": "png"})
    await db.execute(
        "update makeready.slots set operation_id = 'filter', settings_json = $2 where id = $1",
        *(SLOT, steps),
    )
    async with serving(settings, photo_workers=open_photos) as service:
        answer = await post(service.url)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body.startswith(b"\x89PNG")
    assert int(answer.headers["content-length"]) == len(answer.body)


@contextmanager
def files_touched_on_the_loop() -> Iterator[list[str]]:
    """What the thread of the event loop does with files itself, as the interpreter tells it."""
    found: list[str] = []
    is_on = True

    def noted(event: str, arguments: tuple[object, ...]) -> None:
        if is_on and event in TOUCHES and threading.current_thread() is threading.main_thread():
            found.append(f"{event} {arguments}")

    sys.addaudithook(noted)  # it stays for the life of the process, doing nothing
    try:
        yield found
    finally:
        is_on = False


async def test_no_file_is_touched_on_the_event_loop(
    settings: Settings, db: asyncpg.Connection
) -> None:
    """ING-040, ING-077: neither by requests nor by workers."""
    key = {"Idempotency-Key": "shot-1"}
    async with serving(settings, photo_workers=open_photos) as service:
        await post(service.url)  # what is imported late is there now
        await post(service.url, form(b"no image" * 9))
        with files_touched_on_the_loop() as found:
            answers = [await post(service.url, form(photo(90)), headers=key) for _ in range(2)]
            answers.append(await post(service.url, form(b"no image" * 9)))
            await until(lambda: _is_over(db), what="the end of payloads")

    assert [answer.status for answer in answers] == [200, 200, 415]
    assert found == []


async def _is_over(db: asyncpg.Connection) -> bool:
    return not await db.fetchval("select count(*) from makeready.media_objects")
