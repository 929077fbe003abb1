"""Photos that come again, and photos that staff sends to try a slot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from makeready import ingest
from makeready.config import Settings
from tests.support.booth import (
    SLOT,
    Studio,
    form,
    line_to,
    opened,
    photo,
    post,
    refuses,
    waits_for,
)
from tests.support.service import Member, Service, member, serving
from tests.support.waiting import until

KEY = {"Idempotency-Key": "shot-0003"}
TRY = f"/api/slots/{SLOT}/test-run"

pytestmark = pytest.mark.notified


@pytest.fixture
async def service(
    settings: Settings, db: asyncpg.Connection, studio: Studio
) -> AsyncIterator[Service]:
    await opened(db)
    async with serving(settings, photo_workers=studio.open) as running:
        yield running


async def test_the_same_key_gets_the_same_photo(service: Service, studio: Studio) -> None:
    first = await post(service.url, headers=KEY)
    again = await post(service.url, headers=KEY)

    assert (first.status, again.status) == (200, 200)
    assert again.headers["x-job-id"] == first.headers["x-job-id"]
    assert again.body == first.body
    assert len(studio.begun) == 1


async def test_the_same_key_is_answered_as_long_as_the_result_is_kept(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    job = (await post(service.url, headers=KEY)).headers["x-job-id"]
    await db.execute("update makeready.photos set expires_at = created_at")  # long ago
    again = await post(service.url, headers=KEY)
    assert (again.status, again.headers["x-job-id"]) == (200, job)

    await db.execute("delete from makeready.jobs")  # they are kept for a day, results for three
    again = await post(service.url, headers=KEY)
    assert (again.status, again.headers["x-job-id"]) == (200, job)
    assert again.body == photo()

    await db.execute("update makeready.photos set result_expires_at = finished_at")
    late = await post(service.url, headers=KEY)
    assert (late.status, late.code) == (410, "result_expired")
    assert late.error["details"].keys() >= {"job_id", "result_expires_at"}
    assert len(studio.begun) == 1


async def test_a_photo_that_failed_and_is_forgotten_is_not_tried_again_under_its_key(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    studio.script = refuses("no_image")
    job = (await post(service.url, headers=KEY)).headers["x-job-id"]
    await db.execute("delete from makeready.jobs")
    late = await post(service.url, headers=KEY)
    assert (late.status, late.code) == (410, "result_expired")
    assert late.error["details"] == {"job_id": job}
    assert len(studio.begun) == 1


async def test_a_photo_that_failed_is_not_tried_again_under_its_key(
    service: Service, studio: Studio
) -> None:
    studio.script = refuses("no_image")
    answers = [await post(service.url, headers=KEY) for _ in range(2)]

    assert [answer.code for answer in answers] == ["provider_error"] * 2
    assert len(studio.begun) == 1


async def test_a_photo_of_the_same_key_that_ends_just_then_is_asked_for_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit, faults = ingest.admit, iter([asyncpg.SerializationError("ending")] * 2)

    async def admitted(*arguments: Any, **options: Any) -> ingest.Admitted:
        for fault in faults:
            raise fault
        return await admit(*arguments, **options)

    monkeypatch.setattr(ingest, "admit", admitted)
    assert (await post(service.url, headers=KEY)).status == 200


async def test_the_same_key_with_another_image_is_422(service: Service) -> None:
    await post(service.url, headers=KEY)
    answer = await post(service.url, form(photo(70)), headers=KEY)

    assert (answer.status, answer.code) == (422, "idempotency_mismatch")


async def test_a_key_that_is_none_is_400(service: Service) -> None:
    answer = await post(service.url, headers={"Idempotency-Key": "with a space"})

    assert (answer.status, answer.error["details"]["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("headers", [KEY, {}])
async def test_who_sends_again_while_it_is_processed_waits_for_the_same_ing_083(
    service: Service, db: asyncpg.Connection, studio: Studio, headers: dict[str, str]
) -> None:
    await db.execute("update makeready.slots set joins_resent = $1", not headers)
    await db.execute("select makeready.queue_set('ingest', 'max_open', '1')")  # never refused
    ready = asyncio.Event()
    studio.script = waits_for(ready)
    body = form()
    first = asyncio.create_task(post(service.url, headers=headers))
    await until(lambda: studio.begun)
    second = asyncio.create_task(post(service.url, headers=headers))
    waiting = "select max(cardinality(waiters)) = $1 from makeready.photos"
    await until(lambda: db.fetchval(waiting, 2))
    async with line_to(service.url) as line:
        await line.head(len(body), headers=headers)
        await line.send(body)
        await until(lambda: db.fetchval(waiting, 3))
        line.reset()  # others wait: the photo goes on
        await until(lambda: db.fetchval(waiting, 2))
    ready.set()
    answers = [await first, await second]

    assert [answer.status for answer in answers] == [200, 200]
    assert len({answer.headers["x-job-id"] for answer in answers}) == 1
    assert len(studio.begun) == 1
    assert not studio.stopped


async def test_a_re_sent_image_is_a_new_photo_unless_the_slot_says_otherwise_ing_083(
    service: Service, db: asyncpg.Connection, studio: Studio
) -> None:
    first, second = [await post(service.url) for _ in range(2)]
    assert first.headers["x-job-id"] != second.headers["x-job-id"]
    assert len(studio.begun) == 2

    await db.execute("update makeready.slots set joins_resent = true")
    third = await post(service.url)
    assert third.status == 200
    assert third.headers["x-job-id"] == second.headers["x-job-id"]
    assert len(studio.begun) == 2


@pytest.fixture
async def operator(
    service: Service, settings: Settings, db: asyncpg.Connection
) -> AsyncIterator[Member]:
    async with member(service, settings, db, "operator") as signed_in:
        yield signed_in


async def test_staff_tries_a_slot_without_its_password(
    service: Service, db: asyncpg.Connection, operator: Member
) -> None:
    body = form(password=None, fields={}, file_field="test_image")
    headers = {"Authorization": f"Bearer {operator.secret}"}
    answer = await post(service.url, body, path=TRY, headers=headers)

    assert answer.status == 200
    found = json.loads(answer.body)
    job = answer.headers["x-job-id"]
    assert found.pop("completed_in_seconds") > 0
    assert found == {
        "status": "succeeded",
        "job_id": job,
        "public_result_url": f"http://booth.example/public/results/{job}",
    }
    source = await db.fetchval("select source from makeready.photos where id = $1", job)
    assert source == "ui_test"
    assert (await service.client.get(f"/public/results/{job}")).content == photo()


async def test_staff_tries_other_settings_than_the_slots(
    service: Service, db: asyncpg.Connection, operator: Member
) -> None:
    payload = {"operation_id": "filter", "settings_json": {"steps": [{"operation": "grayscale"}]}}
    body = form(
        password=None, fields={"slot_payload": json.dumps(payload)}, file_field="test_image"
    )
    headers = {"Authorization": f"Bearer {operator.secret}"}
    answer = await post(service.url, body, path=TRY, headers=headers)

    assert answer.status == 200
    chain = "select chain -> 0 from makeready.photos where id = $1"
    assert json.loads(await db.fetchval(chain, answer.headers["x-job-id"])) == {
        "provider_id": "local",
        "operation_id": "filter",
        "settings": {"steps": [{"operation": "grayscale"}]},
    }


async def test_a_try_is_refused_as_a_photo_would_be(service: Service, operator: Member) -> None:
    headers = {"Authorization": f"Bearer {operator.secret}"}
    body = form(password=None, fields={"slot_payload": "[1]"}, file_field="test_image")
    answer = await post(service.url, body, path=TRY, headers=headers)
    assert (answer.status, answer.error["details"]["field"]) == (400, "slot_payload")
    payload = {"operation_id": "filter", "settings_json": {"steps": [{"operation": "grey"}]}}
    fields = {"slot_payload": json.dumps(payload)}
    wrong = form(password=None, fields=fields, file_field="test_image")
    answer = await post(service.url, wrong, path=TRY, headers=headers)
    assert (answer.status, answer.code) == (422, "validation_failed")
    (problem,) = answer.error["details"]
    assert problem["path"].startswith("settings_json.steps")
    answer = await post(service.url, form(b"no image"), path=TRY, headers=headers)
    assert answer.status == 400  # its file has another name
    nowhere = "/api/slots/slot-077/test-run"
    answer = await post(service.url, body, path=nowhere, headers=headers)
    assert (answer.status, answer.code) == (404, "slot_not_found")
    assert answer.headers["cache-control"] == "no-store"  # ING-042


async def test_only_staff_that_may_edit_slots_tries_them_ing_064(
    service: Service, settings: Settings, db: asyncpg.Connection
) -> None:
    assert (await post(service.url, path=TRY)).code == "unauthorized"
    async with member(service, settings, db, "viewer") as viewer:
        headers = {"Authorization": f"Bearer {viewer.secret}"}
        answer = await post(service.url, path=TRY, headers=headers)
    assert (answer.status, answer.error["details"]) == (403, {"needs": "slots:write"})
