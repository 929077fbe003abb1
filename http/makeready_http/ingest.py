"""Photos: a booth posts one and gets it back, processed, in the same request.

POST /ingest/{slot_id}      multipart: password, fileToUpload, and what else there is

What can be refused is refused before the body is asked for; the photo has no name on the disk
until it is let in. From there on the answer comes no later than the deadline, whatever happens,
and what was sent is deleted when it is out.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from makeready.media import StoredMedia
from makeready.pictures import MEDIA_TYPES
from makeready_http.operations import TEXT, Answer, Operation
from makeready_http.photo_answers import image_answer
from makeready_http.photo_requests import Errand, Visit, answered
from makeready_http.photo_upload import FILE_FIELDS
from makeready_http.photo_waits import Wait


async def take(request: Request) -> Response:
    """Takes a booth's photo and answers with what became of it."""
    return await answered(request, Errand(source="booth", file_fields=FILE_FIELDS, tell=_image))


async def _image(visit: Visit, stored: StoredMedia, _: Wait) -> Response:
    return await image_answer(visit.photos.media, stored)


REFUSALS = (
    "invalid_request",
    "slot_not_found",
    "upload_timeout",
    "payload_too_large",
    "unsupported_media_type",
    "queue_busy",
    "rate_limited",
    "provider_error",
    "job_cancelled",
    "result_expired",
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
                media_type=MEDIA_TYPES[0],
                other_types=MEDIA_TYPES[1:],
                headers=("X-Job-Id", "Server-Timing"),
            )
        },
        errors=("invalid_credentials", *REFUSALS),
    ),
)
