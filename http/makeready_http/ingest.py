"""Photos: a booth posts one and gets it back, processed, in the same request.

POST /ingest/{slot_id}                   multipart: password, fileToUpload, and what else there is
POST /api/slots/{slot_id}/test-run       multipart: test_image, slot_payload

What can be refused is refused before the body is asked for; the photo has no name on the disk
until it is let in. From there on the answer comes no later than the deadline, whatever happens,
and what was sent is deleted when it is out.
"""

from __future__ import annotations

import anyio
from starlette.requests import Request
from starlette.responses import Response

from makeready.media import StoredMedia
from makeready_http.answers import Json
from makeready_http.auth import current_staff
from makeready_http.operations import ID, TEXT, Answer, Operation, record
from makeready_http.photo_answers import image_answer
from makeready_http.photo_requests import OVERRIDES, Errand, answered
from makeready_http.photo_services import Photos
from makeready_http.photo_upload import FILE_FIELDS
from makeready_http.photo_waits import Wait

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")


async def take(request: Request) -> Response:
    """Takes a booth's photo and answers with what became of it."""
    errand = Errand(source="booth", file_fields=FILE_FIELDS, needs_password=True, tell=_image)
    return await answered(request, errand)


async def try_out(request: Request) -> Response:
    """The same for staff: says how it went, and where the result lies."""
    await current_staff(request, "slots:write")
    errand = Errand(
        source="ui_test", file_fields=("test_image",), needs_password=False, tell=_report
    )
    return await answered(request, errand)


async def _image(photos: Photos, stored: StoredMedia, _: Wait) -> Response:
    return await image_answer(photos.media, stored)


async def _report(photos: Photos, stored: StoredMedia, wait: Wait) -> Response:
    del stored
    found = {
        "status": "succeeded",
        "job_id": wait.job,
        "public_result_url": f"{photos.settings.public_url or ''}/public/results/{wait.job}",
        "completed_in_seconds": round(anyio.current_time() - wait.asked_at, 3),
    }
    return Json(found, headers={"Cache-Control": "no-store"})


_REFUSALS = (
    "invalid_request",
    "slot_not_found",
    "upload_timeout",
    "payload_too_large",
    "unsupported_media_type",
    "queue_busy",
    "rate_limited",
    "provider_error",
    "job_cancelled",
    "storage_unavailable",
    "sync_timeout",
)
_FORM = {
    "type": "object",
    "properties": {
        "password": TEXT,
        "fileToUpload": {"type": "string", "contentMediaType": "image/*"},
    },
    "required": ["password", "fileToUpload"],
    "additionalProperties": TEXT,
}
_TEST_FORM = {
    "type": "object",
    "properties": {
        "test_image": {"type": "string", "contentMediaType": "image/*"},
        OVERRIDES: {**TEXT, "description": "JSON; what is tried in place of the slot's own."},
    },
    "required": ["test_image"],
}

OPERATIONS = (
    Operation(
        method="POST",
        path="/ingest/{slot_id}",
        endpoint=take,
        tag="photos",
        who="anyone",
        summary="takes a photo of a booth and answers with the processed image",
        description="The password is a part of the form; further parts are kept as they come. "
        "The answer comes within the window of the policy, 48 seconds unless set.",
        body=_FORM,
        body_type="multipart/form-data",
        is_idempotent=True,
        answers={
            200: Answer(
                description="The image.",
                media_type=IMAGES[0],
                other_types=IMAGES[1:],
                headers=("X-Job-Id",),
            )
        },
        errors=("invalid_credentials", *_REFUSALS),
    ),
    Operation(
        method="POST",
        path="/api/slots/{slot_id}/test-run",
        endpoint=try_out,
        tag="photos",
        who="staff",
        needs="slots:write",
        summary="sends a photo through a slot, with other settings if need be",
        body=_TEST_FORM,
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
        errors=("validation_failed", *_REFUSALS),
    ),
)
