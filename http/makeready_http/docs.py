"""The published description of the service: `/openapi.json`, and a page to read it at `/docs`."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from makeready_http.answers import Json
from makeready_http.openapi import openapi
from makeready_http.operations import ANYTHING, Answer, Operation

PAGE = "docs.html.j2"


async def show_openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return Json(openapi(request.app.state.operations))


async def show_docs(request: Request) -> Response:
    """The same as a page; it loads nothing from anywhere."""
    html, policy = _page(request.app.state.operations)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


@functools.lru_cache(maxsize=1)
def _page(operations: Sequence[Operation]) -> tuple[str, str]:
    folder = files("makeready_http") / "pages"
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("docs.css", "docs.js")
    )
    described = openapi(operations)
    groups = {
        tag: [_entry(each, described) for each in group]
        for tag, group in groupby(sorted(operations, key=_tag), key=_tag)
    }
    template = jinja2.Environment(autoescape=True).from_string(
        (folder / PAGE).read_text(encoding="utf-8")
    )
    html = template.render(groups=groups, style=style, script=script, info=described["info"])
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _entry(operation: Operation, described: dict[str, Any]) -> dict[str, Any]:
    found = described["paths"][operation.path][operation.method.lower()]
    answers = [
        {"status": status, "description": each["description"], "schema": _schema_of(each)}
        for status, each in found["responses"].items()
    ]
    body = found.get("requestBody")
    return {
        **found,
        "method": operation.method,
        "path": operation.path,
        "who": operation.who,
        "answers": answers,
        "body": _schema_of(body) if body else None,
    }


def _schema_of(part: dict[str, Any]) -> str:
    """The schema of a body as text; empty for none and for an error, which all look the same."""
    for media_type, content in part.get("content", {}).items():
        schema = content.get("schema")
        if schema and "$ref" not in schema:
            return f"{media_type}\n" + json.dumps(schema, indent=2, ensure_ascii=False)
        if not schema:
            return str(media_type)
    return ""


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tag(operation: Operation) -> str:
    return operation.tag


OPERATIONS = (
    Operation(
        method="GET",
        path="/openapi.json",
        endpoint=show_openapi,
        who="anyone",
        tag="docs",
        summary="tells all this as an OpenAPI 3.1 document",
        answers={200: Answer(description="The document.", schema=ANYTHING)},
    ),
    Operation(
        method="GET",
        path="/docs",
        endpoint=show_docs,
        who="anyone",
        tag="docs",
        summary="shows the same as a page to browse",
        answers={200: Answer(description="A page in HTML.", media_type="text/html")},
    ),
)
