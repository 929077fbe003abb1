"""Fonts and pictures that settings of table cards name, by the SHA-256 of their bytes.

POST   /posm/assets               a form: `file`, and its `name`
GET    /posm/assets               ?kind&limit&after
GET    /posm/assets/{asset_id}/file
DELETE /posm/assets/{asset_id}

They belong to nobody: equal bytes are one asset. Generations hold on to what they were made with.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import posm_templates, stamping
from makeready.posm_templates import Asset
from makeready.storage import content_disposition
from makeready_http.answers import Json, listed
from makeready_http.auth import acting, current_staff
from makeready_http.downloads import not_modified, validators
from makeready_http.file_upload import file_of
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    ANYTHING,
    ID,
    PAGE,
    TEXT,
    TIME,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    done,
    page_of,
    read_query,
    record,
)
from makeready_http.posm_parts import READ, TAG, WRITE, told
from makeready_http.problems import invalid_request
from makeready_http.services import services_of
from makeready_http.upload import Limits, Upload, received

ASSET_BYTES = 20 << 20
NAME_LENGTH = 200

_LIST: Mapping[str, Schema] = {"kind": {**TEXT, "enum": list(posm_templates.ASSET_KINDS)}, **PAGE}
_LIMITS = Limits(body_bytes=ASSET_BYTES + (64 << 10), parts=20, of_path={"file": ASSET_BYTES})
_log = structlog.get_logger(__name__)


async def upload(request: Request) -> Response:
    """Takes a font or a picture in; its kind is that of its bytes."""
    member = await current_staff(request, WRITE)
    services = services_of(request)
    async with received(request, _LIMITS) as form, file_of(form, "file") as file, services.designs:
        name = _name(form)
        content = await file.content()
        with told(request):
            facts = await stamping.inspect_asset(content)
        digest = file.sha256.hex()
        services.blobs.keep(digest, content)
        known = await posm_templates.assets(services.pool, hashes=[file.sha256])
        if known:
            return Json({"ok": True, "asset": _item(known[0])})
        stored = await services.storage.put(
            f"posm/assets/{digest}/{uuid.uuid4()}", content, media_type=facts.media_type
        )
    async with acting(services, member, request) as connection:
        made = await posm_templates.asset_add(
            connection,
            facts.kind,
            name or facts.name,
            stored,
            inspection=facts.found,
            author=member.name,
        )
        found = await posm_templates.asset(connection, made.id)
    _log.info("posm_asset_added", asset_id=str(made.id), is_new=made.is_new)
    body = {"ok": True, "asset": _item(found)}
    return Json(body, status_code=201 if made.is_new else 200)


async def list_all(request: Request) -> Response:
    """Assets, newest first."""
    await current_staff(request, READ)
    asked = read_query(request, _LIST)
    rows = await posm_templates.assets(
        services_of(request).pool, kind=asked["kind"], limit=asked["limit"], after=asked["after"]
    )
    return listed("assets", [_item(row) for row in rows], asked["limit"], "id")


async def show_file(request: Request) -> Response:
    """The bytes of an asset."""
    await current_staff(request, READ)
    asset = path_uuid(request, "asset_id", "media_not_found")
    services = services_of(request)
    found = await posm_templates.asset(services.pool, asset)
    tag = found.sha256.hex()
    same = not_modified(request, tag)
    if same is not None:
        return same
    content = await services.blobs.get(tag, bucket=found.bucket, key=found.key)
    headers = {
        "Content-Disposition": content_disposition(found.name),
        "X-Content-Type-Options": "nosniff",
        **validators(tag),
    }
    return Response(content, media_type=found.media_type, headers=headers)


async def delete(request: Request) -> Response:
    """Deletes an asset that no template names."""
    member = await current_staff(request, WRITE)
    asset = path_uuid(request, "asset_id", "media_not_found")
    async with acting(services_of(request), member, request) as connection:
        await posm_templates.asset_delete(connection, asset)
    return Response(status_code=204)


def _name(form: Upload) -> str:
    """What it is to be called; empty: as it calls itself."""
    odd = sorted({*form.fields, *form.digests} - {"file", "name"})
    try:
        name = form.fields.get("name", b"").decode().strip()
    except UnicodeDecodeError:
        raise invalid_request("name is not UTF-8.", field="name", reason="text") from None
    if odd:
        text = "This form has file and name."
        raise invalid_request(text, field=odd[0][:NAME_LENGTH], reason="unknown_field")
    if len(name) > NAME_LENGTH or not name.isprintable():
        text = f"A name is one line of at most {NAME_LENGTH} characters."
        raise invalid_request(text, field="name", reason="format")
    return name


def _item(row: Asset) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "asset": row.reference,
        "content_type": row.media_type,
        "size_bytes": row.byte_count,
        "facts": row.inspection,
        "author": row.author,
        "created_at": row.created_at,
    }


_ASSET = record(
    {
        "id": ID,
        "kind": TEXT,
        "name": TEXT,
        "asset": {**TEXT, "description": "What settings name it by."},
        "content_type": TEXT,
        "size_bytes": WHOLE,
        "facts": {**ANYTHING, "description": "Family and licence of a font; size of a picture."},
        "author": TEXT,
        "created_at": TIME,
    }
)
_FORM = record(
    {
        "file": {
            **TEXT,
            "format": "binary",
            "description": "TTF, OTF, PNG or JPEG, at most 20 MiB.",
        }
    },
    {"name": {**TEXT, "maxLength": NAME_LENGTH, "description": "Left out: its own."}},
)
OPERATIONS = (
    admin_operation(
        method="POST",
        path="/posm/assets",
        endpoint=upload,
        tag=TAG,
        needs=WRITE,
        summary="takes a font or a picture in, for settings to name",
        description="A font whose licence forbids embedding is refused. The same bytes again are"
        " the same asset.",
        body=_FORM,
        body_type="multipart/form-data",
        answers={
            200: Answer(description="These bytes are there already.", schema=done(asset=_ASSET)),
            201: Answer(description="Taken in.", schema=done(asset=_ASSET)),
        },
        errors=("unsupported_media_type", "validation_failed", "conflict", "storage_unavailable"),
    ),
    admin_operation(
        method="GET",
        path="/posm/assets",
        endpoint=list_all,
        tag=TAG,
        needs=READ,
        summary="lists fonts and pictures, newest first",
        query=_LIST,
        answers={200: Answer(description="A page.", schema=page_of("assets", _ASSET))},
    ),
    admin_operation(
        method="GET",
        path="/posm/assets/{asset_id}/file",
        endpoint=show_file,
        tag=TAG,
        needs=READ,
        summary="sends a font or a picture",
        answers={
            200: Answer(
                description="It.",
                media_type="application/octet-stream",
                headers=("ETag", "Content-Disposition"),
            ),
            304: Answer(description="`If-None-Match` names it."),
        },
        errors=("media_not_found", "storage_unavailable"),
    ),
    admin_operation(
        method="DELETE",
        path="/posm/assets/{asset_id}",
        endpoint=delete,
        tag=TAG,
        needs=WRITE,
        summary="deletes a font or a picture that no template names (else 409 `conflict`)",
        answers={204: Answer(description="It is gone.")},
        errors=("media_not_found", "conflict"),
    ),
)
