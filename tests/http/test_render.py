"""Packs, renders and files over HTTP.

Proves RND-001, RND-004, RND-005, RND-006, RND-007, RND-009, RND-021, RND-028, RND-030.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready.storage import Storage
from makeready_http.app import OPERATIONS
from tests.support.rendering import Press
from tests.support.service import Person, Service, error_code, fetch, pack_body
from tests.support.waiting import until

OPEN = {
    "/api/login",
    "/auth/otp/request",
    "/auth/otp/verify",
    "/debug/otp/latest",
    "/docs",
    "/events/client",
    "/health",
    "/health/db",
    "/health/live",
    "/health/ready",
    "/health/s3",
    "/health/sms",
    "/healthz",
    "/ingest/{slot_id}",  # by the password in the form
    "/metrics",
    "/openapi.json",
    "/public/media/{id}",
    "/public/results/{job_id}",
    "/public/results/{job_id}/thumbnail",
}


async def test_a_pack_is_made_and_every_document_rendered_rnd_001(
    anna: Person, press: Press
) -> None:
    made = await anna.post("/packs", json=pack_body("invoice", "letter"))
    pack = made.json()["pack_id"]
    assert made.status_code == 201
    assert made.json() == {"ok": True, "pack_id": pack, "documents": ["invoice", "letter"]}
    assert made.headers["location"] == f"/packs/{pack}/documents"

    answer = await anna.post(f"/packs/{pack}/render")
    body = answer.json()
    assert answer.status_code == 202
    assert (body["ok"], body["pack_id"]) == (True, pack)
    assert (body["jobs_created"], body["jobs_skipped"]) == (2, 0)
    assert len(await press.claim(9)) == 2

    again = await anna.post(f"/packs/{pack}/render")  # RND-003
    assert again.status_code == 200
    assert (again.json()["jobs_created"], again.json()["jobs_skipped"]) == (0, 2)


async def test_the_list_shows_each_document_as_it_stands_rnd_007_rnd_009(
    anna: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice", "letter")
    await anna.post(f"/packs/{pack}/render/invoice")
    await press.print_next(storage)
    answer = await anna.get(f"/packs/{pack}/documents")
    invoice, letter = answer.json()["documents"]

    assert answer.json()["pack_id"] == pack
    assert str(UUID(invoice["file_id"])) == invoice["file_id"]
    assert {k: v for k, v in invoice.items() if not k.endswith("_id")} == {
        "title": invoice["title"],
        "status": "ready",
        "attempts": 1,
        "last_error": None,
        "access": {"tier": "free", "enabled": True, "is_locked": False, "reason": None},
    }
    assert (letter["doc_id"], letter["status"], letter["file_id"]) == ("letter", "none", None)


async def test_a_ready_document_is_downloaded_by_a_link_rnd_021_rnd_028(
    anna: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    await press.print_next(storage)
    (document,) = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    answer = await anna.get(f"/files/{document['file_id']}/download")
    body = answer.json()

    assert answer.headers["cache-control"] == "no-store"
    assert set(body) == {"ok", "url", "expires_in_sec"}
    assert (body["ok"], body["expires_in_sec"]) == (True, 600)
    status, pdf = await asyncio.to_thread(fetch, body["url"])
    assert (status, pdf[:4]) == (200, b"%PDF")


async def test_a_file_is_downloaded_from_the_bucket_it_was_stored_in_rnd_028(
    anna: Person, press: Press, storage: Storage, db: asyncpg.Connection
) -> None:
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    await press.print_next(storage)
    await db.execute("update makeready.files set bucket = 'of-last-year'")
    (row,) = (await anna.get("/me/files")).json()["files"]
    link = (await anna.get(f"/files/{row['file_id']}/download")).json()["url"]

    assert urlsplit(link).path.startswith("/of-last-year/renders/")


async def test_a_document_is_rendered_anew_and_gets_a_new_file_rnd_005(
    anna: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice")
    seen = []
    for _ in range(2):
        answer = await anna.post(f"/packs/{pack}/render/invoice")
        assert answer.status_code == 202
        body = answer.json()
        assert answer.headers["location"] == f"/render/jobs/{body['job_id']}"
        assert body == {"ok": True, "pack_id": pack, "doc_id": "invoice", "job_id": body["job_id"]}
        await press.print_next(storage)
        job = (await anna.get(answer.headers["location"])).json()
        assert (job["status"], job["attempts"], job["max_attempts"]) == ("ready", 1, 5)
        seen.append((body["job_id"], job["file_id"]))

    assert len(set(seen)) == 2


async def test_a_document_in_work_is_refused_with_its_job_rnd_006(anna: Person) -> None:
    pack = await anna.pack("invoice")
    job = (await anna.post(f"/packs/{pack}/render/invoice")).json()["job_id"]
    refused = await anna.post(f"/packs/{pack}/render/invoice")

    assert (refused.status_code, error_code(refused)) == (409, "already_in_progress")
    assert refused.json()["error"]["details"]["job_id"] == job


async def test_the_same_idempotency_key_gets_the_same_answer_rnd_006(anna: Person) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    body = pack_body("invoice")
    made = [await anna.post("/packs", json=body, headers=key) for _ in range(2)]
    assert made[0].json() == made[1].json()
    assert [answer.status_code for answer in made] == [201, 201]
    assert [answer.headers.get("idempotency-replayed") for answer in made] == [None, "true"]

    pack = made[0].json()["pack_id"]
    for path in (f"/packs/{pack}/render/invoice", f"/packs/{pack}/render"):
        first, second = [await anna.post(path, headers=key) for _ in range(2)]
        assert first.json() == second.json()
        replayed = [answer.headers.get("idempotency-replayed") for answer in (first, second)]
        assert replayed == [None, "true"]
    other = await anna.post("/packs", json=pack_body("letter"), headers=key)
    assert (other.status_code, error_code(other)) == (422, "idempotency_mismatch")


async def test_everything_needs_a_token_rnd_004_rnd_028(
    service: Service, anna: Person, db: asyncpg.Connection
) -> None:
    some = str(uuid4())
    await db.execute("update makeready.tokens set revoked_at = makeready.now()")
    guarded = [
        operation
        for operation in OPERATIONS
        if operation.who != "anyone" and not operation.path.startswith("/debug/")  # not there
    ]
    free = {operation.path for operation in OPERATIONS if operation.who == "anyone"}
    assert free == OPEN
    for operation in guarded:
        path, method = re.sub(r"{\w+}", some, operation.path), operation.method
        for headers in (
            {},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer mk_forged"},
            {"Authorization": f"Basic {anna.secret}"},
            {"Authorization": f"Bearer {anna.secret}"},  # revoked
            {"Authorization": "Bearer " + "x" * 5000},
            {"X-User-Id": str(anna.id)},  # RND-037
        ):
            answer = await service.client.request(method, path, headers=headers)
            seen = (answer.status_code, error_code(answer))
            assert seen == (401, "unauthorized"), (path, headers)
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_what_belongs_to_others_is_not_there_rnd_004_rnd_028(
    anna: Person, boris: Person, press: Press, storage: Storage
) -> None:
    pack = await anna.pack("invoice")
    job = (await anna.post(f"/packs/{pack}/render/invoice")).json()["job_id"]
    await press.print_next(storage)
    (row,) = (await anna.get("/me/files")).json()["files"]
    calls: list[tuple[Callable[..., Awaitable[Any]], str, str]] = [
        (boris.post, f"/packs/{pack}/render", "pack_not_found"),
        (boris.post, f"/packs/{pack}/render/invoice", "pack_not_found"),
        (boris.get, f"/packs/{pack}/documents", "pack_not_found"),
        (boris.get, f"/render/jobs/{job}", "job_not_found"),
        (boris.get, f"/files/{row['file_id']}/download", "file_not_found"),
        (anna.get, f"/files/{uuid4()}/download", "file_not_found"),
        (anna.get, "/files/not-an-id/download", "file_not_found"),
        (anna.get, f"/packs/{uuid4()}/documents", "pack_not_found"),
        (anna.post, "/packs/not-an-id/render", "pack_not_found"),
    ]
    for call, path, expected in calls:
        answer = await call(path)
        assert (answer.status_code, error_code(answer)) == (404, expected), path
    for path, name in (("/me/files", "files"), ("/me/packs", "packs")):
        assert (await boris.get(path)).json() == {"ok": True, name: [], "next": None}


@pytest.mark.parametrize("doc", ["nothing", "Invoice", "in%00voice", "../invoice", "letter"])
async def test_an_unknown_document_is_not_found_rnd_005(anna: Person, doc: str) -> None:
    pack = await anna.pack("invoice")
    answer = await anna.post(f"/packs/{pack}/render/{doc}")

    assert answer.status_code == 404
    assert error_code(answer) in {"document_not_found", "route_not_found"}


async def test_a_disabled_document_is_an_invalid_request_rnd_005(
    anna: Person, db: asyncpg.Connection
) -> None:
    pack = await anna.pack("invoice")
    await db.execute("update makeready.document_types set enabled_by_staff = false")
    answer = await anna.post(f"/packs/{pack}/render/invoice")

    assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
    assert answer.json()["error"]["details"]["reason"] == "document_disabled"
    (row,) = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    assert row["access"]["is_locked"] is True
    refused = await anna.post(f"/packs/{pack}/render")
    assert (refused.status_code, error_code(refused)) == (409, "conflict")
    assert refused.json()["error"]["details"]["reason"] == "no_documents"


async def test_every_problem_of_a_pack_is_named_at_once(anna: Person) -> None:
    body = pack_body("invoice", "letter") | {"language": "de", "colour": "red"}
    answer = await anna.post("/packs", json=body)
    paths = [problem["path"] for problem in answer.json()["error"]["details"]]
    assert (answer.status_code, error_code(answer)) == (422, "validation_failed")
    assert paths == ["colour", "language"]

    body = pack_body("invoice", "letter")
    body["documents"]["invoice"] = {"oops": 1}
    body["documents"]["letter"] = []
    found = (await anna.post("/packs", json=body)).json()["error"]["details"]
    assert {problem["path"].split(".")[1] for problem in found} == {"invoice", "letter"}
    assert all(set(problem) == {"code", "path", "message", "hint"} for problem in found)


@pytest.mark.parametrize(
    "body", [{}, {"documents": {}}, {"documents": []}, {"documents": {"invoice": {}}, "x": 1}]
)
async def test_a_pack_without_documents_is_refused(anna: Person, body: dict[str, Any]) -> None:
    answer = await anna.post("/packs", json=body)

    assert (answer.status_code, error_code(answer)) == (422, "validation_failed")


async def test_a_pack_of_an_unknown_document_is_not_found(anna: Person) -> None:
    answer = await anna.post("/packs", json={"documents": {"nothing": {}}})

    assert (answer.status_code, error_code(answer)) == (404, "document_not_found")


async def test_my_files_are_listed_newest_first_in_pages_rnd_030(
    anna: Person, press: Press, storage: Storage
) -> None:
    packs = []
    for _ in range(3):
        packs.append(await anna.pack("invoice"))
        await anna.post(f"/packs/{packs[-1]}/render")
        await press.print_next(storage)
    first = (await anna.get("/me/files", params={"limit": 2})).json()
    rest = (await anna.get("/me/files", params={"limit": 2, "after": first["next"]})).json()

    rows = [*first["files"], *rest["files"]]
    assert [row["pack_id"] for row in rows] == packs[::-1]
    assert rest["next"] is None
    assert set(rows[0]) == {
        "file_id", "artifact_id", "kind", "created_at", "content_type", "size_bytes",
        "doc_id", "pack_id", "status",
    }  # fmt: skip
    listed = (await anna.get("/me/packs")).json()["packs"]
    assert [row["pack_id"] for row in listed] == packs[::-1]
    assert set(listed[0]) >= {"pack_id", "session_id", "created_at"}


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "after=x"])
async def test_a_page_that_makes_no_sense_is_refused(anna: Person, query: str) -> None:
    answer = await anna.get(f"/me/files?{query}")

    assert (answer.status_code, error_code(answer)) == (400, "invalid_request")


async def test_workers_are_woken_after_the_commit(anna: Person, db: asyncpg.Connection) -> None:
    heard: list[object] = []

    def hear(*words: object) -> None:
        heard.append(words[-1])

    await db.add_listener("makeready", hear)
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")

    await until(lambda: "wake render" in heard, what="the wake-up")
    await db.remove_listener("makeready", hear)
