"""Alerts: what a person should know of; one typed call for each SQL function.

Recording never breaks the work that noticed something: it is bounded in time, and what goes wrong
is a line in the log. The queue `deliver` sends what was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import structlog

from makeready.db import Executor, one
from makeready.faults import database_fault

RECORD_TIMEOUT_S = 3.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as it is recorded."""

    id: UUID
    severity: str
    """info, warning or error."""
    event: str
    context: Mapping[str, Any]
    request_id: str | None
    created_at: datetime
    sent_at: datetime | None = None
    acked_at: datetime | None = None
    acked_by: str | None = None


async def record(
    db: Executor,
    severity: str,
    event: str,
    context: Mapping[str, Any],
    *,
    request_id: str | None = None,
    within: timedelta = timedelta(0),
) -> UUID | None:
    """Records an alert unless the same event was recorded `within` this time; its id.

    Never raises; None when it was, or when it could not be recorded in 3 s.
    """
    try:
        with anyio.fail_after(RECORD_TIMEOUT_S), database_fault():
            found: UUID | None = await db.fetchval(
                "select makeready.alert_unless_known($1, $2, $3::text::jsonb, $4, $5)",
                severity,
                event,
                json.dumps(context),
                request_id,
                within,
            )
    except Exception as error:  # noqa: BLE001 -- an alert is never more important than its cause
        _log.error("alert_record_error", alert_event=event, error=type(error).__name__)
        return None
    return found


async def listed(
    db: Executor,
    *,
    limit: int,
    severity: str | None = None,
    event: str | None = None,
    older_than: UUID | None = None,
) -> list[Alert]:
    """Alerts, newest first; `older_than` is the last one of the page before."""
    rows = await db.fetch(
        "select alert_id as id, how_severe as severity, what as event, facts::text as context,"
        " from_request as request_id, recorded_at as created_at, delivered_at as sent_at,"
        " noted_at as acked_at, noted_by as acked_by"
        " from makeready.alert_list($1, $2, $3, $4)",
        severity,
        event,
        limit,
        older_than,
    )
    return [Alert(**{**row, "context": json.loads(row["context"])}) for row in rows]


async def acknowledge(db: Executor, alert: UUID) -> tuple[datetime, str]:
    """Takes note of an alert; when that was first done, and by whom. NotFound."""
    row = await one(db, "select noted_at, noted_by from makeready.alert_ack($1)", alert)
    return row["noted_at"], row["noted_by"]
