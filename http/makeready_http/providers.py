"""Providers that process photos, for staff; their keys are a matter of /api/settings.

GET    /api/providers
PUT    /api/providers/{provider_id}    If-Match: the version that was read
DELETE /api/providers/{provider_id}    If-Match: the version that was read
"""

from __future__ import annotations

import re

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import photo_providers
from makeready.errors import Rejected
from makeready.photo_kinds import KINDS, options_problems
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.operations import (
    ANYTHING,
    TEXT,
    TRUTH,
    Answer,
    admin_operation,
    array,
    read_body,
    record,
)
from makeready_http.problems import not_found
from makeready_http.services import services_of
from makeready_http.slot_items import PROVIDER, READ, TAG, provider_item
from makeready_http.versions import etag, known_version

_WRITE = "settings:write"
_BODY_MAX_BYTES = 128 << 10

_CHANGE = record(
    {},
    {
        "name": {**TEXT, "minLength": 1, "maxLength": 200, "pattern": r"\S"},
        "kind": {
            "type": "string",
            "enum": list(KINDS),
            "description": "How it is spoken with; makes a new provider.",
        },
        "options": {
            **ANYTHING,
            "description": "Replaced as a whole; GET /api/providers has the schemas.",
        },
        "max_parallel": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 1000,
            "description": "Photos that may be with it at a time, over all machines.",
        },
        "is_enabled": TRUTH,
    },
)
_NAME = re.compile("[a-z][a-z0-9_-]{0,39}")
_log = structlog.get_logger(__name__)


async def list_all(request: Request) -> Response:
    """All providers, with what they can do."""
    member = await current_staff(request, READ)
    found = await photo_providers.everyone(services_of(request).photos.pool)
    may = member.may(_WRITE)
    return Json({"providers": [provider_item(row, has_options=may) for row in found.values()]})


async def put(request: Request) -> Response:
    """Changes a provider, or makes one."""
    member = await current_staff(request, _WRITE)
    known = known_version(request)
    body = await read_body(request, _CHANGE, max_bytes=_BODY_MAX_BYTES)
    services, provider = services_of(request), _asked(request)
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        is_new = await photo_providers.put(connection, provider, body, known=known)
        found = await photo_providers.read(connection, provider)
        problems = options_problems(found.kind, found.options) if "options" in body else []
        if problems:
            problems = [
                {**each, "path": f"options.{each['path']}".rstrip(".")} for each in problems
            ]
            raise Rejected("the options do not fit", details={"problems": problems})
    _log.info("provider_changed", provider_id=provider, is_new=is_new)
    body = provider_item(found, has_options=True)
    return Json(body, status_code=201 if is_new else 200, headers=etag(found.version))


async def delete(request: Request) -> Response:
    """Deletes a provider that staff has made and no slot asks."""
    member = await current_staff(request, _WRITE)
    known = known_version(request)
    services, provider = services_of(request), _asked(request)
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        await photo_providers.delete(connection, provider, known=known)
    _log.info("provider_deleted", provider_id=provider)
    return Response(status_code=204)


def _asked(request: Request) -> str:
    """The provider of the path; 404 for what cannot be one."""
    text: str = request.path_params["provider_id"]
    if not _NAME.fullmatch(text):
        raise not_found("provider_not_found", "provider_id", text)
    return text


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/api/providers",
        endpoint=list_all,
        tag=TAG,
        needs=READ,
        summary="lists who can process photos, and how",
        answers={
            200: Answer(description="All.", schema=record({"providers": array(PROVIDER)})),
        },
    ),
    admin_operation(
        method="PUT",
        path="/api/providers/{provider_id}",
        endpoint=put,
        tag=TAG,
        needs=_WRITE,
        summary="changes what is named of a provider, or makes one of the `kind` that is named",
        description="For photos from now on; `If-Match` refuses what was made of an older"
        " version. Providers of the kind `webhook` are described by their options alone.",
        body=_CHANGE,
        answers={
            200: Answer(description="As it is now.", schema=PROVIDER, headers=("ETag",)),
            201: Answer(description="It was made.", schema=PROVIDER, headers=("ETag",)),
        },
        errors=("provider_not_found", "stale_version", "conflict"),
    ),
    admin_operation(
        method="DELETE",
        path="/api/providers/{provider_id}",
        endpoint=delete,
        tag=TAG,
        needs=_WRITE,
        summary="deletes a provider that staff has made and no slot asks, with its keys",
        answers={204: Answer(description="It is gone.")},
        errors=("provider_not_found", "stale_version", "conflict", "invalid_request"),
    ),
)
