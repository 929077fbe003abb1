"""Images of slots (frames, backgrounds, references), and images that are served for a while.

POST   /api/template-media/register              a form: file, slot_id, setting_key, label, replace
GET    /api/template-media                       ?slot_id
GET    /api/template-media/{template_id}
GET    /api/template-media/{template_id}/content
DELETE /api/template-media/{template_id}         ?slot_id&setting_key&force
POST   /api/media/register                       a form: file, job_id

A file is stored under a name of its own before its row is written, and deleted when the row is
refused. One that is replaced stays until the photos that were let in with it have ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import anyio
import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import photo_providers, slots
from makeready.ingest import Limits
from makeready.media import StoredMedia
from makeready.pictures import EXTENSIONS, MAX_PIXELS, MEDIA_TYPES
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.downloads import not_modified
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    ID,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    admin_operation,
    array,
    nullable,
    read_query,
    record,
)
from makeready_http.photo_answers import image_answer
from makeready_http.photo_upload import ReceivedPhoto, received_photo
from makeready_http.problems import invalid_request, not_found
from makeready_http.services import services_of
from makeready_http.slot_items import READ, TAG, TEMPLATE_MEDIA, WRITE, media_item, public_link

IMAGE_MAX_BYTES = 32 << 20

_SWITCH = {"": False, "0": False, "false": False, "1": True, "true": True, "on": True}
_LIST = {"slot_id": {**TEXT, "maxLength": 100}}
_DELETE = {
    "slot_id": {**TEXT, "maxLength": 100, "description": "404 when it is another one's."},
    "setting_key": {**TEXT, "maxLength": 100, "description": "404 when it is another."},
    "force": {**TRUTH, "default": False, "description": "Also one that its slot needs."},
}
_log = structlog.get_logger(__name__)


async def register(request: Request) -> Response:
    """Takes an image of a slot in."""
    member = await current_staff(request, WRITE)
    services = services_of(request)
    async with _received(request) as photo:
        slot, key = _field(photo, "slot_id"), _field(photo, "setting_key")
        label, replaces = photo.fields.get("label"), _switch(photo, "replace")
        await slots.read(services.photos.pool, slot)  # before bytes are stored
        async with (
            _stored(request, photo, "templates") as stored,
            acting(services, member, request, pool=services.photos.pool) as connection,
        ):
            made = await slots.media_put(
                connection, slot, key, stored, label=label, replaces=replaces
            )
            found = await slots.media_read(connection, made)
    _log.info("template_media_stored", slot_id=slot, setting_key=key, template_id=str(made))
    return Json(
        media_item(found), status_code=201, headers={"Location": f"/api/template-media/{made}"}
    )


async def list_all(request: Request) -> Response:
    """Images of a slot, or of all."""
    await current_staff(request, READ)
    asked = read_query(request, _LIST)
    rows = await slots.media_listed(services_of(request).photos.pool, asked["slot_id"])
    return Json({"data": [media_item(row) for row in rows], "meta": {"total": len(rows)}})


async def show(request: Request) -> Response:
    """What is known of an image."""
    await current_staff(request, READ)
    pool = services_of(request).photos.pool
    return Json(media_item(await slots.media_read(pool, _asked(request))))


async def content(request: Request) -> Response:
    """The image."""
    await current_staff(request, READ)
    photos = services_of(request).photos
    found = (await slots.media_read(photos.pool, _asked(request))).stored
    tag = found.sha256.hex()
    known = not_modified(request, tag)
    if known is not None:
        return known
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if found.store == photos.media.name:
        with suppress(FileNotFoundError):
            answer = await image_answer(photos.media, found)
            answer.headers.update(headers)
            return answer
    raise not_found("media_not_found", "template_id", _asked(request))


async def delete(request: Request) -> Response:
    """Takes an image from its slot."""
    member = await current_staff(request, WRITE)
    asked = read_query(request, _DELETE)
    template, services = _asked(request), services_of(request)
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        found = await slots.media_read(connection, template)
        stated = (asked["slot_id"] or found.slot_id, asked["setting_key"] or found.setting_key)
        if stated != (found.slot_id, found.setting_key):
            raise not_found("template_not_found", "template_id", template)
        providers = await photo_providers.everyone(connection)
        await slots.media_delete(connection, found, providers, force=asked["force"])
    _log.info("template_media_deleted", slot_id=found.slot_id, template_id=str(template))
    return Response(status_code=204)


async def register_media(request: Request) -> Response:
    """Takes an image in that anybody with its link gets, as long as a booth waits."""
    member = await current_staff(request, WRITE)
    services = services_of(request)
    async with _received(request) as photo:
        job = _job(photo)
        async with (
            _stored(request, photo, "temporary") as stored,
            acting(services, member, request, pool=services.photos.pool) as connection,
        ):
            made = await slots.media_register(connection, stored, job)
    _log.info("media_registered", media_id=str(made.id))
    body = {
        "id": made.id,
        "public_url": public_link(request, f"/public/media/{made.id}"),
        "expires_at": made.expires_at,
        "job_id": job,
        "mime": stored.media_type,
        "size_bytes": stored.size_bytes,
    }
    return Json(body, status_code=201, headers={"Cache-Control": "no-store"})


@asynccontextmanager
async def _received(request: Request) -> AsyncIterator[ReceivedPhoto]:
    """The image of a form; refused as a booth's would be."""
    limits = Limits(
        max_bytes=IMAGE_MAX_BYTES,
        max_pixels=MAX_PIXELS,
        media_types=MEDIA_TYPES,
        min_free_bytes=0,
    )
    async with received_photo(
        request,
        store=services_of(request).photos.media,
        limits=limits,
        check_password=None,
        file_fields=("file",),
    ) as photo:
        yield photo


