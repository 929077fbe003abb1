"""A photo posted, processed and answered in one request, over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from makeready.config import Settings
from makeready_http import photo_upload
from makeready_http.inputs import Pace
from tests.support.booth import (
    PASSWORD,
    SLOT,
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

REASONS = ("rejected", "quota", "upstream", "invalid_response", "no_image")
EXPECT = {"Expect": "100-continue"}


@pytest.fixture
def studio() -> Studio:
    return Studio()


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


async def test_a_photo_comes_back_processed_ing_001_ing_041_ing_042(
    service: Service, db: asyncpg.Connection
) -> None:
    answer = await post(service.url, headers=EXPECT)

    assert (answer.status, answer.body) == (200, photo())
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(photo()))
    assert answer.headers["cache-control"] == "no-store"
    job = answer.headers["x-job-id"]
    assert is_job_id(job)
    row = await db.fetchrow("select * from makeready.photos where id = $1", job)
    assert row is not None
    assert row["failure_reason"] is None
    assert row["result_sha256"] == hashlib.sha256(photo()).digest()


async def test_nothing_of_the_payload_is_left_after_the_answer_ing_046_ing_053_ing_084(
    service: Service, db: asyncpg.Connection, media: Path
) -> None:
    answer = await post(service.url)
    assert answer.status == 200
    job = answer.headers["x-job-id"]

    await until(lambda: not payloads(media), what="the end of the payload")
    await until(lambda: _count(db, "media_objects", "true"), what="no row of it")
    assert (media / "results" / f"{job}.jpg").read_bytes() == photo()
    inline = "select result_inline_base64 from makeready.ingest_job_view where id = $1"
    assert await db.fetchval(inline, job) is None


async def _count(db: asyncpg.Connection, table: str, where: str) -> bool:
    """Whether there are no such rows."""
    return not await db.fetchval(f"select count(*) from makeready.{table} where {where}")


@pytest.mark.parametrize("slot", ["slot-016", "slot-1", "kiosk", "slot-002"])
async def test_a_slot_that_is_not_there_is_told_before_anything_is_read_ing_003_ing_015(
    service: Service, db: asyncpg.Connection, slot: str
) -> None:
    await db.execute("update makeready.slots set is_enabled = false where id = 'slot-002'")
    async with line_to(service.url) as line:
        await line.head(1 << 20, slot=slot, headers=EXPECT)
        answer = await line.answer()

        assert (answer.status, answer.code) == (404, "slot_not_found")
        assert answer.error["details"] == {"slot_id": slot}
        assert answer.headers["cache-control"] == "no-store"
        assert "x-job-id" not in answer.headers
        assert await line.ends()


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


@pytest.mark.parametrize("last", [False, True])
async def test_a_wrong_password_is_401_wherever_it_stands_ing_004_ing_016(
    service: Service, media: Path, *, last: bool
) -> None:
    answer = await post(service.url, form(password="wrong", password_last=last))

    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert answer.error["details"] == {"field": "password"}
    assert answer.headers["cache-control"] == "no-store"
    assert not payloads(media)


async def test_without_a_password_nobody_gets_in_ing_005(
    service: Service, db: asyncpg.Connection
) -> None:
    await db.execute("update makeready.ingest_password set password_hash = null")
    for password in (PASSWORD, "", "null"):
        assert (await post(service.url, form(password=password))).code == "invalid_credentials"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (form(password=None), "password"),
        (form(file_field="other"), "fileToUpload"),
        (form(b""), "fileToUpload"),
        (form()[:-30], "body"),
    ],
)
async def test_what_is_missing_or_broken_is_400_ing_011(
    service: Service, media: Path, body: bytes, field: str
) -> None:
    answer = await post(service.url, body)

    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.error["details"]["field"] == field
    assert not payloads(media)


async def test_what_is_too_large_is_413_before_it_is_sent_ing_009_ing_010(
    service: Service, db: asyncpg.Connection
) -> None:
    async with line_to(service.url) as line:
        await line.head((2 << 30) + (8 << 20), headers=EXPECT)
        answer = await line.answer()
    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert answer.error["details"]["max_bytes"] == 2147483648

    await db.execute("update makeready.slots set max_bytes = 1024 where id = $1", SLOT)
    answer = await post(service.url, form(photo() + bytes(2000)))
    assert (answer.status, answer.error["details"]["max_bytes"]) == (413, 1024)


async def test_what_is_no_image_is_415_ing_007(service: Service, media: Path) -> None:
    answer = await post(service.url, form(b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 9))

    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert "image/jpeg" in answer.error["details"]["allowed"]
    assert not payloads(media)


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


async def test_a_full_queue_is_429_before_the_body_ing_019_ing_020(
    service: Service, db: asyncpg.Connection, studio: Studio, media: Path
) -> None:
    await db.execute("select makeready.queue_set('ingest', 'max_open', '1')")
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    first = asyncio.create_task(post(service.url))
    await until(lambda: studio.begun)
    async with line_to(service.url) as line:
        await line.head(1 << 20, headers=EXPECT)
        answer = await line.answer()

    assert (answer.status, answer.code) == (429, "queue_busy")
    details = answer.error["details"]
    assert (details["reason"], details["in_flight"], details["limit"]) == ("limit", 1, 1)
    assert int(answer.headers["retry-after"]) >= 1
    assert len(payloads(media)) == 1
    ready.set()
    assert (await first).status == 200
    counted = "select sum(refused) from makeready.ingest_refusals"
    await until(lambda: db.fetchval(counted))


async def test_of_thirty_at_once_twelve_get_in_ing_073(
    service: Service, studio: Studio, media: Path
) -> None:
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    posts = [asyncio.create_task(post(service.url, form(photo(50 + n)))) for n in range(30)]
    await until(lambda: sum(task.done() for task in posts) == 18, timeout_s=30)
    await until(lambda: len(studio.begun) == 4)
    ready.set()
    answers = [await task for task in posts]

    assert sorted(answer.status for answer in answers) == [200] * 12 + [429] * 18
    assert studio.most_at_once == 4
    await until(lambda: not payloads(media))


@pytest.mark.parametrize(
    "reason", ["rejected", "quota", "upstream", "invalid_response", "no_image"]
)
async def test_a_provider_that_fails_is_503_with_its_reason_ing_035(
    service: Service, db: asyncpg.Connection, studio: Studio, media: Path, reason: str
) -> None:
    studio.script = refuses(reason)
    answer = await post(service.url)

    assert (answer.status, answer.code) == (503, "provider_error")
    job = answer.headers["x-job-id"]
    assert answer.error["details"] == {"job_id": job, "reason": reason}
    assert answer.headers["cache-control"] == "no-store"
    why = await db.fetchval("select failure_reason from makeready.photos where id = $1", job)
    assert why == "provider_error"
    await until(lambda: not payloads(media))


async def test_what_takes_too_long_is_504_in_time_ing_032_ing_043(
    service: Service, db: asyncpg.Connection, studio: Studio, media: Path
) -> None:
    await opened(db, window_s=1)
    studio.script = waits_for(asyncio.Event())
    answer = await post(service.url)

    assert (answer.status, answer.code) == (504, "sync_timeout")
    job = answer.headers["x-job-id"]
    row = await db.fetchrow("select * from makeready.photos where id = $1", job)
    assert row is not None
    text = "Ingest processing exceeded the synchronous response window"
    assert answer.error["message"] == text
    details = answer.error["details"]
    assert details["job_id"] == job
    assert details["expires_at"] == f"{row['expires_at']:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    assert row["failure_reason"] == "timeout"
    assert row["finished_at"] <= row["expires_at"]
    await until(lambda: studio.stopped, what="the end of the provider's call")
    await until(lambda: not payloads(media))


async def test_a_photo_that_waits_for_a_worker_times_out_as_well(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    await opened(db, window_s=1.5)
    studio.script = waits_for(asyncio.Event())
    answers = await asyncio.gather(*(post(service.url, form(photo(60 + n))) for n in range(6)))

    assert {answer.status for answer in answers} == {504}
    assert len(studio.begun) == 4


async def test_a_defect_is_500_and_says_under_which_id_the_log_has_it_ing_044(
    service: Service, studio: Studio, media: Path
) -> None:
    async def script(_: object) -> bytes:
        raise ZeroDivisionError

    studio.script = script
    answer = await post(service.url, headers={"X-Request-Id": "the-request"})

    assert (answer.status, answer.code) == (500, "internal_error")
    assert answer.error["details"] == {"correlation_id": "the-request"}
    assert is_job_id(answer.headers["x-job-id"])
    assert answer.headers["cache-control"] == "no-store"
    await until(lambda: not payloads(media))


async def test_an_operator_who_cancels_is_503(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    studio.script = waits_for(asyncio.Event())
    asked = asyncio.create_task(post(service.url))
    await until(lambda: studio.begun)
    await db.execute("select makeready.cancel('ingest', $1)", studio.begun[0])
    answer = await asked

    assert (answer.status, answer.code) == (503, "job_cancelled")
    assert answer.error["details"] == {"job_id": answer.headers["x-job-id"]}


async def test_a_queue_that_is_closed_is_503_before_the_body(
    service: Service, db: asyncpg.Connection
) -> None:
    await db.execute("select makeready.queue_close('ingest')")
    async with line_to(service.url) as line:
        await line.head(1 << 20, headers=EXPECT)
        answer = await line.answer()

    assert (answer.status, answer.code) == (503, "queue_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_result_that_cannot_be_read_is_503(service: Service, media: Path) -> None:
    key = {"Idempotency-Key": "shot-1"}
    job = (await post(service.url, headers=key)).headers["x-job-id"]
    (media / "results" / f"{job}.jpg").unlink()
    answer = await post(service.url, headers=key)

    assert (answer.status, answer.code) == (503, "storage_unavailable")
    assert answer.error["details"] == {"job_id": answer.headers["x-job-id"]}
    assert answer.headers["x-job-id"] == job


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
        await until(lambda: _count(db, "jobs", "queue = 'ingest' and state = 'queued'"))
    ready.set()

    assert [(await task).status for task in busy] == [200] * 4
    assert len(studio.begun) == 4
