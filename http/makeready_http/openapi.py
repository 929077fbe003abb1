"""The OpenAPI 3.1 document of the service, made of the operations and of nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from makeready import __version__
from makeready_http.operations import ID, JSON, TEXT, Answer, Operation, record
from makeready_http.problems import STATUS_OF

_PROBLEM = record({"code": TEXT, "path": TEXT, "message": TEXT, "hint": TEXT})
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "enum": sorted(STATUS_OF)},
                "message": TEXT,
                "details": {"description": "What the code's row of the reference names."},
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
_HEADERS = {
    "Location": "Where to ask again.",
    "Retry-After": "Seconds to wait before the next try.",
    "Allow": "The methods that there are.",
    "X-Job-Id": "The job.",
    "Server-Timing": "Where the time went, by part, in milliseconds.",
    "X-File-Id": "The file.",
    "Accept-Ranges": "`bytes`: a download may be resumed with Range and If-Range.",
    "Content-Disposition": "What a download is called.",
    "ETag": "The version, for If-Match.",
    "Expires": "Until when the answer may be kept.",
    "X-Result-Expires-At": "Until when the result is kept, ISO 8601.",
}
_PATH_SCHEMAS = {  # every other parameter of a path is an id
    "doc_id": TEXT,
    "slot_id": TEXT,
    "key": TEXT,
    "provider_id": TEXT,
    "page": {"type": "integer", "minimum": 1, "maximum": 9999},
}


def openapi(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Makeready",
            "version": __version__,
            "summary": "A job system for documents and media.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "paths": dict(paths),
        "components": {
            "schemas": {"Error": _ERROR, "Problem": _PROBLEM},
            "securitySchemes": {
                "user": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A user's token: POST /auth/otp/verify, or `makeready token`.",
                },
                "staff": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "What POST /api/login answers.",
                },
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": _sentence(operation.summary),
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *_parameters(operation)],
        "responses": _responses(operation),
    }
    about = operation.description
    if operation.needs:
        about = f"{about} Staff needs the permission `{operation.needs}`.".strip()
    if about:
        found["description"] = about
    if operation.who != "anyone":
        found["security"] = [{operation.who: []}]
    if operation.body is not None:
        found["requestBody"] = {
            "required": operation.is_body_needed,
            "content": {operation.body_type: {"schema": operation.body}},
        }
    return found


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _PATH_SCHEMAS.get(name, ID),
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in operation.query.items()
    ]
    if operation.is_idempotent:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same request again is answered with what the first made.",
                "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
            }
        )
    if "stale_version" in operation.errors:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "description": "The ETag of what was read; 409 `stale_version` when it is older.",
                "schema": {"type": "string", "examples": ['"1"']},
            }
        )
    if operation.can_wait:
        found.append(
            {
                "name": "Prefer",
                "in": "header",
                "description": "`wait=N`: the answer comes when the work has ended, or after N "
                "seconds (at most 60) as 202 with `Location`.",
                "schema": {"type": "string", "examples": ["wait=20"]},
            }
        )
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    found = {str(status): _success(answer) for status, answer in operation.answers.items()}
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in operation.all_errors():
        by_status[STATUS_OF[code]].append(code)
    for status, codes in sorted(by_status.items()):
        response = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        if status in {429, 503}:
            response["headers"] = _headers(("Retry-After",))
        found[str(status)] = response
    return found


def _success(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        found["content"] = {answer.media_type: {"schema": answer.schema}}
    elif answer.media_type != JSON:
        found["content"] = {kind: {} for kind in (answer.media_type, *answer.other_types)}
    if answer.headers:
        found["headers"] = _headers(answer.headers)
    return found


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name], "schema": TEXT} for name in names}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
