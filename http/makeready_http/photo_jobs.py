"""Photos for staff: lists, one with its log, and the order to clean up.

GET  /api/jobs                    ?status&is_finalized&failure_reason&slot_id&sort_by&page&…
GET  /api/jobs/{job_id}
POST /api/media/cache/purge       {"scope": "full"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import job_reads, media_cleanup
from makeready.job_reads import Event, Photo
from makeready_http.answers import Json, iso
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import has_body, path_uuid
from makeready_http.operations import (
    ANYTHING,
    ID,
    SMALL_BODY_MAX_BYTES,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    array,
    nullable,
    read_body,
    read_query,
    record,
)
from makeready_http.photo_results import TAG
from makeready_http.services import services_of

READ = "stats:read"
SETTINGS_WRITE = "settings:write"
_STATUS: Schema = {**TEXT, "enum": ["pending", "processing"]}
_REASON: Schema = {**TEXT, "enum": ["timeout", "provider_error", "cancelled"]}
_QUERY: Mapping[str, Schema] = {
    "status": {**_STATUS, "description": "Whether a worker has had it, ended or not."},
    "is_finalized": TRUTH,
    "failure_reason": _REASON,
    "slot_id": {**TEXT, "maxLength": 40},
    "sort_by": {**TEXT, "enum": ["created_at", "expires_at"], "default": "created_at"},
    "sort_order": {**TEXT, "enum": ["asc", "desc"], "default": "desc"},
    "page": {**WHOLE, "minimum": 1, "maximum": 1_000_000, "default": 1},
    "page_size": {**WHOLE, "minimum": 1, "maximum": 100, "default": 20},
}
_PURGE = record({}, {"scope": {**TEXT, "enum": ["full", "media_objects"], "default": "full"}})

_log = structlog.get_logger(__name__)


async def list_jobs(request: Request) -> Response:
    """Photos, newest first unless told."""
    await current_staff(request, READ)
    asked = read_query(request, _QUERY)
    found, total = await job_reads.page(
        services_of(request).photos.pool,
        status=asked["status"],
        is_finalized=asked["is_finalized"],
        failure_reason=asked["failure_reason"],
        slot=asked["slot_id"],
        sort=asked["sort_by"],
        descending=asked["sort_order"] == "desc",
        number=asked["page"],
        size=asked["page_size"],
    )
    meta = {"page": asked["page"], "page_size": asked["page_size"], "total": total}
    return Json({"data": [_item(photo) for photo in found], "meta": meta})


async def read_job(request: Request) -> Response:
    """A photo and its log."""
    await current_staff(request, READ)
    job = path_uuid(request, "job_id", "job_not_found")
    photo, events = await job_reads.read(services_of(request).photos.pool, job)
    return Json({**_item(photo), "events": [_event(each) for each in events]})


async def purge(request: Request) -> Response:
    """Has the cleaner come at once."""
    member = await current_staff(request, SETTINGS_WRITE)
    body = {}
    if has_body(request.headers):
        body = await read_body(request, _PURGE, max_bytes=SMALL_BODY_MAX_BYTES)
    scope = body.get("scope", "full")
    services = services_of(request)
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        asked = await media_cleanup.ask(connection, scope)
    services.photos.cleanup.hurry()
    _log.info("media_purge_asked", scope=scope, purge_id=str(asked.id))
    told = {
        "status": "queued_for_gc",
        "scope": scope,
        "job_id": asked.id,
        "expires_cutoff": iso(asked.cutoff),
    }
    return Json(told, status_code=202)


def _item(photo: Photo) -> dict[str, Any]:
    return {
        "job": photo.facts,
        "deadline": {
            "expires_at": photo.facts["expires_at"],
            "remaining_ms": max(0, int(photo.seconds_left * 1000)),
            "is_expired": photo.seconds_left <= 0,
        },
        "metrics": {
            "queue_wait_ms": photo.queue_wait_ms,
            "processing_ms": photo.processing_ms,
            "total_elapsed_ms": photo.total_elapsed_ms,
        },
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "status": event.status,
        "occurred_at": iso(event.occurred_at),
        "message": event.message,
        "provider_latency_ms": event.provider_latency_ms,
        "details": event.details,
    }


_JOB = record(
    {
        "id": ID,
        "slot_id": TEXT,
        "status": _STATUS,
        "is_finalized": TRUTH,
        "failure_reason": {"type": ["string", "null"], "enum": [*_REASON["enum"], None]},
        "expires_at": TIME,
        "created_at": TIME,
        "updated_at": TIME,
        "finalized_at": nullable(TIME),
        "payload_path": nullable(TEXT),
        "provider_id": TEXT,
        "provider_job_reference": nullable(TEXT),
        "provider_latency_ms": nullable(WHOLE),
        "cost": nullable({"type": "number"}),
        "result_file_path": nullable(TEXT),
        "result_inline_base64": {"type": "null"},
        "result_mime_type": nullable(TEXT),
        "result_size_bytes": nullable(WHOLE),
        "result_checksum": nullable(TEXT),
        "result_expires_at": nullable(TIME),
        "source": {**TEXT, "enum": ["booth", "ui_test"]},
        "failure": nullable(ANYTHING),
        "answered_at": nullable(TIME),
        "answered_with": nullable(WHOLE),
    }
)
_MS: Schema = {**WHOLE, "minimum": 0}
_VIEW: Mapping[str, Schema] = {
    "job": _JOB,
    "deadline": record({"expires_at": TIME, "remaining_ms": _MS, "is_expired": TRUTH}),
    "metrics": record(
        {
            "queue_wait_ms": nullable(_MS),
            "processing_ms": nullable(_MS),
            "total_elapsed_ms": _MS,
        }
    ),
}
_EVENT = record(
    {
        "status": TEXT,
        "occurred_at": TIME,
        "message": nullable(TEXT),
        "provider_latency_ms": nullable(WHOLE),
        "details": ANYTHING,
    }
)
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/api/jobs",
        endpoint=list_jobs,
        tag=TAG,
        needs=READ,
        summary="lists photos with their deadlines and times",
        query=_QUERY,
        answers={
            200: Answer(
                description="A page.",
                schema=record(
                    {
                        "data": array(record(_VIEW)),
                        "meta": record({"page": WHOLE, "page_size": WHOLE, "total": WHOLE}),
                    }
                ),
            )
        },
    ),
    admin_operation(
        method="GET",
        path="/api/jobs/{job_id}",
        endpoint=read_job,
        tag=TAG,
        needs=READ,
        summary="tells of one photo, with its processing log",
        answers={
            200: Answer(
                description="The photo.", schema=record({**_VIEW, "events": array(_EVENT)})
            )
        },
        errors=("job_not_found",),
    ),
    admin_operation(
        method="POST",
        path="/api/media/cache/purge",
        endpoint=purge,
        tag=TAG,
        needs=SETTINGS_WRITE,
        summary="deletes files of photos that have expired, now and not in their time",
        description="`media_objects`: temporary media and payloads; `full`: expired results and"
        " files that nobody knows too. What has not expired stays, and so do template media."
        " job_id names the order in the audit log.",
        body=_PURGE,
        is_body_needed=False,
        answers={
            202: Answer(
                description="The cleaner is on its way.",
                schema=record(
                    {
                        "status": {"const": "queued_for_gc"},
                        "scope": TEXT,
                        "job_id": ID,
                        "expires_cutoff": TIME,
                    }
                ),
            )
        },
    ),
)
