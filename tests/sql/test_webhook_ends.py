"""Deliveries end: taken, tried again, given up; endpoints that take nothing are disabled."""

from __future__ import annotations

import base64
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from makeready.errors import Conflict, LeaseLost
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core
from tests.support.hooks import deliver, endpoint, give_up, hook, outbox, rendered
from tests.support.rendering import Press

DAY = 24 * 3600


async def test_a_delivery_ends_with_its_job_and_clears_its_endpoint(
    press: Press, core: Core
) -> None:
    user = await press.user()
    which, secret = await endpoint(press.db, user, "render.ready")
    await rendered(press, user)
    job = await deliver(core)
    (entry,) = await outbox(press.db)
    (given,) = await core.rows("webhook_input", delivery=entry["id"])
    assert given["signing_keys"] == [base64.b64decode(secret.removeprefix("whsec_"))]
    assert given["message"] == entry["content"]
    await core.call(
        "webhook_tried",
        delivery=entry["id"],
        http_status=500,
        milliseconds=3.0,
        problem={"code": "HTTP_500", "message": "so"},
    )
    assert (await hook(press.db, which))["failing_since"] is not None

    facts = {"job": job["id"], "delivery": entry["id"], "http_status": 204, "milliseconds": 2.0}
    assert await core.call("webhook_delivered", token=job["lease"], **facts) == "ok"
    assert await core.call("webhook_delivered", token=job["lease"], **facts) == "repeat"
    with pytest.raises(LeaseLost):
        await core.call("webhook_delivered", token=uuid4(), **facts)
    (row,) = await core.rows("webhook_tries", person=user, hook=which)
    assert (row["public_state"], row["tries_made"], row["next_try_at"]) == ("delivered", 2, None)
    assert (await hook(press.db, which))["failing_since"] is None
    assert await core.rows("webhook_input", delivery=entry["id"]) == []


async def test_the_next_try_is_seen_and_its_lane_is_that_of_the_struggling(
    press: Press, core: Core
) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user, "render.ready")
    await rendered(press, user)
    (entry,) = await outbox(press.db)
    await core.call(
        "webhook_tried",
        delivery=entry["id"],
        http_status=None,
        milliseconds=3.0,
        problem={"code": "NO_ANSWER", "message": "so"},
    )
    assert await give_up(core, "retry") == "waiting"
    (row,) = await core.rows("webhook_tries", person=user, hook=which)
    assert row["next_try_at"] == (await core.job(entry["job_id"]))["run_at"]

    await rendered(press, user)
    newest = (await outbox(press.db))[-1]
    assert (await core.job(newest["job_id"]))["lane"] == "struggling"


async def test_a_receiver_that_is_gone_is_disabled_at_once(press: Press, core: Core) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user, "render.ready")
    await rendered(press, user)
    assert await give_up(core, code="ENDPOINT_GONE") == "dead"
    row = await hook(press.db, which)
    assert (row["disabled_why"], row["failures"]) == ("gone", 1)
    alert = await press.db.fetchrow("select * from makeready.alerts")
    assert alert is not None
    assert (alert["event"], alert["severity"]) == ("webhook_endpoint_disabled", "warning")
    assert "example.com" not in alert["context"]  # RND-029: its address may hold a secret


async def test_five_given_up_and_a_day_without_one_taken_disable_an_endpoint(
    press: Press, core: Core, clock: Clock
) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user, "render.ready")
    for number in range(6):
        await rendered(press, user)
        newest = (await outbox(press.db))[-1]
        await core.call(
            "webhook_tried",
            delivery=newest["id"],
            http_status=None,
            milliseconds=3.0,
            problem={"code": "NO_ANSWER", "message": "so"},
        )
        assert (await hook(press.db, which))["disabled_at"] is None
        if number == 5:  # five were not enough within a day
            await clock.advance(DAY)
        await give_up(core)
    assert (await hook(press.db, which))["disabled_why"] == "failing"
    await press.db.execute("select makeready.webhook_set($1, $2, null, true)", user, which)
    row = await hook(press.db, which)
    assert (row["disabled_at"], row["failures"], row["failing_since"]) == (None, 0, None)


