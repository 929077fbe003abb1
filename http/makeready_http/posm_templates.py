"""Templates of table cards for staff: a designer's PDF, and what is put on it.

POST   /posm/templates                   a form: `pdf`, and `meta` as JSON
GET    /posm/templates                   ?restaurant_id&q&limit&after
GET    /posm/templates/{template_id}
PATCH  /posm/templates/{template_id}     If-Match: the version that was read
DELETE /posm/templates/{template_id}

Nothing is kept of a PDF or of settings in which something is wrong: the answer names all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import posm_templates, stamping
from makeready.errors import Rejected
from makeready.shapes import cut
from makeready.validation import find_problems
from makeready_http.answers import Json, listed, replayed
from makeready_http.auth import acting, current_staff
from makeready_http.file_upload import file_of
from makeready_http.inputs import idempotency_key, parse_json, path_uuid
from makeready_http.operations import (
    ANYTHING,
    ID,
    PAGE,
    TEXT,
    Answer,
    Schema,
    admin_operation,
    array,
    done,
    page_of,
    read_body,
    read_query,
    record,
)
from makeready_http.posm_items import (
    TEMPLATE,
    TEMPLATE_IN_LIST,
    listed_template,
    template_item,
)
from makeready_http.posm_parts import FINDING, READ, TAG, WRITE, finding_items
from makeready_http.posm_reading import (
    asked_template,
    changed_template,
    checked,
    facts_of,
    read_template,
    starting_settings,
    stored_template,
)
from makeready_http.posm_words import in_words
from makeready_http.problems import invalid_request
from makeready_http.services import services_of
from makeready_http.upload import Limits, Upload, received
from makeready_http.versions import etag, known_version

FORM_BYTES = 64 << 10
"""What a form has around its files."""
SETTINGS_BYTES = 256 << 10

_NAME = {**TEXT, "minLength": 1, "maxLength": 200, "pattern": r"\S"}
_ABOUT: Mapping[str, Schema] = {
    "description": {**TEXT, "maxLength": 2000},
    "visibility": {
        "type": "string",
        "enum": list(posm_templates.VISIBILITIES),
        "description": "Offered to all, to the restaurants that are named, or to those of a"
        " brand; global when left out.",
    },
    "brand": {"type": ["string", "null"], "minLength": 1, "maxLength": 100},
    "restaurant_ids": array(ID, maxItems=1000),
    "settings": {
        **ANYTHING,
        "description": "What is put where: docs/table-cards.md. Left out at upload: made of the"
        " PDF's own form fields.",
    },
}
_META = record({"name": _NAME}, _ABOUT)
_CHANGE = record({}, {"name": _NAME, **_ABOUT})
_LIST: Mapping[str, Schema] = {
    "restaurant_id": {**ID, "description": "Only what is offered to this restaurant."},
    "q": {**TEXT, "maxLength": 200, "description": "A part of its name or description."},
    **PAGE,
}
_log = structlog.get_logger(__name__)


async def create(request: Request) -> Response:
    """Takes a designer's PDF in."""
    member = await current_staff(request, WRITE)
    key = idempotency_key(request)
    services = services_of(request)
    most = (await posm_templates.policy(services.pool)).max_template_bytes
    limits = Limits(
        body_bytes=most + SETTINGS_BYTES + FORM_BYTES,
        parts=20,
        of_path={"pdf": most, "meta": SETTINGS_BYTES},
    )
    async with received(request, limits) as upload:
        meta = await _meta(upload)
        async with file_of(upload, "pdf") as pdf, services.designs:
            read = await read_template(request, await pdf.content())
            settings, origin = starting_settings(read.facts, meta.get("settings"))
            findings = await checked(request, read.facts, settings) if settings else []
            stored = await stored_template(services, read)
    said = json.dumps(meta, sort_keys=True).encode() + read.sha256
    with in_words(request):
        async with acting(services, member, request) as connection:
            made = await posm_templates.create(
                connection,
                stored_facts(meta) | {"settings": settings},
                stored,
                stamping.facts_json(read.facts),
                author=member.name,
                request_key=key,
                body_hash=hashlib.sha256(said).digest(),
            )
            found = await posm_templates.read(connection, made.id)
    _log.info("posm_template_created", template_id=str(made.id), is_new=made.is_new)
    body = {
        "ok": True,
        "template": template_item(found),
        "settings_from": origin,
        "findings": finding_items(request, findings),
    }
    headers = {"Location": f"/posm/templates/{made.id}", **etag(found.version)}
    return Json(body, status_code=201, headers=headers | replayed(made.is_new))


async def list_all(request: Request) -> Response:
    """Templates, newest first; of a restaurant those that are offered to it."""
    await current_staff(request, READ)
    asked = read_query(request, _LIST)
    rows = await posm_templates.page(
        services_of(request).pool,
        restaurant=asked["restaurant_id"],
        search=asked["q"] or None,
        limit=asked["limit"],
        after=asked["after"],
    )
    return listed("templates", [listed_template(row) for row in rows], asked["limit"], "id")


