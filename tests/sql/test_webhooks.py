"""The outbox: endpoints, and what the end of a render writes for them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from uuid import uuid4

import pytest

from makeready import printing, render
from makeready.errors import LeaseLost, NotFound, Rejected
from tests.sql.conftest import Session
from tests.support.core import Core
from tests.support.hooks import deliver, endpoint, hook, outbox, rendered, told
from tests.support.rendering import Press, stored


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


async def test_a_request_that_is_repeated_makes_one_endpoint(press: Press) -> None:
    user = await press.user()
    call = "select verdict, hook, shown_once from makeready.webhook_create($1, $2, $3, 'key')"
    first = await press.db.fetchrow(call, user, "https://example.com", ["pack.done"])
    again = await press.db.fetchrow(call, user, "https://example.com", ["pack.done"])
    assert first is not None
    assert again is not None
    assert (first["verdict"], again["verdict"]) == ("created", "replayed")
    assert (first["hook"], first["shown_once"]) == (again["hook"], again["shown_once"])
    with pytest.raises(Rejected) as raised:
        await press.db.fetchrow(call, user, "https://example.org", ["pack.done"])
    assert raised.value.details["code"] == "idempotency_mismatch"
    await press.db.execute("select makeready.webhook_delete($1, $2)", user, first["hook"])
    with pytest.raises(NotFound):
        await press.db.fetchrow(call, user, "https://example.com", ["pack.done"])


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


async def test_a_disabled_user_is_told_nothing(press: Press, core: Core) -> None:
    user = await press.user()
    await endpoint(press.db, user, "render.ready")
    await rendered(press, user)
    await press.db.execute("update makeready.users set disabled_at = now()")
    await rendered(press, user)
    (entry,) = await outbox(press.db)  # from before, and not sent any more
    (given,) = await core.rows("webhook_input", delivery=entry["id"])
    assert given["is_stopped"]


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
        return await printing.publish(other.db, claimed.lease, stored(claimed), {"pages": 1})

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
            printing.publish(one.db, claimed.lease, stored(claimed), {"pages": 1})
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
