"""A photo posted, processed and answered in one request, over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest
from jsonschema import Draft202012Validator

from makeready.config import Settings
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

pytestmark = pytest.mark.notified


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
    # ING-001
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
    rows = "select count(*) = 0 from makeready.media_objects"
    await until(lambda: db.fetchval(rows), what="no row of it")
    assert (media / "results" / f"{job}.jpg").read_bytes() == photo()
    inline = "select result_inline_base64 from makeready.ingest_job_view where id = $1"
    assert await db.fetchval(inline, job) is None


async def test_a_slot_that_is_not_there_is_told_before_anything_is_read_ing_003_ing_015(
    service: Service, db: asyncpg.Connection
) -> None:
    # ING-003
    await db.execute("update makeready.slots set is_enabled = false where id = 'slot-002'")
    for slot in ("slot-016", "slot-1", "kiosk", "slot-002"):
        async with line_to(service.url) as line:
            await line.head(1 << 20, slot=slot, headers=EXPECT)
            answer = await line.answer()

            assert (answer.status, answer.code) == (404, "slot_not_found")
            assert answer.error["details"] == {"slot_id": slot}
            assert answer.headers["cache-control"] == "no-store"
            assert "x-job-id" not in answer.headers
            assert not answer.was_asked
            assert await line.ends()


async def test_a_wrong_password_is_401_wherever_it_stands_ing_004_ing_016(
    service: Service, media: Path
) -> None:
    # ING-004, ING-016
    for last in (False, True):
        answer = await post(service.url, form(password="wrong", password_last=last))

        assert (answer.status, answer.code) == (401, "invalid_credentials")
        assert answer.error["details"] == {"field": "password"}
        assert answer.headers["cache-control"] == "no-store"
    assert not payloads(media)


async def test_without_a_password_nobody_gets_in_ing_005(
    service: Service, db: asyncpg.Connection
) -> None:
    # ING-005
    await db.execute("update makeready.ingest_password set password_hash = null")
    for password in (PASSWORD, "", "null"):
        assert (await post(service.url, form(password=password))).code == "invalid_credentials"


async def test_what_is_missing_or_broken_is_400_ing_011(service: Service, media: Path) -> None:
    # ING-011
    for body, field in (
        (form(password=None), "password"),
        (form(file_field="other"), "fileToUpload"),
        (form(b""), "fileToUpload"),
        (form()[:-30], "body"),
    ):
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
    # ING-073
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


async def test_a_provider_that_fails_is_503_with_its_reason_ing_035(
    service: Service, db: asyncpg.Connection, studio: Studio, media: Path
) -> None:
    for reason in REASONS:
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
    assert details["expires_at"].endswith("Z")
    assert datetime.fromisoformat(details["expires_at"]) == row["expires_at"]
    assert row["failure_reason"] == "timeout"
    assert row["finished_at"] <= row["expires_at"]
    await until(lambda: studio.stopped, what="the end of the provider's call")
    await until(lambda: not payloads(media))


async def test_a_photo_that_waits_for_a_worker_times_out_as_well(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    busy = [asyncio.create_task(post(service.url, form(photo(60 + n)))) for n in range(4)]
    await until(lambda: len(studio.begun) == 4)
    await opened(db, window_s=1.5)
    late = await asyncio.gather(*(post(service.url, form(photo(70 + n))) for n in range(2)))
    assert [answer.status for answer in late] == [504, 504]
    assert len(studio.begun) == 4
    ready.set()
    assert [answer.status for answer in await asyncio.gather(*busy)] == [200] * 4
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


async def test_all_refusals_have_one_shape_ing_045(service: Service, studio: Studio) -> None:
    document = (await service.client.get("/openapi.json")).json()
    shape = Draft202012Validator(document["components"]["schemas"]["Error"])
    studio.script = refuses("quota")
    found = [
        await post(service.url, slot="slot-100"),
        await post(service.url, form(password="wrong")),
        await post(service.url, form(password=None)),
        await post(service.url, form(b"no image at all")),
        await post(service.url),
    ]

    assert [answer.status for answer in found] == [404, 401, 400, 415, 503]
    for answer in found:
        shape.validate(json.loads(answer.body))
        assert answer.error["message"]
