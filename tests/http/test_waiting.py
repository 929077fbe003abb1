"""`Prefer: wait`: the answer comes when the document is ready, or says why it is not."""

from __future__ import annotations

import asyncio

import pytest

from makeready.storage import Storage
from tests.support.rendering import Press
from tests.support.service import Person, error_code
from tests.support.waiting import until

pytestmark = pytest.mark.notified


async def test_prefer_wait_answers_when_the_document_is_ready(
    anna: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            anna.post(f"/packs/{pack}/render/invoice", headers={"Prefer": "wait=10"})
        )
        await press.print_next(storage)
    answer = asked.result()

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.json()["status"] == "ready"
    assert answer.json()["file_id"] is not None


async def test_prefer_wait_answers_for_a_whole_pack(
    anna: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice", "letter")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            anna.post(f"/packs/{pack}/render", headers={"Prefer": "respond-async, wait=10"})
        )
        await press.print_next(storage)
        await press.fail((await press.claim())[0])
    answer = asked.result()

    assert answer.status_code == 200
    assert answer.json()["jobs_created"] == 2
    assert [row["status"] for row in answer.json()["documents"]] == ["ready", "failed"]


async def test_prefer_wait_waits_for_what_another_call_has_begun(
    anna: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice", "letter")
    await anna.post(f"/packs/{pack}/render/invoice")
    headers = {"Prefer": "wait=10"}
    for created in (1, 0):
        if created == 0:
            await anna.post(f"/packs/{pack}/render/letter")
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(anna.post(f"/packs/{pack}/render", headers=headers))
            for _ in range(1 + created):
                await press.print_next(storage)
        answer = asked.result()

        assert (answer.status_code, answer.json()["jobs_created"]) == (200, created)
        assert {row["status"] for row in answer.json()["documents"]} == {"ready"}


async def test_prefer_wait_says_why_a_document_failed(anna: Person, press: Press) -> None:
    pack = await anna.pack("invoice")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            anna.post(f"/packs/{pack}/render/invoice", headers={"Prefer": "wait=10"})
        )
        (claimed,) = await until(press.claim)
        await press.fail(claimed, "fatal", "TEMPLATE_ERROR")
    answer = asked.result()

    assert (answer.status_code, error_code(answer)) == (422, "render_failed")
    details = answer.json()["error"]["details"]
    assert details == {"job_id": str(claimed.job.id), "reason": "template_error"}
    assert answer.json()["error"]["message"] == "The document could not be rendered: so"


async def test_prefer_wait_says_when_the_job_was_cancelled(anna: Person, press: Press) -> None:
    pack = await anna.pack("invoice")

    async def cancel() -> bool:
        count = await press.db.fetchval(
            "select count(makeready.cancel('render', id)) from makeready.jobs"
        )
        return bool(count)

    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            anna.post(f"/packs/{pack}/render/invoice", headers={"Prefer": "wait=10"})
        )
        await until(cancel)
    answer = asked.result()

    assert (answer.status_code, error_code(answer)) == (503, "job_cancelled")


async def test_prefer_wait_never_gives_the_job_up(anna: Person, press: Press) -> None:
    pack = await anna.pack("invoice")
    answer = await anna.post(f"/packs/{pack}/render/invoice", headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    assert answer.headers["location"] == f"/render/jobs/{answer.json()['job_id']}"
    assert len(await press.claim()) == 1
