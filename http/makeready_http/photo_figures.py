"""How statistics of photos stand in answers: figures as JSON, and its schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from makeready import statistics
from makeready.job_reads import RecentResult
from makeready.statistics import Counts, Period, Range, Totals
from makeready_http.answers import iso
from makeready_http.operations import ID, TEXT, TIME, WHOLE, Schema, nullable, record
from makeready_http.photo_results import result_url
from makeready_http.services import Services

ZONE = "UTC"


def result_item(services: Services, found: RecentResult) -> dict[str, Any]:
    """A result as lists of a slot show it."""
    thumbnail = result_url(services, found.job_id, "/thumbnail") if found.has_thumbnail else None
    return {
        "job_id": found.job_id,
        "thumbnail_url": thumbnail,
        "download_url": result_url(services, found.job_id),
        "completed_at": iso(found.completed_at),
        "result_expires_at": iso(found.result_expires_at),
        "mime": found.media_type,
        "size_bytes": found.size_bytes,
    }


def range_item(span: Range) -> dict[str, Any]:
    """What was counted."""
    return {
        "from": iso(span.start),
        "to": iso(span.end),
        "group_by": span.unit,
        "time_zone": ZONE,
    }


def _counts_item(counts: Counts) -> dict[str, int]:
    return {
        "success": counts.success,
        "timeouts": counts.timeouts,
        "provider_errors": counts.provider_errors,
        "cancelled": counts.cancelled,
        "errors": counts.errors,
        "ingest_count": counts.ingest_count,
    }


def period_item(period: Period) -> dict[str, Any]:
    """One period."""
    return {
        "period_start": iso(period.period_start),
        "period_end": iso(period.period_end),
        **_counts_item(period),
    }


def totals_item(totals: Totals) -> dict[str, Any]:
    """The sums of a range, and its service level."""
    return {
        **_counts_item(totals),
        "avg_response_ms": totals.response_mean_ms,
        "p50_response_ms": totals.response_p50_ms,
        "p95_response_ms": totals.response_p95_ms,
        "p50_provider_ms": totals.provider_p50_ms,
        "p95_provider_ms": totals.provider_p95_ms,
        "total_cost": float(totals.cost),
        "log_begins_at": iso(totals.log_begins) if totals.log_begins else None,
        "service_level": {
            "requests": totals.requests,
            "in_time_share": _rounded(totals.in_time_share),
            "in_time_target": statistics.IN_TIME_TARGET,
            "timeout_share": _rounded(totals.late_share),
            "timeout_target": statistics.LATE_TARGET,
            "busy_share": _rounded(totals.busy_share),
            "availability": _rounded(totals.availability),
            "availability_target": statistics.AVAILABILITY_TARGET,
        },
    }


def global_item(totals: Totals) -> dict[str, Any]:
    """The same for all slots."""
    rate = 100 * totals.errors / totals.ingest_count if totals.ingest_count else 0.0
    return {
        "total_runs": totals.ingest_count,
        **totals_item(totals),
        "error_rate_percent": round(rate, 2),
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


COUNT: Schema = {**WHOLE, "minimum": 0}
_COUNTS: Mapping[str, Schema] = dict.fromkeys(
    ("success", "timeouts", "provider_errors", "cancelled", "errors", "ingest_count"), COUNT
)
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
TOTALS: Mapping[str, Schema] = {
    **_COUNTS,
    **dict.fromkeys(
        (
            "avg_response_ms",
            "p50_response_ms",
            "p95_response_ms",
            "p50_provider_ms",
            "p95_provider_ms",
        ),
        nullable(COUNT),
    ),
    "total_cost": {"type": "number", "minimum": 0},
    "log_begins_at": nullable(TIME),
    "service_level": record(
        {
            "requests": COUNT,
            "in_time_share": nullable(_SHARE),
            "in_time_target": _SHARE,
            "timeout_share": nullable(_SHARE),
            "timeout_target": _SHARE,
            "busy_share": nullable(_SHARE),
            "availability": nullable(_SHARE),
            "availability_target": _SHARE,
        }
    ),
}
PERIOD = record({"period_start": TIME, "period_end": TIME, **_COUNTS})
RANGE = record({"from": TIME, "to": TIME, "group_by": TEXT, "time_zone": {"const": ZONE}})
RESULT = record(
    {
        "job_id": ID,
        "thumbnail_url": nullable(TEXT),
        "download_url": TEXT,
        "completed_at": TIME,
        "result_expires_at": TIME,
        "mime": TEXT,
        "size_bytes": WHOLE,
    }
)
