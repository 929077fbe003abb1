"""What staff reads of the whole system: its state now, and what happened. Thin.

GET /admin/overview
GET /admin/logs     ?kind&limit&after
GET /admin/audit    ?action&target&limit&after
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from makeready import admin
from makeready_http.answers import Json, listed
from makeready_http.auth import current_staff
from makeready_http.operations import (
    ANYTHING,
    TEXT,
    TIME,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    array,
    done,
    nullable,
    page_of,
    read_query,
    record,
)
from makeready_http.problems import invalid_request
from makeready_http.services import services_of

LOGS = "queues:read"

_LOG_LIMIT = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
_AUDIT_QUERY: Mapping[str, Schema] = {
    "action": {"type": "string", "maxLength": 63},
    "target": {"type": "string", "maxLength": 200},
    "limit": _LOG_LIMIT,
    "after": {"type": "integer", "minimum": 0, "description": "`next` of the page before."},
}
_LOGS_QUERY: Mapping[str, Schema] = {
    "kind": {"type": "string", "enum": list(admin.LOG_KINDS)},
    "limit": _LOG_LIMIT,
    "after": {"type": "string", "maxLength": 100, "description": "`next` of the page before."},
}


async def show_overview(request: Request) -> Response:
    """What an operator looks at first."""
    await current_staff(request, LOGS)
    return Json({"ok": True, **await admin.overview(services_of(request).pool)})


async def list_log(request: Request) -> Response:
    """Audit lines, alerts, ended renders and generations in one list, newest first."""
    await current_staff(request, LOGS)
    asked = read_query(request, _LOGS_QUERY)
    before, below = _place(asked["after"])
    lines = await admin.log(
        services_of(request).pool,
        kind=asked["kind"],
        limit=asked["limit"],
        before=before,
        below=below,
    )
    following = None
    if len(lines) == asked["limit"]:
        following = f"{lines[-1]['at'].isoformat()}~{lines[-1]['line']}"
    return Json({"ok": True, "items": lines, "next": following})


def _place(after: str | None) -> tuple[datetime | None, str]:
    """Time and line that a page ended with; a time alone will do."""
    if after is None:
        return None, ""
    text, _, line = after.partition("~")
    found = None
    try:
        stated = datetime.fromisoformat(text.replace(" ", "+"))  # an address may lose its plus
        found = stated.astimezone(UTC) if stated.tzinfo else None
    except (ValueError, OverflowError):
        pass
    if found is None or not re.fullmatch("([a-z]+-[0-9a-f-]+)?", line):
        raise invalid_request("after is no place in the log.", field="after", reason="format")
    return found, line


async def list_audit(request: Request) -> Response:
    """The audit log, newest first."""
    await current_staff(request, LOGS)
    asked = read_query(request, _AUDIT_QUERY)
    rows = await admin.audit(
        services_of(request).pool,
        action=asked["action"],
        target=asked["target"],
        limit=asked["limit"],
        after=asked["after"],
    )
    return listed("items", rows, asked["limit"], "id")


_LINE = record(
    {
        "at": TIME,
        "line": TEXT,
        "kind": TEXT,
        "event": TEXT,
        "severity": TEXT,
        "target": nullable(TEXT),
        "facts": nullable(ANYTHING),
        "request_id": nullable(TEXT),
    }
)
_AUDITED = record(
    {
        "id": WHOLE,
        "at": TIME,
        "actor": TEXT,
        "action": TEXT,
        "target": nullable(TEXT),
        "before_hash": nullable(TEXT),
        "after_hash": nullable(TEXT),
        "before": nullable(ANYTHING),
        "after": nullable(ANYTHING),
        "reason": nullable(TEXT),
        "request_id": nullable(TEXT),
        "address": nullable(TEXT),
    }
)
_OVERVIEW = done(
    queues=array(ANYTHING),
    workers=array(ANYTHING),
    alerts_open=WHOLE,
    failures=array(ANYTHING),
    chores_failing=array(TEXT),
)


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/overview",
        endpoint=show_overview,
        needs=LOGS,
        summary="shows queues, workers, open alerts and failures",
        answers={200: Answer(description="All at a glance.", schema=_OVERVIEW)},
    ),
    admin_operation(
        method="GET",
        path="/admin/logs",
        endpoint=list_log,
        needs=LOGS,
        summary="lists audit lines, alerts, ended renders and generations together, newest first",
        query=_LOGS_QUERY,
        answers={200: Answer(description="A page.", schema=page_of("items", _LINE))},
    ),
    admin_operation(
        method="GET",
        path="/admin/audit",
        endpoint=list_audit,
        needs=LOGS,
        summary="lists what staff and operators did, newest first",
        query=_AUDIT_QUERY,
        answers={200: Answer(description="A page.", schema=page_of("items", _AUDITED))},
    ),
)
