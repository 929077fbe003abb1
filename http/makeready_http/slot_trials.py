"""Staff tries a slot: a photo goes the way of a booth's, with other settings if need be.

POST /api/slots/{slot_id}/test-run       multipart: test_image, slot_payload
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from makeready import photo_providers, slots
from makeready.errors import Rejected
from makeready.jobs import Json as JsonObject
from makeready.media import StoredMedia
from makeready.validation import find_problems
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import current_staff
from makeready_http.ingest import REFUSALS
from makeready_http.inputs import parse_json
from makeready_http.operations import ANYTHING, ID, TEXT, Answer, admin_operation, array, record
from makeready_http.photo_requests import Errand, Visit, answered
from makeready_http.photo_waits import Wait
from makeready_http.problems import Problem, invalid_request
from makeready_http.slot_items import STEP, TAG, WRITE, public_link

FILE, SETTINGS = "test_image", "slot_payload"
_SETTINGS = record(
    {},
    {
        "provider_id": TEXT,
        "operation_id": TEXT,
        "settings_json": ANYTHING,
        "fallbacks": array(STEP, maxItems=5),
    },
)


async def try_out(request: Request) -> Response:
    """Takes a photo as a booth's; says how it went, and where the result lies."""
    await current_staff(request, WRITE)
    errand = Errand(source="ui_test", file_fields=(FILE,), tell=_report, settings=_settings)
    return await answered(request, errand)


async def _settings(visit: Visit, fields: Mapping[str, str]) -> JsonObject | None:
    """What is tried in place of the slot's own settings, if it could process photos."""
    text = fields.get(SETTINGS, "")
    if not text.strip():
        return None
    try:
        tried = parse_json(text.encode())
    except Problem:
        raise invalid_request(
            f"{SETTINGS} is no JSON object.", field=SETTINGS, reason="json"
        ) from None
    pool = visit.photos.pool
    problems = find_problems(_SETTINGS, tried)
    if not problems:
        slot = await slots.read(pool, visit.slot)
        problems = slots.problems(
            _chain(slot, tried),
            await photo_providers.everyone(pool),
            slot.media,
            has_public_url=bool(visit.photos.settings.public_url),
        )
    if problems:
        raise Rejected("the slot could not process photos", details={"problems": problems})
    return tried


def _chain(slot: slots.Slot, tried: Mapping[str, Any]) -> dict[str, Any]:
    """The slot as it is tried: settings of another operation are not mixed with its own."""
    chain = {
        "provider_id": slot.provider_id,
        "operation_id": slot.operation_id,
        "fallbacks": slot.fallbacks,
    } | dict(tried)
    is_other = any(chain[name] != getattr(slot, name) for name in ("provider_id", "operation_id"))
    own = {} if is_other else slot.settings_json
    return {**chain, "settings_json": {**own, **tried.get("settings_json", {})}}


async def _report(visit: Visit, _: StoredMedia, wait: Wait) -> Response:
    found = {
        "status": "succeeded",
        "job_id": wait.job,
        "public_result_url": public_link(visit.request, f"/public/results/{wait.job}"),
        "completed_in_seconds": round(anyio.current_time() - wait.asked_at, 3),
    }
    return Json(found, headers=NO_STORE)


OPERATIONS = (
    admin_operation(
        method="POST",
        path="/api/slots/{slot_id}/test-run",
        endpoint=try_out,
        tag=TAG,
        needs=WRITE,
        summary="sends a photo through a slot, with other settings if need be",
        body={
            "type": "object",
            "properties": {
                FILE: {"type": "string", "contentMediaType": "image/*"},
                SETTINGS: {
                    **TEXT,
                    "description": "JSON: provider_id, operation_id, settings_json, fallbacks "
                    "that are tried in place of the slot's own.",
                },
            },
            "required": [FILE],
        },
        body_type="multipart/form-data",
        is_idempotent=True,
        answers={
            200: Answer(
                description="It went well; the result lies under the address.",
                schema=record(
                    {
                        "status": {"const": "succeeded"},
                        "job_id": ID,
                        "public_result_url": TEXT,
                        "completed_in_seconds": {"type": "number"},
                    }
                ),
                headers=("X-Job-Id",),
            )
        },
        errors=("validation_failed", *REFUSALS),
    ),
)
