"""Staff's view of everybody's work (RND-045), and that nobody else has it."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from uuid import uuid4

import asyncpg
import pytest

from makeready import leases, posm
from makeready_http.app import OPERATIONS
from tests.http.conftest import MakeMember
from tests.support.generating import Cardroom
from tests.support.rendering import Press, stored
from tests.support.service import Member, Person, Service, error_code
from tests.support.waiting import until

STAFF_ROUTES = [operation for operation in OPERATIONS if operation.who == "staff"]
MISSING = "0199c0de-0000-7000-8000-000000000000"


async def _failed(anna: Person, press: Press, *docs: str) -> tuple[str, list[str]]:
    """A pack of Anna's whose documents have failed; their jobs."""
    pack = await anna.pack(*docs)
    await anna.post(f"/packs/{pack}/render")
    claimed = await press.claim(len(docs))
    for each in claimed:
        await leases.fail(press.db, each.lease, "fatal", {"code": "TEMPLATE_ERROR"})
    return pack, [str(each.job.id) for each in claimed]


async def test_staff_routes_are_for_staff_with_the_permission(
    service: Service, anna: Person
) -> None:
    assert len(STAFF_ROUTES) > 50
    told = {}
    for operation in STAFF_ROUTES:
        path = re.sub(r"\{\w+_id\}", MISSING, operation.path)
        for client in (service.client, anna.client):
            answer = await client.request(operation.method, path)
            told[client, operation.name] = error_code(answer)
    assert {name: code for name, code in told.items() if code != "unauthorized"} == {}


