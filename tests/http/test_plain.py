"""Sections and Markdown over HTTP, printed by a browser. Proves RND-020, RND-023."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from makeready.config import Settings
from makeready.pdf import text_of
from makeready.storage import Storage
from tests.support.printing import printing
from tests.support.rendering import Press
from tests.support.service import Person, error_code

SECTIONS: dict[str, Any] = {
    "title": "Итоги <b>месяца</b>",
    "sections": [
        {"kind": "text", "title": "О чём", "text": "Первый.\nВторой <script>alert(1)</script>"},
        {"kind": "bullets", "items": ["раз", "два & три"]},
        {"kind": "table", "headers": ["Что", "Сколько"], "rows": [["печать", 1234567]]},
    ],
    "meta": {"author": "Анна", "date": "2026-03-12"},
}  # fmt: skip
MARKDOWN = {
    "title": "Памятка",
    "markdown": "# Раз\n\n- **два**\n\n<b>три</b> [ссылка](https://a.example)",
}
WAIT = {"Prefer": "wait=15"}


async def text_of_job(person: Person, storage: Storage, db: asyncpg.Connection, job: str) -> str:
    """What the PDF of a render says."""
    file = (await person.get(f"/render/jobs/{job}")).json()["file_id"]
    key = await db.fetchval(
        "select f.object_key from makeready.artifact_files a join makeready.files f"
        " on f.id = a.stored_id where a.id = $1",
        file,
    )
    return text_of(await storage.get(key))


@pytest.mark.notified
async def test_sections_and_markdown_are_printed_as_text_rnd_020_rnd_023(
    anna: Person, settings: Settings, storage: Storage, db: asyncpg.Connection
) -> None:
    pack = await anna.pack("invoice")
    session = (await anna.get(f"/packs/{pack}")).json()["session_id"]
    secret = {"pack_id": pack, "session_id": session, "trace": f"{pack} {session}"}
    async with printing(settings):
        placed = {"pack_id": pack, "session_id": session, "doc_id": "letter"}
        body = SECTIONS | placed | {"meta": SECTIONS["meta"] | secret}
        made = await anna.post("/render/jobs", json=body, headers=WAIT)
        assert made.status_code == 200, made.text
        assert (made.json()["doc_id"], made.json()["pack_id"]) == ("letter", pack)
        text = await text_of_job(anna, storage, db, made.json()["job_id"])
        for part in (
            "Итоги <b>месяца</b>",
            "Второй <script>alert(1)</script>",
            "два & три",
            "1 234 567",
            "12 марта 2026",
            "Анна",
        ):
            assert part in text.replace("\N{NO-BREAK SPACE}", " ").replace("\u202f", " ")
        assert pack not in text
        assert session not in text
        assert made.json()["job_id"] not in text

        other = await anna.post("/render/jobs", json=MARKDOWN, headers=WAIT)
        text = await text_of_job(anna, storage, db, other.json()["job_id"])
        assert "<b>три</b> ссылка (https://a.example)" in text
        assert "**" not in text
        assert "#" not in text


async def test_the_answer_is_a_queued_job_rnd_020(anna: Person, press: Press) -> None:
    answer = await anna.post("/render/jobs", json=MARKDOWN)
    body = answer.json()

    assert answer.status_code == 202
    assert answer.headers["location"] == f"/render/jobs/{body['job_id']}"
    assert (body["ok"], body["status"], body["doc_id"]) == (True, "queued", "markdown")
    claimed = await press.one()
    assert str(claimed.job.id) == body["job_id"]
    (listed,) = (await anna.get(f"/packs/{body['pack_id']}/documents")).json()["documents"]
    assert (listed["title"], listed["status"]) == ("Памятка", "rendering")


async def test_the_same_request_is_the_same_job(anna: Person) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await anna.post("/render/jobs", json=MARKDOWN, headers=headers)
    again = await anna.post("/render/jobs", json=MARKDOWN, headers=headers)
    other = await anna.post("/render/jobs", json=SECTIONS, headers=headers)

    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, error_code(other)) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"sections": [{"kind": "text"}]}, "sections[0].text"),
        ({"sections": [{"kind": "table", "headers": ["x"]}]}, "sections[0].rows"),
        ({"sections": [{"kind": "picture"}]}, "sections[0].kind"),
        ({"sections": []}, "sections"),
        ({"title": ""}, "title"),
        ({"unknown": 1}, "unknown"),
        ({"pack_id": "x"}, "pack_id"),
        ({"meta": {"date": "yesterday"}}, "meta.date"),
        ({"markdown": "x"}, "markdown"),
    ],
)
async def test_what_cannot_be_printed_is_named(
    anna: Person, change: dict[str, Any], path: str
) -> None:
    answer = await anna.post("/render/jobs", json=SECTIONS | change)

    assert (answer.status_code, error_code(answer)) == (422, "validation_failed")
    paths = [problem["path"] for problem in answer.json()["error"]["details"]]
    assert paths == [path]


async def test_foreign_packs_and_unknown_documents_are_not_there(
    anna: Person, boris: Person
) -> None:
    foreign = await boris.pack("invoice")
    pack = await anna.pack("invoice")
    for body, code in (
        ({"pack_id": foreign}, "pack_not_found"),
        ({"pack_id": str(uuid4())}, "pack_not_found"),
        ({"pack_id": pack, "session_id": str(uuid4())}, "pack_not_found"),
        ({"doc_id": "nothing"}, "document_not_found"),
    ):
        answer = await anna.post("/render/jobs", json=MARKDOWN | body)
        assert (answer.status_code, error_code(answer)) == (404, code), body
