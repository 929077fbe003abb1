"""Every way in which a booth is refused, over a real socket: status, code, details, headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from makeready.config import Settings
from makeready.validation import find_problems
from makeready_http import ingest, photo_upload
from makeready_http.bodies import Pace
from tests.support.booth import (
    SLOT,
    Answer,
    Studio,
    form,
    is_job_id,
    line_to,
    opened,
    payloads,
    photo,
    post,
    refuses,
    waits_for,
)
from tests.support.service import Service, serving
from tests.support.waiting import until

KEY = {"Idempotency-Key": "shot-1"}
ROWS = "select count(*) from makeready.media_objects"
RESET = """
    update makeready.slots set max_bytes = 1 << 20, max_pixels = 1000000, max_open = null;
    delete from makeready.throttles;
    delete from makeready.requests;
    select makeready.queue_open('ingest');
    select makeready.queue_set('ingest', 'max_open', '12');
"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A service whose provider does what the test says."""

    url: str
    db: asyncpg.Connection
    studio: Studio
    media: Path
    waiting: list[asyncio.Task[Answer]] = field(default_factory=list)

    async def busy(self, count: int) -> list[asyncio.Task[Answer]]:
        """So many photos are with the provider, and stay there."""
        self.studio.script = waits_for(asyncio.Event())
        tasks = [asyncio.create_task(post(self.url, form(photo(50 + n)))) for n in range(count)]
        self.waiting.extend(tasks)
        await until(lambda: len(self.studio.begun) >= count)
        return tasks

    async def clear(self) -> None:
        """All booths go; what they sent has to go as well."""
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)
        self.waiting.clear()
        self.studio.script = None
        self.studio.begun.clear()
        await until(self._is_empty, what="the end of payloads")
        await opened(self.db)
        await self.db.execute(RESET)

    async def _is_empty(self) -> bool:
        return not payloads(self.media) and not await self.db.fetchval(ROWS)


Way = Callable[[Stage], Awaitable[Answer]]


async def no_password(stage: Stage) -> Answer:
    return await post(stage.url, form(password=None))


async def wrong_password(stage: Stage) -> Answer:
    return await post(stage.url, form(password="wrong"))


async def unknown_slot(stage: Stage) -> Answer:
    return await post(stage.url, slot="slot-016")


async def slot_that_cannot_be(stage: Stage) -> Answer:
    return await post(stage.url, slot=f"{SLOT}%00")


async def unknown_route(stage: Stage) -> Answer:
    return await post(stage.url, path=f"/ingest/{SLOT}/photo")


async def slow_body(stage: Stage) -> Answer:
    pace = Pace(first_s=0.1, bytes_per_s=64 << 10, silence_s=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_upload, "PACE", pace)
        async with line_to(stage.url) as line:
            await line.head(1000)
            return await line.answer()


async def forgotten_photo(stage: Stage) -> Answer:
    await post(stage.url, headers=KEY)
    await stage.db.execute("delete from makeready.jobs")
    await stage.db.execute("update makeready.photos set result_expires_at = finished_at")
    return await post(stage.url, headers=KEY)


async def many_bytes(stage: Stage) -> Answer:
    await stage.db.execute("update makeready.slots set max_bytes = 1024 where id = $1", SLOT)
    return await post(stage.url, form(photo() + bytes(1024)))


async def many_pixels(stage: Stage) -> Answer:
    await stage.db.execute("update makeready.slots set max_pixels = 10000 where id = $1", SLOT)
    return await post(stage.url, form(photo(300)))


async def no_image(stage: Stage) -> Answer:
    return await post(stage.url, form(b"%PDF-1.7" + bytes(90)))


async def key_of_another(stage: Stage) -> Answer:
    await post(stage.url, headers=KEY)
    return await post(stage.url, form(photo(90)), headers=KEY)


async def full_queue(stage: Stage) -> Answer:
    await stage.db.execute("select makeready.queue_set('ingest', 'max_open', '1')")
    await stage.busy(1)
    return await post(stage.url)


