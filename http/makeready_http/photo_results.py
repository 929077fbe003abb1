"""Results of photos, and media for providers, under links that nobody can guess.

GET|HEAD /public/results/{job_id}              Range
GET|HEAD /public/results/{job_id}/thumbnail
GET|HEAD /public/media/{id}
GET|HEAD /api/jobs/{job_id}/thumbnail          ?side=before|after

A link works until the moment that its row names, and is 410 from that moment on, whether or not
the file is still there. What is sent came from strangers: a browser must take it for a picture of
the type that was found in it, or save it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC
from email.utils import format_datetime
from typing import TypeVar
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from makeready import job_reads
from makeready.archive import Piece, Span
from makeready.errors import Gone, NotFound
from makeready.job_reads import Shown
from makeready.media import MediaStore, StoredMedia
from makeready.pictures import EXTENSIONS, JPEG, MEDIA_TYPES, PNG, WEBP
from makeready_http.answers import iso
from makeready_http.auth import current_staff
from makeready_http.clients import client_of
from makeready_http.downloads import Download, answer_download, not_modified
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    TEXT,
    Answer,
    Operation,
    Schema,
    admin_operation,
    read_query,
)
from makeready_http.problems import Problem, invalid_request, refusal_of, retry_after
from makeready_http.services import Services, services_of

TAG = "photos"
STATS_READ = "stats:read"
LINK_MAX_S = 604_800  # that S3 signs for
SHOWN = frozenset({JPEG, PNG, WEBP})
"""What browsers show; anything else is saved."""
GUARDED: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
NOT_KEPT = {"Cache-Control": "no-store"}
RESULT, MEDIA = "result_not_found", "media_not_found"

_ID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SIDE: Mapping[str, Schema] = {
    "side": {**TEXT, "enum": ["before", "after"], "default": "after"},
}
T = TypeVar("T")
_log = structlog.get_logger(__name__)


async def result(request: Request) -> Response:
    """The result itself, or a redirect to where it lies."""
    job = _link_id(request, "job_id")
    photos = services_of(request).photos
    shown = await _found(job_reads.result(photos.pool, job))
    name = f"{job}.{EXTENSIONS.get(shown.stored.media_type, 'bin')}"
    known = not_modified(request, shown.stored.sha256.hex())
    if known is None:
        left_s = min(int(shown.seconds_left), LINK_MAX_S)
        link = await photos.media.link(
            _of_store(photos.media, shown),
            filename=name,
            seconds=left_s,
            is_inline=shown.stored.media_type in SHOWN,
        )
        if left_s and link is not None:
            known = RedirectResponse(link, status_code=307)
        else:
            known = await _sent(request, photos.media, shown, name, RESULT)
    known.headers.update({**GUARDED, **_lifetime(shown)})
    return known


async def thumbnail(request: Request) -> Response:
    """A small picture of the result."""
    return await _thumbnail(request, _link_id(request, "job_id"), "after")


async def staff_thumbnail(request: Request) -> Response:
    """A small picture of what was posted, or of the result."""
    await current_staff(request, STATS_READ)
    side = read_query(request, _SIDE)["side"]
    return await _thumbnail(request, path_uuid(request, "job_id", "job_not_found"), side)


async def _thumbnail(request: Request, job: UUID, side: job_reads.Side) -> Response:
    photos = services_of(request).photos
    shown = await _found(job_reads.thumbnail(photos.pool, job, side))
    known = not_modified(request, shown.stored.sha256.hex())
    if known is None:
        known = await _sent(request, photos.media, shown, f"{job}.{side}.jpg", RESULT)
    known.headers.update({**GUARDED, **_lifetime(shown)})
    return known


async def media(request: Request) -> Response:
    """Temporary media, for a provider that fetches it."""
    wanted = _link_id(request, "id")
    photos = services_of(request).photos
    shown = await _found(job_reads.temporary(photos.pool, wanted, client_of(request)))
    name = f"{wanted}.{EXTENSIONS.get(shown.stored.media_type, 'bin')}"
    answer = await _sent(request, photos.media, shown, name, MEDIA)
    answer.headers.update({**GUARDED, "Cache-Control": "private, max-age=0"})
    return answer


def result_url(services: Services, job: UUID, suffix: str = "") -> str:
    """Where a result is to be had: absolute when the service knows its public address."""
    base = (services.settings.public_url or "").rstrip("/")
    return f"{base}/public/results/{job}{suffix}"


async def _found(reading: Awaitable[T]) -> T:
    """What was read; a refusal that nobody may remember, for it may not hold a moment later."""
    try:
        return await reading
    except (NotFound, Gone) as error:
        told = refusal_of(error, "")
        raise Problem(told.code, told.message, details=told.details, headers=NOT_KEPT) from error


async def _sent(
    request: Request, store: MediaStore, shown: Shown, name: str, missing: str
) -> Response:
    """The bytes, or a range of them; 404 `missing` when the file is not there any more."""
    stored = _of_store(store, shown)
    try:
        async with aclosing(store.stream(stored, 0, 0)) as beginning:
            await anext(beginning)  # before a word is said of it
    except FileNotFoundError:
        _log.warning("media_missing", path=stored.path)
        details = {"id" if missing == MEDIA else "job_id": name.partition(".")[0]}
        text = "Its file is not there any more."
        raise Problem(missing, text, details=details, headers=NOT_KEPT) from None

    def pieces(first: int, last: int) -> Iterator[Piece]:
        yield Span(key=stored.path, first=first, last=last)

    async def read(span: Span) -> AsyncGenerator[bytes, None]:
        async for piece in store.stream(stored, span.first, span.last):
            yield piece

    return answer_download(
        request,
        Download(
            filename=name,
            media_type=stored.media_type,
            byte_count=stored.size_bytes,
            etag=stored.sha256.hex(),
            pieces=pieces,
            read=read,
            is_inline=stored.media_type in SHOWN,
        ),
    )


def _of_store(store: MediaStore, shown: Shown) -> StoredMedia:
    if shown.stored.store != store.name:
        text = "This file lies in another store."
        raise Problem("storage_unavailable", text, headers=retry_after())
    return shown.stored


def _lifetime(shown: Shown) -> dict[str, str]:
    until = shown.expires_at.astimezone(UTC)
    return {
        "Cache-Control": f"private, max-age={max(0, int(shown.seconds_left))}",
        "Expires": format_datetime(until.replace(microsecond=0), usegmt=True),
        "X-Result-Expires-At": iso(until),
    }


def _link_id(request: Request, name: str) -> UUID:
    text = request.path_params[name]
    if not _ID.fullmatch(text):
        raise invalid_request("The id in the path is no UUID.", field=name, reason="format")
    return UUID(text)


_HEADERS = ("ETag", "Accept-Ranges", "Content-Disposition", "Expires", "X-Result-Expires-At")
_PICTURE = Answer(
    description="The picture.",
    media_type=MEDIA_TYPES[0],
    other_types=MEDIA_TYPES[1:],
    headers=_HEADERS,
)
_PART = Answer(
    description="The bytes that `Range` names.",
    media_type=MEDIA_TYPES[0],
    other_types=MEDIA_TYPES[1:],
    headers=_HEADERS,
)
_KNOWN = Answer(description="`If-None-Match` names it.")
_JPEG = Answer(description="A JPEG.", media_type=JPEG, headers=_HEADERS)
_JPEG_PART = Answer(description="The bytes that `Range` names.", media_type=JPEG, headers=_HEADERS)
_LOST = ("range_not_satisfiable", "storage_unavailable")
OPERATIONS = (
    Operation(
        method="GET",
        path="/public/results/{job_id}",
        endpoint=result,
        tag=TAG,
        who="anyone",
        summary="sends the result of a photo, for as long as it is kept",
        description="The id is a secret of whoever got it. From a folder the picture is sent;"
        " from object storage it comes by a redirect. `X-Result-Expires-At` says until when;"
        " from that moment on it is 410 `result_expired`.",
        answers={
            200: _PICTURE,
            206: _PART,
            304: _KNOWN,
            307: Answer(
                description="To object storage, for as long as the result is kept.",
                headers=("Location", "Expires", "X-Result-Expires-At"),
            ),
        },
        errors=("invalid_request", "result_not_found", "result_expired", *_LOST),
    ),
    Operation(
        method="GET",
        path="/public/results/{job_id}/thumbnail",
        endpoint=thumbnail,
        tag=TAG,
        who="anyone",
        summary="sends a small picture of a result",
        answers={200: _JPEG, 206: _JPEG_PART, 304: _KNOWN},
        errors=("invalid_request", "result_not_found", "result_expired", *_LOST),
    ),
    Operation(
        method="GET",
        path="/public/media/{id}",
        endpoint=media,
        tag=TAG,
        who="anyone",
        summary="sends temporary media, for providers that fetch what they work on",
        description="Until its time is over, then 410 `media_link_expired`; nothing prolongs it.",
        answers={200: _PICTURE, 206: _PART},
        errors=(
            "invalid_request",
            "media_not_found",
            "media_link_expired",
            "rate_limited",
            *_LOST,
        ),
    ),
    admin_operation(
        method="GET",
        path="/api/jobs/{job_id}/thumbnail",
        endpoint=staff_thumbnail,
        tag=TAG,
        needs=STATS_READ,
        summary="sends a small picture of a photo, before or after",
        query=_SIDE,
        answers={200: _JPEG, 206: _JPEG_PART, 304: _KNOWN},
        errors=("job_not_found", "result_not_found", "result_expired", *_LOST),
    ),
)
