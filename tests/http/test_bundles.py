"""Packs as one PDF and one ZIP, thumbnails, and documents that are used again; with a browser.

Proves RND-007, RND-025, RND-028.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from uuid import uuid4

import asyncpg
import pymupdf
import pytest

from makeready.config import Settings
from makeready.storage import Storage
from tests.support.printing import printing
from tests.support.rendering import Press
from tests.support.service import Person, error_code, fetch
from tests.support.waiting import until

pytestmark = pytest.mark.notified

WAIT = {"Prefer": "wait=30"}


async def bundle_of(person: Person, pack: str) -> dict[str, str]:
    """The pack's ids once its bundle is ready."""

    async def ready() -> dict[str, str]:
        found: dict[str, str] = (await person.get(f"/packs/{pack}")).json()
        return found if found["bundle_status"] == "ready" else {}

    return await until(ready, timeout_s=15)


async def download(person: Person, file_id: str) -> bytes:
    link = (await person.get(f"/files/{file_id}/download")).json()["url"]
    status, body = await asyncio.to_thread(fetch, link)
    assert status == 200
    return bytes(body)


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_rendered_pack_becomes_one_pdf_and_one_zip(
    anna: Person, boris: Person, settings: Settings
) -> None:
    pack = await anna.pack("invoice", "letter")
    async with printing(settings):
        answer = await anna.post(f"/packs/{pack}/render", headers=WAIT)
        assert answer.status_code == 200
        found = await bundle_of(anna, pack)
        listed = (await anna.get(f"/packs/{pack}/documents")).json()
        assert listed["pack_file_id"] == found["pack_file_id"]
        assert listed["zip_file_id"] == found["zip_file_id"]

        whole = await download(anna, found["pack_file_id"])
        with pymupdf.open(stream=whole) as document:
            titles = [entry[1] for entry in document.get_toc() if entry[0] == 1]
        assert titles == [each["title"] for each in listed["documents"]]
        with zipfile.ZipFile(io.BytesIO(await download(anna, found["zip_file_id"]))) as packed:
            assert packed.namelist() == ["01-invoice.pdf", "02-letter.pdf"]
            for name, each in zip(packed.namelist(), listed["documents"], strict=True):
                assert packed.read(name) == await download(anna, each["file_id"])

        again = await anna.post(f"/packs/{pack}/render/invoice", headers=WAIT)
        assert again.status_code == 200
        later = await bundle_of(anna, pack)
        assert later["zip_file_id"] != found["zip_file_id"]
        for path in (f"/packs/{pack}", f"/files/{found['zip_file_id']}/download"):
            assert (await boris.get(path)).status_code == 404


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_an_equal_pack_is_ready_without_printing_rnd_025(
    anna: Person, boris: Person, settings: Settings, db: asyncpg.Connection
) -> None:
    async with printing(settings):
        files = []
        for person in (anna, anna, boris):
            pack = await person.pack("invoice")
            answer = await person.post(f"/packs/{pack}/render", headers=WAIT)
            (document,) = answer.json()["documents"]
            assert document["status"] == "ready"
            files.append(document["file_id"])
    rows = await db.fetch(
        "select x.stored_id, a.meta ->> 'reused' as reused from makeready.artifact_files x"
        " join makeready.artifacts a on a.id = x.artifact_id"
        " where x.id = any ($1::uuid[]) order by x.created_at",
        files,
    )
    first, second, foreign = rows
    assert len(set(files)) == 3
    assert (first["reused"], second["reused"], foreign["reused"]) == (None, "true", None)
    assert first["stored_id"] == second["stored_id"]
    assert first["stored_id"] != foreign["stored_id"]  # never across users


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_each_document_has_a_picture_of_its_first_page_rnd_028(
    anna: Person, boris: Person, settings: Settings
) -> None:
    pack = await anna.pack("invoice")
    async with printing(settings):
        answer = await anna.post(f"/packs/{pack}/render", headers=WAIT)
        (document,) = answer.json()["documents"]
        path = f"/files/{document['file_id']}/thumbnail"
        found = await anna.get(path)
        bundle = await bundle_of(anna, pack)
        without = await anna.get(f"/files/{bundle['zip_file_id']}/thumbnail")

        assert found.headers["content-type"] == "image/jpeg"
        assert pymupdf.Pixmap(found.content).width == 320
        for missing in (await boris.get(path), without):
            assert (missing.status_code, error_code(missing)) == (404, "file_not_found")


async def test_a_file_that_retention_let_go_is_gone(
    anna: Person, press: Press, storage: Storage, db: asyncpg.Connection
) -> None:
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    await press.print_next(storage)
    (row,) = (await anna.get("/me/files")).json()["files"]
    await db.execute("select makeready.render_file_release($1)", row["file_id"])

    for path in ("download", "thumbnail"):
        answer = await anna.get(f"/files/{row['file_id']}/{path}")
        assert (answer.status_code, error_code(answer)) == (410, "result_expired")
        assert answer.json()["error"]["details"]["file_id"] == row["file_id"]


async def test_a_pack_shows_what_it_is_and_only_to_its_owner_rnd_007(
    anna: Person, boris: Person
) -> None:
    pack = await anna.pack("invoice")
    found = (await anna.get(f"/packs/{pack}")).json()

    assert (found["pack_id"], found["open_count"], found["bundle_status"]) == (pack, 0, "none")
    assert (found["pack_file_id"], found["zip_file_id"]) == (None, None)
    for person, unknown in ((boris, pack), (anna, str(uuid4())), (anna, "no-id")):
        answer = await person.get(f"/packs/{unknown}")
        assert (answer.status_code, error_code(answer)) == (404, "pack_not_found")