async def full_slot(stage: Stage) -> Answer:
    """ING-022: there is room for others."""
    await stage.db.execute("update makeready.slots set max_open = 1 where id = $1", SLOT)
    await stage.busy(1)
    return await post(stage.url)


async def queue_that_fills_up(stage: Stage) -> Answer:
    """ING-020: it was not full at the door; the photo is stored when it is refused."""
    await stage.db.execute("select makeready.queue_set('ingest', 'max_open', '1')")
    body = form()
    async with line_to(stage.url) as line:
        await line.head(len(body), headers={"Expect": "100-continue"})
        assert b" 100 " in await line.status_line()
        await line.send(body[:200])
        await stage.busy(1)
        await line.send(body[200:])
        answer = await line.answer()
    assert {path.parent.name for path in payloads(stage.media)} == {str(stage.studio.begun[0])}
    return answer


async def no_time(stage: Stage) -> Answer:
    """All workers are busy, and the last photos took longer than half of the time."""
    for n in range(5):
        await post(stage.url, form(photo(100 + n)))
    statement = "update makeready.photos set started_at = finished_at - interval '15 seconds'"
    await stage.db.execute(statement)
    stage.studio.begun.clear()
    await stage.busy(4)
    return await post(stage.url)


async def many_guesses(stage: Stage) -> Answer:
    await stage.db.execute("select makeready.throttle_set('ingest_password', 1, '5 minutes')")
    await wrong_password(stage)
    return await wrong_password(stage)


async def defect(stage: Stage) -> Answer:
    async def script(_: object) -> bytes:
        raise ZeroDivisionError

    stage.studio.script = script
    return await post(stage.url)


async def closed_queue(stage: Stage) -> Answer:
    await stage.db.execute("select makeready.queue_close('ingest')")
    return await post(stage.url)


async def failing_provider(stage: Stage) -> Answer:
    stage.studio.script = refuses("upstream")
    return await post(stage.url)


async def cancelled_photo(stage: Stage) -> Answer:
    (asked,) = await stage.busy(1)
    await stage.db.execute("select makeready.cancel('ingest', $1)", stage.studio.begun[0])
    return await asked


async def store_that_is_away(stage: Stage) -> Answer:
    job = (await post(stage.url, headers=KEY)).headers["x-job-id"]
    (stage.media / "results" / f"{job}.jpg").unlink()
    return await post(stage.url, headers=KEY)


