"""Versions of what staff edits: the ETag of what was read, and If-Match of who writes."""

from __future__ import annotations

import re

from starlette.requests import Request

from makeready_http.problems import invalid_request

_VERSION = re.compile(r'(?:W/)?"?([0-9]{1,9})"?')


def known_version(request: Request) -> int | None:
    """The version of `If-Match`; None when the caller does not care."""
    text = request.headers.get("if-match", "").strip()
    if text in {"", "*"}:
        return None
    found = _VERSION.fullmatch(text)
    if not found:
        said = "If-Match takes the ETag of what was read."
        raise invalid_request(said, field="If-Match", reason="format")
    return int(found[1])


def etag(version: int) -> dict[str, str]:
    """The header that `If-Match` takes."""
    return {"ETag": f'"{version}"'}
