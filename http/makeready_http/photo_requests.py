"""One request with a photo, from its head to its answer.

What can be refused is refused before the body is asked for. A photo has no name on the disk until
just before it is let in, and what was sent is deleted when the answer is out, whatever it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import anyio
import asyncpg
import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import ingest
from makeready.db import is_transient
from makeready.ingest import QUEUE, Admitted
from makeready.jobs import Json
from makeready.media import StoredMedia
from makeready.shapes import cut
from makeready_http.clients import client_of
from makeready_http.inputs import idempotency_key
from makeready_http.photo_answers import Body, Followed
from makeready_http.photo_passwords import wrong_password
from makeready_http.photo_services import Photos
from makeready_http.photo_timing import Timing
from makeready_http.photo_upload import ReceivedPhoto, received_photo
from makeready_http.photo_waits import (
    CLIENT_GONE,
    END_TIMEOUT_S,
    ClientGone,
    Wait,
    ended,
    files_away,
    refuse_unless_done,
    settle,
    withdraw,
)
from makeready_http.problems import (
    Problem,
    Refusal,
    answer,
    not_found,
    note_refusal,
    refusal_of,
    retry_after,
)
from makeready_http.services import services_of

STORE_S = 8.0  # before the window begins, while the booth waits already
STORE_BYTES_PER_S = 4 << 20
Tell: TypeAlias = "Callable[[Visit, StoredMedia, Wait], Awaitable[Response]]"
ReadSettings: TypeAlias = "Callable[[Visit, Mapping[str, str]], Awaitable[Json | None]]"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What differs between a booth and a member of staff who tries a slot."""

    source: str
    file_fields: tuple[str, ...]
    tell: Tell
    """Makes the answer with a result."""
    settings: ReadSettings | None = None
    """For staff, who is known without a password: reads what is tried in place of the slot's
    own settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request and what it works with."""

    request: Request
    errand: Errand
    photos: Photos
    body: Body
    key: str | None
    """The client's Idempotency-Key."""
    timing: Timing

    @property
    def slot(self) -> str:
        """As the address has it."""
        return str(self.request.path_params["slot_id"])


async def answered(request: Request, errand: Errand) -> Response:
    """The answer, whatever it is."""
    body, photos = Body(request), services_of(request).photos
    try:
        visit = Visit(
            request=Request(request.scope, body),
            errand=errand,
            photos=photos,
            body=body,
            key=idempotency_key(request),
            timing=Timing(),
        )
        return await _processed(visit)
    except Exception as error:  # noqa: BLE001 -- the table of errors knows all of them
        refusal = _refusal(request, error)
        details = refusal.details if isinstance(refusal.details, dict) else {}
        slot, reason = cut(request.path_params["slot_id"]), details.get("reason")
        _log.info("ingest_refused", slot=slot, code=refusal.code, reason=reason)
        if "job_id" not in request.scope["state"]:  # else the photo's own end is counted
            counted = "slot_limit" if details.get("scope") == "slot" else reason
            photos.refusals.note(request.path_params["slot_id"], refusal.code, counted)
        return answer(refusal)


async def _processed(visit: Visit) -> Response:
    photos, errand, client = visit.photos, visit.errand, client_of(visit.request)
    _refuse_while_leaving(photos)
    if "\x00" in visit.slot:  # the database cannot even be asked
        raise not_found("slot_not_found", "slot_id", visit.slot)
    may_repeat = visit.key is not None
    door = await ingest.door(photos.pool, visit.slot, client, may_repeat=may_repeat)
    check = None
    if errand.settings is None:
        if door.password_hash is None:
            raise wrong_password()
        check = partial(photos.password.check, photos.pool, door, client)
    with ExitStack() as waits:
        async with AsyncExitStack() as files:
            with anyio.CancelScope() as scope, photos.cuttable(scope):
                coming = received_photo(
                    visit.request,
                    store=photos.media,
                    limits=door,
                    check_password=check,
                    file_fields=errand.file_fields,
                )
                photo = await files.enter_async_context(coming)
            _refuse_while_leaving(photos)  # also one that was cut while it came
            visit.timing.mark("upload")
            waits.enter_context(photos.awaited())
            wait, payload = await _let_in(visit, photo, waits)
            visit.timing.mark("admit")
        return await _waited(visit, wait, payload)


async def _let_in(
    visit: Visit, photo: ReceivedPhoto, waits: ExitStack
) -> tuple[Wait, StoredMedia | None]:
    """Publishes the photo and has it let in; nothing is left of one that is not.

    No stored photo comes back for one that came again: the file of the first is used.
    """
    photos, job = visit.photos, uuid4()
    waiter = photos.worker
    expected = waits.enter_context(photos.waiting.expect(QUEUE, job))
    path = f"payloads/{job}/{photo.name}"
    try:
        payload, asked_at, admitted = await _published(visit, photo, waiter, job, path)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await _taken_back(photos, job, path, error)
        raise
    visit.request.state.job_id = admitted.job_id
    _log.info(
        "ingest_admitted",
        slot=visit.slot,
        job_id=str(admitted.job_id),
        verdict=admitted.verdict,
        bytes=photo.size_bytes,
        media_type=photo.media_type,
        source=visit.errand.source,
    )
    if admitted.job_id == job:
        return Wait.of(admitted, waiter, asked_at, expected), payload
    await withdraw(photos, [path])
    expected = waits.enter_context(photos.waiting.expect(QUEUE, admitted.job_id))
    expected.look()
    return Wait.of(admitted, waiter, asked_at, expected), None


