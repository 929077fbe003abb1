"""What a route promises: its path, who may call it, what it takes and what it answers.

Each module of routes exports `OPERATIONS`; `app` serves them, `openapi` and the HTTP reference are
made of them, and `read_body` checks bodies by the very schema that is published.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from makeready.documents.wording import LANGUAGES
from makeready.errors import Rejected
from makeready.validation import find_problems
from makeready_http.inputs import parse_json, read_bytes
from makeready_http.problems import invalid_request
from makeready_http.services import services_of

Schema: TypeAlias = Mapping[str, Any]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANYTHING: Schema = {"type": "object", "additionalProperties": True, "properties": {}}
LANGUAGE: Schema = {"type": "string", "enum": list(LANGUAGES), "default": LANGUAGES[0]}
DOC_ID: Schema = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"}
JSON = "application/json"
SMALL_BODY_MAX_BYTES = 4 << 10  # for what strangers send, and passwords
BODY_MAX_BYTES = 64 << 10
LARGE_BODY_MAX_BYTES = 8 << 20
PAGE_DEFAULT = 50
PAGE_MAX = 200


def record(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None
) -> dict[str, Any]:
    """The schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def array(items: Schema, **bounds: int) -> dict[str, Any]:
    """The schema of a list."""
    return {"type": "array", "items": items, **bounds}


def nullable(schema: Schema) -> dict[str, Any]:
    """The same, or null."""
    found = schema["type"]
    names = found if isinstance(found, list) else [found]
    return {**schema, "type": [*names, "null"]}


def done(optional: Mapping[str, Schema] | None = None, /, **fields: Schema) -> dict[str, Any]:
    """The schema of a success: `ok`, these fields, and those that may be missing."""
    return record({"ok": {"const": True}, **fields}, optional)


def page_of(name: str, items: Schema) -> dict[str, Any]:
    """The schema of one page of a list."""
    return done(**{name: array(items), "next": nullable(TEXT)})


PAGE: Mapping[str, Schema] = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": PAGE_MAX,
        "default": PAGE_DEFAULT,
        "description": "Entries of a page.",
    },
    "after": {**ID, "description": "`next` of the page before."},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One way in which a call succeeds."""

    description: str
    schema: Schema | None = None
    """Of the body; None: there is none, or it is no JSON."""
    media_type: str = JSON
    other_types: tuple[str, ...] = ()
    """That the body may have when the request says so."""
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """One route and method."""

    method: Method
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]
    summary: str
    """One line, in the indicative."""
    tag: str
    """The part of the service it belongs to; groups the reference."""
    answers: Mapping[int, Answer]
    who: Literal["anyone", "user", "staff"] = "user"
    needs: str | None = None
    """The permission that staff must have, such as `render:write`."""
    description: str = ""
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    body_type: str = JSON
    is_body_needed: bool = True
    errors: tuple[str, ...] = ()
    """Codes of `problems.STATUS_OF` beside those that follow from the other fields."""
    is_idempotent: bool = False
    """Whether it takes `Idempotency-Key`."""
    can_wait: bool = False
    """Whether it takes `Prefer: wait=N`."""
    wait_errors: tuple[str, ...] = ("render_failed", "job_cancelled")
    """Codes of what was waited for and went wrong; none where the answer says so itself."""

    @property
    def name(self) -> str:
        """Unique among all operations, such as `get_me_packs`."""
        steps = [step for step in self.path.split("/") if step]
        words = [re.sub("[-.]", "_", re.sub("[{}]", "", step)) for step in steps]
        return "_".join([self.method.lower(), *words])

    def all_errors(self) -> tuple[str, ...]:
        """Every code it may answer."""
        found = list(self.errors)
        if self.who != "anyone":
            found.append("unauthorized")
        if self.needs:
            found.append("forbidden")
        if self.query or self.is_idempotent:
            found.append("invalid_request")
        if self.body is not None:
            found += ["invalid_request", "upload_timeout", "payload_too_large"]
            found += ["validation_failed"] if self.body_type == JSON else []
        if self.is_idempotent:
            found.append("idempotency_mismatch")
        if self.can_wait:
            found += self.wait_errors
        found += ["queue_unavailable", "internal_error"]
        return tuple(dict.fromkeys(found))

    def route(self) -> Route:
        """What Starlette serves."""
        return Route(self.path, self.endpoint, methods=[self.method])


def admin_operation(*, tag: str = "administration", **facts: Any) -> Operation:
    """An operation of staff."""
    return Operation(who="staff", tag=tag, **facts)


async def read_body(
    request: Request, schema: Schema, *, max_bytes: int = BODY_MAX_BYTES
) -> dict[str, Any]:
    """The body, an object that fits the schema; 400 when it is no JSON, 422 with all problems."""
    raw = await read_bytes(request, max_bytes)
    return await to_thread.run_sync(_fitting, raw, schema, limiter=services_of(request).heavy)


@asynccontextmanager
async def large_body(request: Request, schema: Schema) -> AsyncIterator[dict[str, Any]]:
    """As `read_body`, up to 8 MiB; few of them are looked at at a time.

    Read into objects a body takes some twenty times its bytes, and the parser lets nothing else
    run: many at once would fill the memory and keep everybody waiting.
    """
    raw = await read_bytes(request, LARGE_BODY_MAX_BYTES)
    services = services_of(request)
    async with services.bodies:
        yield await to_thread.run_sync(_fitting, raw, schema, limiter=services.heavy)


def _fitting(raw: bytes, schema: Schema) -> dict[str, Any]:
    body = parse_json(raw)
    problems = find_problems(schema, body)
    if problems:
        raise Rejected("the body does not fit", details={"problems": problems})
    return body


def read_query(request: Request, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """The parameters of the address that fit their schemas; those left out have their default.

    Ids come as UUID, times as datetime. 400 for the first that does not fit; others are let be.
    """
    found: dict[str, Any] = {}
    for name, schema in schemas.items():
        text = request.query_params.get(name)
        value = schema.get("default") if text is None else _value(text, schema)
        if text is not None and find_problems(schema, value):
            raise invalid_request(
                f"{name} does not fit: {json.dumps(schema)}", field=name, reason="format"
            )
        found[name] = _FORMATS.get(schema.get("format", ""), _same)(value) if value else value
    return found


def read_page(request: Request) -> tuple[int, uuid.UUID | None]:
    """`limit` and `after` of a list whose operation takes `PAGE`; 400 for what does not fit."""
    found = read_query(request, PAGE)
    return found["limit"], found["after"]


_FORMATS: Mapping[str, Callable[[Any], Any]] = {
    "uuid": uuid.UUID,
    "date-time": datetime.fromisoformat,
}


def _same(value: Any) -> Any:
    return value


def _value(text: str, schema: Schema) -> Any:
    if schema["type"] == "integer" and re.fullmatch("-?[0-9]{1,18}", text):
        return int(text)
    if schema["type"] == "boolean" and text in {"true", "false"}:
        return text == "true"
    return text
