"""Statistics of photos and the newest results of a slot, as staff reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.album import Album
from tests.support.booth import opened, post
from tests.support.service import Member, Service, error_code
from tests.support.waiting import until

DAY = timedelta(days=1)
ZERO = dict.fromkeys(
    ("success", "timeouts", "provider_errors", "cancelled", "errors", "ingest_count"), 0
)


@pytest.fixture
def album(db: asyncpg.Connection) -> Album:
    return Album(db)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def asked(member: Member, path: str, **query: Any) -> dict[str, Any]:
    answer = await member.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_ing_059_a_slot_by_day_by_hour_and_by_week(viewer: Member, album: Album) -> None:
    """ING-059, ING-058: ascending, empty periods filled, in UTC."""
    await album.photo(at=moment("2026-11-09T10:30"))
    await album.photo(at=moment("2026-11-10T23:59"), outcome="timeout")
    path, span = "/api/stats/slot-001", {"from": "2026-11-09", "to": "2026-11-11"}
    found = await asked(viewer, path, **span)
    assert found["slot_id"] == "slot-001"
    assert found["range"] == {
        "from": "2026-11-09T00:00:00Z",
        "to": "2026-11-12T00:00:00Z",
        "group_by": "day",
        "time_zone": "UTC",
    }
    assert [each["period_start"][:10] for each in found["metrics"]] == [
        "2026-11-09",
        "2026-11-10",
        "2026-11-11",
    ]
    assert found["metrics"][0] == {
        **ZERO,
        "success": 1,
        "ingest_count": 1,
        "period_start": "2026-11-09T00:00:00Z",
        "period_end": "2026-11-10T00:00:00Z",
    }
    assert found["metrics"][1] | ZERO == found["metrics"][1] | ZERO | {"success": 0}
    summary = found["summary"]
    assert (summary["title"], summary["last_reset_at"]) == ("Slot 1", None)
    assert (summary["success"], summary["timeouts"], summary["errors"]) == (1, 1, 1)
    hours = await asked(viewer, path, **span, group_by="hour")
    assert len(hours["metrics"]) == 72
    assert hours["metrics"][10]["success"] == 1
    weeks = await asked(viewer, path, **span, group_by="week")
    assert [each["ingest_count"] for each in weeks["metrics"]] == [2]


async def test_ing_059_defaults_are_14_days_and_8_weeks(viewer: Member, album: Album) -> None:
    """ING-059: both end now, and the running period is the last one."""
    await album.photo()
    slot = await asked(viewer, "/api/stats/slot-001")
    assert len(slot["metrics"]) == 14
    assert slot["metrics"][-1]["success"] == 1
    everything = await asked(viewer, "/api/stats/global")
    assert everything["meta"] == {"page": 1, "page_size": 10, "total": 8}
    assert everything["data"][0]["success"] == 1
    assert everything["summary"]["total_runs"] == 1


async def test_ing_059_all_slots_sorted_filtered_and_in_pages(
    viewer: Member, album: Album
) -> None:
    """ING-059: page_size at most 50, sort by four figures, filters by provider and slot."""
    first = moment("2026-11-02T12:00")
    for day, (count, outcome, provider) in enumerate([
        (1, "success", "local"), (3, "timeout", "gemini"), (2, "success", "gemini"),
    ]):  # fmt: skip
        for _ in range(count):
            await album.photo(
                f"slot-00{day + 1}", at=first + DAY * day, outcome=outcome, provider=provider
            )
    path = "/api/stats/global"
    query = {"from": "2026-11-02", "to": "2026-11-05", "group_by": "day", "page_size": 2}
    found = await asked(viewer, path, **query, sort_by="ingest_count")
    assert [each["ingest_count"] for each in found["data"]] == [3, 2]
    assert found["meta"] == {"page": 1, "page_size": 2, "total": 4}
    found = await asked(viewer, path, **query, sort_by="ingest_count", page=2)
    assert [each["ingest_count"] for each in found["data"]] == [1, 0]
    found = await asked(viewer, path, **query, sort_by="errors", sort_order="asc")
    assert [each["period_start"][8:10] for each in found["data"]] == ["02", "04"]
    found = await asked(viewer, path, **query, sort_by="period_start", sort_order="asc")
    assert [each["period_start"][8:10] for each in found["data"]] == ["02", "03"]
    gemini = await asked(viewer, path, **query, provider_id="gemini")
    assert (gemini["summary"]["success"], gemini["summary"]["timeouts"]) == (2, 3)
    assert gemini["summary"]["error_rate_percent"] == 60
    second = await asked(viewer, path, **query, slot_id="slot-002")
    assert second["summary"]["total_runs"] == 3


async def test_ing_059_a_range_that_is_no_range_or_too_wide_is_refused(viewer: Member) -> None:
    """ING-059: 31 days for a slot, 90 for all; wider is 400."""
    slot, everything = "/api/stats/slot-001", "/api/stats/global"
    wrong: list[tuple[str, dict[str, str]]] = [
        (slot, {"from": "2026-10-01", "to": "2026-11-01"}),
        (everything, {"from": "2026-08-01", "to": "2026-10-30"}),
        (slot, {"from": "2026-10-02", "to": "2026-10-01"}),
        (slot, {"from": "2026-10-01T00:00:00Z", "to": "2026-10-01T00:00:00Z"}),
        (slot, {"from": "yesterday"}),
        (slot, {"to": "0001-01-01"}),
        (slot, {"from": "9999-12-31"}),
        (slot, {"group_by": "month"}),
        (everything, {"group_by": "hour"}),
        (everything, {"page_size": "51"}),
        (everything, {"sort_by": "timeouts"}),
    ]
    for path, query in wrong:
        answer = await viewer.get(path, params=query)
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request"), query
    await asked(viewer, slot, **{"from": "2026-10-01", "to": "2026-10-31"})
    await asked(viewer, everything, **{"from": "2026-08-01", "to": "2026-10-29"})
    for path in ("/api/stats/slot-016", "/api/stats/slot-016/recent_results"):
        answer = await viewer.get(path)
        assert (answer.status_code, error_code(answer)) == (404, "slot_not_found")


async def test_moments_are_read_with_their_zone(viewer: Member, album: Album) -> None:
    await album.photo(at=moment("2026-11-10T22:30"))
    path = "/api/stats/slot-001"
    for start in ("2026-11-11T01:00:00+03:00", "2026-11-11T01:00:00 03:00", "2026-11-10T22:00"):
        found = await asked(viewer, path, **{"from": start, "to": "2026-11-10T23:00:00Z"})
        assert found["range"]["from"] == "2026-11-10T22:00:00Z"
        assert found["summary"]["success"] == 1


async def test_ing_060_a_new_event_shows_at_once_and_a_reset_empties_the_summary(
    viewer: Member, operator: Member, album: Album
) -> None:
    """ING-060: the cache never hides an event; reset answers 204 and is audited."""
    path = "/api/stats/slot-001"
    for expected in (0, 1, 2):
        assert (await asked(viewer, path))["summary"]["success"] == expected
        assert (await asked(viewer, "/api/stats/global"))["summary"]["success"] == expected
        await album.photo(at=await album.now() - timedelta(seconds=5))
    reset = "/api/slots/slot-001/reset_stats"
    assert (await viewer.post(reset)).status_code == 403
    answer = await operator.post(reset)
    assert (answer.status_code, answer.content) == (204, b"")
    summary = (await asked(viewer, path))["summary"]
    assert summary["success"] == 0
    assert summary["last_reset_at"].endswith("Z")
    assert (await asked(viewer, "/api/stats/global"))["summary"]["success"] == 3
    stale = await operator.post(reset, headers={"If-Match": '"999"'})
    assert (stale.status_code, error_code(stale)) == (409, "stale_version")
    unknown = await operator.post("/api/slots/slot-099/reset_stats")
    assert (unknown.status_code, error_code(unknown)) == (404, "slot_not_found")
    actor = await album.db.fetchval(
        "select actor from makeready.audit_log where action = 'slot_stats_reset'"
    )
    assert actor.startswith("operator via")


async def test_ing_072_service_levels_are_shown_beside_their_targets(
    viewer: Member, album: Album
) -> None:
    for outcome, status in (("success", 200), ("success", 200), ("timeout", 504)):
        await album.photo(outcome=outcome, answered=status, took=3)
    await album.refused()
    level = (await asked(viewer, "/api/stats/global"))["summary"]["service_level"]
    assert level == {
        "requests": 4,
        "in_time_share": 0.5,
        "in_time_target": 0.95,
        "timeout_share": 0.25,
        "timeout_target": 0.05,
        "busy_share": 0.25,
        "availability": 1,
        "availability_target": 0.99,
    }
    summary = (await asked(viewer, "/api/stats/slot-001"))["summary"]
    assert (summary["p50_response_ms"], summary["p95_provider_ms"]) == (3000, 1500)
    nothing = (await asked(viewer, "/api/stats/slot-002"))["summary"]["service_level"]
    assert (nothing["requests"], nothing["in_time_share"]) == (0, None)


async def test_ing_061_the_ten_newest_results_of_three_days(
    viewer: Member, service: Service, album: Album
) -> None:
    """ING-061: newest first; older ones, expired ones and failures are left out."""
    now = await album.now()
    jobs = [await album.photo(at=now - timedelta(hours=hour)) for hour in range(11)]
    await album.photo(at=now, outcome="timeout")
    await album.photo("slot-002", at=now)
    old = await album.photo("slot-003", at=now - timedelta(hours=73))
    expired = await album.photo("slot-003", at=now)
    await album.db.execute(
        "update makeready.photos set result_expires_at = case when id = $1 then now()"
        " else now() + interval '90 hours' end where slot_id = 'slot-003'",
        expired,
    )
    path = "/api/stats/slot-001/recent_results"
    found = (await viewer.get(path)).json()
    assert [each["job_id"] for each in found] == [str(job) for job in jobs[:10]]
    assert found[0]["download_url"] == f"/public/results/{jobs[0]}"
    assert found[0]["thumbnail_url"] is None
    assert (found[0]["mime"], found[0]["size_bytes"]) == ("image/jpeg", 1)
    kept = datetime.fromisoformat(found[0]["result_expires_at"])
    assert kept - datetime.fromisoformat(found[0]["completed_at"]) == timedelta(hours=72)
    picture = album.stored(f"results/{jobs[0]}.after.jpg")
    await album.pictured(jobs[0], picture, picture)
    found = (await viewer.get(path)).json()
    assert found[0]["thumbnail_url"] == f"/public/results/{jobs[0]}/thumbnail"
    assert (await viewer.get("/api/stats/slot-003/recent_results")).json() == [], old
    assert (await service.client.get(path)).status_code == 401


async def test_a_photo_of_a_booth_shows_in_figures_lists_and_links(
    service: Service, viewer: Member, db: asyncpg.Connection
) -> None:
    """From the request to the thumbnail, through the workers of the service."""
    await opened(db)
    posted = await post(service.url)
    assert posted.status == 200
    job = posted.headers["x-job-id"]
    assert (await service.client.get(f"/public/results/{job}")).content == posted.body

    async def pictured() -> str | None:
        found = (await viewer.get("/api/stats/slot-001/recent_results")).json()
        assert [each["job_id"] for each in found] == [job]
        thumbnail: str | None = found[0]["thumbnail_url"]
        return thumbnail

    picture = await service.client.get(str(await until(pictured)))
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    before = await viewer.get(f"/api/jobs/{job}/thumbnail", params={"side": "before"})
    assert before.status_code == 200
    assert (await viewer.get(f"/api/jobs/{job}")).json()["events"][-1]["status"] == "succeeded"

    async def answered() -> dict[str, Any] | None:
        row = await db.fetchval("select answered_with from makeready.photos where id = $1", job)
        return await asked(viewer, "/api/stats/slot-001") if row else None

    found = await until(answered)
    assert found is not None
    assert found["summary"]["success"] == 1
