"""HTML of the caller's own: what is sent, what is refused, and the PDF that comes back.

Proves RND-019, RND-021, RND-028.
"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any

import asyncpg
import pymupdf
import pytest

from makeready.config import Settings
from makeready.documents.shipped import font_files
from makeready.pdf import text_of
from makeready.storage import Storage
from makeready.storage_errors import StorageUnavailable
from makeready_http import html
from makeready_http.html import LIMITS
from tests.support.printing import printing
from tests.support.rendering import Press
from tests.support.service import Person, Service, error_code
from tests.support.waiting import until

PAGE = "<!doctype html><html lang=ru><title>x</title><p>Привет, страница</p>"
PIXEL = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">'
    b'<rect width="40" height="40" fill="red"/></svg>'
)
File = tuple[str, tuple[str | None, bytes | str, str] | tuple[str | None, bytes | str]]


def form(page: str | bytes = PAGE, *files: tuple[str, bytes], **fields: Any) -> list[File]:
    """The parts of a form; what is no text among the fields is sent as JSON."""
    found: list[File] = [("index.html", ("any.html", page, "text/html"))]
    found += [("assets", (name, body)) for name, body in files]
    for name, value in fields.items():
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        found.append((name, (None, text)))
    return found


async def connected(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = service.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def head(person: Person, length: int, more: str = "") -> bytes:
    return (
        f"POST /render/html HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {person.secret}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


async def keys(storage: Storage) -> list[str]:
    return [facts.key async for facts in storage.listing()]


@pytest.mark.notified
async def test_who_waits_gets_the_pdf_itself_rnd_021(
    anna: Person, boris: Person, settings: Settings
) -> None:
    async with printing(settings):
        answer = await anna.post(
            "/render/html", files=form(title="Отчёт за март"), headers={"Prefer": "wait=15"}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["preference-applied"] == "wait=15"
        assert "%D0%9E%D1%82" in answer.headers["content-disposition"]
        assert answer.content.startswith(b"%PDF")
        assert "Привет, страница" in text_of(answer.content)
        assert len(answer.content) == int(answer.headers["content-length"])

        job, file = answer.headers["x-job-id"], answer.headers["x-file-id"]
        assert (await anna.get(f"/render/jobs/{job}")).json()["file_id"] == file
        assert (await anna.get(f"/files/{file}/download")).status_code == 200
        for path in (f"/render/jobs/{job}", f"/files/{file}/download"):
            assert (await boris.get(path)).status_code == 404


@pytest.mark.notified
async def test_relative_addresses_find_their_assets_rnd_019(
    anna: Person, settings: Settings
) -> None:
    async with printing(settings):
        font = next(iter(font_files().values()))
        page = (
            "<!-- ours --><!doctype html><html><head><link rel=stylesheet href=css/deep/look.css>"
            '</head><body><img src="img/%D0%B7%D0%BD%D0%B0%D0%BA%201.svg?v=2"><p>Буквы</p>'
            '<img src="/img/root.svg"><script>document.title = document.compatMode</script></body>'
        )
        style = (
            "@import url('../more.css');@font-face{font-family:Own;src:url(../../fonts/own.ttf)}"
            "p{font-family:Own}"
        )
        answer = await anna.post(
            "/render/html",
            files=form(
                page,
                ("css/deep/look.css", style.encode()),
                ("css/more.css", b"@page{size:100mm 50mm;margin:5mm}"),
                ("fonts/own.ttf", font),
                ("img/знак 1.svg", PIXEL),
                ("img/root.svg", PIXEL),
                options={"strict_assets": True, "scripts": True},
            ),
            headers={"Prefer": "wait=15"},
        )
        assert answer.status_code == 200, answer.text
        with pymupdf.open(stream=answer.content) as pdf:
            assert round(pdf[0].rect.width / 72 * 25.4) == 100  # a sheet of the sheet
            assert pdf.metadata["title"] == "CSS1Compat"  # not quirks: the base stands behind it
            assert len(pdf[0].get_drawings()) == 2


@pytest.mark.notified
async def test_what_is_missing_is_a_warning_unless_it_is_to_be_strict(
    anna: Person, settings: Settings
) -> None:
    async with printing(settings):
        page = PAGE + "<img src=nowhere.png><img src=https://example.com/a.png>"
        answer = await anna.post("/render/html", files=form(page), headers={"Prefer": "wait=15"})
        assert answer.status_code == 200
        job = (await anna.get(f"/render/jobs/{answer.headers['x-job-id']}")).json()
        assert job["warnings"] == [
            "missing: https://pack.invalid/nowhere.png",
            "missing: https://example.com/a.png",
        ]

        strict = await anna.post(
            "/render/html",
            files=form(page, options={"strict_assets": True}),
            headers={"Prefer": "wait=15"},
        )
        assert strict.status_code == 422
        error = strict.json()["error"]
        assert error["code"] == "render_failed"
        assert error["details"]["reason"] == "asset_missing"
        job = error["details"]["job_id"]
        assert (await anna.get(f"/render/jobs/{job}")).json()["status"] == "failed"


@pytest.mark.notified
async def test_a_page_of_pictures_alone_is_printed_too(anna: Person, settings: Settings) -> None:
    async with printing(settings):
        answer = await anna.post(
            "/render/html",
            files=form("<!doctype html><img src=a.svg>", ("a.svg", PIXEL)),
            headers={"Prefer": "wait=15"},
        )
        assert answer.status_code == 200, answer.text


@pytest.mark.notified
async def test_options_are_carried_out_after_printing_or_the_document_fails_for_good(
    anna: Person, settings: Settings
) -> None:
    waiting = {"Prefer": "wait=15"}
    options = {"pdf_a": "2b", "watermark": "ЧЕРНОВИК", "metadata": {"author": "Анна"}}
    async with printing(settings):
        answer = await anna.post("/render/html", files=form(options=options), headers=waiting)
        assert answer.status_code == 200, answer.text
        assert b"<pdfaid:part>2</pdfaid:part>" in answer.content
        assert {"Привет,", "ЧЕРНОВИК"} <= set(text_of(answer.content).split())
        with pymupdf.open(stream=answer.content) as document:
            assert document.metadata["author"] == "Анна"

        page = f"<style>@page {{ size: 90mm 6000mm }}</style>{PAGE}"
        answer = await anna.post(
            "/render/html", files=form(page, options=options), headers=waiting
        )
        assert (answer.status_code, error_code(answer)) == (422, "render_failed")
        assert answer.json()["error"]["details"]["reason"] == "invalid_print_options"
        assert "no PDF/A-2b: a page of" in answer.json()["error"]["message"]


@pytest.mark.notified
async def test_html_is_printed_again_from_its_kept_sources(
    anna: Person, settings: Settings
) -> None:
    async with printing(settings):
        first = await anna.post("/render/html", files=form(), headers={"Prefer": "wait=15"})
        job = (await anna.get(f"/render/jobs/{first.headers['x-job-id']}")).json()
        again = await anna.post(
            f"/packs/{job['pack_id']}/render/html", headers={"Prefer": "wait=15"}
        )
        assert again.status_code == 200, again.text
        assert again.json()["file_id"] != job["file_id"]


async def test_without_waiting_the_answer_is_the_job(
    anna: Person, press: Press, storage: Storage
) -> None:
    answer = await anna.post("/render/html", files=form())
    body = answer.json()

    assert answer.status_code == 202
    assert answer.headers["location"] == f"/render/jobs/{body['job_id']}"
    assert body == {
        "ok": True,
        "pack_id": body["pack_id"],
        "job_id": body["job_id"],
        "status": "queued",
    }
    (claimed,) = await press.claim()
    assert str(claimed.job.id) == body["job_id"]
    (key,) = await keys(storage)
    with zipfile.ZipFile(io.BytesIO(await storage.get(key))) as archive:
        assert archive.read("index.html").decode() == PAGE


async def test_the_same_request_is_one_job_and_one_archive(anna: Person, storage: Storage) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await anna.post("/render/html", files=form(), headers=headers)
    again = await anna.post("/render/html", files=form(), headers=headers)
    other = await anna.post("/render/html", files=form(PAGE + "!"), headers=headers)
    titled = await anna.post("/render/html", files=form(title="x"), headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    for mismatch in (other, titled):
        assert (mismatch.status_code, error_code(mismatch)) == (422, "idempotency_mismatch")
    assert len(await keys(storage)) == 1


async def test_paths_may_come_with_their_slashes_encoded(anna: Person, storage: Storage) -> None:
    await anna.post("/render/html", files=form(PAGE, ("img%2Fa%20b.svg", PIXEL)))
    (key,) = await keys(storage)
    with zipfile.ZipFile(io.BytesIO(await storage.get(key))) as archive:
        assert "img/a b.svg" in archive.namelist()
    answer = await anna.post("/render/html", files=form(PAGE, ("%2e%2e%2fx.svg", PIXEL)))
    assert answer.status_code == 400


ODD_PATHS = ["/etc/passwd", "../x.png", "a/../../x", "a//b", "a\\b", "C:x", "", "."]


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_paths_that_lead_elsewhere_are_refused(
    anna: Person, storage: Storage, path: str
) -> None:
    answer = await anna.post("/render/html", files=form(PAGE, (path, b"x")))

    assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
    assert await keys(storage) == []


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([("assets", ("a.png", b"x"))], 400, "invalid_request"),  # no page
        (form() + form(), 400, "invalid_request"),
        (form(PAGE, ("a", b"x"), ("a", b"y")), 400, "invalid_request"),
        (form(options="{"), 400, "invalid_request"),
        (form(options="[]"), 400, "invalid_request"),
        (form(options={"paper": "A9"}), 422, "validation_failed"),
        (form(options={"unknown": 1}), 422, "validation_failed"),
        (form(options={"wait_for": "x"}), 422, "validation_failed"),
        (form(language="fr"), 400, "invalid_request"),
        (form(title="a\nb"), 400, "invalid_request"),
        (form(title=b"\xff"), 400, "invalid_request"),
        (form(surprise="x"), 400, "invalid_request"),
        (form(options="x" * 70_000), 413, "payload_too_large"),
        (form(b"x" * ((32 << 20) + 1)), 413, "payload_too_large"),
        (form(PAGE, *((f"{n}.png", b"x") for n in range(200))), 413, "payload_too_large"),
    ],
)
async def test_a_form_that_cannot_be_printed_is_refused(
    anna: Person, storage: Storage, parts: list[File], status: int, code: str
) -> None:
    answer = await anna.post("/render/html", files=parts)

    assert (answer.status_code, error_code(answer)) == (status, code), answer.text
    assert await keys(storage) == []


async def test_problems_of_the_options_are_named_where_they_are(anna: Person) -> None:
    answer = await anna.post("/render/html", files=form(options={"scale": 9, "paper": "A9"}))

    paths = {problem["path"] for problem in answer.json()["error"]["details"]}
    assert paths == {"options.scale", "options.paper"}


async def test_a_body_that_is_no_form_is_refused(anna: Person) -> None:
    for kind, body in (
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"hello"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n"),
    ):
        answer = await anna.post("/render/html", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request"), body


async def test_a_declared_length_above_the_limit_is_refused_at_once(
    anna: Person, service: Service
) -> None:
    reader, writer = await connected(service)
    writer.write(head(anna, LIMITS.body_bytes + 1, "Expect: 100-continue\r\n"))
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"payload_too_large" in answer


async def test_a_body_that_ends_half_way_leaves_nothing_behind(
    anna: Person, service: Service, storage: Storage, db: asyncpg.Connection
) -> None:
    reader, writer = await connected(service)
    part = b'Content-Disposition: form-data; name="index.html"; filename="index.html"'
    writer.write(head(anna, 100_000) + b"--x\r\n" + part + b"\r\n\r\n" + b"<p>" * 5000)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert not await reader.read()
    assert (await anna.get("/me/packs")).status_code == 200

    assert await keys(storage) == []
    assert await db.fetchval("select count(*) from makeready.packs") == 0


async def test_a_large_upload_is_stored_in_pieces(
    anna: Person, press: Press, storage: Storage
) -> None:
    noise = bytes(range(256)) * (80 << 10)  # 20 MiB
    answer = await anna.post("/render/html", files=form(PAGE, ("noise.bin", noise)))

    assert answer.status_code == 202, answer.text
    await press.one()
    (key,) = await keys(storage)
    with zipfile.ZipFile(io.BytesIO(await storage.get(key))) as archive:
        assert archive.read("noise.bin") == noise


async def test_without_storage_nothing_is_ordered(
    anna: Person, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(html, "put_file", fail)
    answer = await anna.post("/render/html", files=form())

    assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
    assert await db.fetchval("select count(*) from makeready.packs") == 0


async def test_staff_may_switch_html_off(
    anna: Person, db: asyncpg.Connection, storage: Storage
) -> None:
    await until(
        lambda: db.fetchval(
            "update makeready.document_types set enabled_by_staff = false where id = 'html'"
            " returning true"
        )
    )
    answer = await anna.post("/render/html", files=form())

    assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
    assert answer.json()["error"]["details"]["reason"] == "document_disabled"
    assert await keys(storage) == []
