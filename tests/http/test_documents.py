"""The registry over HTTP: what users are told, and what staff lay over it.

Proves RND-002, RND-009, RND-045.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from makeready.config import Settings
from makeready.documents import shipped
from makeready.validation import find_problems
from tests.http.conftest import MakeMember
from tests.support.cluster import Cluster
from tests.support.database import cloned
from tests.support.objectstore import S3
from tests.support.service import Member, Person, error_code, person, serving


async def listed(user: Person) -> dict[str, dict[str, Any]]:
    answer = await user.get("/documents?language=en")
    assert answer.status_code == 200, answer.text
    return {item["doc_id"]: item for item in answer.json()["documents"]}


async def access(staff: Member, doc: str, **change: Any) -> dict[str, Any]:
    answer = await staff.post(f"/admin/documents/{doc}/access", json=change)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["document"])


async def test_users_learn_what_there_is_and_what_data_it_takes(anna: Person) -> None:
    found = await listed(anna)
    assert found.keys() == shipped.registry().keys()  # nothing without a template
    assert found["invoice"] == {
        "doc_id": "invoice",
        "title": shipped.document_type("invoice").titles["en"],
        "description": shipped.document_type("invoice").descriptions["en"],
        "access": {"tier": "free", "enabled": True, "is_locked": False, "reason": None},
    }
    for name in found:
        shown = (await anna.get(f"/documents/{name}?language=ru")).json()
        assert shown["version"] == shipped.document_type(name).version
        assert find_problems(shown["schema"], shown["sample"]) == []
    made = await anna.post("/packs", json={"documents": {name: shown["sample"]}})
    assert made.status_code == 201


async def test_a_service_that_starts_enters_the_documents_it_ships(
    s3: S3, settings: Settings, cluster: Cluster, admin: asyncpg.Connection
) -> None:
    assert s3.bucket == settings.s3_bucket
    async with cloned(cluster, admin) as dsn:
        db = await asyncpg.connect(dsn)
        assert not await db.fetchval("select exists (select from makeready.document_types)")
        fresh = replace(settings, database_url=dsn)
        async with serving(fresh) as service, person(service, db, "Анна") as user:
            assert (await listed(user)).keys() == shipped.registry().keys()
        await db.close()


@pytest.mark.parametrize("path", ["/documents/nothing", "/documents/html", "/documents/A"])
async def test_what_is_not_there_is_not_found(anna: Person, path: str) -> None:
    answer = await anna.get(path)
    assert (answer.status_code, error_code(answer)) == (404, "document_not_found")


async def test_staff_disable_move_and_rename_a_document_rnd_002_rnd_045(
    administrator: Member, anna: Person
) -> None:
    pack = await anna.pack("invoice", "letter")
    changed = await access(administrator, "invoice", enabled=False, tier="paid")
    assert changed["by_staff"] == {
        "title": None,
        "description": None,
        "enabled": False,
        "tier": "paid",
    }
    wanted = {"tier": "paid", "enabled": False, "is_locked": True, "reason": "disabled"}
    assert changed["access"] == wanted
    assert (await listed(anna))["invoice"]["access"] == wanted
    mine = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    assert mine[0]["access"] == wanted
    refused = await anna.post(f"/packs/{pack}/render/invoice")
    assert refused.status_code == 400
    assert refused.json()["error"]["details"]["reason"] == "document_disabled"

    named = {"title": "Bill", "description": ""}
    answer = await administrator.post("/admin/documents/invoice/metadata", json=named)
    assert answer.status_code == 200, answer.text
    item = (await listed(anna))["invoice"]
    assert (item["title"], item["description"]) == ("Bill", "")
    await access(administrator, "invoice", enabled=None, tier=None)
    back = await administrator.post("/admin/documents/invoice/metadata", json={"title": None})
    assert back.json()["document"]["by_staff"]["description"] == ""
    rows = (await administrator.get("/admin/documents")).json()["documents"]
    row = next(row for row in rows if row["doc_id"] == "invoice")
    assert row["access"]["is_locked"] is False
    assert (row["version"], row["drafts"], row["is_shipped"]) == (1, 0, True)
    assert row["hash"] == row["shipped_hash"]


async def test_what_cannot_be_laid_over_is_refused_rnd_045(
    administrator: Member, staff: MakeMember, anna: Person
) -> None:
    path = "/admin/documents/invoice/access"
    odd = await administrator.post(path, json={"tier": "gold"})
    assert odd.status_code == 400
    assert odd.json()["error"]["details"]["reason"] == "invalid_tier"
    for body in ({"enabled": 1}, {"colour": "red"}):
        assert (await administrator.post(path, json=body)).status_code == 422
    unknown = await administrator.post("/admin/documents/nothing/access", json={})
    assert error_code(unknown) == "document_not_found"
    viewer = await staff("viewer")
    assert (await viewer.post(path, json={"enabled": False})).status_code == 403
    assert (await anna.post(path, json={"enabled": False})).status_code == 401
    assert (await listed(anna))["invoice"]["access"]["enabled"] is True


async def test_settings_say_what_users_are_told_of_tiers(
    s3: Any, settings: Settings, db: asyncpg.Connection
) -> None:
    assert s3.bucket == settings.s3_bucket
    paid = {"tier": "paid"}
    hidden = replace(settings, paid_docs_visible=False)
    async with serving(hidden) as service, person(service, db, "Анна") as user:
        pack = await user.pack("invoice")
        await db.execute(
            "select makeready.document_overlay_set('invoice', $1::text::jsonb)", json.dumps(paid)
        )
        assert "invoice" not in await listed(user)
        (item,) = (await user.get(f"/packs/{pack}/documents")).json()["documents"]
        assert item["access"]["reason"] == "paid"
        assert (await user.post(f"/packs/{pack}/render")).json()["jobs_created"] == 1
    free = replace(hidden, docs_force_all_free=True)
    async with serving(free) as service, person(service, db, "Борис") as user:
        assert (await listed(user))["invoice"]["access"]["tier"] == "free"


async def test_what_is_sent_is_checked_by_what_is_in_force(
    service: Any, anna: Person, db: asyncpg.Connection
) -> None:
    """A version that cannot be used is told, not a stack trace; the pack before stays as it is."""
    assert service.url
    await db.execute(
        'select makeready.document_draft(\'broken\', \'{"titles": {"ru": "x", "en": "x"}}\')'
    )
    await db.execute(
        "update makeready.document_type_versions set state = 'published', publication = 1,"
        " published_at = now() where doc_id = 'broken'"
    )
    await db.execute(
        "update makeready.document_types t set version = v.hash"
        " from makeready.document_type_versions v where v.doc_id = t.id and t.id = 'broken'"
    )
    for answer in (
        await anna.get("/documents/broken"),
        await anna.post("/packs", json={"documents": {"broken": {}}}),
    ):
        assert (answer.status_code, error_code(answer)) == (409, "conflict")
        assert answer.json()["error"]["details"]["reason"] == "document_type_unusable"