async def test_list_is_filtered_and_paged_rnd_045(
    anna: Person, boris: Person, press: Press, administrator: Member
) -> None:
    pack, jobs = await _failed(anna, press, "invoice", "letter")
    other = await boris.pack("invoice")
    await boris.post(f"/packs/{other}/render")

    found = (await administrator.get("/admin/render-jobs")).json()["items"]
    assert {(item["pack_id"], item["status"]) for item in found} == {
        (pack, "failed"),
        (other, "queued"),
    }
    assert {item["user_id"] for item in found} == {str(anna.id), str(boris.id)}

    failed = (await administrator.get("/admin/render-jobs?status=failed")).json()["items"]
    assert {item["job_id"] for item in failed} == set(jobs)
    one = (await administrator.get(f"/admin/render-jobs?pack_id={pack}&doc_id=letter")).json()
    assert [item["doc_id"] for item in one["items"]] == ["letter"]

    seen = []
    after = ""
    while True:
        page = (await administrator.get(f"/admin/render-jobs?limit=1{after}")).json()
        seen += [item["job_id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == sorted(item["job_id"] for item in found)


async def test_last_changed_comes_first(anna: Person, press: Press, administrator: Member) -> None:
    pack, (job,) = await _failed(anna, press, "invoice")
    later = await anna.pack("letter")
    await anna.post(f"/packs/{later}/render")
    found = (await administrator.get("/admin/render-jobs")).json()["items"]
    assert [item["pack_id"] for item in found] == [later, pack]
    times = [datetime.fromisoformat(item["updated_at"]) for item in found]
    assert times == sorted(times, reverse=True)
    assert found[1]["job_id"] == job


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "status=none", "pack_id=7", "after=x"]
)
async def test_bad_filter_is_named(administrator: Member, query: str) -> None:
    answer = await administrator.get(f"/admin/render-jobs?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["field"] == query.partition("=")[0]


async def test_a_job_is_shown_with_files_and_attempts(
    anna: Person, press: Press, administrator: Member
) -> None:
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    claimed = await press.one()
    await press.publish(claimed)
    found = (await administrator.get(f"/admin/render-jobs/{claimed.job.id}")).json()["job"]
    assert found["status"] == "ready"
    assert [each["file_id"] for each in found["artifacts"]] == [found["latest_file_id"]]
    assert [each["outcome"] for each in found["attempt_list"]] == ["done"]
    assert error_code(await administrator.get(f"/admin/render-jobs/{MISSING}")) == "job_not_found"


async def test_a_failed_job_is_requeued_by_a_new_one_and_audited(
    anna: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    pack, (job,) = await _failed(anna, press, "invoice")
    answer = (await administrator.post(f"/admin/render-jobs/{job}/requeue")).json()
    assert answer["old_job_id"] == job
    again = await administrator.post(f"/admin/render-jobs/{job}/requeue")
    assert error_code(again) == "already_in_progress"
    assert again.json()["error"]["details"]["job_id"] == answer["new_job_id"]

    await press.publish(await press.one())
    documents = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    assert [(each["status"], each["job_id"]) for each in documents] == [
        ("ready", answer["new_job_id"])
    ]
    line = await db.fetchrow("select * from makeready.audit_log where action = 'render_requeue'")
    assert line is not None
    assert line["target"] == job
    assert line["actor"].startswith(administrator.name)
    assert line["client_address"] == "127.0.0.1"


@pytest.mark.notified
async def test_prefer_wait_answers_when_what_staff_asked_for_has_ended(
    anna: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    _, (job,) = await _failed(anna, press, "invoice")
    path, patience = f"/admin/render-jobs/{job}/requeue", {"Prefer": "wait=20"}

    waiting = asyncio.create_task(administrator.post(path, headers=patience))
    await press.publish((await until(press.claim, what="the new job"))[0])
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert answer.headers["location"] == f"/admin/render-jobs/{answer.json()['new_job_id']}"

    nobodys = await db.fetchval("select makeready.render_enqueue('letter', '{}')")
    await press.fail(await press.one())
    shown = (await administrator.get(f"/admin/render-jobs/{nobodys}")).json()["job"]
    path = f"/admin/packs/{shown['pack_id']}/render"
    assert (await administrator.post(path, headers={"Prefer": "wait=0"})).status_code == 202
    waiting = asyncio.create_task(administrator.post(path, headers=patience))
    await press.publish(await press.one())
    answer = await waiting
    assert answer.status_code == 200
    assert [each["status"] for each in answer.json()["documents"]] == ["ready"]


@pytest.mark.notified
async def test_prefer_wait_tells_staff_why_a_render_of_nobody_failed(
    press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    job = await db.fetchval("select makeready.render_enqueue('letter', '{}')")
    await press.fail(await press.one())
    path = f"/admin/render-jobs/{job}/requeue"
    waiting = asyncio.create_task(administrator.post(path, headers={"Prefer": "wait=20"}))
    await press.fail((await until(press.claim, what="the new job"))[0])
    answer = await waiting
    assert error_code(answer) == "render_failed"
    assert answer.json()["error"]["details"]["reason"] == "template_error"


async def test_what_has_no_sources_any_more_is_not_requeued(
    anna: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    files = {"index.html": ("index.html", "<p>x</p>")}
    sent = (await anna.post("/render/html", files=files)).json()
    await press.fail(await press.one())
    await db.execute("update makeready.render_contents set sources_id = null")

    refused = await administrator.post(f"/admin/render-jobs/{sent['job_id']}/requeue")
    assert (refused.status_code, error_code(refused)) == (410, "result_expired")
    counts = (await administrator.post("/admin/render-jobs/requeue-failed")).json()
    assert (counts["enqueued"], counts["skipped_incomplete"]) == (0, 1)
    (pack,) = (await administrator.get("/admin/packs")).json()["packs"]
    assert pack["documents"] == 1


async def test_only_a_failed_job_is_requeued(
    anna: Person, press: Press, administrator: Member
) -> None:
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    claimed = await press.one()
    await press.publish(claimed)
    refused = await administrator.post(f"/admin/render-jobs/{claimed.job.id}/requeue")
    assert refused.status_code == 400
    assert refused.json()["error"]["details"]["reason"] == "invalid_status"
    missing = await administrator.post(f"/admin/render-jobs/{uuid4()}/requeue")
    assert error_code(missing) == "job_not_found"


async def test_all_failed_are_requeued_with_counts(
    anna: Person, boris: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    await _failed(anna, press, "invoice", "letter")
    await _failed(boris, press, "report")
    await db.execute(
        "update makeready.document_types set enabled_by_staff = false where id = 'report'"
    )
    counts = (await administrator.post("/admin/render-jobs/requeue-failed")).json()
    assert counts == {
        "ok": True,
        "failed_considered": 3,
        "enqueued": 2,
        "skipped_in_progress": 0,
        "skipped_incomplete": 1,
        "errors": [],
    }
    again = (await administrator.post("/admin/render-jobs/requeue-failed?limit=5")).json()
    assert (again["failed_considered"], again["enqueued"]) == (1, 0)


async def test_viewer_and_operator_see_and_do_what_their_role_allows(
    anna: Person, press: Press, staff: MakeMember
) -> None:
    _, (job,) = await _failed(anna, press, "invoice")
    viewer, operator = await staff("viewer"), await staff("operator")
    refused = await viewer.post(f"/admin/render-jobs/{job}/requeue")
    assert refused.status_code == 403
    assert refused.json()["error"]["details"] == {"needs": "render:write"}
    assert (await operator.post(f"/admin/render-jobs/{job}/requeue")).status_code == 200


async def test_packs_of_all_users_are_listed_shown_and_rendered(
    anna: Person,
    boris: Person,
    administrator: Member,
    press: Press,
    db: asyncpg.Connection,
) -> None:
    first, second = await anna.pack("invoice"), await boris.pack("letter")
    found = (await administrator.get("/admin/packs")).json()["packs"]
    assert [(each["pack_id"], each["user_name"]) for each in found] == [
        (second, "Борис"),
        (first, "Анна"),
    ]
    mine = (await administrator.get(f"/admin/packs?user_id={anna.id}")).json()["packs"]
    assert [each["pack_id"] for each in mine] == [first]

    made = (await administrator.post(f"/admin/packs/{first}/render")).json()
    assert (made["jobs_created"], made["jobs_skipped"]) == (1, 0)
    line = await db.fetchrow("select * from makeready.audit_log where action = 'render_pack'")
    assert line is not None
    assert (line["target"], line["actor"].split()[0]) == (first, administrator.name)
    await press.publish(await press.one())
    shown = (await administrator.get(f"/admin/packs/{first}/documents")).json()["documents"]
    assert [each["status"] for each in shown] == ["ready"]
    for path in (f"/admin/packs/{uuid4()}/documents", "/admin/packs/x/documents"):
        assert error_code(await administrator.get(path)) == "pack_not_found"


async def test_a_pack_of_nobody_is_reached_by_staff_alone(
    anna: Person, administrator: Member, db: asyncpg.Connection
) -> None:
    job = await db.fetchval("select makeready.render_enqueue('letter', '{}')")
    found = (await administrator.get(f"/admin/render-jobs/{job}")).json()["job"]
    assert found["user_id"] is None
    shown = await administrator.get(f"/admin/packs/{found['pack_id']}/documents")
    assert [each["job_id"] for each in shown.json()["documents"]] == [str(job)]
    refused = await anna.get(f"/packs/{found['pack_id']}/documents")
    assert error_code(refused) == "pack_not_found"


async def test_a_download_by_staff_is_audited(
    anna: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    claimed = await press.one()
    await press.publish(claimed, facts={"pages": 1})
    assert stored(claimed).bucket
    documents = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    file_id = documents[0]["file_id"]
    answer = await administrator.get(f"/admin/files/{file_id}/download")
    assert answer.json()["url"].startswith("http")
    assert answer.headers["cache-control"] == "no-store"
    target = await db.fetchval(
        "select target from makeready.audit_log where action = 'file_download'"
    )
    assert target == file_id
    missing = await administrator.get(f"/admin/files/{uuid4()}/download")
    assert error_code(missing) == "file_not_found"


async def test_lines_of_one_moment_are_paged_without_a_hole(
    anna: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    await _failed(anna, press, "invoice", "letter", "report")
    for name in ("one", "two"):
        await db.execute("select makeready.alert('info', $1)", name)
        await db.execute("select makeready.retention_set('alerts', '30 days', $1)", name)
    room = await Cardroom(db).open()
    for _ in range(2):
        made = await room.press(await room.template(), await room.restaurant())
        await posm.cancel(db, made.id, because="wrong hall")
    for table, column in (
        ("audit_log", "at"),
        ("alerts", "created_at"),
        ("pack_documents", "finished_at"),
        ("posm_generations", "finished_at"),
    ):
        await db.execute(f"update makeready.{table} set {column} = '2026-11-22 08:00Z'")
    every = (await administrator.get("/admin/logs?limit=1000")).json()["items"]
    assert {line["kind"] for line in every} == {"audit", "alert", "render", "posm"}
    (line, _) = (line for line in every if line["kind"] == "posm")
    assert (line["event"], line["severity"]) == ("posm_error", "error")
    assert (line["target"], line["facts"]["comment"]) == (str(made.id), "wrong hall")

    seen, query = [], {"limit": "1"}
    while True:
        page = (await administrator.get("/admin/logs", params=query)).json()
        seen += page["items"]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert seen == every


async def test_logs_audit_and_overview_tell_what_happened(
    anna: Person, press: Press, administrator: Member, db: asyncpg.Connection
) -> None:
    _, (job,) = await _failed(anna, press, "invoice")
    await db.execute("""select makeready.alert('error', 'drill', '{"a": 1}', 'r-1')""")
    lines = (await administrator.get("/admin/logs")).json()["items"]
    kinds = {line["kind"] for line in lines}
    assert {"alert", "render"} <= kinds
    assert [line["at"] for line in lines] == sorted((line["at"] for line in lines), reverse=True)
    only = (await administrator.get("/admin/logs?kind=render")).json()["items"]
    assert [(line["event"], line["target"]) for line in only] == [("render_failed", job)]
    page = (await administrator.get("/admin/logs?limit=1")).json()
    rest = (
        await administrator.get("/admin/logs", params={"after": page["next"], "limit": 1000})
    ).json()
    assert page["items"] + rest["items"] == lines
    for odd in (
        "yesterday",
        "2026-11-22",
        "2026-11-22T08:00:00Z~'",
        "0001-01-01T00:00+14:00",
        page["next"] + " x",
    ):
        refused = await administrator.get("/admin/logs", params={"after": odd})
        assert (refused.status_code, error_code(refused)) == (400, "invalid_request")

    await administrator.post(f"/admin/render-jobs/{job}/requeue")
    audit = (await administrator.get("/admin/audit?action=render_requeue")).json()["items"]
    (line,) = audit
    assert line["target"] == job
    assert len(line["before_hash"]) == len(line["after_hash"]) == 64
    assert line["before_hash"] != line["after_hash"]
    assert line["address"] == "127.0.0.1"

    overview = (await administrator.get("/admin/overview")).json()
    assert overview["alerts_open"] >= 1
    assert {queue["queue"] for queue in overview["queues"]} >= {"render"}
    assert overview["failures"][0]["error_code"] == "TEMPLATE_ERROR"
