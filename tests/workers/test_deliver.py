"""The handler of `deliver`: messages are signed, tried again, given up.

Proves RND-029.
"""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from makeready.config import Settings
from tests.support.clock import Clock
from tests.support.hooks import alerts, endpoint, outbox
from tests.support.objectstore import S3
from tests.support.posting import Post, posting
from tests.support.receiver import Receiver, hang, status, verified
from tests.support.rendering import Press
from tests.support.waiting import until
from tests.support.worker_process import worker_process


async def test_a_message_is_signed_as_the_specification_says(post: Post) -> None:
    await post.happens()
    assert await post.attempt() == "ok"
    (request,) = post.receiver.requests
    entry = await post.entry()
    now = int(time.time())

    assert verified(request, post.secret, now=now)
    assert request.headers["webhook-id"] == str(entry["id"])
    assert request.body.decode() == entry["content"]
    assert set(request.message) == {"type", "timestamp", "data"}
    assert b"X-Amz" not in request.body
    assert entry["state"] == "delivered"
    # The verifier is not one that lets everything pass.
    assert not verified(request, post.secret, now=now + 301)
    assert not verified(request, "whsec_" + "A" * 43 + "=", now=now)
    for change in ({"body": request.body + b" "}, {"headers": _other_id(request.headers)}):
        assert not verified(dataclasses.replace(request, **change), post.secret, now=now)


async def test_the_verifier_of_the_documentation_verifies(post: Post) -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102
    await post.happens()
    await post.attempt()
    (request,) = post.receiver.requests
    is_genuine = found["is_genuine"]
    assert is_genuine(request.headers, request.body, post.secret)
    assert not is_genuine(request.headers, request.body + b" ", post.secret)
    assert not is_genuine(_other_id(request.headers), request.body, post.secret)


def _other_id(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"webhook-id": str(uuid4())}


async def test_after_a_rotation_either_secret_verifies(post: Post) -> None:
    new = await post.core.call("webhook_rotate", person=post.user, hook=post.endpoint)
    await post.happens()
    await post.attempt()
    (request,) = post.receiver.requests
    now = int(time.time())
    assert verified(request, post.secret, now=now)
    assert verified(request, new, now=now)


async def test_what_was_not_taken_comes_again_with_its_id_and_text(
    post: Post, clock: Clock
) -> None:
    post.receiver.script = [status(500), status(200)]
    await post.happens()
    assert await post.attempt() == "waiting"
    await clock.advance(10)
    await post.core.call("promote", max_jobs=10)
    assert await post.attempt() == "ok"

    first, second = post.receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    entry = await post.entry()
    tries = json.loads(entry["tries"])
    assert [(one["status"], one["error"]) for one in tries] == [(500, "HTTP_500"), (200, None)]
    assert (entry["state"], entry["try_count"]) == ("delivered", 2)


async def test_a_wish_to_wait_is_granted(post: Post) -> None:
    post.receiver.script = [status(429, Retry_After="3600")]
    await post.happens()
    assert await post.attempt() == "waiting"
    job = await post.core.job((await post.entry())["job_id"])
    waits_s = (job["run_at"] - job["started_at"]).total_seconds()
    assert 3600 <= waits_s < 3660


async def test_a_receiver_that_is_gone_is_asked_no_more(post: Post) -> None:
    post.receiver.script = [status(410)]
    await post.happens()
    assert await post.attempt() == "dead"
    await post.happens()
    assert len(await outbox(post.core.db)) == 1  # nothing is written for it any more
    (alert,) = await alerts(post.core.db)
    assert alert["event"] == "webhook_endpoint_disabled"


async def test_a_redirect_is_no_delivery(post: Post) -> None:
    post.receiver.script = [status(302, Location="http://169.254.169.254/")]
    await post.happens()
    assert await post.attempt() == "waiting"
    assert (await post.entry())["message"]["type"] == "render.ready"
    assert len(post.receiver.requests) == 1


async def test_ones_own_network_is_refused_unless_a_setting_allows_it(
    db: asyncpg.Connection, settings: Settings, clock: Clock, receiver: Receiver
) -> None:
    async with posting(db, settings, clock, receiver) as post:
        await post.happens()
        assert await post.attempt() == "dead"
        entry = await post.entry()
        assert json.loads(entry["last_error"])["code"] == "ADDRESS_REFUSED"
    assert receiver.requests == []


async def test_what_waits_for_a_disabled_or_deleted_endpoint_is_not_sent(post: Post) -> None:
    await post.happens()
    await post.happens()
    await post.core.call("webhook_set", person=post.user, hook=post.endpoint, enabled=False)
    assert await post.attempt() == "cancelled"
    await post.core.call("webhook_delete", person=post.user, hook=post.endpoint)
    assert await post.attempt() == "ok"  # its job is done with
    assert post.receiver.requests == []


async def test_a_lost_lease_sends_twice_and_ends_once(post: Post) -> None:
    await post.happens()
    zombie = await post.claimed()
    done = await post.work(zombie)  # it has sent, and dies before it can say so
    await post.core.call("job_evict", queue_name="deliver", job=zombie.job.id)
    assert await post.attempt() == "ok"
    first, second = post.receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    async with post.pool.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError):
            await done.commit(connection, zombie.job)
    assert (await post.entry())["try_count"] == 1


@pytest.mark.parametrize("payload", [{}, {"kind": "webhook"}, {"kind": "alert", "alert_id": "x"}])
async def test_a_job_that_names_no_message_is_dead(post: Post, payload: dict[str, Any]) -> None:
    await post.core.enqueue("deliver", body=payload)
    assert await post.attempt() == "dead"


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_a_worker_that_is_killed_while_it_sends_is_followed_by_one_that_sends_again(
    dsn: str, db: asyncpg.Connection, s3: S3, tmp_path: Path, receiver: Receiver
) -> None:
    options: dict[str, Any] = {
        "command": ("makeready", "work", "deliver"),
        "webhook_private": True,
        "s3_endpoint": s3.endpoint,
    }
    press = await Press(db).open()
    user = await press.user()
    _, secret = await endpoint(db, user, "render.ready", url=receiver.url)
    receiver.script = [hang]
    async with worker_process(dsn, tmp_path, "one", **options) as first:
        pack = await press.pack(user, "invoice")
        await press.rendered(user, pack, "invoice")
        await until(lambda: receiver.requests, timeout_s=30, what="the first attempt")
        first.send(signal.SIGKILL)
        await first.ended()
        async with worker_process(dsn, tmp_path, "two", **options) as second:
            await second.until_event("webhook_delivered", timeout_s=30)
            log = json.dumps(first.log() + second.log())
    before, after = receiver.requests
    assert before.headers["webhook-id"] == after.headers["webhook-id"]
    assert before.body == after.body
    assert verified(after, secret, now=int(time.time()))
    for hidden in (secret.removeprefix("whsec_"), "url-secret", receiver.url):
        assert hidden not in log  # RND-029
