"""A photo as it comes from a booth: streamed into a file without a name, refused early.

Memory holds one batch of the body at a time, whatever its size; batches are written and hashed in
a thread. A wrong password or a wrong type ends the upload where it shows. However the request
ends, nothing is left of it: the file gets a name only when it is let in.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any

import structlog
from anyio import to_thread
from starlette.requests import Request

from makeready.ingest import Limits
from makeready.media import MediaStore
from makeready.pictures import MAX_SIDE, BadPicture, PictureFacts, TooLarge, look
from makeready.shapes import cut
from makeready_http.bodies import BodyChunks, Pace
from makeready_http.form_parts import boundary_of
from makeready_http.photo_form import FIELDS_BYTES, PASSWORD, PhotoForm, too_large
from makeready_http.photo_places import Place, place
from makeready_http.problems import Problem, invalid_request, retry_after

FILE_FIELDS = ("fileToUpload", "file")
BATCH_BYTES = 1 << 20
FORM_BYTES = 2 * FIELDS_BYTES
"""What a body may have beside the file: fields, heads of parts."""
ROOM_EVERY_BYTES = 64 << 20
"""Written between two looks at how much room is left."""
PACE = Pace(first_s=5.0, bytes_per_s=64 << 10, silence_s=15.0)

_SHA1 = re.compile(r"[0-9a-fA-F]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
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
    declared = _declared_length(request)
    if declared > most:
        raise too_large(limits.max_bytes, declared)
    with ExitStack() as uploading:
        mine = uploading.enter_context(place())
        mine.is_known = check_password is None
        await _refuse_without_room(store, limits.min_free_bytes + declared)
        async with store.spool() as file:
            spooled = _Spooled(file, form, limits.min_free_bytes)
            with mine.scope:
                await _read(request, spooled, mine, check_password, most)
            mine.refuse_if_lost()
            uploading.close()
            yield await _looked_at(spooled, limits.max_pixels)


class _Spooled:
    """The photo's bytes on their way from the form to the file."""

    def __init__(self, file: IO[bytes], form: PhotoForm, min_free_bytes: int) -> None:
        self.file = file
        self.form = form
        self.sha256 = hashlib.sha256()
        self._min_free_bytes = min_free_bytes
        self._sha1: Any = None
        self._written = 0

    @property
    def hash_matches(self) -> bool | None:
        """Whether the booth's `hash` is one of the file; what else it may be of is not known."""
        stated = self.form.fields.get("hash", "").lower()
        if self._sha1 is not None:
            return bool(self._sha1.hexdigest() == stated)
        if _SHA256.fullmatch(stated):
            return self.sha256.hexdigest() == stated
        return None

    def write(self) -> None:
        """Writes and hashes what the form has gathered; blocks."""
        form = self.form
        if not self._written and _SHA1.fullmatch(form.fields.get("hash", "")):
            self._sha1 = hashlib.sha1(usedforsecurity=False)
        batch, form.pending = form.pending, bytearray()
        self.file.write(batch)
        self.sha256.update(batch)
        if self._sha1 is not None:
            self._sha1.update(batch)
        before, self._written = self._written, self._written + len(batch)
        if before // ROOM_EVERY_BYTES != self._written // ROOM_EVERY_BYTES:
            facts = os.fstatvfs(self.file.fileno())
            if facts.f_bavail * facts.f_frsize < self._min_free_bytes:
                raise _no_room()


async def _read(
    request: Request,
    spooled: _Spooled,
    mine: Place,
    check_password: CheckPassword | None,
    most: int,
) -> None:
    """Reads the body to its end, and has the password looked at as soon as it is there.

    The last batch is left to be written.
    """
    form, received = spooled.form, 0
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
            if len(form.pending) >= BATCH_BYTES:
                await to_thread.run_sync(spooled.write)
    if not mine.is_known:
        raise invalid_request("The password is missing.", field=PASSWORD, reason="missing")
    form.finish()


async def _looked_at(spooled: _Spooled, max_pixels: int) -> ReceivedPhoto:
    """The photo, whose header fits what its first bytes promise; 413, 415."""
    form = spooled.form
    facts = await to_thread.run_sync(_written_and_looked_at, spooled, max_pixels)
    if form.ignored:
        _log.info("photo_files_ignored", count=form.ignored, taken=cut(form.name))
    if spooled.hash_matches is False:
        _log.warning("photo_hash_differs", name=cut(form.name))
    return ReceivedPhoto(
        file=spooled.file,
        media_type=facts.media_type,
        size_bytes=form.size_bytes,
        sha256=spooled.sha256.digest(),
        width=facts.width,
        height=facts.height,
        orientation=facts.orientation,
        name=form.name,
        fields=form.fields,
        declared_type=form.declared_type,
        ignored_files=form.ignored,
        hash_matches=spooled.hash_matches,
    )


def _written_and_looked_at(spooled: _Spooled, max_pixels: int) -> PictureFacts:
    spooled.write()
    form = spooled.form
    try:
        facts = look(spooled.file, max_pixels=max_pixels)
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


async def _refuse_without_room(store: MediaStore, wanted: int) -> None:
    free = await store.free_bytes()
    if free is not None and free < wanted:
        raise _no_room()


def _no_room() -> Problem:
    return Problem(
        "queue_unavailable",
        "There is no room for photos now.",
        details={"reason": "disk"},
        headers=retry_after(),
    )


def _declared_length(request: Request) -> int:
    stated = request.headers.get("content-length", "")
    return int(stated) if stated.isdecimal() else 0