async def late_photo(stage: Stage) -> Answer:
    await opened(stage.db, window_s=1)
    (asked,) = await stage.busy(1)
    return await asked


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the table of errors says."""

    way: Way
    status: int
    code: str
    details: str = ""
    """Names, or name=value."""
    job: bool = False
    """It has one by then."""
    retry: bool = False
    """It says when to come again."""
    close: bool = False


def row(
    way: Way,
    status: int,
    code: str,
    details: str = "",
    *,
    job: bool = False,
    retry: bool = False,
    close: bool = False,
) -> Row:
    return Row(
        way=way,
        status=status,
        code=code,
        details=details,
        job=job,
        retry=retry,
        close=close,
    )


BUSY = "reason=limit in_flight limit"
LATE = "reason=deadline in_flight limit"
TABLE = (
    row(no_password, 400, "invalid_request", "field=password reason=missing"),
    row(wrong_password, 401, "invalid_credentials", "field=password"),
    row(unknown_slot, 404, "slot_not_found", "slot_id", close=True),
    row(slot_that_cannot_be, 404, "slot_not_found", "slot_id", close=True),
    row(unknown_route, 404, "route_not_found", close=True),
    row(slow_body, 408, "upload_timeout", close=True),
    row(forgotten_photo, 410, "result_expired", "job_id result_expires_at", job=True),
    row(many_bytes, 413, "payload_too_large", "max_bytes received_bytes", close=True),
    row(many_pixels, 413, "payload_too_large", "max_pixels pixels", close=True),
    row(no_image, 415, "unsupported_media_type", "detected mime allowed"),
    row(key_of_another, 422, "idempotency_mismatch", "key"),
    row(full_queue, 429, "queue_busy", BUSY, retry=True, close=True),
    row(full_slot, 429, "queue_busy", f"{BUSY} scope=slot", retry=True, close=True),
    row(queue_that_fills_up, 429, "queue_busy", BUSY, retry=True),
    row(no_time, 429, "queue_busy", LATE, retry=True),
    row(many_guesses, 429, "rate_limited", retry=True, close=True),
    row(defect, 500, "internal_error", "correlation_id", job=True),
    row(closed_queue, 503, "queue_unavailable", retry=True, close=True),
    row(failing_provider, 503, "provider_error", "job_id reason=upstream", job=True),
    row(cancelled_photo, 503, "job_cancelled", "job_id", job=True),
    row(store_that_is_away, 503, "storage_unavailable", "job_id", job=True, retry=True),
    row(late_photo, 504, "sync_timeout", "job_id expires_at", job=True),
)


@pytest.fixture
async def service(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> AsyncIterator[Service]:
    await opened(db)
    async with serving(settings, photo_workers=studio.open) as running:
        yield running


async def test_each_refusal_is_as_the_table_says(
    service: Service, settings: Settings, db: asyncpg.Connection, studio: Studio
) -> None:
    # ING-020, ING-042, ING-045, ING-046: and nothing of what was sent stays.
    stage = Stage(url=service.url, db=db, studio=studio, media=settings.media_folder)
    document = (await service.client.get("/openapi.json")).json()
    schema = document["components"]["schemas"]["Error"]
    for expected in TABLE:
        await stage.clear()
        answer = await expected.way(stage)
        name = expected.way.__name__
        assert (name, answer.status, answer.code) == (name, expected.status, expected.code)
        check(answer, expected)
        assert not find_problems(schema, {"error": answer.error})
        # Nobody may add a word.
        assert find_problems(schema, {"error": answer.error, "detail": name})
        assert find_problems(schema, {"error": {**answer.error, "hint": name}})
    await stage.clear()
    await until(lambda: _are_counted(db), what="the refusals counted, by their reasons")
    asked = await service.client.get(f"/ingest/{SLOT}")
    assert (asked.status_code, asked.json()["error"]["code"]) == (405, "method_not_allowed")
    assert (asked.headers["allow"], asked.headers["cache-control"]) == ("POST", "no-store")


async def _are_counted(db: asyncpg.Connection) -> bool:
    rows = await db.fetch("select distinct reason from makeready.ingest_refusals")
    return {row[0] for row in rows} == {"limit", "slot_limit", "deadline", "unavailable"}


async def test_what_is_no_request_is_kept_by_nobody_either(service: Service) -> None:
    """ING-042: a head that is too large, to whatever address."""
    async with line_to(service.url) as line:
        await line.head(0, headers={"X-Large": "x" * (80 << 10)})
        answer = await line.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.headers["cache-control"] == "no-store"


def check(answer: Answer, expected: Row) -> None:
    """Details and headers."""
    details: Mapping[str, Any] = answer.error.get("details") or {}
    headers = answer.headers
    for name, _, value in (each.partition("=") for each in expected.details.split()):
        assert details[name] == value if value else name in details
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"]
    assert ("x-job-id" in headers) == expected.job
    if expected.job:
        assert is_job_id(headers["x-job-id"])
        assert details.get("job_id", headers["x-job-id"]) == headers["x-job-id"]
    assert ("retry-after" in headers) == expected.retry
    assert int(headers.get("retry-after", 1)) >= 1
    if expected.close:
        assert headers["connection"] == "close"


def test_the_table_has_every_code_that_is_promised_ing_045() -> None:
    (operation,) = ingest.OPERATIONS
    promised = set(operation.all_errors())
    assert {each.code for each in TABLE} - {"route_not_found"} == promised
    guide = (Path(__file__).parents[2] / "docs" / "photos.md").read_text("utf-8")
    assert {code for code in promised if f"`{code}`" not in guide} == set()
