"""Slots of booths for staff.

GET /api/slots               ?provider_id&operation_id&search
GET /api/slots/{slot_id}
PUT /api/slots/{slot_id}     If-Match: the version that was read, or `updated_at` in the body

A slot is saved only when photos could be processed with it: provider, operation, settings and
images are looked at together, and the answer names all that is wrong.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import job_reads, photo_providers, slots
from makeready.errors import Rejected
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.operations import (
    ANYTHING,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    admin_operation,
    array,
    read_body,
    read_query,
    record,
)
from makeready_http.photo_figures import RESULT, result_item
from makeready_http.problems import invalid_request
from makeready_http.services import services_of
from makeready_http.slot_items import READ, SLOT, STEP, TAG, WRITE, asked_slot, slot_item
from makeready_http.versions import etag, known_version

BODY_MAX_BYTES = 256 << 10

_WORD = {**TEXT, "minLength": 1, "maxLength": 100}
_SETTINGS = {**ANYTHING, "description": "Of the operation; GET /api/providers has the schemas."}
_CHANGE = record(
    {
        "name": {**TEXT, "minLength": 1, "maxLength": 200, "pattern": r"\S"},
        "provider_id": _WORD,
        "operation_id": _WORD,
        "settings_json": _SETTINGS,
    },
    {
        "updated_at": {**TIME, "description": "Of what was read; instead of If-Match."},
        "fallbacks": {
            **array(STEP, maxItems=5),
            "description": "Who is asked next when a provider fails.",
        },
        "is_enabled": TRUTH,
        "max_bytes": {**WHOLE, "minimum": 1024, "maximum": 2 << 30},
        "max_pixels": {**WHOLE, "minimum": 10_000, "maximum": 1_000_000_000},
        "max_open": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 1000,
            "description": "Photos of this slot that may be open at a time.",
        },
        "joins_resent": {
            **TRUTH,
            "description": "An image that is sent again is answered with the same result.",
        },
    },
)
_LIST = {
    "provider_id": {**TEXT, "maxLength": 100},
    "operation_id": {**TEXT, "maxLength": 100},
    "search": {**TEXT, "maxLength": 200, "description": "A part of its id or name."},
}
_log = structlog.get_logger(__name__)


async def list_all(request: Request) -> Response:
    """The slots, by id."""
    await current_staff(request, READ)
    asked = read_query(request, _LIST)
    rows = await slots.listed(
        services_of(request).photos.pool,
        provider=asked["provider_id"],
        operation=asked["operation_id"],
        search=asked["search"],
    )
    data = [slot_item(request, row) for row in rows]
    return Json({"data": data, "meta": {"total": len(data)}})


async def show(request: Request) -> Response:
    """One slot, with its newest results."""
    await current_staff(request, READ)
    services, slot = services_of(request), asked_slot(request)
    found = await slots.read(services.photos.pool, slot)
    recent = await job_reads.recent(services.photos.pool, slot)
    body = slot_item(request, found)
    body["recent_results"] = [result_item(services, each) for each in recent]
    return Json(body, headers=etag(found.version))


async def change(request: Request) -> Response:
    """Says anew what is done with the photos of a slot, from the next one on."""
    member = await current_staff(request, WRITE)
    body = await read_body(request, _CHANGE, max_bytes=BODY_MAX_BYTES)
    known, known_time = _read_before(request, body.pop("updated_at", None))
    slot, services = asked_slot(request), services_of(request)
    pool, has_public_url = services.photos.pool, bool(services.settings.public_url)
    async with acting(services, member, request, pool=pool) as connection:
        before = await slots.opened(connection, slot, known=known, known_time=known_time)
        problems = slots.problems(
            {"fallbacks": before.fallbacks} | body,
            await photo_providers.everyone(connection),
            before.media,
            has_public_url=has_public_url,
        )
        if problems:
            raise Rejected("the slot could not process photos", details={"problems": problems})
        version, changed_at = await slots.put(connection, slot, body)
    _log.info("slot_changed", slot_id=slot, version=version)
    return Json({"id": slot, "updated_at": changed_at}, headers=etag(version))


def _read_before(request: Request, stated: str | None) -> tuple[int | None, datetime | None]:
    """Version or time of what the writer has read; 400 when neither is stated."""
    if not request.headers.get("if-match", "").strip() and stated is None:
        text = "State what was read: If-Match with its ETag, or updated_at in the body."
        raise invalid_request(text, field="If-Match", reason="missing")
    return known_version(request), None if stated is None else datetime.fromisoformat(stated)


_WITH_RESULTS = record({**SLOT["properties"], "recent_results": array(RESULT)})
_META: dict[str, Any] = record({"total": WHOLE})
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/api/slots",
        endpoint=list_all,
        tag=TAG,
        needs=READ,
        summary="lists the slots of booths",
        query=_LIST,
        answers={
            200: Answer(
                description="By id; all fifteen unless asked for some.",
                schema=record({"data": array(SLOT), "meta": _META}),
            )
        },
    ),
    admin_operation(
        method="GET",
        path="/api/slots/{slot_id}",
        endpoint=show,
        tag=TAG,
        needs=READ,
        summary="shows a slot with its newest results",
        answers={200: Answer(description="It.", schema=_WITH_RESULTS, headers=("ETag",))},
        errors=("slot_not_found",),
    ),
    admin_operation(
        method="PUT",
        path="/api/slots/{slot_id}",
        endpoint=change,
        tag=TAG,
        needs=WRITE,
        summary="changes what is done with the photos of a slot, from the next one on",
        description="`If-Match`, or `updated_at` in the body, states what was read: 400 without"
        " either, 409 when it has changed. 422 names all that is wrong: provider, operation,"
        " settings, images that are missing. What is left out of the optional fields stays.",
        body=_CHANGE,
        answers={
            200: Answer(
                description="It is saved.",
                schema=record({"id": TEXT, "updated_at": TIME}),
                headers=("ETag",),
            )
        },
        errors=("slot_not_found", "stale_version"),
    ),
)