async def show(request: Request) -> Response:
    """One template with its settings."""
    await current_staff(request, READ)
    found = await asked_template(request)
    body = {"ok": True, "template": template_item(found)}
    return Json(body, headers=etag(found.version))


async def change(request: Request) -> Response:
    """Changes what is named; settings must fit the PDF."""
    member = await current_staff(request, WRITE)
    known = known_version(request)
    before = await asked_template(request)
    body = await read_body(request, _CHANGE, max_bytes=SETTINGS_BYTES)
    findings = []
    if "settings" in body:
        findings = await checked(request, facts_of(before), body["settings"])
        known = before.version if known is None else known  # checked with the PDF of this one
    return await changed_template(
        request, member, before.id, stored_facts(body), known=known, findings=findings
    )


async def delete(request: Request) -> Response:
    """No longer offers it."""
    member = await current_staff(request, WRITE)
    template = path_uuid(request, "template_id", "template_not_found")
    known = known_version(request)
    async with acting(services_of(request), member, request) as connection:
        await posm_templates.delete(connection, template, known=known)
    _log.info("posm_template_deleted", template_id=str(template))
    return Response(status_code=204)


async def _meta(upload: Upload) -> dict[str, Any]:
    """What is said about the PDF: a field of the form, or a file."""
    if "meta" in upload.fields:
        raw = upload.fields["meta"]
    else:
        async with file_of(upload, "meta") as file:
            raw = await file.content()
    odd = sorted({*upload.fields, *upload.digests} - {"pdf", "meta"})
    if odd:
        text = f"{cut(odd[0])} is no part of this form: it has pdf and meta."
        raise invalid_request(text, field=cut(odd[0]), reason="unknown_field")
    meta = parse_json(raw)
    problems = find_problems(_META, meta)
    if problems:
        raise Rejected("meta does not fit", details={"problems": problems})
    return meta


def stored_facts(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a template, by the names that its table has."""
    return {"restaurants" if name == "restaurant_ids" else name: body[name] for name in body}


_FOUND = {"template": TEMPLATE, "findings": array(FINDING)}
_CHANGED = Answer(description="As it is now.", schema=done(**_FOUND), headers=("ETag",))
_UPLOAD = record(
    {
        "pdf": {**TEXT, "format": "binary", "description": "The designer's PDF."},
        "meta": {**_META, "description": "What it is, as JSON."},
    }
)
OPERATIONS = (
    admin_operation(
        method="POST",
        path="/posm/templates",
        endpoint=create,
        tag=TAG,
        needs=WRITE,
        summary="takes a designer's PDF in as a template of table cards",
        description="The PDF is opened, and the settings are checked with sample data: 422 names"
        " everything that is wrong with them at once, in Russian or English as Accept-Language"
        " prefers. Without settings, fields come from the PDF's own form fields, whose names say"
        " what they show, such as {table.url}; `settings_from` says so.",
        body=_UPLOAD,
        body_type="multipart/form-data",
        is_idempotent=True,
        answers={
            201: Answer(
                description="Taken in; `findings` has warnings.",
                schema=done(
                    **_FOUND,
                    settings_from={"type": "string", "enum": ["request", "form_fields", "none"]},
                ),
                headers=("Location", "ETag"),
            )
        },
        errors=(
            "restaurant_not_found",
            "unsupported_media_type",
            "validation_failed",
            "conflict",
            "storage_unavailable",
        ),
    ),
    admin_operation(
        method="GET",
        path="/posm/templates",
        endpoint=list_all,
        tag=TAG,
        needs=READ,
        summary="lists templates, newest first, or those that a restaurant is offered",
        query=_LIST,
        answers={
            200: Answer(description="A page.", schema=page_of("templates", TEMPLATE_IN_LIST))
        },
        errors=("restaurant_not_found",),
    ),
    admin_operation(
        method="GET",
        path="/posm/templates/{template_id}",
        endpoint=show,
        tag=TAG,
        needs=READ,
        summary="shows a template with its recommended settings",
        answers={
            200: Answer(description="It.", schema=done(template=TEMPLATE), headers=("ETag",))
        },
        errors=("template_not_found",),
    ),
    admin_operation(
        method="PATCH",
        path="/posm/templates/{template_id}",
        endpoint=change,
        tag=TAG,
        needs=WRITE,
        summary="changes what is named of a template, unless `If-Match` names an older version",
        description="Settings are replaced as a whole, and checked with sample data. Generations"
        " keep the settings they were made with.",
        body=_CHANGE,
        answers={200: _CHANGED},
        errors=(
            "template_not_found",
            "restaurant_not_found",
            "stale_version",
            "storage_unavailable",
        ),
    ),
    admin_operation(
        method="DELETE",
        path="/posm/templates/{template_id}",
        endpoint=delete,
        tag=TAG,
        needs=WRITE,
        summary="takes a template out of all lists, unless `If-Match` names an older version",
        description="What was made of it stays, and can be downloaded.",
        answers={204: Answer(description="It is gone.")},
        errors=("template_not_found", "stale_version", "invalid_request"),
    ),
)
