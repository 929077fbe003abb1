"""Alerts: what staff should know of, and who took note. Thin.

GET  /admin/alerts                     ?severity&event&limit&after
POST /admin/alerts/{alert_id}/ack
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from makeready import alerts
from makeready_http.answers import Json, listed
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TIME,
    Answer,
    Schema,
    admin_operation,
    done,
    nullable,
    page_of,
    read_query,
    record,
)
from makeready_http.services import services_of

READ = "queues:read"
WRITE = "queues:write"
_QUERY: Mapping[str, Schema] = {
    "severity": {"type": "string", "enum": ["info", "warning", "error"]},
    "event": {"type": "string", "maxLength": 63},
    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    "after": {**ID, "description": "`next` of the page before."},
}
_NOTED = {"acked_at": nullable(TIME), "acked_by": nullable(TEXT)}
ALERT = record(
    {
        "alert_id": ID,
        "severity": TEXT,
        "event": TEXT,
        "context": ANYTHING,
        "request_id": nullable(TEXT),
        "created_at": TIME,
        "sent_at": nullable(TIME),
        "meta": record(_NOTED),
    }
)


async def list_alerts(request: Request) -> Response:
    """Alerts, newest first."""
    await current_staff(request, READ)
    asked = read_query(request, _QUERY)
    found = await alerts.listed(
        services_of(request).pool,
        limit=asked["limit"],
        severity=asked["severity"],
        event=asked["event"],
        older_than=asked["after"],
    )
    return listed("items", [_item(alert) for alert in found], asked["limit"], "alert_id")


async def acknowledge(request: Request) -> Response:
    """Takes note of an alert; who did so first stays."""
    member = await current_staff(request, WRITE)
    alert = path_uuid(request, "alert_id", "alert_not_found")
    async with acting(services_of(request), member, request) as connection:
        at, by = await alerts.acknowledge(connection, alert)
    return Json({"ok": True, "acked_at": at, "acked_by": by})


def _item(alert: alerts.Alert) -> dict[str, Any]:
    return {
        "alert_id": alert.id,
        "severity": alert.severity,
        "event": alert.event,
        "context": alert.context,
        "request_id": alert.request_id,
        "created_at": alert.created_at,
        "sent_at": alert.sent_at,
        "meta": {
            "acked_at": alert.acked_at,
            "acked_by": alert.acked_by,
        },
    }


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/alerts",
        endpoint=list_alerts,
        needs=READ,
        summary="lists alerts, newest first",
        query=_QUERY,
        answers={200: Answer(description="A page.", schema=page_of("items", ALERT))},
    ),
    admin_operation(
        method="POST",
        path="/admin/alerts/{alert_id}/ack",
        endpoint=acknowledge,
        needs=WRITE,
        summary="takes note of an alert; who did so first stays",
        answers={
            200: Answer(description="When, and who.", schema=done(acked_at=TIME, acked_by=TEXT))
        },
        errors=("alert_not_found",),
    ),
)
