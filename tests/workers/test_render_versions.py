"""Versions of document types on paper: the page of the documentation, by HTTP and a browser.

Proves RND-018, RND-045.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import pool_opened
from makeready.documents import foreign, shipped
from makeready.pdf import text_of
from makeready.storage import Storage, open_storage
from makeready_workers.handler import Context
from makeready_workers.render import open_handler
from tests.support.designs import templated
from tests.support.in_process import working
from tests.support.service import Member, Person, member, person, serving

pytestmark = pytest.mark.notified

PAGE = Path(__file__).parents[2] / "docs" / "document-types.md"
CONFIG = "/admin/config/parcel_label"
WAIT = {"Prefer": "wait=30"}


def example(**changes: Any) -> str:
    """The payload of the page."""
    (text,) = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return json.dumps({**json.loads(text), **changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A service with a worker that prints."""

    staff: Member
    user: Person
    storage: Storage
    db: asyncpg.Connection

    async def step(self, name: str, **facts: Any) -> dict[str, Any]:
        """One step of a version; has to succeed."""
        answer = await self.staff.post(f"{CONFIG}/{name}", json=facts, headers=WAIT)
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    async def publish(self, number: int, payload: str) -> dict[str, Any]:
        """The whole way up to the trial; what that answers."""
        await self.step("draft", payload_text=payload)
        checked = await self.step("validate", version=number)
        assert checked["version"]["errors"] == []
        return await self.step("dry-run", version=number)

    async def text(self, file_id: str) -> str:
        """What a PDF says."""
        row = await self.db.fetchrow(
            "select f.object_key from makeready.artifact_files a"
            " join makeready.files f on f.id = a.stored_id where a.id = $1::text::uuid",
            file_id,
        )
        assert row is not None
        return await asyncio.to_thread(text_of, await self.storage.get(row["object_key"]))


