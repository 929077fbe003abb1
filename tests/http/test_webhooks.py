"""Webhooks over HTTP: a user's own, secrets shown once, deliveries looked at and retried."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import webhooks
from tests.support.core import Core
from tests.support.hooks import endpoint, give_up
from tests.support.rendering import Press
from tests.support.service import Person, error_code

URL = "https://example.com/hook?key=url-secret"
MISSING = str(uuid4())


async def made(user: Person, **facts: Any) -> dict[str, Any]:
    answer = await user.post("/me/webhooks", json={"url": URL} | facts)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_webhook_is_made_listed_changed_and_forgotten(anna: Person) -> None:
    one = await made(anna, events=["pack.done", "pack.done"])
    other = await made(anna)
    first, second = (await anna.get("/me/webhooks")).json()["webhooks"]
    assert (first["webhook_id"], first["events"]) == (one["webhook_id"], ["pack.done"])
    assert (first["url"], first["enabled"], first["failures"]) == (URL, True, 0)
    assert second["events"] == list(webhooks.EVENTS)

    path = f"/me/webhooks/{one['webhook_id']}"
    changed = {"events": ["render.failed"], "enabled": False}
    assert (await anna.client.patch(path, json=changed)).status_code == 200
    first = (await anna.get("/me/webhooks")).json()["webhooks"][0]
    assert (first["events"], first["enabled"]) == (["render.failed"], False)
    assert first["disabled_why"] == "owner"
    assert (await anna.client.delete(path)).status_code == 200
    assert error_code(await anna.client.delete(path)) == "webhook_not_found"
    left = (await anna.get("/me/webhooks")).json()["webhooks"]
    assert [item["webhook_id"] for item in left] == [other["webhook_id"]]


async def test_a_secret_is_in_two_answers_only_rnd_029(anna: Person) -> None:
    with capture_logs() as logs:
        answer = await anna.post("/me/webhooks", json={"url": URL})
        one = answer.json()
        path = f"/me/webhooks/{one['webhook_id']}"
        rotated = await anna.post(f"{path}/rotate")
        listed = await anna.get("/me/webhooks")
    secrets = (one["secret"], rotated.json()["secret"])
    assert all(secret.startswith("whsec_") for secret in secrets)
    assert len(set(secrets)) == 2
    for given in (answer, rotated):
        assert given.headers["cache-control"] == "no-store"
    for text in (*secrets, "url-secret"):
        assert text not in repr(logs)
    assert "whsec_" not in listed.text


async def test_a_repeated_request_makes_one_webhook(anna: Person) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await anna.post("/me/webhooks", json={"url": URL}, headers=headers)
    again = await anna.post("/me/webhooks", json={"url": URL}, headers=headers)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await anna.post("/me/webhooks", json={"url": f"{URL}2"}, headers=headers)
    assert error_code(other) == "idempotency_mismatch"
    assert len((await anna.get("/me/webhooks")).json()["webhooks"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": 1},
        {"url": "http://example.com"},
        {"url": "https://127.0.0.1"},
        {"url": "https://me@example.com"},
        {"url": f"https://example.com/{'x' * 2000}"},
        {"url": URL, "events": []},
        {"url": URL, "events": ["render.lost"]},
        {"url": URL, "secret": "mine"},
    ],
)
async def test_what_is_no_webhook_is_refused_with_its_problems(
    anna: Person, body: dict[str, Any]
) -> None:
    answer = await anna.post("/me/webhooks", json=body)
    assert error_code(answer) == "validation_failed"
    assert answer.json()["error"]["details"][0]["message"]
    assert "url-secret" not in answer.text


async def test_the_eleventh_webhook_is_refused(anna: Person) -> None:
    for _ in range(10):
        await made(anna)
    answer = await anna.post("/me/webhooks", json={"url": URL})
    assert error_code(answer) == "conflict"
    assert answer.json()["error"]["details"]["limit"] == 10


async def test_what_is_somebody_elses_is_not_there(anna: Person, boris: Person) -> None:
    one = await made(anna)
    for webhook in (one["webhook_id"], MISSING, "x"):
        path = f"/me/webhooks/{webhook}"
        for answer in (
            await boris.client.patch(path, json={"enabled": False}),
            await boris.client.delete(path),
            await boris.post(f"{path}/rotate"),
            await boris.get(f"{path}/deliveries"),
            await boris.post(f"{path}/deliveries/{MISSING}/retry"),
        ):
            assert error_code(answer) == "webhook_not_found"
    path = f"/me/webhooks/{one['webhook_id']}/deliveries/{MISSING}/retry"
    assert error_code(await anna.post(path)) == "delivery_not_found"
    assert (await anna.get("/me/webhooks")).json()["webhooks"][0]["enabled"]


async def test_deliveries_are_seen_and_retried(
    anna: Person, press: Press, db: asyncpg.Connection
) -> None:
    which, _ = await endpoint(db, anna.id, "render.ready", "pack.done")
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    await press.publish(await press.one())
    path = f"/me/webhooks/{which}/deliveries"
    newest = (await anna.get(f"{path}?limit=1")).json()
    oldest = (await anna.get(f"{path}?limit=1&after={newest['next']}")).json()
    (done,), (ready,) = newest["deliveries"], oldest["deliveries"]
    assert {done["event"], ready["event"]} == {"pack.done", "render.ready"}
    assert (ready["status"], ready["attempts"], ready["tries"]) == ("pending", 0, [])
    assert ready["next_try_at"] is not None

    retry = f"{path}/{ready['delivery_id']}/retry"
    pending = await anna.post(retry)
    assert pending.json()["error"]["details"]["reason"] == "pending"
    core = Core(db)
    await give_up(core)
    await give_up(core)
    found = (await anna.get(path)).json()["deliveries"]
    assert {item["status"] for item in found} == {"failed"}
    assert found[0]["last_error"]["code"] == "NO_ANSWER"
    assert (await anna.post(retry)).status_code == 202
    found = (await anna.get(path)).json()["deliveries"]
    assert sorted(item["status"] for item in found) == ["failed", "pending"]
