"""What the routes of slots, providers and their images share: schemas, and how things look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from makeready.photo_kinds import KINDS, Kind
from makeready.photo_providers import KeyFacts, Provider
from makeready.slots import Slot, TemplateMedia
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    array,
    nullable,
    record,
)
from makeready_http.problems import not_found
from makeready_http.services import services_of

_SLOT_ID = re.compile("slot-[0-9]{3}")

READ = "slots:read"
WRITE = "slots:write"
TAG = "photos"

STEP: Mapping[str, Any] = record({"provider_id": TEXT, "operation_id": TEXT, "settings": ANYTHING})
_MEDIA_REF = record({"setting_key": TEXT, "id": ID})
_SLOT: Mapping[str, Schema] = {
    "id": TEXT,
    "name": TEXT,
    "provider_id": TEXT,
    "operation_id": TEXT,
    "settings_json": ANYTHING,
    "fallbacks": array(STEP),
    "is_enabled": TRUTH,
    "max_bytes": WHOLE,
    "max_pixels": WHOLE,
    "max_open": nullable(WHOLE),
    "joins_resent": TRUTH,
    "ingest_url": {**TEXT, "description": "What a booth posts to."},
    "template_media": array(_MEDIA_REF),
    "last_reset_at": nullable(TIME),
    "version": WHOLE,
    "created_at": TIME,
    "updated_at": TIME,
    "updated_by": nullable(TEXT),
}
SLOT = record(_SLOT)


def slot_item(request: Request, row: Slot) -> dict[str, Any]:
    """A slot as staff sees it."""
    return {
        "id": row.id,
        "name": row.name,
        "provider_id": row.provider_id,
        "operation_id": row.operation_id,
        "settings_json": row.settings_json,
        "fallbacks": row.fallbacks,
        "is_enabled": row.is_enabled,
        "max_bytes": row.max_bytes,
        "max_pixels": row.max_pixels,
        "max_open": row.max_open,
        "joins_resent": row.joins_resent,
        "ingest_url": public_link(request, f"/ingest/{row.id}"),
        "template_media": [
            {"setting_key": key, "id": found} for key, found in sorted(row.media.items())
        ],
        "last_reset_at": row.last_reset_at,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def asked_slot(request: Request) -> str:
    """The slot of the path; 404 for what cannot be one."""
    text: str = request.path_params["slot_id"]
    if not _SLOT_ID.fullmatch(text):
        raise not_found("slot_not_found", "slot_id", text)
    return text


def public_link(request: Request, path: str) -> str:
    """Where others reach a path of this service."""
    base = services_of(request).settings.public_url or str(request.base_url)
    return base.rstrip("/") + path


_TITLE = record({"ru": TEXT, "en": TEXT})
_OPERATION = record({"id": TEXT, "title": _TITLE, "schema": ANYTHING, "needs": array(TEXT)})
KEY = record(
    {
        "id": ID,
        "label": TEXT,
        "created_at": TIME,
        "updated_at": TIME,
        "updated_by": nullable(TEXT),
        "rests_until": nullable(TIME),
        "rests_why": nullable(TEXT),
    }
)
PROVIDER = record(
    {
        "id": TEXT,
        "name": TEXT,
        "kind": {"type": "string", "enum": list(KINDS)},
        "is_enabled": TRUTH,
        "is_configured": {**TRUTH, "description": "It has the options and the key it needs."},
        "needs_key": TRUTH,
        "requires_public_media": TRUTH,
        "media_types": array(TEXT),
        "max_parallel": nullable(WHOLE),
        "options": {
            **nullable(ANYTHING),
            "description": "Null for who may not change it: people keep secrets everywhere.",
        },
        "options_schema": ANYTHING,
        "operations": array(_OPERATION),
        "slots": array(TEXT),
        "version": WHOLE,
        "updated_at": TIME,
        "updated_by": nullable(TEXT),
    }
)


def provider_item(row: Provider, *, has_options: bool) -> dict[str, Any]:
    """A provider with what it can do; nothing of its keys."""
    kind = row.speaks
    return {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "is_enabled": row.is_enabled,
        "is_configured": row.is_configured,
        "needs_key": kind.wants_key(row.options),
        "requires_public_media": kind.fetches(row.options),
        "media_types": kind.slot_media_types(row.options),
        "max_parallel": row.max_parallel,
        "options": row.options if has_options else None,
        "options_schema": kind.options_schema,
        "operations": _operations(kind),
        "slots": row.slots,
        "version": row.version,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def key_item(row: KeyFacts) -> dict[str, Any]:
    """What may be known of a key."""
    return {
        "id": row.id,
        "label": row.label,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
        "rests_until": row.rests_until,
        "rests_why": row.rests_why,
    }


TEMPLATE_MEDIA = record(
    {
        "id": ID,
        "slot_id": TEXT,
        "setting_key": TEXT,
        "label": nullable(TEXT),
        "mime": TEXT,
        "size_bytes": WHOLE,
        "checksum": {**TEXT, "description": "SHA-256 in hex."},
        "content_url": TEXT,
        "uploaded_by": TEXT,
        "created_at": TIME,
        "updated_at": TIME,
    }
)


def media_item(row: TemplateMedia) -> dict[str, Any]:
    """An image of a slot."""
    return {
        "id": row.id,
        "slot_id": row.slot_id,
        "setting_key": row.setting_key,
        "label": row.label,
        "mime": row.stored.media_type,
        "size_bytes": row.stored.size_bytes,
        "checksum": row.stored.sha256.hex(),
        "content_url": f"/api/template-media/{row.id}/content",
        "uploaded_by": row.uploaded_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _operations(kind: Kind) -> list[dict[str, Any]]:
    return [
        {"id": each.id, "title": each.title, "schema": each.schema, "needs": each.needs}
        for each in kind.operations.values()
    ]
