"""Versions of document types for staff: draft, update, validate, dry-run, publish, roll back.

GET    /admin/config/{key}/versions             ?limit=50&after=<the last number before>
GET    /admin/config/{key}/versions/{version}
DELETE /admin/config/{key}/versions/{version}
POST   /admin/config/{key}/draft      {"payload_text": …} or {"version": …} or {}, "comment"
POST   /admin/config/{key}/update     {"version", "payload_text", "comment"}
POST   /admin/config/{key}/validate   {"version"}
POST   /admin/config/{key}/dry-run    {"version", "language", "data"}
POST   /admin/config/{key}/publish    {"version", "comment"}
POST   /admin/config/{key}/rollback   {"comment"}

The key is the doc_id. `If-Match` with a version's ETag, its hash, refuses what was made of an
older content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from makeready import render
from makeready.documents import foreign, versions
from makeready.documents.designs import WITHOUT_TEMPLATE, Payload, read_payload, type_of
from makeready.documents.versions import Version
from makeready.errors import Rejected
from makeready.staff import Staff
from makeready_http import admin_config_bodies as bodies
from makeready_http.answers import Json, listed
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import prefer_wait
from makeready_http.operations import DOC_ID, read_body, read_query
from makeready_http.outcomes import OPEN, failed
from makeready_http.problems import invalid_request, not_found
from makeready_http.services import services_of

READ = "render:read"
WRITE = "render:write"
BODY_MAX_BYTES = 24 << 20  # a payload of 16 MiB, written as a text in JSON

_KEY = re.compile(DOC_ID["pattern"])
_EDITABLE = frozenset({"draft", "valid", "invalid"})
_log = structlog.get_logger(__name__)


async def list_versions(request: Request) -> Response:
    """The versions of a type, newest first."""
    await current_staff(request, READ)
    key, asked = _key(request), read_query(request, bodies.PAGE)
    pool, limit = services_of(request).pool, asked["limit"]
    rows = await versions.versions(pool, key, limit=limit, older_than=asked["after"])
    return listed("versions", [_item(row) for row in rows], limit, "version", key=key)


async def show_version(request: Request) -> Response:
    """One version with its payload."""
    await current_staff(request, READ)
    key, number = _key(request), _number(request)
    row, design = await versions.version(services_of(request).pool, key, number)
    body = {"ok": True, "key": key, "version": _item(row), "payload": design}
    return Json(body, headers=_etag(row))


async def discard_draft(request: Request) -> Response:
    """Deletes a version that was never in force."""
    member = await current_staff(request, WRITE)
    key, number = _key(request), _number(request)
    async with acting(services_of(request), member, request) as connection:
        await versions.discard(connection, key, number, expected=_expected(request))
    return Json({"ok": True})


async def make_draft(request: Request) -> Response:
    """A new version: of a payload, of another version, or of what is in force."""
    member = await current_staff(request, WRITE)
    key = _key(request)
    body = await read_body(request, bodies.DRAFT, max_bytes=BODY_MAX_BYTES)
    services = services_of(request)
    if "payload_text" in body:
        payload = await _payload(request, body["payload_text"])
    elif "version" in body:
        _, design = await versions.version(services.pool, key, body["version"])
        payload = Payload(design=design, contents={})
    else:
        design = await versions.draft_base(services.pool, key)
        payload = Payload(design=design, contents={})
    uploads = await versions.store_assets(services.pool, services.storage, key, payload)
    async with acting(services, member, request) as connection:
        number = await versions.draft(
            connection, key, payload.design, uploads, note=body.get("comment")
        )
    return await _answer(request, key, number, status=201)


async def update_draft(request: Request) -> Response:
    """Replaces the payload of a draft."""
    member = await current_staff(request, WRITE)
    key = _key(request)
    body = await read_body(request, bodies.UPDATE, max_bytes=BODY_MAX_BYTES)
    services = services_of(request)
    payload = await _payload(request, body["payload_text"])
    await versions.version(services.pool, key, body["version"])  # before bytes are stored
    uploads = await versions.store_assets(services.pool, services.storage, key, payload)
    async with acting(services, member, request) as connection:
        await versions.update(
            connection,
            key,
            body["version"],
            payload.design,
            uploads,
            expected=_expected(request),
            note=body.get("comment"),
        )
    return await _answer(request, key, body["version"])


async def validate(request: Request) -> Response:
    """Compiles and prints the samples as HTML, and enters what is wrong."""
    member = await current_staff(request, WRITE)
    key = _key(request)
    body = await read_body(request, bodies.VERSION_ONLY)
    row, design = await versions.version(services_of(request).pool, key, body["version"])
    await _check(request, member, key, row, design)
    return await _answer(request, key, row.number)


async def dry_run(request: Request) -> Response:
    """A trial render: a real job that prints this version."""
    member = await current_staff(request, WRITE)
    key = _key(request)
    body = await read_body(request, bodies.DRY_RUN)
    wait_s = prefer_wait(request)
    services = services_of(request)
    row, design = await versions.version(services.pool, key, body["version"])
    if row.state in _EDITABLE and row.state != "valid":
        problems = await _check(request, member, key, row, design)
        if problems:
            raise Rejected("the version is not valid", details={"problems": problems})
    samples = design.get("samples", {})
    language = body.get("language") or ("en" if samples.keys() == {"en"} else "ru")
    data: Any = body.get("data", samples.get(language) or next(iter(samples.values()), {}))
    if "data" in body:
        await foreign.check(type_of(key, row.hash, design, {}), data, limiter=services.heavy)
    async with acting(services, member, request) as connection:
        job = await versions.trial(
            connection, key, row.number, seen=row.hash, language=language, data=data
        )
    services.wake(render.QUEUE)
    _log.info("render_job_created", doc_id=key, job_id=str(job), version=row.hash)
    return await _trial_outcome(request, key, row, job, wait_s)


async def publish(request: Request) -> Response:
    """Puts a version in force: one that is valid, and that a trial render has printed."""
    member = await current_staff(request, WRITE)
    key = _key(request)
    body = await read_body(request, bodies.PUBLISH)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        await versions.publish(
            connection,
            key,
            body["version"],
            expected=_expected(request),
            note=body.get("comment"),
        )
    services.catalogue.forget(key)
    return await _answer(request, key, body["version"])


async def rollback(request: Request) -> Response:
    """Puts the version that was in force before back in force."""
    member = await current_staff(request, WRITE)
    key = _key(request)
    body = await read_body(request, bodies.ROLLBACK)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        number = await versions.rollback(connection, key, note=body.get("comment"))
    services.catalogue.forget(key)
    return await _answer(request, key, number)


async def _check(
    request: Request, member: Staff, key: str, row: Version, design: Mapping[str, Any]
) -> list[dict[str, str]]:
    """What is wrong with a version; entered, unless it was in force already."""
    problems = await foreign.proofread(key, design)
    if row.state in _EDITABLE:
        async with acting(services_of(request), member, request) as connection:
            await versions.checked(connection, key, row.number, row.hash, problems)
    return problems


async def _trial_outcome(
    request: Request, key: str, row: Version, job: UUID, wait_s: float | None
) -> Response:
    services = services_of(request)
    body: dict[str, Any] = {
        "ok": True,
        "key": key,
        "version": row.number,
        "hash": row.hash,
        "job_id": job,
        "status": "queued",
        "file_id": None,
        "pages": None,
    }
    headers = {"Location": f"/admin/render-jobs/{job}"}
    if wait_s is None:
        return Json(body, status_code=202, headers=headers)
    ended = await services.waiting.wait(render.QUEUE, job, wait_s)
    found = await versions.trial_state(services.pool, job)
    headers["Preference-Applied"] = f"wait={wait_s:.0f}"
    if found.status == "failed":
        raise failed(job, found.error, ended)
    body |= {
        "status": found.status,
        "file_id": found.file_id,
        "pages": found.pages,
    }
    return Json(body, status_code=202 if found.status in OPEN else 200, headers=headers)


async def _payload(request: Request, text: str) -> Payload:
    return await to_thread.run_sync(read_payload, text, limiter=services_of(request).heavy)


async def _answer(request: Request, key: str, number: int, *, status: int = 200) -> Response:
    row, _ = await versions.version(services_of(request).pool, key, number)
    body = {"ok": True, "key": key, "version": _item(row)}
    return Json(body, status_code=status, headers=_etag(row))


def _key(request: Request) -> str:
    """A doc_id; what cannot be one is no key."""
    key: str = request.path_params["key"]
    if not _KEY.fullmatch(key) or key == WITHOUT_TEMPLATE:
        text = "A key is the doc_id of a document type that has a template."
        raise invalid_request(text, field="key", reason="unsupported_key")
    return key


def _number(request: Request) -> int:
    text: str = request.path_params["version"]
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise not_found("document_not_found", "version", text)
    return int(text)


def _expected(request: Request) -> str | None:
    """The hash of `If-Match`; None when the caller does not care."""
    text = request.headers.get("if-match", "").strip()
    return None if text in {"", "*"} else text.removeprefix("W/").strip('"')[:64]


def _etag(row: Version) -> dict[str, str]:
    return {"ETag": f'"{row.hash}"'}


def _item(row: Version) -> dict[str, Any]:
    return {
        "version": row.number,
        "hash": row.hash,
        "origin": row.origin,
        "status": row.state,
        "errors": row.problems,
        "comment": row.remark,
        "made_by": row.made_by,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
        "checked_at": row.checked_at,
        "published_at": row.published_at,
        "trial_job_id": row.trial_job,
        "is_tried": row.is_tried,
    }
