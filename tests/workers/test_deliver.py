"""The handler of `deliver`: messages are signed, tried again, given up; alerts reach operators.

Proves RND-029, RND-044, RND-048.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import leases
from makeready.config import Secret, Settings
from makeready.db import pool_opened
from makeready.jobs import JobFailed
from makeready.leases import Claimed
from makeready_workers.attempt import Attempt
from makeready_workers.deliver import DeliverHandler, open_handler
from makeready_workers.handler import Context
from tests.support.clock import Clock
from tests.support.core import Core
from tests.support.hooks import alerts, endpoint, outbox
from tests.support.in_process import working
from tests.support.objectstore import S3
from tests.support.receiver import Receiver, hang, receiving, status, verified
from tests.support.rendering import Press
from tests.support.waiting import until
from tests.support.worker_process import worker_process


@dataclasses.dataclass(kw_only=True)
class Post:
    """Everything that one attempt needs; the endpoint wants `render.ready`."""

    core: Core
    press: Press
    pool: asyncpg.Pool
    handler: DeliverHandler
    receiver: Receiver
    user: UUID
    endpoint: UUID
    secret: str

    async def happens(self) -> None:
        """One document becomes ready."""
        pack = await self.press.pack(self.user, "invoice")
        await self.press.rendered(self.user, pack, "invoice")

    async def claimed(self) -> Claimed:
        """The next message, taken by a worker that lives."""
        self.core.me = await self.core.worker("deliver")
        (claimed,) = await leases.claim(self.core.db, ["deliver"], self.core.me, 1)
        return claimed

    async def work(self, claimed: Claimed) -> Any:
        attempt = Attempt(claimed, self.pool, asked_at=asyncio.get_running_loop().time())
        return await attempt.work(self.handler)

    async def attempt(self, claimed: Claimed | None = None) -> str:
        """One attempt to its end, as the loop makes it; the job's state."""
        claimed = claimed or await self.claimed()
        try:
            done = await self.work(claimed)
        except JobFailed as failure:
            return await leases.fail(
                self.core.db,
                claimed.lease,
                failure.kind,
                failure.problem(),
                retry_after=failure.retry_after,
            )
        if done.commit is None:
            return await leases.finish(self.core.db, claimed.lease, done.result)
        async with self.pool.acquire() as connection:
            return str(await done.commit(connection, claimed.job))

    async def entry(self) -> dict[str, Any]:
        """The newest delivery."""
        return (await outbox(self.core.db))[-1]


@asynccontextmanager
async def posting(
    db: asyncpg.Connection, settings: Settings, clock: Clock, receiver: Receiver
) -> AsyncIterator[Post]:
    press = await Press(db).open()
    user = await press.user()
    which, secret = await endpoint(db, user, "render.ready", url=receiver.url)
    async with (
        pool_opened(settings, "makeready_worker", size=4) as pool,
        open_handler(Context(settings=settings, pool=pool)) as handler,
    ):
        clock.follow(pool)
        yield Post(
            core=Core(db),
            press=press,
            pool=pool,
            handler=handler,
            receiver=receiver,
            user=user,
            endpoint=which,
            secret=secret,
        )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def post(
    db: asyncpg.Connection, settings: Settings, clock: Clock, receiver: Receiver
) -> AsyncIterator[Post]:
    settings = dataclasses.replace(
        settings, webhook_private=True, alert_webhook_url=Secret(receiver.url)
    )
    async with posting(db, settings, clock, receiver) as running:
        yield running


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


async def test_an_alert_reaches_the_operators_program_rnd_044(post: Post) -> None:
    link = "https://s3/x?X-Amz-Signature=presigned"
    alert = await post.core.call(
        "alert", level="error", about="disk_full", facts={"n": 1, "link": link}, from_request="r"
    )
    with capture_logs() as logs:
        assert await post.attempt() == "ok"
    (request,) = post.receiver.requests
    (recorded,) = await alerts(post.core.db)

    assert request.message == {
        "severity": "error",
        "event": "disk_full",
        "request_id": "r",
        "ts": recorded["created_at"].isoformat(),
        "context": {"n": 1, "link": "https://s3/x?***"},  # RND-029
    }
    assert recorded["sent_at"] is not None
    assert [line["event"] for line in logs] == ["alert_recorded", "alert_sent"]  # RND-041
    assert {line["alert_id"] for line in logs} == {str(alert)}


