"""What users do about themselves: the offer, tokens, sessions (RND-035 to RND-037)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs

from makeready import people
from makeready.config import Settings
from makeready.hiring import DOCUMENTS
from tests.support.rendering import Press
from tests.support.service import NO_TLS, Person, Service, error_code, fetch, pack_body


@pytest.fixture
async def vera(service: Service, db: asyncpg.Connection) -> AsyncIterator[Person]:
    """A user who came by code and has accepted nothing yet."""
    user = await db.fetchval("select makeready.user_add('Вера', '+79001234567', false)")
    secret = (await people.token_create(db, user)).reveal()
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(
        base_url=service.url, headers=headers, verify=NO_TLS, timeout=15
    ) as client:
        yield Person(id=user, secret=secret, client=client)


async def test_the_offer_is_accepted_once(vera: Person) -> None:
    """RND-035."""
    first = await vera.post("/legal/offer/accept")
    again = await vera.post("/legal/offer/accept")

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    me = (await vera.get("/me")).json()
    assert me["offer_accepted_at"] == first.json()["offer_accepted_at"]


async def test_nothing_is_ordered_before_the_offer_is_accepted(
    vera: Person, db: asyncpg.Connection
) -> None:
    pack = uuid4()
    session = (await vera.post("/sessions", json={"profession_query": "бариста"})).json()
    await db.execute(
        "insert into makeready.packs (id, session_id, user_id, lang, created_at)"
        " values ($1, $2, $3, 'ru', makeready.now())",
        pack,
        session["session_id"],
        vera.id,
    )
    orders = (
        ("/packs", pack_body("invoice")),
        ("/ml/job", {"session_id": session["session_id"]}),
        (f"/packs/{pack}/render", None),
        (f"/packs/{pack}/render/invoice", None),
    )
    for path, body in orders:
        refused = await vera.post(path, json=body)
        assert (refused.status_code, error_code(refused)) == (403, "forbidden"), path
        assert refused.json()["error"]["details"] == {"needs": "offer"}
    assert await db.fetchval("select count(*) from makeready.jobs") == 0

    await vera.post("/legal/offer/accept")
    assert (await vera.post("/packs", json=pack_body("invoice"))).status_code == 201
    assert (await vera.post("/ml/job", json=orders[1][1])).status_code == 201


async def test_a_pack_of_another_is_not_there_rather_than_forbidden(
    vera: Person, anna: Person
) -> None:
    pack = await anna.pack("invoice")

    assert (await vera.post(f"/packs/{pack}/render")).status_code == 404


async def test_users_that_operators_make_have_accepted(anna: Person) -> None:
    assert (await anna.get("/me")).json()["offer_accepted_at"] is not None


async def test_a_session_becomes_a_pack_of_twelve_documents(anna: Person, press: Press) -> None:
    """RND-036."""
    session = await anna.post("/sessions", json={"profession_query": "бариста"})
    assert session.status_code == 201
    heads = {"Idempotency-Key": "one"}
    body = {"session_id": session.json()["session_id"], "language": "ru"}

    made = await anna.post("/ml/job", json=body, headers=heads)

    assert made.status_code == 201
    pack = made.json()["pack_id"]
    assert made.json() == {"ok": True, "pack_id": pack, "session_id": body["session_id"]}
    assert (await anna.post("/ml/job", json=body, headers=heads)).json()["pack_id"] == pack
    (row,) = (await anna.get("/me/packs")).json()["packs"]
    assert (row["pack_id"], row["session_id"]) == (pack, body["session_id"])
    found = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    assert {document["doc_id"] for document in found} >= set(DOCUMENTS)
    started = (await anna.post(f"/packs/{pack}/render")).json()
    assert started["jobs_created"] == len(DOCUMENTS)
    claimed = await press.one()
    assert claimed.job.payload["pack_id"] == pack


async def test_a_session_of_another_is_not_there(anna: Person, boris: Person) -> None:
    """RND-037."""
    session = (await anna.post("/sessions", json={"profession_query": "x"})).json()["session_id"]

    for wrong in (session, str(uuid4())):
        answer = await boris.post("/ml/job", json={"session_id": wrong})
        assert (answer.status_code, error_code(answer)) == (404, "session_not_found")
        assert answer.json()["error"]["details"] == {"session_id": wrong}


async def test_a_profession_that_cannot_be_printed_is_refused_at_once(anna: Person) -> None:
    for wrong in ("", "   ", "x" * 121, "a\u0007b", None):
        answer = await anna.post("/sessions", json={"profession_query": wrong})
        assert (answer.status_code, error_code(answer)) == (422, "validation_failed"), wrong


async def test_no_header_names_a_user(anna: Person, boris: Person, press: Press) -> None:
    """RND-037: X-User-Id is never trusted, and whose a job is is asked of every status route."""
    pack = await anna.pack("invoice")
    job = (await anna.post(f"/packs/{pack}/render")).json()["job_ids"][0]
    await press.publish(await press.one())
    file_id = (await anna.get("/me/files")).json()["files"][0]["file_id"]
    heads = {"X-User-Id": str(anna.id)}

    for path in (
        f"/render/jobs/{job}",
        f"/packs/{pack}/documents",
        f"/files/{file_id}/download",
    ):
        assert (await anna.get(path)).status_code == 200
        assert (await boris.get(path, headers=heads)).status_code == 404
        async with httpx2.AsyncClient(
            base_url=boris.client.base_url, headers=heads, verify=NO_TLS
        ) as client:
            assert (await client.get(path)).status_code == 401
    assert (await boris.get("/me/files", headers=heads)).json()["files"] == []
    assert (await boris.get("/me", headers=heads)).json()["user_id"] == str(boris.id)


async def test_a_user_makes_lists_and_withdraws_tokens(
    service: Service, anna: Person, boris: Person
) -> None:
    made = await anna.post("/me/tokens", json={"label": "booth", "days": 90})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    heads = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await service.client.get("/me", headers=heads)).json()["user_id"] == str(anna.id)

    listed = (await anna.get("/me/tokens")).json()["tokens"]
    assert [row["label"] for row in listed] == ["booth", ""]
    assert made.json()["token"] not in str(listed)
    token = made.json()["token_id"]
    assert (await boris.client.delete(f"/me/tokens/{token}")).json()["revoked"] is False
    assert (await service.client.get("/me", headers=heads)).status_code == 200
    assert (await anna.client.delete(f"/me/tokens/{token}")).json()["revoked"] is True
    assert (await anna.client.delete(f"/me/tokens/{token}")).json()["revoked"] is False
    assert (await service.client.get("/me", headers=heads)).status_code == 401
    assert (await anna.post("/me/tokens", json={"label": "x", "days": 365})).status_code == 201
    for wrong in ({"label": ""}, {"label": "x", "days": 366}, {"label": "x", "user_id": "y"}):
        assert (await anna.post("/me/tokens", json=wrong)).status_code == 422
    assert (await anna.client.delete("/me/tokens/none")).status_code == 404


async def test_the_hundred_newest_tokens_count(anna: Person, db: asyncpg.Connection) -> None:
    for _ in range(100):
        await people.token_create(db, anna.id)

    text = "select count(*) from makeready.tokens where revoked_at is null"
    assert await db.fetchval(text) == 100
    assert (await anna.get("/me")).status_code == 401  # the oldest


async def test_a_page_may_write_into_the_log_but_little(service: Service) -> None:
    props = {"path": "/library", "n": 1, "deep": {"x": 1}, "long": "y" * 500}
    with capture_logs() as lines:
        body = {"event": "page_opened", "props": props | {f"p{n}": n for n in range(40)}}
        answer = await service.client.post("/events/client", json=body)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    (line,) = [line for line in lines if line["event"] == "client_event"]
    assert line["name"] == "page_opened"
    assert len(line["props"]) == 20
    assert line["props"] | {"path": "/library", "n": 1, "long": "y" * 200} == line["props"]

    for wrong in ({"event": "no such\nname"}, {}, {"event": "x", "props": []}):
        assert (await service.client.post("/events/client", json=wrong)).status_code == 422
    large = {"event": "x", "props": {"x": "y" * 9000}}
    assert (await service.client.post("/events/client", json=large)).status_code == 413
    codes = [
        (await service.client.post("/events/client", json={"event": "x"})).status_code
        for _ in range(60)
    ]
    assert codes[-1] == 429
    assert codes.count(200) == 55


class TestDebug:
    """With DEBUG a test file shows that storage and links work (RND-033)."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, debug=True)

    async def test_a_test_file_can_be_downloaded(
        self, service: Service, anna: Person, boris: Person
    ) -> None:
        """RND-033."""
        found = (await anna.post("/debug/s3/put-test-pdf")).json()

        assert found["ok"] is True
        status, body = fetch(found["download_url"])
        assert (status, body[:5]) == (200, b"%PDF-")
        (row,) = (await anna.get("/me/files")).json()["files"]
        assert (row["file_id"], row["artifact_id"]) == (found["file_id"], found["artifact_id"])
        assert (row["kind"], row["content_type"]) == ("test_pdf", "application/pdf")
        path = f"/files/{found['file_id']}/download"
        assert (await anna.get(path)).status_code == 200
        assert (await boris.get(path)).status_code == 404
        assert (await service.client.post("/debug/s3/put-test-pdf")).status_code == 401

    async def test_it_goes_into_a_session_of_ones_own_only(
        self, anna: Person, boris: Person
    ) -> None:
        made = (await anna.post("/sessions", json={"profession_query": "x"})).json()
        path = f"/debug/s3/put-test-pdf?session_id={made['session_id']}"

        assert (await anna.post(path)).status_code == 200
        refused = await boris.post(path)
        assert (refused.status_code, error_code(refused)) == (404, "session_not_found")