@asynccontextmanager
async def opened(db: asyncpg.Connection, settings: Settings) -> AsyncIterator[House]:
    """Both, until the block ends."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        storage = await enter(open_storage(settings))
        pool = await enter(pool_opened(settings, "makeready_worker", size=6))
        service = await enter(serving(settings))
        context = Context(settings=settings, pool=pool, storage=storage)
        await enter(working(settings, await enter(open_handler(context))))
        staff = await enter(member(service, settings, db, "admin"))
        user = await enter(person(service, db, "Анна"))
        yield House(staff=staff, user=user, storage=storage, db=db)
        await storage.delete([facts.key async for facts in storage.listing()])


@pytest.mark.usefixtures("s3")
@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_the_example_of_the_page_is_tried_published_printed_and_stays_pinned_rnd_018(
    db: asyncpg.Connection, settings: Settings
) -> None:
    async with opened(db, settings) as house:
        tried = await house.publish(1, example())
        assert (tried["status"], tried["pages"]) == ("ready", 1)
        printed = await house.text(tried["file_id"])
        assert "Посылка RA-100" in printed
        assert "граммов" in printed
        await house.step("publish", version=1)

        other = {"label": "Бирка", "to": "Кому", "grams": ["г", "г", "г"]}
        await house.publish(2, example(words={"ru": other, "en": other}))
        made = await house.user.post(
            "/packs", json={"documents": {"parcel_label": {"number": "RA-7", "to": "Борису"}}}
        )
        pack = made.json()["pack_id"]
        await house.db.execute("select makeready.queue_pause('render')")
        asked = await house.user.post(f"/packs/{pack}/render/parcel_label")
        assert asked.status_code == 202, asked.text
        await house.step("publish", version=2)
        await house.db.execute("select makeready.queue_resume('render')")
        first = await house.user.post(f"/packs/{pack}/render", headers=WAIT)
        (document,) = first.json()["documents"]
        assert "Посылка RA-7" in await house.text(document["file_id"])

        again = await house.user.post(f"/packs/{pack}/render/parcel_label", headers=WAIT)
        assert again.status_code == 200, again.text
        assert "Бирка RA-7" in await house.text(again.json()["file_id"])
        versions = await house.db.fetch(
            "select type_version from makeready.pack_documents where pack_id = $1::text::uuid"
            " order by seq",
            pack,
        )
        shown = (await house.staff.get(f"{CONFIG}/versions")).json()["versions"]
        assert [row[0] for row in versions] == [row["hash"] for row in reversed(shown)]


@pytest.mark.usefixtures("s3")
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_what_goes_wrong_in_a_trial_is_told_and_publishes_nothing_rnd_045(
    db: asyncpg.Connection, settings: Settings
) -> None:
    async with opened(db, settings) as house:
        await house.step("draft", payload_text=example(tier="paid"))
        await house.step("validate", version=1)
        row = await house.db.fetchval(
            "update makeready.document_type_versions set design = jsonb_set(design, '{sources}',"
            ' \'{"template.html.j2": "{{ t.nothing }}"}\')'
            " where doc_id = 'parcel_label' returning 1"
        )
        assert row == 1
        answer = await house.staff.post(f"{CONFIG}/dry-run", json={"version": 1}, headers=WAIT)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["details"]["reason"]) == ("render_failed", "template_error")
        refused = await house.staff.post(f"{CONFIG}/publish", json={"version": 1})
        assert refused.json()["error"]["details"]["reason"] == "publish_forbidden"


@pytest.mark.usefixtures("s3")
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_draft_that_changes_before_its_trial_is_printed_fails_it(
    db: asyncpg.Connection, settings: Settings
) -> None:
    async with opened(db, settings) as house:
        await house.step("draft", payload_text=example())
        await house.step("validate", version=1)
        await house.db.execute("select makeready.queue_pause('render')")
        asked = await house.staff.post(f"{CONFIG}/dry-run", json={"version": 1})
        await house.step("update", version=1, payload_text=example(tier="paid"))
        await house.db.execute("select makeready.queue_resume('render')")
        job = f"/admin/render-jobs/{asked.json()['job_id']}"
        while (found := (await house.staff.get(job)).json()["job"])["status"] != "failed":
            assert found["status"] in {"queued", "rendering"}
        assert found["last_error"].startswith("DOCUMENT_UNKNOWN")


@pytest.mark.usefixtures("s3")
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_version_that_is_damaged_is_printed_as_shipped_and_told_once_rnd_045(
    db: asyncpg.Connection, settings: Settings
) -> None:
    async with opened(db, settings) as house:
        pack = await house.user.pack("letter", language="en")
        await db.execute(
            "update makeready.document_type_versions set design = design - 'schema',"
            " hash = 'damaged' where doc_id = 'letter'"
        )
        await db.execute(
            "update makeready.document_types set version = 'damaged' where id = 'letter'"
        )
        for _ in range(2):
            answer = await house.user.post(f"/packs/{pack}/render/letter", headers=WAIT)
            assert answer.status_code == 200, answer.text
        rows = await db.fetch(
            "select context ->> 'doc_id' from makeready.alerts where event = 'bad_config_fallback'"
        )
        assert [row[0] for row in rows] == ["letter"]
        printed = await db.fetch(
            "select meta ->> 'type_version' from makeready.artifacts where kind = 'letter_pdf'"
        )  # the bundles of the pack, made meanwhile, are of no version
        assert {row[0] for row in printed} == {shipped.document_type("letter").version}


@pytest.mark.usefixtures("s3")
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_template_that_never_ends_for_some_data_fails_its_document_alone_rnd_045(
    db: asyncpg.Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "SET_TIMEOUT_S", 4.0)
    trap = (
        "{% if data.to == 'trap' %}{% for a in range(99999) %}{% for b in range(99999) %}"
        "{% endfor %}{% endfor %}{% endif %}<p>{{ t.label }} {{ data.to }}</p>"
    )
    payload = example(sources=templated(trap), assets={})
    async with opened(db, settings) as house:
        await house.publish(1, payload)
        await house.step("publish", version=1)
        ends = []
        for name in ("trap", "Anna"):
            data = {"parcel_label": {"number": "RA-1", "to": name}}
            made = await house.user.post("/packs", json={"documents": data})
            path = f"/packs/{made.json()['pack_id']}/render/parcel_label"
            ends.append(await house.user.post(path, headers=WAIT))
        caught, printed = ends
        assert caught.status_code == 422, caught.text
        assert caught.json()["error"]["details"]["reason"] == "template_error"
        assert printed.status_code == 200, printed.text
        assert "Посылка Anna" in await house.text(printed.json()["file_id"])
