"""Evidence of failed renders, for staff alone: it shows what the inside looks like. Thin.

GET /admin/render-jobs/{job_id}/evidence
"""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import evidence
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    ID,
    TEXT,
    TIME,
    WHOLE,
    Answer,
    admin_operation,
    array,
    done,
    record,
)
from makeready_http.services import services_of

READ = "render:read"
EVIDENCE = record(
    {
        "evidence_id": ID,
        "attempt": WHOLE,
        "code": TEXT,
        "created_at": TIME,
        "expires_at": TIME,
        "size_bytes": WHOLE,
        "url": TEXT,
    }
)

_log = structlog.get_logger(__name__)


async def list_evidence(request: Request) -> Response:
    """Links to what was kept of a render's failed attempts; the look is audited."""
    member = await current_staff(request, READ)
    job = path_uuid(request, "job_id", "job_not_found")
    services = services_of(request)
    async with acting(services, member, request) as connection:
        found = await evidence.of_job(connection, job)
    valid_s = services.settings.presign_ttl_s
    items = [
        {
            "evidence_id": one.id,
            "attempt": one.attempt,
            "code": one.code,
            "created_at": one.kept_at,
            "expires_at": one.kept_until,
            "size_bytes": one.byte_count,
            "url": await services.storage.presign(
                one.key,
                bucket=one.bucket,
                valid_s=valid_s,
                filename=f"{job}-{one.attempt}.zip",
            ),
        }
        for one in found
    ]
    _log.info("evidence_listed", job_id=str(job), found=len(items))
    return Json(
        {"ok": True, "items": items, "expires_in_sec": valid_s},
        headers=NO_STORE,
    )


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/render-jobs/{job_id}/evidence",
        endpoint=list_evidence,
        needs=READ,
        summary="hands out links to what was kept of a render's failed attempts",
        description="An archive has the HTML, what the engine noted, and a picture if there was"
        " one. The newest three of a job are kept, for 14 days unless `makeready.retention` says"
        " otherwise. Owners do not get it: it tells how the inside works, and what they need to"
        " mend stands in `last_error`.",
        answers={
            200: Answer(
                description="The newest attempt first; links work for `expires_in_sec`.",
                schema=done(items=array(EVIDENCE), expires_in_sec=WHOLE),
            )
        },
        errors=("job_not_found",),
    ),
)
