"""A photo as it comes from a booth: streamed into a file without a name, refused early.

A wrong password or a wrong type ends the upload where it shows. However the request ends, nothing
is left of it: the file gets a name only when it is let in.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

import structlog
from starlette.requests import Request

from makeready.ingest import Limits
from makeready.media import MediaStore
from makeready.pictures import MAX_SIDE, BadPicture, PictureFacts, TooLarge, look
from makeready.shapes import cut
from makeready.threads import in_thread
from makeready_http.bodies import BodyChunks, Pace, declared_length
from makeready_http.form_parts import boundary_of
from makeready_http.photo_form import FIELDS_BYTES, PASSWORD, PhotoForm, too_large
from makeready_http.photo_places import Place, place
from makeready_http.photo_spool import BATCH_BYTES, PhotoSpool
from makeready_http.problems import Problem, invalid_request

FILE_FIELDS = ("fileToUpload", "file")
FORM_BYTES = 2 * FIELDS_BYTES
"""What a body may have beside the file: fields, heads of parts."""
PACE = Pace(first_s=5.0, bytes_per_s=64 << 10, silence_s=15.0)

_log = structlog.get_logger(__name__)

CheckPassword = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPhoto:
    """A photo that came whole; its password was right."""

    file: IO[bytes]
    """Spooled, at its beginning, gone after the block; `MediaStore.publish` keeps it."""
    media_type: str
    """By its content."""
    size_bytes: int
    sha256: bytes
    width: int
    height: int
    """In pixels, as it is looked at."""
    orientation: int
    name: str
    """Safe to be the last step of a path."""
    fields: Mapping[str, str]
    """All other text fields, as they came."""
    declared_type: str
    ignored_files: int
    hash_matches: bool | None
    """None: there was no hash that could be one of the file."""


@asynccontextmanager
async def received_photo(
    request: Request,
    *,
    store: MediaStore,
    limits: Limits,
    check_password: CheckPassword | None,
    file_fields: Sequence[str] = FILE_FIELDS,
) -> AsyncGenerator[ReceivedPhoto, None]:
    """The photo of a form as long as the block runs; 400, 401, 408, 413, 415, 429, 503.

    `check_password` raises Problem; it is asked once, before anything behind the password is read,
    and in any case before the block runs. None: the route knows otherwise who it is.
    """
    form = PhotoForm(
        boundary_of(request),
        file_fields=file_fields,
        media_types=limits.media_types,
        max_bytes=limits.max_bytes,
    )
    most = limits.max_bytes + FORM_BYTES
    declared = declared_length(request)
    if declared > most:
        raise too_large(limits.max_bytes, declared)
    spool = PhotoSpool(store, form, limits.min_free_bytes)
    try:
        with place() as mine:
            mine.is_known = check_password is None
            if not 0 < declared < BATCH_BYTES:
                await spool.begin(declared)
            with mine.scope:
                await _read(request, spool, mine, check_password, most)
            mine.refuse_if_lost()
        yield await _looked_at(spool, limits.max_pixels)
    finally:
        await spool.close()


async def _read(
    request: Request,
    spool: PhotoSpool,
    mine: Place,
    check_password: CheckPassword | None,
    most: int,
) -> None:
    """Reads the body to its end, and has the password looked at as soon as it is there.

    The last batch is left to be written; the thread has ended, whatever happens.
    """
    form, received = spool.form, 0
    try:
        with BodyChunks(request, sys.maxsize, PACE) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                form.feed(chunk)
                if not mine.is_known and check_password is not None and form.password is not None:
                    await check_password(form.password)
                    mine.is_known = True
                if form.problem is not None:
                    raise form.problem
                if received > most:
                    raise too_large(form.max_bytes, received)
                await spool.hand_over()
    finally:
        await spool.idle()
    if not mine.is_known:
        raise invalid_request("The password is missing.", field=PASSWORD, reason="missing")
    form.finish()


async def _looked_at(spool: PhotoSpool, max_pixels: int) -> ReceivedPhoto:
    """The photo, whose header fits what its first bytes promise; 413, 415."""
    await spool.written()
    form = spool.form
    facts = await in_thread(_written_and_looked_at, spool, max_pixels)
    if form.ignored:
        _log.info("photo_files_ignored", count=form.ignored, taken=cut(form.name))
    if spool.hash_matches is False:
        _log.warning("photo_hash_differs", name=cut(form.name))
    return ReceivedPhoto(
        file=spool.file,
        media_type=facts.media_type,
        size_bytes=form.size_bytes,
        sha256=spool.sha256.digest(),
        width=facts.width,
        height=facts.height,
        orientation=facts.orientation,
        name=form.name,
        fields=form.fields,
        declared_type=form.declared_type,
        ignored_files=form.ignored,
        hash_matches=spool.hash_matches,
    )


def _written_and_looked_at(spool: PhotoSpool, max_pixels: int) -> PictureFacts:
    spool.write_rest()
    form = spool.form
    try:
        facts = look(spool.file, max_pixels=max_pixels)
    except TooLarge as error:
        pixels = error.width * error.height
        raise Problem(
            "payload_too_large",
            f"The image may have {max_pixels} pixels, and {MAX_SIDE} on a side.",
            details={"max_pixels": max_pixels, "pixels": pixels},
            headers={"Connection": "close"},
        ) from None
    except BadPicture as error:
        raise form.unsupported(form.media_type, form.declared_type, str(error)) from None
    if facts.frames > 1:
        raise form.unsupported(form.media_type, form.declared_type, "it is an animation")
    return facts
