"""What the routes of table cards share: who may call them, how findings look, versions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import anyio
from starlette.requests import Request

from makeready.cards import wording
from makeready.stamping import CardsRefused
from makeready.stamping import Problem as Finding
from makeready_http.inputs import path_uuid
from makeready_http.languages import Language, language_of
from makeready_http.operations import TEXT, TRUTH, WHOLE, Schema, array, record
from makeready_http.problems import Problem, not_found, retry_after

READ = "posm:read"
WRITE = "posm:write"
TAG = "table cards"
PDF = "application/pdf"
PNG = "image/png"
SHOWN_FINDINGS = 100
TURN_S = 20.0

_ALLOWED = {
    "template_not_pdf": [PDF],
    "asset_unsupported": ["font/ttf", "font/otf", PNG, "image/jpeg"],
}

FINDING = record(
    {
        "code": TEXT,
        "path": TEXT,
        "level": {"type": "string", "enum": ["error", "warning"]},
        "message": TEXT,
        "hint": TEXT,
        "tables": array(TEXT),
    }
)
"""One thing that was found in a template, its settings or the tables' data."""


def finding_item(found: Finding, language: Language) -> dict[str, Any]:
    """A finding in the language of the request."""
    message, hint = wording.text(found, language)
    return {
        "code": found.code,
        "path": found.path,
        "level": "error" if found.is_error else "warning",
        "message": message,
        "hint": hint,
        "tables": list(found.tables),
    }


def finding_items(request: Request, found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings, errors first, at most a hundred of them."""
    language = language_of(request)
    ordered = sorted(found, key=lambda each: not each.is_error)
    return [finding_item(each, language) for each in ordered[:SHOWN_FINDINGS]]


@asynccontextmanager
async def turn(limiter: anyio.CapacityLimiter) -> AsyncIterator[None]:
    """One of the few places for work that takes time and memory; 503 when none gets free."""
    with anyio.move_on_after(TURN_S) as patience:
        await limiter.acquire()
    if patience.cancelled_caught:
        text = "Too many ask for cards at this moment."
        raise Problem("queue_unavailable", text, headers=retry_after())
    try:
        yield
    finally:
        limiter.release()


@contextmanager
def told(request: Request) -> Iterator[None]:
    """What cards refuse in this block is answered in the language of the request."""
    try:
        yield
    except CardsRefused as refused:
        raise refusal(request, refused.problems) from None


def refuse_errors(request: Request, found: Iterable[Finding]) -> None:
    """422 with all findings when one of them is an error."""
    found = list(found)
    if any(each.is_error for each in found):
        raise refusal(request, found)


def refusal(request: Request, found: Iterable[Finding]) -> Problem:
    """413 and 415 for what is no template at all; else 422 with all findings."""
    found = list(found)
    items = finding_items(request, found)
    for each, item in zip(found, items, strict=False):
        facts: Mapping[str, Any] = each.facts
        if each.code in _ALLOWED:
            details = {"detected": facts.get("kind") or "unknown", "allowed": _ALLOWED[each.code]}
            return Problem("unsupported_media_type", item["message"], details=details)
        if each.code == "template_too_big" and "bytes" in facts:
            details = {"max_bytes": facts.get("limit"), "received_bytes": facts["bytes"]}
            return Problem("payload_too_large", item["message"], details=details)
    message = items[0]["message"] if len(items) == 1 else f"{len(found)} findings."
    return Problem("validation_failed", message, details=items)


IMAGE: Mapping[str, Schema] = {
    "dpi": {**WHOLE, "minimum": 36, "maximum": 300, "default": 100},
    "grid": {**TRUTH, "default": False, "description": "Draws a grid in millimetres, and boxes."},
}


def asked_generation(request: Request) -> UUID:
    """The generation of the path; 404 for what is no id."""
    return path_uuid(request, "generation_id", "generation_not_found")


def path_page(request: Request, pages: int) -> int:
    """The page of a path; 404 for one that the template has not."""
    text = request.path_params["page"]
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or int(text) > pages:
        raise not_found("template_not_found", "page", text)
    return int(text)
