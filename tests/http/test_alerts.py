"""Alerts over HTTP. Proves RND-044, RND-045."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import pytest

from makeready import alerts
from tests.http.conftest import MakeMember
from tests.support.service import Member, error_code


async def test_staff_list_alerts_by_severity_event_and_page_rnd_045(
    administrator: Member, db: asyncpg.Connection
) -> None:
    facts = [("info", "a"), ("error", "a"), ("error", "b")]
    ids = [str(await alerts.record(db, level, event, {"n": 1})) for level, event in facts]
    found = (await administrator.get("/admin/alerts?severity=error&event=a")).json()["items"]
    assert [item["alert_id"] for item in found] == [ids[1]]
    assert (found[0]["severity"], found[0]["event"], found[0]["context"]) == (
        "error",
        "a",
        {"n": 1},
    )
    assert found[0]["meta"] == {"acked_at": None, "acked_by": None}
    page = (await administrator.get("/admin/alerts?limit=2")).json()
    rest = (await administrator.get(f"/admin/alerts?limit=2&after={page['next']}")).json()
    seen = [item["alert_id"] for item in page["items"] + rest["items"]]
    assert seen == ids[::-1]
    assert rest["next"] is None


@pytest.mark.parametrize("query", ["severity=loud", "limit=501", "limit=0", "after=x"])
async def test_a_filter_that_cannot_be_is_refused(administrator: Member, query: str) -> None:
    answer = await administrator.get(f"/admin/alerts?{query}")
    assert error_code(answer) == "invalid_request"


async def test_who_notes_an_alert_first_is_kept_and_audited_rnd_044(
    staff: MakeMember, db: asyncpg.Connection
) -> None:
    operator, viewer, second = await staff("operator"), await staff("viewer"), await staff("admin")
    alert = await alerts.record(db, "error", "disk_full", {})
    path = f"/admin/alerts/{alert}/ack"
    assert error_code(await viewer.post(path)) == "forbidden"
    first = await operator.post(path, headers={"X-Request-Id": "req-1"})
    again = await second.post(path)
    assert first.status_code == 200
    assert first.json() == again.json()
    assert first.json()["acked_by"] == operator.name
    (listed,) = (await viewer.get("/admin/alerts")).json()["items"]
    assert listed["meta"]["acked_by"] == operator.name
    rows = await db.fetch("select * from makeready.audit_log where action = 'alert_ack'")
    assert [(row["target"], row["request_id"]) for row in rows] == [(str(alert), "req-1")]
    assert rows[0]["actor"].startswith(f"{operator.name} via ")
    for missing in (uuid4(), "x"):
        answer = await operator.post(f"/admin/alerts/{missing}/ack")
        assert error_code(answer) == "alert_not_found"


async def test_what_fails_while_alerting_is_logged_and_breaks_nothing_rnd_048(
    db: asyncpg.Connection,
) -> None:
    await db.close()
    assert await alerts.record(db, "error", "disk_full", {}) is None
