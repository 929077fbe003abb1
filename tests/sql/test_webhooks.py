"""The outbox: endpoints, and what the end of a render writes for them."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import render
from makeready.errors import Conflict, LeaseLost, NotFound, Rejected
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core
from tests.support.hooks import endpoint, outbox, told
from tests.support.rendering import Press, stored

DAY = 24 * 3600


async def rendered(press: Press, user: UUID) -> UUID:
    """A pack of one document that is ready; the pack."""
    pack = await press.pack(user, "invoice")
    await press.rendered(user, pack, "invoice")
    return pack


async def deliver(core: Core, *, worker: bool = True) -> asyncpg.Record:
    """The next delivery, claimed."""
    if worker:
        core.me = await core.worker("deliver")
    (job,) = await core.claim("deliver")
    return job


async def give_up(core: Core, manner: str = "fatal", code: str = "NO_ANSWER") -> str:
    """Takes the next delivery and fails it."""
    return await core.fail(await deliver(core), manner, {"code": code, "message": "so"})


async def hook(db: asyncpg.Connection, which: UUID) -> asyncpg.Record:
    """An endpoint as it stands."""
    row = await db.fetchrow("select * from makeready.webhook_endpoints where id = $1", which)
    assert row is not None
    return row


async def test_a_secret_is_shown_once_and_kept_apart(press: Press) -> None:
    user = await press.user()
    which, secret = await endpoint(press.db, user)
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    (row,) = await press.db.fetch("select * from makeready.webhook_list($1)", user)
    assert row["hook"] == which
    assert secret not in str(dict(row))


async def test_an_endpoint_is_checked(press: Press) -> None:
    user = await press.user()
    for url, events in (
        ("ftp://example.com", ["pack.done"]),
        ("https://example.com/ x", ["pack.done"]),
        (f"https://example.com/{'x' * 2000}", ["pack.done"]),
        ("https://example.com", []),
        ("https://example.com", ["pack.lost"]),
    ):
        with pytest.raises(Rejected):
            await press.db.execute(
                "select makeready.webhook_create($1, $2, $3)", user, url, events
            )
    with pytest.raises(NotFound):
        await endpoint(press.db, uuid4())


async def test_a_user_has_at_most_ten_endpoints_also_when_they_race(
    press: Press, session: Session
) -> None:
    user = await press.user()
    for _ in range(9):
        await endpoint(press.db, user)
    sessions = [await session() for _ in range(4)]
    found = await asyncio.gather(
        *(endpoint(one.db, user) for one in sessions), return_exceptions=True
    )
    refused = [one for one in found if isinstance(one, Conflict)]
    assert (len(found), len(refused)) == (4, 3)
    assert refused[0].details["limit"] == 10


async def test_what_is_somebody_elses_is_not_there(press: Press) -> None:
    anna, boris = await press.user(), await press.user("Борис")
    which, _ = await endpoint(press.db, anna)
    await rendered(press, anna)
    (delivery, *_) = await outbox(press.db)
    for call in (
        "webhook_set($1, $2, enabled => false)",
        "webhook_rotate($1, $2)",
        "webhook_delete($1, $2)",
        "webhook_tries($1, $2)",
        f"webhook_retry($1, $2, '{delivery['id']}')",
    ):
        with pytest.raises(NotFound):
            await press.db.execute(f"select makeready.{call}", boris, which)
        with pytest.raises(NotFound):
            await press.db.execute(f"select makeready.{call}", anna, uuid4())
    other, _ = await endpoint(press.db, boris)
    with pytest.raises(NotFound):  # the delivery of another endpoint
        await press.db.execute(
            "select makeready.webhook_retry($1, $2, $3)", boris, other, delivery["id"]
        )
    assert not (await hook(press.db, which))["disabled_at"]


async def test_a_ready_document_is_told_to_whom_it_belongs(press: Press) -> None:
    anna, boris = await press.user(), await press.user("Борис")
    await endpoint(press.db, boris)
    which, _ = await endpoint(press.db, anna)
    pack = await rendered(press, anna)
    ready, done = sorted(await outbox(press.db), key=lambda entry: entry["event_type"])[::-1]
    state = await press.document(anna, pack, "invoice")

    assert (ready["endpoint_id"], ready["state"]) == (which, "pending")
    assert ready["message"]["type"] == "render.ready"
    assert ready["message"]["data"] == {
        "job_id": str(state.job_id),
        "pack_id": str(pack),
        "doc_id": "invoice",
        "status": "ready",
        "file_id": str(state.file_id),
    }
    assert done["message"]["data"] == {
        "pack_id": str(pack),
        "status": "ready",
        "ready": 1,
        "failed": 0,
    }
    job = await press.db.fetchrow("select * from makeready.jobs where id = $1", ready["job_id"])
    assert job is not None
    assert (job["queue"], job["state"], job["owner"]) == ("deliver", "queued", str(anna))


async def test_the_end_of_a_pack_is_told_once_and_counts_its_failures(press: Press) -> None:
    user = await press.user()
    await endpoint(press.db, user, "pack.done", "render.failed")
    pack = await press.pack(user)
    await render.render_pack(press.db, user, pack)
    first, second, third = await press.claim(3)
    await press.publish(first)
    await press.fail(second)
    assert await told(press.db) == ["render.failed"]
    await press.publish(third)

    failed, done = await outbox(press.db)
    assert failed["message"]["data"]["reason"] == "template_error"
    assert done["message"]["data"] == {
        "pack_id": str(pack),
        "status": "failed",
        "ready": 2,
        "failed": 1,
    }


async def test_nothing_is_written_for_a_disabled_endpoint_or_another_event(press: Press) -> None:
    user = await press.user()
    await endpoint(press.db, user, "render.failed")
    disabled, _ = await endpoint(press.db, user)
    await press.db.execute("select makeready.webhook_set($1, $2, null, false)", user, disabled)
    await rendered(press, user)
    assert await outbox(press.db) == []
    assert await press.db.fetchval("select count(*) from makeready.deliver_jobs") == 0


async def test_a_finish_that_is_rolled_back_tells_nothing(press: Press) -> None:
    user = await press.user()
    await endpoint(press.db, user)
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    transaction = press.db.transaction()
    await transaction.start()
    await press.publish(claimed)
    assert len(await outbox(press.db)) == 2
    await transaction.rollback()
    assert await outbox(press.db) == []
    assert await press.db.fetchval("select count(*) from makeready.deliver_jobs") == 0

    assert await press.publish(claimed) == "ok"
    assert await press.publish(claimed) == "repeat"  # the answer to its COMMIT was lost
    assert await told(press.db) == ["pack.done", "render.ready"]


async def test_of_two_ends_that_race_one_is_told(press: Press, session: Session) -> None:
    user = await press.user()
    await endpoint(press.db, user, "render.ready", "render.failed")
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    other = await session()

    async def publish() -> str:
        return await render.publish(other.db, claimed.lease, stored(claimed), {"pages": 1})

    ends: tuple[Any, ...] = await asyncio.gather(
        publish(), press.fail(claimed), return_exceptions=True
    )
    lost = [end for end in ends if isinstance(end, LeaseLost)]
    assert len(lost) <= 1
    state = (await press.document(user, pack, "invoice")).status
    assert await told(press.db) == [f"render.{state}"]


async def test_two_that_end_the_last_documents_tell_one_end_of_the_pack(
    press: Press, session: Session
) -> None:
    user = await press.user()
    await endpoint(press.db, user, "pack.done")
    pack = await press.pack(user)
    await render.render_pack(press.db, user, pack)
    held = await press.claim(3)
    sessions = [await session() for _ in held]
    await asyncio.gather(
        *(
            render.publish(one.db, claimed.lease, stored(claimed), {"pages": 1})
            for one, claimed in zip(sessions, held, strict=True)
        )
    )
    assert await told(press.db) == ["pack.done"]


async def test_a_closed_queue_stops_no_render_and_loses_no_message(
    press: Press, core: Core
) -> None:
    user = await press.user()
    await endpoint(press.db, user, "render.ready")
    await core.call("queue_close", queue_name="deliver")
    pack = await rendered(press, user)
    assert await press.states(user, pack) == ["ready"]
    (entry,) = await outbox(press.db)
    assert (entry["state"], entry["job_id"]) == ("pending", None)
    assert await core.call("webhooks_sweep", max_rows=10) == 0

    await core.call("queue_open", queue_name="deliver")
    assert await core.call("webhooks_sweep", max_rows=10) == 1
    assert await core.call("webhooks_sweep", max_rows=10) == 0
    assert (await deliver(core))["payload"] == (
        f'{{"kind": "webhook", "delivery_id": "{entry["id"]}"}}'
    )


async def test_an_endpoint_that_is_deleted_at_this_moment_stops_no_render(
    press: Press, session: Session
) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user)
    other = await session()
    transaction = other.db.transaction()
    await transaction.start()
    await other.db.execute("select makeready.webhook_delete($1, $2)", user, which)
    finishing = asyncio.create_task(rendered(press, user))
    await transaction.commit()
    assert await press.states(user, await finishing) == ["ready"]
    assert await outbox(press.db) == []


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
