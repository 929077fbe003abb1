"""The whole policy of photos: what /api/settings shows the most of, and what is turned less often.

GET   /admin/ingest/policy
PATCH /admin/ingest/policy    {"refuses_late": false}, If-Match: the version that was read
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import photo_policy
from makeready.errors import Rejected
from makeready.photo_policy import Policy
from makeready.photo_settings import SYNC_MAX_S, SYNC_MIN_S
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.operations import (
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    done,
    nullable,
    read_body,
    record,
)
from makeready_http.photo_settings import window_problems
from makeready_http.services import services_of
from makeready_http.slot_items import TAG
from makeready_http.versions import etag, known_version

_FIELDS: dict[str, Schema] = {
    "sync_response_s": {
        "type": "number",
        "minimum": SYNC_MIN_S,
        "maximum": SYNC_MAX_S,
        "description": "In which a booth is answered.",
    },
    "max_in_flight": {
        **WHOLE,
        "minimum": 1,
        "maximum": 1000,
        "description": "Photos that may be open at a time.",
    },
    "result_retention_hours": {**WHOLE, "minimum": 24, "maximum": 168},
    "refuses_late": {
        **TRUTH,
        "description": "Photos that would most likely not be ready in time are refused at once.",
    },
    "is_durable": {
        **TRUTH,
        "description": "Admission and end of a photo wait for the disk.",
    },
    "replay_s": {
        **WHOLE,
        "minimum": 0,
        "maximum": 86_400,
        "description": "How long a slot that joins re-sent images answers from the result.",
    },
    "keep_days": {
        **WHOLE,
        "minimum": 7,
        "maximum": 36_500,
        "description": "How long photos and their log are kept.",
    },
    "min_free_bytes": {
        **WHOLE,
        "minimum": 0,
        "maximum": 1 << 50,
        "description": "Room that is left in the media store.",
    },
}
_CHANGE = record({}, _FIELDS)
_log = structlog.get_logger(__name__)


async def show(request: Request) -> Response:
    """What is in force."""
    await current_staff(request, "settings:read")
    return _answer(await photo_policy.read(services_of(request).photos.pool))


async def change(request: Request) -> Response:
    """Changes what is named, for photos from now on."""
    member = await current_staff(request, "settings:write")
    known = known_version(request)
    changes = await read_body(request, _CHANGE)
    services = services_of(request)
    problems = window_problems("sync_response_s", changes.get("sync_response_s"), services)
    if problems:
        raise Rejected("the policy does not fit", details={"problems": problems})
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        await photo_policy.put(connection, changes, known=known)
        found = await photo_policy.read(connection)
    _log.info("ingest_settings_changed", what=sorted(changes))
    return _answer(found)


def _answer(found: Policy) -> Response:
    names = (*_FIELDS, "version", "updated_at", "updated_by")
    facts: dict[str, Any] = asdict(found)
    policy = {name: facts[name] for name in names}
    return Json({"ok": True, "policy": policy}, headers=etag(found.version))


_SHOWN = done(
    policy=record(
        {
            "sync_response_s": {"type": "number"},
            "max_in_flight": nullable(WHOLE),
            "result_retention_hours": WHOLE,
            "refuses_late": TRUTH,
            "is_durable": TRUTH,
            "replay_s": WHOLE,
            "keep_days": WHOLE,
            "min_free_bytes": WHOLE,
            "version": WHOLE,
            "updated_at": TIME,
            "updated_by": nullable(TEXT),
        }
    )
)
_IN_FORCE = Answer(description="What is in force.", schema=_SHOWN, headers=("ETag",))
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/ingest/policy",
        endpoint=show,
        tag=TAG,
        needs="settings:read",
        summary="shows the whole policy of photos",
        answers={200: _IN_FORCE},
    ),
    admin_operation(
        method="PATCH",
        path="/admin/ingest/policy",
        endpoint=change,
        tag=TAG,
        needs="settings:write",
        summary="changes what is named of the policy of photos, for those that come from now on",
        body=_CHANGE,
        answers={200: _IN_FORCE},
        errors=("stale_version",),
    ),
)
