"""The registry of documents for staff: what is in force, and what they lay over it.

GET  /admin/documents
POST /admin/documents/{doc_id}/metadata   {"title": …, "description": …}
POST /admin/documents/{doc_id}/access     {"enabled": …, "tier": …}

In both POSTs a field that is left out stays, and null takes away what staff had said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from makeready.documents import register
from makeready.documents.register import DocumentRow
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.items import ACCESS, access_item
from makeready_http.operations import (
    TEXT,
    TRUTH,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    array,
    done,
    nullable,
    read_body,
    record,
)
from makeready_http.services import Services, services_of

READ = "render:read"
WRITE = "render:write"

_METADATA = record(
    {},
    {
        "title": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
        "description": {"type": ["string", "null"], "maxLength": 2000},
    },
)
_ACCESS_CHANGE = record(
    {}, {"enabled": nullable(TRUTH), "tier": {"type": ["string", "null"], "maxLength": 100}}
)


async def list_documents(request: Request) -> Response:
    """All of them, with what is in effect."""
    await current_staff(request, READ)
    services = services_of(request)
    rows = await register.documents(services.pool)
    return Json({"ok": True, "documents": [_item(services, row) for row in rows]})


async def set_metadata(request: Request) -> Response:
    """Title and description."""
    return await _overlay(request, _METADATA)


async def set_access(request: Request) -> Response:
    """Enabled, and the tier; an unknown tier is 400 `invalid_tier`."""
    return await _overlay(request, _ACCESS_CHANGE)


async def _overlay(request: Request, schema: Schema) -> Response:
    member = await current_staff(request, WRITE)
    changes = await read_body(request, schema)
    doc_id = request.path_params["doc_id"]
    services = services_of(request)
    async with acting(services, member, request) as connection:
        await register.overlay_set(connection, doc_id, changes)
        row = await register.document(connection, doc_id)
    return Json({"ok": True, "document": _item(services, row)})


def _item(services: Services, row: DocumentRow) -> dict[str, Any]:
    return {
        "doc_id": row.doc_id,
        "titles": {"ru": row.title_ru, "en": row.title_en},
        "descriptions": {"ru": row.description_ru, "en": row.description_en},
        "tier": row.tier,
        "enabled": row.is_enabled,
        "by_staff": {
            "title": row.title_by_staff,
            "description": row.description_by_staff,
            "enabled": row.enabled_by_staff,
            "tier": row.tier_by_staff,
        },
        "access": access_item(row.access(services.settings)),
        "version": row.number_in_force,
        "hash": row.version or None,
        "shipped_hash": row.shipped_version or None,
        "is_shipped": row.is_shipped,
        "drafts": row.drafts,
    }


_TEXTS = record({"ru": TEXT, "en": TEXT})
_DOCUMENT: Mapping[str, Schema] = {
    "doc_id": TEXT,
    "titles": _TEXTS,
    "descriptions": _TEXTS,
    "tier": TEXT,
    "enabled": TRUTH,
    "by_staff": record(
        {
            "title": nullable(TEXT),
            "description": nullable(TEXT),
            "enabled": nullable(TRUTH),
            "tier": nullable(TEXT),
        }
    ),
    "access": ACCESS,
    "version": nullable(WHOLE),
    "hash": nullable(TEXT),
    "shipped_hash": nullable(TEXT),
    "is_shipped": TRUTH,
    "drafts": WHOLE,
}
_CHANGED = {200: Answer(description="As it is now.", schema=done(document=record(_DOCUMENT)))}
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/documents",
        endpoint=list_documents,
        needs=READ,
        summary="lists the registry of documents with what staff laid over it",
        answers={
            200: Answer(
                description="All of them.", schema=done(documents=array(record(_DOCUMENT)))
            )
        },
    ),
    admin_operation(
        method="POST",
        path="/admin/documents/{doc_id}/metadata",
        endpoint=set_metadata,
        needs=WRITE,
        summary="calls and describes a document otherwise; null: as its version says",
        body=_METADATA,
        answers=_CHANGED,
        errors=("document_not_found",),
    ),
    admin_operation(
        method="POST",
        path="/admin/documents/{doc_id}/access",
        endpoint=set_access,
        needs=WRITE,
        summary="enables or disables a document, or moves it to another tier",
        body=_ACCESS_CHANGE,
        answers=_CHANGED,
        errors=("document_not_found",),
    ),
)
