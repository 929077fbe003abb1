"""Writes docs/reference/http.md from the operations; `make docs` runs it, a test compares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby

from makeready_http.operations import Operation
from makeready_http.problems import STATUS_OF

_HEAD = """# HTTP reference

Generated from the routes by `make docs`; do not edit. A running service shows the same with all schemas at `/docs`,
and as OpenAPI 3.1 at `/openapi.json`.

Every answer has `X-Request-Id` (yours, if you sent one of at most 128 printable characters).
Routes marked *user* want `Authorization: Bearer <token>`: log in, or let an operator run `makeready token --user NAME`.
Routes marked *staff* want the token of `POST /api/login`, and a permission where one is named.
What is not yours answers 404, like what does not exist.

`Idempotency-Key` on a route marked *key*: the same request again is answered with what the first one made
(`Idempotency-Replayed: true`); another body under the key is 422 `idempotency_mismatch`.
`Prefer: wait=N` on a route marked *wait*: the answer comes when the work has ended, or after N seconds (at most 60) as
202 with `Location`. Lists are paged: `?limit=50&after=<next>`; `next` is null on the last page.
"""  # noqa: E501 -- lines of the page
_ERRORS = """
## Errors

`{"error": {"code", "message", "details"?}}`; `details` of `validation_failed` list `{code, path, message, hint}`, the
first 100. A head above 64 KiB is 400 `headers_too_large`; a head that takes more than 10 s is not answered; a body that
comes slower than 32 KiB/s after 15 s is 408, and its connection is closed. 429 and 503 carry `Retry-After`.
A status may get further codes: a client that meets one it does not know goes by the status.

| status | codes |
| --- | --- |
"""  # noqa: E501 -- as above


def reference(operations: Iterable[Operation]) -> str:
    """The whole page."""
    text = _HEAD
    found = list(operations)
    for tag, group in groupby(sorted(found, key=_tag), key=_tag):
        text += f"\n## {tag[0].upper()}{tag[1:]}\n\n| route | who | does | answers | refuses |\n"
        text += "| --- | --- | --- | --- | --- |\n"
        text += "".join(map(_row, group))
    codes = {code for operation in found for code in operation.all_errors()}
    codes |= {"route_not_found", "method_not_allowed"}
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in sorted(codes):
        by_status[STATUS_OF[code]].append(f"`{code}`")
    text += _ERRORS
    return text + "".join(
        f"| {status} | {', '.join(by_status[status])} |\n" for status in sorted(by_status)
    )


def _row(operation: Operation) -> str:
    marks = [
        *(["key"] if operation.is_idempotent else []),
        *(["wait"] if operation.can_wait else []),
    ]
    who = operation.who + (f" `{operation.needs}`" if operation.needs else "")
    who += f" ({', '.join(marks)})" if marks else ""
    does = operation.summary + (f". {operation.description}" if operation.description else "")
    answers = "; ".join(
        f"{status} {_fields(answer.schema) or answer.media_type}"
        for status, answer in operation.answers.items()
    )
    refuses = ", ".join(f"`{code}`" for code in operation.errors)
    return f"| `{operation.method} {operation.path}` | {who} | {does} | {answers} | {refuses} |\n"


def _fields(schema: object) -> str:
    if not isinstance(schema, dict) or not schema.get("properties"):
        return ""
    needed = schema.get("required", [])
    names = [name if name in needed else f"{name}?" for name in schema["properties"]]
    return f"`{{{', '.join(names)}}}`"


def _tag(operation: Operation) -> str:
    return operation.tag