async def test_a_delivery_is_retried_by_its_owner_and_by_an_operator(
    press: Press, core: Core
) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user, "render.ready")
    await rendered(press, user)
    (entry,) = await outbox(press.db)
    retry = {"person": user, "hook": which, "delivery": entry["id"]}
    with pytest.raises(Conflict):
        await core.call("webhook_retry", **retry)
    await give_up(core)
    assert (await outbox(press.db))[0]["state"] == "failed"
    await core.call("retry", queue_name="deliver", job=entry["job_id"])
    assert (await outbox(press.db))[0]["state"] == "pending"
    await give_up(core)

    await core.call("webhook_retry", **retry)
    (again,) = await outbox(press.db)
    assert again["content"] == entry["content"]
    assert (again["id"], again["state"]) == (entry["id"], "pending")
    assert again["job_id"] != entry["job_id"]
    await core.call("webhook_set", person=user, hook=which, enabled=False)
    await give_up(core)
    with pytest.raises(Conflict):
        await core.call("webhook_retry", **retry)


async def test_a_retry_that_comes_too_late_tells_nothing_again(press: Press, core: Core) -> None:
    """The job is cancelled at once: its document has a later render."""
    user = await press.user()
    await endpoint(press.db, user, "render.failed", "pack.done")
    pack = await press.pack(user, "invoice")
    late = await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    await press.job_of(user, pack, "invoice")
    await press.publish(await press.one())
    before = await outbox(press.db)
    await core.call("retry", queue_name="render", job=late)
    assert await core.state(late) == "cancelled"
    assert await outbox(press.db) == before


async def test_both_secrets_sign_for_a_while_after_a_rotation(
    press: Press, core: Core, clock: Clock
) -> None:
    user = await press.user()
    which, old = await endpoint(press.db, user, "render.ready")
    new = await core.call("webhook_rotate", person=user, hook=which)
    await rendered(press, user)
    (entry,) = await outbox(press.db)
    keys = [base64.b64decode(text.removeprefix("whsec_")) for text in (new, old)]
    (given,) = await core.rows("webhook_input", delivery=entry["id"])
    assert given["signing_keys"] == keys
    await clock.advance(DAY + 1)
    (given,) = await core.rows("webhook_input", delivery=entry["id"])
    assert given["signing_keys"] == keys[:1]


async def test_old_deliveries_go_and_pending_ones_stay(
    press: Press, core: Core, clock: Clock
) -> None:
    user = await press.user()
    await endpoint(press.db, user, "render.ready")
    await rendered(press, user)
    await give_up(core)
    await rendered(press, user)
    await core.call("retention_set", subject_name="webhook_deliveries", period=timedelta(days=2))
    await clock.advance(1 * DAY)
    assert await core.call("webhook_deliveries_purge", max_rows=10) == 0
    await clock.advance(2 * DAY)
    assert await core.call("webhook_deliveries_purge", max_rows=10) == 1
    assert [entry["state"] for entry in await outbox(press.db)] == ["pending"]


async def test_a_payload_that_names_no_delivery_ends_like_any_other(core: Core) -> None:
    core.me = await core.worker("deliver")
    for body in ({}, {"delivery_id": "x"}, {"delivery_id": str(uuid4())}, {"delivery_id": 7}):
        job = await core.running("deliver", body=body)
        assert await core.fail(job, "fatal") == "dead"


async def test_the_view_of_operators_shows_neither_address_nor_secret(
    press: Press, session: Session
) -> None:
    user = await press.user()
    url = "https://me:pw@example.com:8443/hook?key=very-secret"
    await endpoint(press.db, user, url=url)
    await rendered(press, user)
    reader = await session("makeready_ops")
    (row,) = await reader.db.fetch("select * from makeready.webhook_overview")
    assert (row["host"], row["pending"]) == ("example.com:8443", 2)
    assert "secret" not in str(dict(row))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.rows("webhook_input", delivery=uuid4())


async def test_only_the_roles_that_need_it_call_each_function(core: Core) -> None:
    rows = await core.db.fetch(
        "select p.proname, array(select r from unnest(array['makeready_app', 'makeready_http',"
        " 'makeready_worker', 'makeready_ops', 'makeready_read']) r"
        " where has_function_privilege(r, p.oid, 'execute')) as roles from pg_proc p"
        " where p.pronamespace = 'makeready'::regnamespace and proname ~ '^(webhook|deliver)'"
    )
    found = {row["proname"]: row["roles"] for row in rows if row["roles"]}
    http, worker = ["makeready_http"], ["makeready_worker"]
    asked = ("create", "list", "set", "rotate", "delete", "tries", "retry")
    sent = ("webhook_input", "webhook_tried", "webhook_delivered")
    assert found == {f"webhook_{name}": http for name in asked} | dict.fromkeys(
        (*sent, "deliver_alert", "deliver_alert_sent"), worker
    )
