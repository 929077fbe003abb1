"""Alerts: recorded with what they are about, sent afterwards, noted by a person.

Proves RND-014, RND-044, RND-048.
"""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from makeready.errors import NotFound, Rejected
from tests.support.clock import Clock
from tests.support.core import Core, seconds
from tests.support.hooks import alerts
from tests.support.rendering import Press

DAY = 24 * 3600


async def test_an_alert_is_recorded_and_its_sending_enqueued_rnd_044(core: Core) -> None:
    alert = await core.call(
        "alert", level="error", about="disk_full", facts={"free": 1}, from_request="r-1"
    )
    (found,) = await alerts(core.db)
    assert (found["id"], found["severity"], found["event"]) == (alert, "error", "disk_full")
    assert (found["context"], found["request_id"]) == ({"free": 1}, "r-1")
    core.me = await core.worker("deliver")
    (job,) = await core.claim("deliver")
    assert json.loads(job["payload"]) == {"kind": "alert", "alert_id": str(alert)}
    (given,) = await core.rows("deliver_alert", alert=alert)
    assert (given["how_severe"], given["what"]) == ("error", "disk_full")
    sent = {"job": job["id"], "token": job["lease"], "alert": alert}
    assert await core.call("deliver_alert_sent", **sent) == "ok"
    assert await core.call("deliver_alert_sent", **sent) == "repeat"
    assert (await alerts(core.db))[0]["sent_at"] is not None


async def test_an_alert_goes_with_the_transaction_that_noticed_it(core: Core) -> None:
    transaction = core.db.transaction()
    await transaction.start()
    await core.call("alert", level="info", about="tried")
    await transaction.rollback()
    assert await alerts(core.db) == []
    assert await core.count("deliver", "queued") == 0


async def test_what_fails_while_alerting_breaks_no_work_rnd_048(core: Core) -> None:
    async with core.db.transaction():
        job = await core.enqueue()
        assert await core.call("alert", level="loud", about="x") is None  # cannot be recorded
        await core.call("queue_close", queue_name="deliver")
        assert await core.call("alert", level="info", about="x") is not None  # cannot be sent
    assert await core.state(job) == "queued"
    assert [alert["event"] for alert in await alerts(core.db)] == ["x"]


async def test_a_dead_or_expired_render_alerts_and_a_cancelled_one_does_not_rnd_014_rnd_048(
    press: Press, core: Core, clock: Clock
) -> None:
    user = await press.user()
    pack = await press.pack(user)
    failed = await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    cancelled = await press.job_of(user, pack, "letter")
    await core.cancel("render", cancelled)
    await core.db.execute("update makeready.queues set max_lost = 1 where queue = 'render'")
    lost = await press.job_of(user, pack, "report")
    await press.one()
    await clock.advance(DAY)
    await core.reap()

    found = await alerts(core.db)
    assert {alert["event"] for alert in found} == {"render_job_failed"}
    assert [alert["request_id"] for alert in found] == [str(failed), str(lost)]
    assert found[0]["context"] == {
        "job_id": str(failed),
        "pack_id": str(pack),
        "doc_id": "invoice",
        "state": "dead",
        "attempts": 1,
        "code": "TEMPLATE_ERROR",
    }


async def test_a_failed_end_that_is_rolled_back_alerts_nobody(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    transaction = press.db.transaction()
    await transaction.start()
    await press.fail(claimed)
    await transaction.rollback()
    assert await alerts(press.db) == []
    await press.fail(claimed)
    assert len(await alerts(press.db)) == 1


async def test_what_every_job_meets_is_told_once_in_a_while(core: Core, clock: Clock) -> None:
    facts = {"level": "error", "about": "s3_upload_error", "facts": {}, "from_request": "j"}
    assert await core.call("alert_unless_known", **facts, within=seconds(300))
    assert await core.call("alert_unless_known", **facts, within=seconds(300)) is None
    await clock.advance(301)
    assert await core.call("alert_unless_known", **facts, within=seconds(300))


async def test_alerts_are_listed_by_page_and_noted_once(core: Core) -> None:
    ids = [
        await core.call("alert", level=level, about=about)
        for level, about in (("info", "a"), ("error", "a"), ("error", "b"), ("error", "a"))
    ]
    rows = await core.rows("alert_list", level="error", about="a")
    assert [row["alert_id"] for row in rows] == [ids[3], ids[1]]
    page = await core.rows("alert_list", max_rows=2, older_than=ids[3])
    assert [row["alert_id"] for row in page] == [ids[2], ids[1]]

    await core.db.execute("select set_config('makeready.actor', 'ann', false)")
    (first,) = await core.rows("alert_ack", alert=ids[0])
    await core.db.execute("select set_config('makeready.actor', 'bob', false)")
    (second,) = await core.rows("alert_ack", alert=ids[0])
    assert (first["noted_by"], second) == ("ann", first)
    log = await core.db.fetch("select target from makeready.audit_log where action = 'alert_ack'")
    assert [row["target"] for row in log] == [str(ids[0])]
    with pytest.raises(NotFound) as raised:
        await core.rows("alert_ack", alert=uuid4())
    assert raised.value.details["code"] == "alert_not_found"


async def test_alerts_go_after_their_retention_which_operators_change(
    core: Core, clock: Clock
) -> None:
    await core.call("alert", level="info", about="old")
    await clock.advance(2 * DAY)
    await core.call("alert", level="info", about="new")
    assert await core.call("alerts_purge", max_rows=10) == 0
    await core.call("retention_set", subject_name="alerts", period=seconds(DAY), because="full")
    assert await core.call("alerts_purge", max_rows=10) == 1
    assert [alert["event"] for alert in await alerts(core.db)] == ["new"]
    with pytest.raises(NotFound):
        await core.call("retention_set", subject_name="jobs", period=seconds(DAY))
    with pytest.raises(Rejected):
        await core.call("retention_set", subject_name="alerts", period=seconds(-1))


async def test_an_alert_that_nobody_could_send_for_a_day_expires(core: Core, clock: Clock) -> None:
    await core.call("alert", level="info", about="old")
    await clock.advance(DAY + 1)
    assert await core.call("expire", max_jobs=10) == 1
    assert len(await alerts(core.db)) == 1


async def test_an_alert_names_the_request_that_noticed_it_rnd_044(core: Core) -> None:
    async with core.db.transaction():
        await core.db.execute("select set_config('makeready.request_id', 'r-1', true)")
        await core.call("alert", level="info", about="of_the_request")
        await core.call("alert", level="info", about="of_a_job", from_request="j-1")
    await core.call("alert", level="info", about="of_nobody")
    rows = await core.db.fetch("select event, request_id from makeready.alerts")
    assert {row["event"]: row["request_id"] for row in rows} == {
        "of_the_request": "r-1",
        "of_a_job": "j-1",
        "of_nobody": None,
    }