async def test_an_alert_that_is_not_taken_is_logged_and_tried_again_rnd_048(
    post: Post, clock: Clock
) -> None:
    post.receiver.script = [status(503), hang]
    await post.core.call("alert", level="error", about="disk_full")
    with capture_logs() as logs:
        assert await post.attempt() == "waiting"
        await clock.advance(10)
        await post.core.call("promote", max_jobs=10)
        started = time.monotonic()
        assert await post.attempt() == "waiting"
    assert time.monotonic() - started == pytest.approx(2, abs=1)  # RND-044: 2 s
    errors = [line["code"] for line in logs if line["event"] == "alert_send_error"]
    assert errors == ["HTTP_503", "TIMEOUT"]
    assert (await alerts(post.core.db))[0]["sent_at"] is None


async def test_without_an_address_an_alert_is_recorded_and_that_is_all_rnd_044(
    db: asyncpg.Connection, settings: Settings, clock: Clock, receiver: Receiver
) -> None:
    async with posting(db, settings, clock, receiver) as post:
        await post.core.call("alert", level="error", about="disk_full")
        assert await post.attempt() == "ok"
    assert receiver.requests == []
    assert (await alerts(db))[0]["sent_at"] is None


async def test_a_failed_render_is_told_to_operators_and_to_its_user(
    db: asyncpg.Connection, settings: Settings, receiver: Receiver
) -> None:
    """The whole way, with the loop: and no line of its log has a secret or an address."""
    settings = dataclasses.replace(
        settings, webhook_private=True, alert_webhook_url=Secret(f"{receiver.url}-of-alerts")
    )
    press = await Press(db).open()
    user = await press.user()
    _, secret = await endpoint(db, user, url=receiver.url)
    with capture_logs() as logs:
        async with (
            pool_opened(settings, "makeready_worker", size=4) as pool,
            open_handler(Context(settings=settings, pool=pool)) as handler,
            working(settings, handler),
        ):
            pack = await press.pack(user, "invoice")
            await press.job_of(user, pack, "invoice")
            await press.fail(await press.one())
            await until(lambda: len(receiver.requests) == 3, what="two events and an alert")
            sent = "select count(*) from makeready.alerts where sent_at is not null"
            await until(lambda: db.fetchval(sent), what="the alert's end")
    by_type = {request.message.get("type"): request for request in receiver.requests}
    assert set(by_type) == {"render.failed", "pack.done", None}
    assert by_type[None].message["event"] == "render_job_failed"
    assert verified(by_type["pack.done"], secret, now=int(time.time()))
    text = repr(logs)
    assert "alert_sent" in text
    for hidden in (secret, secret.removeprefix("whsec_"), "url-secret", receiver.url):
        assert hidden not in text  # RND-029


async def test_an_alert_that_cannot_be_sent_holds_up_no_render_rnd_048(
    db: asyncpg.Connection, settings: Settings, clock: Clock
) -> None:
    async with receiving() as gone:
        pass
    settings = dataclasses.replace(settings, alert_webhook_url=Secret(gone.url))
    async with posting(db, settings, clock, gone) as post:
        pack = await post.press.pack(post.user)
        await post.press.job_of(post.user, pack, "invoice")
        await post.press.fail(await post.press.one())
        with capture_logs() as logs:
            assert await post.attempt() in {"waiting", "dead"}
        await post.press.rendered(post.user, pack, "letter")
        assert await post.press.states(post.user, pack) == ["failed", "ready", "none"]
    assert "alert_send_error" in repr(logs)


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
