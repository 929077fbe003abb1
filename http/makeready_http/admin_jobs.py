"""Staff's view of everybody's renders, packs and files. Thin.

GET  /admin/render-jobs          ?status&pack_id&doc_id&limit&after
GET  /admin/render-jobs/{job_id}
POST /admin/render-jobs/{job_id}/requeue
POST /admin/render-jobs/requeue-failed  ?limit
GET  /admin/packs, /admin/packs/{pack_id}/documents
POST /admin/packs/{pack_id}/render
GET  /admin/files/{file_id}/download
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import admin, library, render
from makeready_http.answers import LINK, Json, link_to, listed
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import path_uuid, prefer_wait
from makeready_http.items import DOCUMENT, STATUS, document_item
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TIME,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    array,
    done,
    nullable,
    page_of,
    read_query,
    record,
)
from makeready_http.outcomes import OPEN, ended_render, pack_outcome
from makeready_http.services import services_of

READ = "render:read"
WRITE = "render:write"

_LIMIT = {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
_JOBS_QUERY: Mapping[str, Schema] = {
    "status": {"type": "string", "enum": list(admin.STATES)},
    "pack_id": ID,
    "doc_id": {"type": "string", "maxLength": 63},
    "limit": _LIMIT,
    "after": {**ID, "description": "`next` of the page before."},
}
_PACKS_QUERY: Mapping[str, Schema] = {"user_id": ID, "limit": _LIMIT, "after": ID}
_FAILED_QUERY: Mapping[str, Schema] = {"limit": {**_LIMIT, "default": 100}}
_log = structlog.get_logger(__name__)


async def list_jobs(request: Request) -> Response:
    """Renders of all users, the last changed first."""
    await current_staff(request, READ)
    asked = read_query(request, _JOBS_QUERY)
    rows = await admin.renders(
        services_of(request).pool,
        status=asked["status"],
        pack=asked["pack_id"],
        document=asked["doc_id"],
        limit=asked["limit"],
        after=asked["after"],
    )
    return listed("items", rows, asked["limit"], "job_id")


async def inspect_job(request: Request) -> Response:
    """One render with its files and attempts."""
    await current_staff(request, READ)
    job = path_uuid(request, "job_id", "job_not_found")
    found = await admin.render(services_of(request).pool, job)
    return Json({"ok": True, "job": found})


async def requeue_job(request: Request) -> Response:
    """Renders a failed document once more."""
    member = await current_staff(request, WRITE)
    job = path_uuid(request, "job_id", "job_not_found")
    wait_s = prefer_wait(request)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        new = await admin.requeue(connection, job)
    services.wake(render.QUEUE)
    _log.info("render_job_created", job_id=str(new), old_job_id=str(job))
    body: dict[str, Any] = {"ok": True, "old_job_id": job, "new_job_id": new}
    headers = {"Location": f"/admin/render-jobs/{new}"}
    if wait_s is None:
        return Json(body, headers=headers)
    owner = (await admin.render(services.pool, new))["user_id"]
    found = await ended_render(services, owner, new, wait_s)
    body |= {"status": found.status, "file_id": found.file_id}
    headers["Preference-Applied"] = f"wait={wait_s:.0f}"
    return Json(body, status_code=202 if found.status in OPEN else 200, headers=headers)


async def requeue_failed(request: Request) -> Response:
    """Renders again what has failed, of all users."""
    member = await current_staff(request, WRITE)
    limit = read_query(request, _FAILED_QUERY)["limit"]
    services = services_of(request)
    async with acting(services, member, request) as connection:
        counts = await admin.requeue_failed(connection, limit)
    if counts.enqueued:
        services.wake(render.QUEUE)
    _log.info(
        "render_jobs_enqueued", jobs_created=counts.enqueued, jobs_skipped=counts.in_progress
    )
    return Json(
        {
            "ok": True,
            "failed_considered": counts.considered,
            "enqueued": counts.enqueued,
            "skipped_in_progress": counts.in_progress,
            "skipped_incomplete": counts.incomplete,
            "errors": list(counts.errors),
        }
    )


async def list_all_packs(request: Request) -> Response:
    """Packs of all users, newest first."""
    await current_staff(request, READ)
    asked = read_query(request, _PACKS_QUERY)
    rows = await admin.packs(
        services_of(request).pool,
        user=asked["user_id"],
        limit=asked["limit"],
        after=asked["after"],
    )
    return listed("packs", rows, asked["limit"], "pack_id")


async def list_pack_documents(request: Request) -> Response:
    """The documents of anybody's pack, as their owner sees them."""
    await current_staff(request, READ)
    pack = path_uuid(request, "pack_id", "pack_not_found")
    pool = services_of(request).pool
    owner = await admin.owner_of(pool, pack)
    found = await library.documents(pool, owner, pack)
    items = [document_item(state, services_of(request).settings) for state in found]
    return Json({"ok": True, "pack_id": pack, "documents": items})


async def render_any_pack(request: Request) -> Response:
    """Renders what anybody's pack lacks."""
    member = await current_staff(request, WRITE)
    pack = path_uuid(request, "pack_id", "pack_not_found")
    wait_s = prefer_wait(request)
    services = services_of(request)
    _log.info("render_pack_requested", pack_id=str(pack))
    async with acting(services, member, request) as connection:
        found = await admin.render_pack(connection, pack)
    if found.jobs_created:
        services.wake(render.QUEUE)
    counts = {"jobs_created": found.jobs_created, "jobs_skipped": found.jobs_skipped}
    _log.info("render_jobs_enqueued", pack_id=str(pack), **counts)
    body = {"ok": True, "pack_id": pack, **counts}
    if wait_s is None:
        return Json(body)
    owner = await admin.owner_of(services.pool, pack)
    answer = await pack_outcome(services, owner, pack, body=body, wait_s=wait_s)
    answer.headers["Location"] = f"/admin/packs/{pack}/documents"
    return answer


