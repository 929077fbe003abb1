"""The life of a document type that staff bring, over HTTP (RND-045)."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from makeready.config import Secret, Settings
from makeready.documents import shipped
from makeready.storage import Storage
from tests.support.designs import PIXEL, label, label_text, templated
from tests.support.rendering import Press
from tests.support.service import Member, Person, error_code, member, serving

CONFIG = "/admin/config/parcel_label"
WAIT = {"Prefer": "wait=10"}


async def drafted(staff: Member, **changes: Any) -> dict[str, Any]:
    answer = await staff.post(f"{CONFIG}/draft", json={"payload_text": label_text(**changes)})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["version"])


async def step(staff: Member, name: str, number: int = 1, **facts: Any) -> httpx2.Response:
    return await staff.post(f"{CONFIG}/{name}", json={"version": number, **facts})


async def tried(staff: Member, press: Press, storage: Storage, number: int = 1) -> None:
    """Valid, and printed by a trial."""
    assert (await step(staff, "validate", number)).json()["version"]["status"] == "valid"
    assert (await step(staff, "dry-run", number)).status_code == 202
    await press.print_next(storage)


async def published(staff: Member, press: Press, storage: Storage, number: int = 1) -> None:
    await tried(staff, press, storage, number)
    answer = await step(staff, "publish", number)
    assert answer.json()["version"]["status"] == "published", answer.text


async def test_a_type_lives_from_its_draft_to_its_rollback_rnd_045(
    administrator: Member, anna: Person, press: Press, storage: Storage
) -> None:
    made = await drafted(administrator, comment=None)
    assert (made["version"], made["status"], made["origin"]) == (1, "draft", "staff")
    assert error_code(await anna.get("/documents/parcel_label")) == "document_not_found"
    shown = await administrator.get(f"{CONFIG}/versions/1")
    assert shown.json()["payload"]["schema"] == label()["schema"]
    assert "shared/base.css" in shown.json()["payload"]["sources"]
    assert shown.headers["etag"] == f'"{made["hash"]}"'

    await published(administrator, press, storage)
    seen = (await anna.get("/documents/parcel_label?language=en")).json()
    assert (seen["title"], seen["sample"]["to"]) == ("Parcel label", "Anna Kovalyova")
    assert seen["version"] == made["hash"]
    pack = await anna.post(
        "/packs", json={"documents": {"parcel_label": {"number": "X-1", "to": "Борис"}}}
    )
    assert pack.status_code == 201, pack.text
    ordered = await anna.post(f"/packs/{pack.json()['pack_id']}/render")
    assert ordered.json()["jobs_created"] == 1
    await press.print_next(storage)

    second = await drafted(administrator, titles={"ru": "Бирка", "en": "Tag"})
    assert second["version"] == 2
    await published(administrator, press, storage, 2)
    assert (await anna.get("/documents/parcel_label")).json()["title"] == "Бирка"
    back = await administrator.post(f"{CONFIG}/rollback", json={"comment": "too early"})
    assert back.json()["version"]["version"] == 1
    assert (await anna.get("/documents/parcel_label")).json()["title"] == "Ярлык посылки"
    again = await administrator.post(f"{CONFIG}/rollback", json={})
    assert again.status_code == 400
    assert again.json()["error"]["details"]["reason"] == "no_rollback"
    versions = (await administrator.get(f"{CONFIG}/versions")).json()["versions"]
    assert [(row["version"], row["status"]) for row in versions] == [
        (2, "retired"),
        (1, "published"),
    ]


async def test_nothing_is_published_that_was_not_checked_and_printed_rnd_045(
    administrator: Member, press: Press, storage: Storage
) -> None:
    await drafted(administrator)
    for expected in ("draft", "valid"):
        refused = await step(administrator, "publish")
        assert refused.status_code == 400
        details = refused.json()["error"]["details"]
        assert (details["reason"], details["state"]) == ("publish_forbidden", expected)
        await step(administrator, "validate")
    await tried(administrator, press, storage)
    changed = await step(administrator, "update", payload_text=label_text(tier="paid"))
    assert changed.json()["version"]["status"] == "draft"
    await step(administrator, "validate")
    refused = await step(administrator, "publish")  # the trial was of another content
    assert refused.json()["error"]["details"]["reason"] == "publish_forbidden"


async def test_a_draft_that_is_wrong_says_all_that_is_wrong_rnd_045(
    administrator: Member,
) -> None:
    await drafted(administrator, titles={"ru": "Я"}, tier="gold", words=None)
    found = (await step(administrator, "validate")).json()["version"]
    assert found["status"] == "invalid"
    assert {problem["path"]: problem["code"] for problem in found["errors"]} == {
        "titles.en": "missing_field",
        "tier": "not_allowed",
        "words": "missing_field",
    }
    tried_anyway = await step(administrator, "dry-run")
    assert tried_anyway.status_code == 422
    assert error_code(tried_anyway) == "validation_failed"
    assert {"tier", "words"} <= {each["path"] for each in tried_anyway.json()["error"]["details"]}


async def test_who_changes_an_older_content_is_told_rnd_045(administrator: Member) -> None:
    made = await drafted(administrator)
    body = {"version": 1, "payload_text": label_text(tier="paid")}
    old = {"If-Match": f'"{made["hash"]}"'}
    first = await administrator.post(f"{CONFIG}/update", json=body, headers=old)
    assert first.status_code == 200
    second = await administrator.post(f"{CONFIG}/update", json=body, headers=old)
    assert second.status_code == 409
    assert error_code(second) == "stale_version"
    assert second.json()["error"]["details"]["hash"] == first.json()["version"]["hash"]


async def test_a_draft_begins_with_what_is_in_force_assets_included(
    administrator: Member, db: asyncpg.Connection
) -> None:
    made = await administrator.post("/admin/config/report/draft", json={"comment": "our colours"})
    assert made.status_code == 201, made.text
    shown = await administrator.get(
        f"/admin/config/report/versions/{made.json()['version']['version']}"
    )
    assert (
        shown.json()["payload"]["assets"].keys() == shipped.document_type("report").assets.keys()
    )
    stored = await db.fetchval(
        "select count(*) from makeready.document_type_versions v join makeready.file_references r"
        " on r.refers_id = v.id where v.doc_id = 'report' and v.origin = 'staff'"
    )
    assert stored == len(shipped.document_type("report").assets)


async def test_bytes_of_an_asset_are_sent_once(
    administrator: Member, db: asyncpg.Connection, storage: Storage
) -> None:
    await drafted(administrator)
    shown = (await administrator.get(f"{CONFIG}/versions/1")).json()["payload"]
    assert "base64" not in json.dumps(shown["assets"])
    changed = await step(administrator, "update", payload_text=json.dumps(shown))
    assert changed.status_code == 200, changed.text
    keys = [facts.key async for facts in storage.listing("types/")]
    assert len(keys) == 1
    assert await storage.get(keys[0]) == PIXEL
    gone = await step(administrator, "update", payload_text=label_text(assets={}))
    assert gone.status_code == 200
    assert await db.fetchval("select count(*) from makeready.file_references") == 0
    lost = {"logo.png": {"media_type": "image/png", "sha256": "0" * 64}}
    refused = await step(administrator, "update", payload_text=label_text(assets=lost))
    assert refused.json()["error"]["details"][0]["code"] == "asset_missing"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ('{"schema": 1e999}', "bad_json"),
        (r'{"schema": "\ud800"}', "bad_json"),
        ("{", "bad_json"),
        ("[]", "wrong_type"),
        ('{"tier": NaN}', "bad_json"),
        ("[" * 5000, "bad_json"),
        (
            label_text(assets={"../x.png": {"media_type": "image/png", "base64": "AA=="}}),
            "bad_name",
        ),
        (
            label_text(assets={"x.exe": {"media_type": "text/html", "base64": "AA=="}}),
            "not_allowed",
        ),
        (label_text(assets={"x.png": {"media_type": "image/png", "base64": "%%"}}), "bad_format"),
        (
            label_text(assets={"x.png": {"media_type": "image/jpeg", "base64": "iVBORw0KGgo="}}),
            "wrong_content",
        ),
        (label_text(assets={"x.png": {"media_type": [], "base64": "AA=="}}), "not_allowed"),
        (label_text(assets={"x.png": 1}), "wrong_type"),
        (label_text(assets=[]), "wrong_type"),
        (
            label_text(
                assets={
                    f"{n}.css": {"media_type": "text/css", "base64": "YQ=="} for n in range(51)
                }
            ),
            "too_many",
        ),
        (
            label_text(assets={"x.png": {"media_type": "image/png", "base64": "A" * 3_000_000}}),
            "too_large",
        ),
    ],
)
async def test_what_is_no_payload_is_refused_at_once(
    administrator: Member, payload: str, code: str
) -> None:
    answer = await administrator.post(f"{CONFIG}/draft", json={"payload_text": payload})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["details"][0]["code"] == code


@pytest.mark.parametrize("key", ["Nope", "1st", "html", "a" * 64])
async def test_a_key_is_a_document_rnd_045(administrator: Member, key: str) -> None:
    for answer in (
        await administrator.get(f"/admin/config/{key}/versions"),
        await administrator.post(f"/admin/config/{key}/draft", json={}),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"]["details"]["reason"] == "unsupported_key"
    unknown = await administrator.get("/admin/config/nothing/versions")
    assert error_code(unknown) == "document_not_found"


async def test_a_version_that_is_not_there_is_not_found(administrator: Member) -> None:
    await drafted(administrator)
    for answer in (
        await step(administrator, "validate", 9),
        await step(administrator, "publish", 9),
        await step(administrator, "update", 9, payload_text="{}"),
        await administrator.get(f"{CONFIG}/versions/9"),
        await administrator.get(f"{CONFIG}/versions/x"),
    ):
        assert (answer.status_code, error_code(answer)) == (404, "document_not_found")


async def test_versions_are_listed_by_pages_and_drafts_thrown_away_rnd_045(
    administrator: Member,
) -> None:
    for place in range(4):
        made = await drafted(administrator, titles={"ru": str(place), "en": str(place)})
    seen: list[list[int]] = []
    page: dict[str, Any] = {"next": "5"}
    while page["next"] is not None:
        asked = await administrator.get(f"{CONFIG}/versions?limit=2&after={page['next']}")
        page = asked.json()
        seen.append([row["version"] for row in page["versions"]])
    assert seen == [[4, 3], [2, 1], []]

    where = f"{CONFIG}/versions/4"
    late = await administrator.client.delete(where, headers={"If-Match": '"0"'})
    assert (late.status_code, error_code(late)) == (409, "stale_version")
    gone = await administrator.client.delete(where, headers={"If-Match": f'"{made["hash"]}"'})
    assert (gone.status_code, gone.json()) == (200, {"ok": True})
    again = await administrator.client.delete(where)
    assert (again.status_code, error_code(again)) == (404, "document_not_found")
    page = (await administrator.get(f"{CONFIG}/versions")).json()
    assert [row["version"] for row in page["versions"]] == [3, 2, 1]
    assert page["next"] is None
    audited = (await administrator.get("/admin/audit?action=document_discard")).json()["items"]
    assert [row["target"] for row in audited] == ["parcel_label"]
    assert audited[0]["actor"].startswith("admin via ")


async def test_roles_decide_who_may_rnd_045(
    anna: Person, staff: Callable[..., Coroutine[Any, Any, Member]], administrator: Member
) -> None:
    await drafted(administrator)
    viewer = await staff("viewer")
    assert (await anna.get(f"{CONFIG}/versions")).status_code == 401
    for refused in (
        await viewer.post(f"{CONFIG}/draft", json={}),
        await viewer.client.delete(f"{CONFIG}/versions/1"),
    ):
        assert (refused.status_code, error_code(refused)) == (403, "forbidden")


@pytest.mark.notified
async def test_a_trial_waits_and_tells_how_it_ended_rnd_045(
    administrator: Member, press: Press
) -> None:
    await drafted(administrator)
    asked = await step(administrator, "dry-run", language="en")
    assert asked.status_code == 202
    job = asked.json()["job_id"]
    assert asked.headers["location"] == f"/admin/render-jobs/{job}"
    claimed = await press.one()
    assert str(claimed.job.id) == job
    await press.fail(claimed)
    late = await administrator.post(
        f"{CONFIG}/dry-run", json={"version": 1}, headers={"Prefer": "wait=0"}
    )
    assert late.status_code == 202
    assert late.json()["status"] == "queued"


async def test_a_trial_with_data_of_its_own_is_checked_first(administrator: Member) -> None:
    await drafted(administrator)
    answer = await step(administrator, "dry-run", data={"number": "lower case"})
    assert answer.status_code == 422
    assert {each["path"] for each in answer.json()["error"]["details"]} == {"number", "to"}


async def test_without_storage_a_draft_with_assets_is_refused_for_now(
    settings: Settings, db: asyncpg.Connection
) -> None:
    away = replace(settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a")
    away = replace(away, s3_secret_key=Secret("b"))
    async with serving(away) as service, member(service, away, db, "admin") as staff:
        path = "/admin/config/parcel_label/draft"
        answer = await staff.post(path, json={"payload_text": label_text()})
        assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
        plain = await staff.post(path, json={"payload_text": label_text(assets={})})
        assert plain.status_code == 201
        assert plain.json()["version"]["version"] == 1  # the other one left nothing behind


async def test_all_of_it_is_audited_with_hashes_rnd_045(
    administrator: Member, db: asyncpg.Connection, press: Press, storage: Storage
) -> None:
    await drafted(administrator)
    await published(administrator, press, storage)
    await drafted(administrator, sources=templated("{{ data.to }} {{ data.number }} {{ t.to }}"))
    await published(administrator, press, storage, 2)
    rows = await db.fetch(
        "select action, actor, before ->> 'hash' as old, after ->> 'hash' as new"
        " from makeready.audit_log where target = 'parcel_label' order by id"
    )
    assert [row["action"] for row in rows] == [
        *("document_draft", "document_checked", "document_trial", "document_publish") * 2
    ]
    assert all(row["actor"].startswith("admin via ") for row in rows)
    assert rows[-1]["old"] == rows[3]["new"] != rows[-1]["new"]
