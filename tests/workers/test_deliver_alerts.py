"""The handler of `deliver`: alerts reach operators, and hold up nothing when they do not.

Proves RND-029, RND-041, RND-044, RND-048.
"""

from __future__ import annotations

import dataclasses
import time

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready.config import Secret, Settings
from makeready.db import pool_opened
from makeready_workers.deliver import ALERT_TIMEOUT_S, WEBHOOK_TIMEOUT_S, open_handler
from makeready_workers.handler import Context
from tests.support.clock import Clock
from tests.support.hooks import alerts, endpoint
from tests.support.in_process import working
from tests.support.posting import Post, posting
from tests.support.receiver import Receiver, hang, receiving, status, verified
from tests.support.rendering import Press
from tests.support.waiting import until


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
    took = time.monotonic() - started
    assert ALERT_TIMEOUT_S == 2  # RND-044
    assert ALERT_TIMEOUT_S - 0.1 < took < WEBHOOK_TIMEOUT_S
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


@pytest.mark.notified
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
