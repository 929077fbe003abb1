"""HTML of the caller's own, printed as it is.

POST /render/html               multipart: index.html, its assets, options, title, language

Assets are called by their paths relative to index.html. They are frozen into one archive in object
storage before the job is made, so that a retry prints the same. Under `Prefer: wait=N` the answer
is the PDF itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from makeready import library, print_options, render
from makeready.errors import MakereadyError, Rejected
from makeready.library import StoredFile
from makeready.render import OwnRender
from makeready.shapes import cut
from makeready.storage import ObjectFacts, Storage, content_disposition
from makeready.storage_errors import StorageError
from makeready.storage_upload import put_file
from makeready_http.answers import Json, replayed
from makeready_http.auth import current_user
from makeready_http.inputs import idempotency_key, parse_json, prefer_wait
from makeready_http.operations import ID, LANGUAGE, TEXT, Answer, Operation, done, record
from makeready_http.outcomes import OPEN, ended_render
from makeready_http.problems import invalid_request
from makeready_http.services import Services, services_of
from makeready_http.upload import Limits, Upload, received

INDEX = "index.html"
LIMITS = Limits(of_path={INDEX: 32 << 20})
TITLE_LENGTH = 200
PDF = "application/pdf"
_FIELDS = frozenset({"options", "title", "language"})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """How the HTML is to be printed."""

    options: Mapping[str, Any]
    title: str | None
    language: str

    def fingerprint(self, digests: Mapping[str, bytes]) -> bytes:
        """SHA-256 of everything that makes the document."""
        files = {path: digest.hex() for path, digest in digests.items()}
        said = json.dumps([asdict(self), files], sort_keys=True)
        return hashlib.sha256(said.encode()).digest()


async def render_html(request: Request) -> Response:
    """Prints the HTML; answers with the job, or with the PDF when the client waits for it."""
    user = await current_user(request)
    key, wait_s = idempotency_key(request), prefer_wait(request)
    services = services_of(request)
    async with received(request, LIMITS) as upload:
        wish = _wish(upload)
        made = await _ordered(services, user, upload, wish, key)
    if made.is_new:
        services.wake(render.QUEUE)
        _log.info(
            "render_job_created",
            pack_id=str(made.pack_id),
            doc_id=render.HTML.id,
            job_id=str(made.job_id),
        )
    answer = await _answer(services, user, made, wait_s)
    answer.headers.update(replayed(made.is_new))
    return answer


def _wish(upload: Upload) -> _Wish:
    unknown = sorted(set(upload.fields) - _FIELDS)
    if unknown:
        text = f"{cut(unknown[0])} is no field of this form; a file has a file name."
        raise invalid_request(text, field=cut(unknown[0]), reason="unknown_field")
    if INDEX not in upload.digests:
        raise invalid_request(f"{INDEX} is missing.", field=INDEX, reason="missing")
    options = parse_json(upload.fields["options"]) if "options" in upload.fields else {}
    options = {"strict_assets": False, **options}
    try:
        print_options.from_json(options)
    except Rejected as error:
        problems = [
            {**found, "path": ".".join(filter(None, ("options", found["path"])))}
            for found in error.details["problems"]
        ]
        raise Rejected(error.message, details={"problems": problems}) from None
    language = _field(upload, "language") or "ru"
    if language not in render.LANGUAGES:
        text = "The language is ru or en."
        raise invalid_request(text, field="language", reason="not_allowed")
    title = (_field(upload, "title") or "").strip()
    if len(title) > TITLE_LENGTH or not title.isprintable():
        text = f"A title is one line of at most {TITLE_LENGTH} characters."
        raise invalid_request(text, field="title", reason="format")
    return _Wish(options=options, title=title or None, language=language)


def _field(upload: Upload, name: str) -> str | None:
    value = upload.fields.get(name)
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        raise invalid_request(f"{name} is not UTF-8.", field=name, reason="text") from None


async def _ordered(
    services: Services, user: UUID, upload: Upload, wish: _Wish, key: str | None
) -> OwnRender:
    """Freezes the sources and orders the print; nothing of them stays when there is no order."""
    content_id = uuid4()
    stored = await put_file(
        services.storage,
        f"sources/{content_id}.zip",
        upload.archive,
        size=upload.size,
        sha256=upload.sha256,
        media_type="application/zip",
    )
    try:
        made = await services.write(
            lambda db: render.render_html(
                db,
                user,
                {"options": wish.options},
                stored,
                content_id=content_id,
                title=wish.title,
                language=wish.language,
                request_key=key,
                body_hash=wish.fingerprint(upload.digests),
            )
        )
    except MakereadyError:  # refused; where an answer was lost, the order may stand and need it
        await _forget(services.storage, stored)
        raise
    if not made.is_new:
        await _forget(services.storage, stored)
    return made


async def _forget(storage: Storage, stored: ObjectFacts) -> None:
    try:
        await storage.delete([stored.key])
    except StorageError as error:  # the orphan scan finds it
        _log.warning("upload_leftover", key=stored.key, error=type(error).__name__)


async def _answer(
    services: Services, user: UUID, made: OwnRender, wait_s: float | None
) -> Response:
    location = {"Location": f"/render/jobs/{made.job_id}"}
    body = {"ok": True, "pack_id": made.pack_id, "job_id": made.job_id}
    if wait_s is None:
        return Json(body | {"status": "queued"}, status_code=202, headers=location)
    found = await ended_render(services, user, made.job_id, wait_s)
    applied = {"Preference-Applied": f"wait={wait_s:.0f}"}
    if found.status in OPEN or found.file_id is None:
        body |= {"status": found.status}
        return Json(body, status_code=202, headers=location | applied)
    file = await library.file(services.pool, user, found.file_id)
    headers = {"X-Job-Id": str(made.job_id), "X-File-Id": str(found.file_id)}
    return await streamed(services.storage, file, headers | location | applied)


async def streamed(storage: Storage, file: StoredFile, headers: Mapping[str, str]) -> Response:
    """The file itself, as it comes out of storage; raises StorageError before the answer began."""
    chunks = storage.of_bucket(file.bucket).stream(file.key)
    first = await anext(chunks, b"")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return StreamingResponse(
        body(),
        media_type=file.media_type,
        headers={
            **headers,
            "Content-Length": str(file.byte_count),
            "Content-Disposition": content_disposition(file.filename),
            "Cache-Control": "no-store",
        },
    )


_FORM = record(
    {INDEX: {**TEXT, "format": "binary", "description": "The page, at most 32 MiB."}},
    {
        "assets": {
            "type": "array",
            "items": {**TEXT, "format": "binary"},
            "description": "Files that the page refers to. The file name of each is its path"
            " relative to index.html, such as img/logo.png. At most 64 MiB each.",
        },
        "options": {**print_options.SCHEMA, "description": "How it is printed, as JSON."},
        "title": {**TEXT, "maxLength": TITLE_LENGTH, "description": "What it is called."},
        "language": LANGUAGE,
    },
)
_ORDERED = done(pack_id=ID, job_id=ID, status=TEXT)
OPERATIONS = (
    Operation(
        method="POST",
        path="/render/html",
        endpoint=render_html,
        tag="packs",
        summary="prints HTML with its assets",
        description="Nothing is fetched from a network. What is not sent along is a warning of the"
        " job, or fails it with the option `strict_assets`; scripts run with the option `scripts`"
        " only. The whole body has at most 256 MiB and 200 parts. Sources are kept for a week, so"
        " that the document can be printed again.",
        body=_FORM,
        body_type="multipart/form-data",
        is_idempotent=True,
        can_wait=True,
        answers={
            200: Answer(
                description="The PDF, when the client waited for it.",
                media_type=PDF,
                headers=("Content-Disposition", "X-Job-Id", "X-File-Id"),
            ),
            202: Answer(
                description="It is being printed.", schema=_ORDERED, headers=("Location",)
            ),
        },
        errors=(
            "forbidden",
            "validation_failed",
            "queue_busy",
            "result_expired",
            "file_not_found",
            "storage_unavailable",
        ),
    ),
)