@asynccontextmanager
async def _stored(
    request: Request, photo: ReceivedPhoto, folder: str
) -> AsyncIterator[StoredMedia]:
    """The image in the store; deleted again when the block fails."""
    media = services_of(request).photos.media
    path = f"{folder}/{uuid4()}.{EXTENSIONS[photo.media_type]}"
    stored = await media.publish(
        photo.file,
        path,
        media_type=photo.media_type,
        size_bytes=photo.size_bytes,
        sha256=photo.sha256,
    )
    try:
        yield stored
    except BaseException:
        with anyio.CancelScope(shield=True):
            await media.delete([path])
        raise


def _asked(request: Request) -> UUID:
    return path_uuid(request, "template_id", "template_not_found")


def _field(photo: ReceivedPhoto, name: str) -> str:
    if not photo.fields.get(name):
        raise invalid_request(f"The field {name} is missing.", field=name, reason="missing")
    return photo.fields[name]


def _switch(photo: ReceivedPhoto, name: str) -> bool:
    text = photo.fields.get(name, "").lower()
    if text not in _SWITCH:
        raise invalid_request(f"{name} is true or false.", field=name, reason="format")
    return _SWITCH[text]


def _job(photo: ReceivedPhoto) -> UUID | None:
    text = photo.fields.get("job_id")
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise invalid_request("job_id is no id.", field="job_id", reason="format") from None


_FILE: Mapping[str, object] = {**TEXT, "format": "binary"}
_UPLOAD = record(
    {"file": _FILE, "slot_id": TEXT, "setting_key": TEXT},
    {
        "label": {**TEXT, "maxLength": 200},
        "replace": {"type": "string", "enum": ["true", "false"]},
    },
)
_REGISTERED = record(
    {
        "id": ID,
        "public_url": TEXT,
        "expires_at": TIME,
        "job_id": nullable(ID),
        "mime": TEXT,
        "size_bytes": WHOLE,
    }
)
_OF_UPLOADS = ("unsupported_media_type", "queue_busy", "storage_unavailable")
OPERATIONS = (
    admin_operation(
        method="POST",
        path="/api/template-media/register",
        endpoint=register,
        tag=TAG,
        needs=WRITE,
        summary="takes an image in for a setting of a slot",
        description="JPEG, PNG, WebP, HEIC or HEIF, told by its content, of at most 32 MiB. A"
        " setting has one image: 409 for a second one without `replace`.",
        body=_UPLOAD,
        body_type="multipart/form-data",
        answers={
            201: Answer(
                description="It is kept until it is deleted.",
                schema=TEMPLATE_MEDIA,
                headers=("Location",),
            )
        },
        errors=("slot_not_found", "conflict", "validation_failed", *_OF_UPLOADS),
    ),
    admin_operation(
        method="GET",
        path="/api/template-media",
        endpoint=list_all,
        tag=TAG,
        needs=READ,
        summary="lists the images of a slot, or of all slots",
        query=_LIST,
        answers={
            200: Answer(
                description="By slot and setting.",
                schema=record({"data": array(TEMPLATE_MEDIA), "meta": record({"total": WHOLE})}),
            )
        },
        errors=("slot_not_found",),
    ),
    admin_operation(
        method="GET",
        path="/api/template-media/{template_id}",
        endpoint=show,
        tag=TAG,
        needs=READ,
        summary="shows what is known of an image of a slot",
        answers={200: Answer(description="It.", schema=TEMPLATE_MEDIA)},
        errors=("template_not_found",),
    ),
    admin_operation(
        method="GET",
        path="/api/template-media/{template_id}/content",
        endpoint=content,
        tag=TAG,
        needs=READ,
        summary="sends an image of a slot",
        answers={
            200: Answer(
                description="As it came in.",
                media_type=MEDIA_TYPES[0],
                other_types=MEDIA_TYPES[1:],
                headers=("ETag",),
            ),
            304: Answer(description="It is as the client has it."),
        },
        errors=("template_not_found", "media_not_found", "storage_unavailable"),
    ),
    admin_operation(
        method="DELETE",
        path="/api/template-media/{template_id}",
        endpoint=delete,
        tag=TAG,
        needs=WRITE,
        summary="takes an image from its slot",
        description="409 when the slot cannot work without it, unless `force`. Photos that were"
        " let in before still get it.",
        query=_DELETE,
        answers={204: Answer(description="It is gone.")},
        errors=("template_not_found", "slot_not_found", "conflict"),
    ),
    admin_operation(
        method="POST",
        path="/api/media/register",
        endpoint=register_media,
        tag=TAG,
        needs=WRITE,
        summary="takes an image in that is served to anybody with its link, for a while",
        description="As long as a booth waits: `expires_at`. Nothing prolongs it.",
        body=record({"file": _FILE}, {"job_id": {**ID, "description": "The photo it is about."}}),
        body_type="multipart/form-data",
        answers={201: Answer(description="It is served.", schema=_REGISTERED)},
        errors=("rate_limited", *_OF_UPLOADS),
    ),
)
