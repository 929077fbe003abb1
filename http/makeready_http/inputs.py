"""What a route reads out of a request: JSON bodies, ids, and the two preference headers.

Everything here refuses before it reads more than it must. A body in memory is never larger than
its limit, and never holds what PostgreSQL cannot store.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from starlette.requests import Request

from makeready_http.bodies import BodyChunks
from makeready_http.problems import invalid_request, not_found

WAIT_MAX_S = 60.0
KEY_MAX = 255

_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_MAX}}}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether a request says that it brings one."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """The body.

    413 as soon as the declared or the received length is over the limit; 408 when it comes too
    slowly.
    """
    received = bytearray()
    with BodyChunks(request, max_bytes) as chunks:
        async for chunk in chunks:
            received += chunk
    return bytes(received)


def parse_json(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, of what PostgreSQL can store; raises Problem."""
    try:
        # Decoded here: json.loads itself lets half of a surrogate pair pass, and takes UTF-16 too.
        text = str(raw, "utf-8-sig")
        found = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise invalid_request("The body is not JSON.", field="body", reason="json") from None
    if not isinstance(found, dict):
        raise invalid_request("The body must be a JSON object.", field="body", reason="type")
    if b"\\u" in raw and not _is_storable(found):
        raise invalid_request(
            "The body has a character that cannot be stored.", field="body", reason="text"
        )
    return found


def path_uuid(request: Request, name: str, code: str) -> UUID:
    """An id of the path. What is no id cannot be anybody's: the same 404 as an unknown one."""
    text = request.path_params[name]
    try:
        return UUID(text)
    except ValueError:
        raise not_found(code, name, text) from None


def idempotency_key(request: Request) -> str | None:
    """The client's key: 1 to 255 printable ASCII characters without spaces."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise invalid_request(
            f"An Idempotency-Key has 1 to {KEY_MAX} printable ASCII characters.",
            field="Idempotency-Key",
            reason="format",
        )
    return key


def prefer_wait(request: Request) -> float | None:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most 60; None: do not wait."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return None if found is None else min(float(found[1]), WAIT_MAX_S)


def _is_storable(found: Any) -> bool:
    """False for U+0000 and for half of a surrogate pair, which only an escape can bring in."""
    left = [found]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and _UNSTORABLE.search(value):
            return False
    return True


def _refuse_constant(word: str) -> float:
    raise ValueError(word)  # NaN and Infinity are not JSON


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
