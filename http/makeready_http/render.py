"""Making packs and rendering them. Thin: read, call one function, answer.

    POST /packs                      {"language": "ru", "documents": {"invoice": {…}}}
    POST /packs/{pack_id}/render
    POST /packs/{pack_id}/render/{doc_id}

The three POSTs take `Idempotency-Key`; the two that render take `Prefer: wait=N`. The answer is
202 while something is still being printed, and 200 or 201 when there is nothing to wait for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import render
from makeready.documents import foreign
from makeready.errors import NotFound, Rejected
from makeready.shapes import MAX_PROBLEMS, cut, problem
from makeready_http.answers import Json, pack_made, replayed
from makeready_http.auth import current_user
from makeready_http.inputs import (
    idempotency_key,
    path_uuid,
    prefer_wait,
)
from makeready_http.items import (
    DOCUMENT,
    JOB_FIELDS,
)
from makeready_http.operations import (
    ANYTHING,
    DOC_ID,
    ID,
    LANGUAGE,
    TEXT,
    WHOLE,
    Answer,
    Operation,
    array,
    done,
    large_body,
    nullable,
    record,
)
from makeready_http.outcomes import document_outcome, pack_outcome
from makeready_http.problems import Problem, not_found
from makeready_http.services import Services, services_of

_DOC_ID = re.compile(DOC_ID["pattern"])

_log = structlog.get_logger(__name__)


async def create_pack(request: Request) -> Response:
    """Makes a pack; all data is checked first, and every problem of it is named."""
    user = await current_user(request)
    key = idempotency_key(request)
    async with large_body(request, _PACK_BODY) as body:
        made = await _made(services_of(request), user, body, key)
    documents = sorted(body["documents"])
    return pack_made(made, len(documents), {"documents": documents})


async def render_pack(request: Request) -> Response:
    """Renders what the pack still lacks."""
    user = await current_user(request)
    pack = path_uuid(request, "pack_id", "pack_not_found")
    key, wait_s = idempotency_key(request), prefer_wait(request)
    services = services_of(request)
    _log.info("render_pack_requested", pack_id=str(pack))
    found = await services.write(lambda db: render.render_pack(db, user, pack, request_key=key))
    if found.is_new:
        if found.jobs_created:
            services.wake(render.QUEUE)
        _log.info(
            "render_jobs_enqueued",
            pack_id=str(pack),
            jobs_created=found.jobs_created,
            jobs_skipped=found.jobs_skipped,
        )
    body = {
        "ok": True,
        "pack_id": pack,
        "jobs_created": found.jobs_created,
        "jobs_skipped": found.jobs_skipped,
        "job_ids": found.job_ids,
    }
    answer: Response = Json(body)
    if found.job_ids or wait_s is not None:
        answer = await pack_outcome(services, user, pack, body=body, wait_s=wait_s)
    answer.headers.update(replayed(found.is_new))
    return answer


async def render_document(request: Request) -> Response:
    """Renders one document anew, whatever there is of it."""
    user = await current_user(request)
    pack = path_uuid(request, "pack_id", "pack_not_found")
    document = request.path_params["doc_id"]
    if not _DOC_ID.fullmatch(document):
        raise not_found("document_not_found", "doc_id", document)
    key, wait_s = idempotency_key(request), prefer_wait(request)
    services = services_of(request)
    found = await services.write(
        lambda db: render.render_document(db, user, pack, document, request_key=key)
    )
    if found.is_new:
        services.wake(render.QUEUE)
        _log.info(
            "render_job_created", pack_id=str(pack), doc_id=document, job_id=str(found.job_id)
        )
    body = {"ok": True, "pack_id": pack, "doc_id": document, "job_id": found.job_id}
    answer = await document_outcome(services, user, found.job_id, body, wait_s)
    answer.headers.update(replayed(found.is_new))
    return answer


async def _made(
    services: Services, user: UUID, body: Mapping[str, Any], key: str | None
) -> render.PackMade:
    """Checks and makes a pack; Rejected with all problems."""
    documents = body["documents"]
    if not documents:
        text = "a pack has the data of at least one document"
        raise _refused([problem("too_few", "documents", text, "")])
    session = body.get("session_id")
    await _check_documents(services, documents)
    try:
        return await services.write(
            lambda db: render.pack_create(
                db,
                user,
                documents,
                language=body.get("language", "ru"),
                session=None if session is None else UUID(session),
                request_key=key,
            )
        )
    except NotFound as error:
        if error.details.get("code") != "session_not_found":
            raise
        raise _refused([problem("unknown_session", "session_id", error.message, "")]) from None


async def _check_documents(services: Services, documents: Mapping[str, Any]) -> None:
    """Checks the data of all documents; 404 for an unknown one, Rejected with all problems."""
    problems: list[dict[str, Any]] = []
    for doc_id, data in documents.items():
        try:
            doc = await services.catalogue.current(doc_id)
            await foreign.check(doc, data, limiter=services.heavy)
        except NotFound:
            raise Problem(
                "document_not_found",
                f"There is no document {cut(doc_id)}.",
                details={"doc_id": cut(doc_id)},
            ) from None
        except Rejected as error:
            for found in error.details["problems"]:
                path = f"documents.{doc_id}" + (f".{found['path']}" if found["path"] else "")
                problems.append({**found, "path": path})
    if problems:
        raise _refused(problems)


def _refused(problems: list[dict[str, Any]]) -> Rejected:
    text = "the pack cannot be made of this"
    return Rejected(text, details={"problems": problems[:MAX_PROBLEMS]})


_PACK_BODY = record(
    {"documents": {**ANYTHING, "description": "Each document's data, by its doc_id."}},
    {
        "language": LANGUAGE,
        "session_id": {**nullable(ID), "description": "Left out: a new session is made."},
    },
)
_RENDERING = {"pack_id": ID, "jobs_created": WHOLE, "jobs_skipped": WHOLE, "job_ids": array(ID)}
_PACK_ENDED = done({"documents": array(DOCUMENT)}, **_RENDERING)
_JOB_MADE = {"pack_id": ID, "doc_id": TEXT, "job_id": ID}
OPERATIONS = (
    Operation(
        method="POST",
        path="/packs",
        endpoint=create_pack,
        tag="packs",
        summary="makes a pack of the data of its documents",
        description="All data is checked first, and every problem named.",
        body=_PACK_BODY,
        is_idempotent=True,
        answers={
            201: Answer(
                description="It is made.",
                schema=done(pack_id=ID, documents=array(TEXT)),
                headers=("Location",),
            )
        },
        errors=("document_not_found", "forbidden", "conflict", "storage_unavailable"),
    ),
    Operation(
        method="POST",
        path="/packs/{pack_id}/render",
        endpoint=render_pack,
        tag="packs",
        summary="renders what the pack lacks",
        description="Documents whose latest render is queued, rendering or ready are skipped."
        " Prefer: wait ends with the documents; GET /packs/{pack_id} shows the bundle when it is"
        " made.",
        is_idempotent=True,
        can_wait=True,
        answers={
            200: Answer(description="None of it is open.", schema=_PACK_ENDED),
            202: Answer(
                description="It is being printed.", schema=_PACK_ENDED, headers=("Location",)
            ),
        },
        errors=("pack_not_found", "forbidden", "conflict", "queue_busy"),
    ),
    Operation(
        method="POST",
        path="/packs/{pack_id}/render/{doc_id}",
        endpoint=render_document,
        tag="packs",
        summary="renders one document anew",
        is_idempotent=True,
        can_wait=True,
        answers={
            200: Answer(description="It is printed.", schema=done(**JOB_FIELDS)),
            202: Answer(
                description="It is being printed.",
                schema=done({"status": TEXT}, **_JOB_MADE),
                headers=("Location",),
            ),
        },
        errors=(
            "pack_not_found",
            "document_not_found",
            "forbidden",
            "already_in_progress",
            "queue_busy",
        ),
    ),
)