async def _stored(photos: Photos, photo: ReceivedPhoto, path: str) -> StoredMedia:
    """The photo in the store; 503 when that takes so long that a refusal is better."""
    try:
        with anyio.fail_after(STORE_S + photo.size_bytes / STORE_BYTES_PER_S):
            return await photos.media.publish(
                photo.file,
                path,
                media_type=photo.media_type,
                size_bytes=photo.size_bytes,
                sha256=photo.sha256,
            )
    except TimeoutError:
        raise Problem(
            "storage_unavailable",
            "The photo could not be stored in time.",
            headers=retry_after(),
        ) from None


async def _published(
    visit: Visit, photo: ReceivedPhoto, waiter: UUID, job: UUID, path: str
) -> tuple[StoredMedia, float, Admitted]:
    """The stored photo, when its admission was asked for, and what became of that."""
    photos, settings = visit.photos, visit.errand.settings
    overrides = None if settings is None else await settings(visit, photo.fields)
    payload = await _stored(photos, photo, path)
    asked_at = anyio.current_time()
    admit = partial(
        ingest.admit,
        photos.pool,
        job,
        visit.slot,
        payload,
        facts=_facts(photo),
        waiter=waiter,
        source=visit.errand.source,
        overrides=overrides,
        key=visit.key,
    )
    for is_last in (False, False, True):
        try:
            return payload, asked_at, await _admitted(photos, admit)
        except asyncpg.SerializationError:  # the photo of its key is ending at this moment
            if is_last:
                raise
    raise AssertionError  # the last try has returned or raised


async def _admitted(photos: Photos, admit: Callable[..., Awaitable[Admitted]]) -> Admitted:
    """Lets it in; a free task of this process has it at once, or is given what is due before."""
    with photos.reserved() as take:
        admitted = await admit(and_claim=take is not None)
        claimed = admitted.claimed
        if take is not None and claimed is not None:
            take(claimed)
    if claimed is None or claimed.job.id != admitted.job_id:
        photos.admitted()
    return admitted


async def _taken_back(photos: Photos, job: UUID, path: str, error: BaseException) -> None:
    """Undoes an admission that failed, or whose answer was lost: it may have gone well."""
    if not isinstance(error, Exception) or is_transient(error):
        try:
            with anyio.fail_after(END_TIMEOUT_S):
                await ingest.end(photos.pool, job, "cancelled")
        except Exception as second:  # noqa: BLE001 -- nobody waits for it: it times out
            _log.info("ingest_end_unsaid", job_id=str(job), error=type(second).__name__)
    await withdraw(photos, [path])


async def _waited(visit: Visit, wait: Wait, payload: StoredMedia | None) -> Response:
    """The answer to a photo that was let in, and after it the end of its files."""
    photos = visit.photos
    found: Response
    try:
        outcome = await ended(photos, wait, visit.body)
        stored = refuse_unless_done(wait, outcome)
        visit.timing.waited(outcome.result or {})
        found = await _told(visit, wait, stored)
        visit.timing.mark("answer")
        found.headers["Server-Timing"] = visit.timing.header
    except ClientGone:
        found = Response(status_code=CLIENT_GONE)
    except Exception as error:  # noqa: BLE001 -- as above
        found = answer(_refusal(visit.request, error))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await settle(photos, wait, payload, CLIENT_GONE)
        raise
    status, ms = found.status_code, round((anyio.current_time() - wait.asked_at) * 1000, 1)
    _log.info("ingest_finished", job_id=str(wait.job), status=status, ms=ms)
    return Followed(found, partial(settle, photos, wait, payload, status))


async def _told(visit: Visit, wait: Wait, stored: StoredMedia) -> Response:
    try:
        return await visit.errand.tell(visit, stored, wait)
    except OSError as error:
        raise files_away(wait.job) from error


def _refusal(request: Request, error: Exception) -> Refusal:
    refusal = refusal_of(error, request.state.request_id)
    note_refusal(error, refusal)
    return refusal


def _refuse_while_leaving(photos: Photos) -> None:
    if photos.is_leaving:
        raise Problem(
            "queue_unavailable",
            "The service is about to end.",
            details={"reason": "draining"},
            headers=retry_after(),
        )


def _facts(photo: ReceivedPhoto) -> dict[str, Any]:
    """What is kept of it beside the file."""
    return {
        "name": photo.name,
        "fields": photo.fields,
        "declared_type": photo.declared_type,
        "width": photo.width,
        "height": photo.height,
        "orientation": photo.orientation,
        "ignored_files": photo.ignored_files,
        "hash_matches": photo.hash_matches,
    }