async def download_any(request: Request) -> Response:
    """A link to anybody's file; that it was asked for is audited."""
    member = await current_staff(request, READ)
    file_id = path_uuid(request, "file_id", "file_not_found")
    services = services_of(request)
    async with acting(services, member, request) as connection:
        found = await admin.file(connection, file_id)
    return await link_to(services, file_id, found)


_JOB = {
    "job_id": ID,
    "pack_id": ID,
    "session_id": ID,
    "user_id": nullable(ID),
    "doc_id": TEXT,
    "status": STATUS,
    "attempts": WHOLE,
    "max_attempts": WHOLE,
    "last_error": nullable(TEXT),
    "file_id": nullable(ID),
    "created_at": TIME,
    "updated_at": TIME,
}
_ARTIFACT = record(
    {
        "artifact_id": ID,
        "kind": TEXT,
        "created_at": TIME,
        "file_id": ID,
        "filename": TEXT,
        "content_type": TEXT,
        "size_bytes": WHOLE,
    }
)
_ATTEMPT = record(
    {
        "attempt": WHOLE,
        "outcome": TEXT,
        "error": nullable(ANYTHING),
        "started_at": nullable(TIME),
        "ended_at": nullable(TIME),
    }
)
_PACK = record(
    {
        "pack_id": ID,
        "session_id": ID,
        "user_id": nullable(ID),
        "user_name": nullable(TEXT),
        "created_at": TIME,
        "language": TEXT,
        "documents": WHOLE,
        "open_count": WHOLE,
    }
)
_REQUEUED = done({"status": STATUS, "file_id": nullable(ID)}, old_job_id=ID, new_job_id=ID)
_PACK_RENDERED = done(
    {"documents": array(DOCUMENT)}, pack_id=ID, jobs_created=WHOLE, jobs_skipped=WHOLE
)
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/render-jobs",
        endpoint=list_jobs,
        needs=READ,
        summary="lists everybody's renders, the last changed first",
        query=_JOBS_QUERY,
        answers={200: Answer(description="A page.", schema=page_of("items", record(_JOB)))},
    ),
    admin_operation(
        method="GET",
        path="/admin/render-jobs/{job_id}",
        endpoint=inspect_job,
        needs=READ,
        summary="shows a render with its files and attempts",
        answers={
            200: Answer(
                description="The render.",
                schema=done(
                    job=record(
                        {
                            **_JOB,
                            "artifacts": array(_ARTIFACT),
                            "attempt_list": array(_ATTEMPT),
                            "latest_file_id": nullable(ID),
                        }
                    )
                ),
            )
        },
        errors=("job_not_found",),
    ),
    admin_operation(
        method="POST",
        path="/admin/render-jobs/{job_id}/requeue",
        endpoint=requeue_job,
        needs=WRITE,
        summary="renders a failed document once more, by a new job",
        can_wait=True,
        answers={
            200: Answer(
                description="The new job is queued, or has ended well when it was waited for.",
                schema=_REQUEUED,
                headers=("Location",),
            ),
            202: Answer(description="It is still open.", schema=_REQUEUED, headers=("Location",)),
        },
        errors=(
            "job_not_found",
            "invalid_request",
            "already_in_progress",
            "result_expired",
            "queue_busy",
        ),
    ),
    admin_operation(
        method="POST",
        path="/admin/render-jobs/requeue-failed",
        endpoint=requeue_failed,
        needs=WRITE,
        summary="renders again all that has failed",
        query=_FAILED_QUERY,
        answers={
            200: Answer(
                description="What was done.",
                schema=done(
                    failed_considered=WHOLE,
                    enqueued=WHOLE,
                    skipped_in_progress=WHOLE,
                    skipped_incomplete=WHOLE,
                    errors=array(TEXT),
                ),
            )
        },
        errors=("queue_busy",),
    ),
    admin_operation(
        method="GET",
        path="/admin/packs",
        endpoint=list_all_packs,
        needs=READ,
        summary="lists everybody's packs, newest first",
        query=_PACKS_QUERY,
        answers={200: Answer(description="A page.", schema=page_of("packs", _PACK))},
    ),
    admin_operation(
        method="GET",
        path="/admin/packs/{pack_id}/documents",
        endpoint=list_pack_documents,
        needs=READ,
        summary="lists the documents of anybody's pack",
        answers={
            200: Answer(
                description="In the order of printing.",
                schema=done(pack_id=ID, documents=array(DOCUMENT)),
            )
        },
        errors=("pack_not_found",),
    ),
    admin_operation(
        method="POST",
        path="/admin/packs/{pack_id}/render",
        endpoint=render_any_pack,
        needs=WRITE,
        summary="renders what anybody's pack lacks",
        can_wait=True,
        answers={
            200: Answer(
                description="It is queued, or none of it is open when it was waited for.",
                schema=_PACK_RENDERED,
            ),
            202: Answer(
                description="Some of it is still open.",
                schema=_PACK_RENDERED,
                headers=("Location",),
            ),
        },
        errors=("pack_not_found", "conflict", "queue_busy"),
    ),
    admin_operation(
        method="GET",
        path="/admin/files/{file_id}/download",
        endpoint=download_any,
        needs=READ,
        summary="hands out a link to anybody's file; audited",
        answers={200: Answer(description="The link.", schema=LINK)},
        errors=("file_not_found",),
    ),
)
