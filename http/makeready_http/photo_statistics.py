"""Statistics of photos for staff, the newest results of a slot, and the reset of its summary.

GET  /api/stats/global                     ?from&to&group_by&slot_id&provider_id&page&page_size&…
GET  /api/stats/{slot_id}                  ?from&to&group_by
GET  /api/stats/{slot_id}/recent_results
POST /api/slots/{slot_id}/reset_stats      If-Match

Periods are those of UTC. One that the range cuts counts what lies inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import job_reads, statistics
from makeready.statistics import Range, Statistics, Unit
from makeready_http.answers import Json, iso
from makeready_http.auth import acting, current_staff
from makeready_http.operations import (
    TEXT,
    TIME,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    array,
    nullable,
    read_query,
    record,
)
from makeready_http.photo_figures import (
    COUNT,
    PERIOD,
    RANGE,
    RESULT,
    TOTALS,
    global_item,
    period_item,
    range_item,
    result_item,
    totals_item,
)
from makeready_http.photo_results import TAG
from makeready_http.problems import invalid_request
from makeready_http.services import services_of
from makeready_http.versions import known_version

READ = "stats:read"
SLOTS_WRITE = "slots:write"
SLOT_RANGE = timedelta(days=31)
GLOBAL_RANGE = timedelta(days=90)

_MOMENT = {
    **TEXT,
    "maxLength": 40,
    "description": "A day, or a moment in ISO 8601; UTC unless it says otherwise.",
}
_SLOT_QUERY: Mapping[str, Schema] = {
    "from": _MOMENT,
    "to": {**_MOMENT, "description": "As `from`; of a day, its end. Left out: now."},
    "group_by": {**TEXT, "enum": ["hour", "day", "week"], "default": "day"},
}
_GLOBAL_QUERY: Mapping[str, Schema] = {
    "from": _MOMENT,
    "to": _SLOT_QUERY["to"],
    "group_by": {**TEXT, "enum": ["day", "week", "month"], "default": "week"},
    "slot_id": {**TEXT, "maxLength": 40},
    "provider_id": {**TEXT, "maxLength": 40},
    "sort_by": {
        **TEXT,
        "enum": ["period_start", "success", "errors", "ingest_count"],
        "default": "period_start",
    },
    "sort_order": {**TEXT, "enum": ["asc", "desc"], "default": "desc"},
    "page": {**WHOLE, "minimum": 1, "maximum": 1000, "default": 1},
    "page_size": {**WHOLE, "minimum": 1, "maximum": 50, "default": 10},
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_LOST_PLUS = re.compile(r"(?<=:\d\d) (?=\d\d:?\d\d$)|(?<=\.\d{6}) (?=\d\d:?\d\d$)")
"""Of an offset; nobody encoded it, so it came as a blank."""
_YEARS = range(2000, 2200)
_log = structlog.get_logger(__name__)


class StatisticsCaches:
    """One a process."""

    def __init__(self) -> None:
        self.slots = statistics.StatisticsCache[Statistics](statistics.SLOT_CACHE_S)
        self.all = statistics.StatisticsCache[Statistics](statistics.GLOBAL_CACHE_S)


async def global_statistics(request: Request) -> Response:
    """All slots together, or some of them."""
    await current_staff(request, READ)
    asked = read_query(request, _GLOBAL_QUERY)
    span = _range(asked, GLOBAL_RANGE, weeks=8)
    slot, provider = asked["slot_id"] or None, asked["provider_id"] or None
    photos = services_of(request).photos
    found = await _caches(request).all.get(
        photos.pool,
        (*_key(asked, span), slot, provider),
        None,
        lambda: statistics.of_all(photos.pool, span, slot=slot, provider=provider),
    )
    is_down = asked["sort_order"] == "desc"
    # Equal ones in the order of time, whichever way round.
    periods = sorted(found.periods, key=attrgetter("period_start"), reverse=is_down)
    periods.sort(key=attrgetter(asked["sort_by"]), reverse=is_down)
    first = (asked["page"] - 1) * asked["page_size"]
    return Json(
        {
            "range": range_item(span),
            "summary": global_item(found.totals),
            "data": [period_item(each) for each in periods[first : first + asked["page_size"]]],
            "meta": {
                "page": asked["page"],
                "page_size": asked["page_size"],
                "total": len(periods),
            },
        }
    )


async def slot_statistics(request: Request) -> Response:
    """One slot."""
    await current_staff(request, READ)
    slot = request.path_params["slot_id"]
    asked = read_query(request, _SLOT_QUERY)
    span = _range(asked, SLOT_RANGE, days=14)
    photos = services_of(request).photos
    found = await _caches(request).slots.get(
        photos.pool,
        (*_key(asked, span), slot),
        slot,
        lambda: statistics.of_slot(photos.pool, slot, span),
    )
    return Json(
        {
            "slot_id": slot,
            "range": range_item(span),
            "summary": {
                "title": found.slot_name,
                **totals_item(found.totals),
                "last_reset_at": iso(found.last_reset_at) if found.last_reset_at else None,
            },
            "metrics": [period_item(each) for each in found.periods],
        }
    )


async def recent_results(request: Request) -> Response:
    """The newest results of a slot that can be downloaded."""
    await current_staff(request, READ)
    services = services_of(request)
    found = await job_reads.recent(services.photos.pool, request.path_params["slot_id"])
    return Json([result_item(services, each) for each in found])


async def reset_stats(request: Request) -> Response:
    """The summary of a slot counts from now on."""
    member = await current_staff(request, SLOTS_WRITE)
    services, slot = services_of(request), request.path_params["slot_id"]
    version = known_version(request)
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        await statistics.reset(connection, slot, version=version)
    _log.info("slot_stats_reset", slot=slot)
    return Response(status_code=204)


def _caches(request: Request) -> StatisticsCaches:
    found: StatisticsCaches = request.app.state.statistics
    return found


def _key(asked: Mapping[str, Any], span: Range) -> tuple[object, ...]:
    # An end that is left out follows the clock: the same question as long as the period runs.
    end = span.end if asked["to"] else statistics.begin_of(span.end, span.unit)
    return (span.unit, span.start, end, bool(asked["to"]))


def _range(asked: Mapping[str, Any], longest: timedelta, **default: int) -> Range:
    unit: Unit = asked["group_by"]
    end = _moment(asked["to"], "to", is_end=True) or datetime.now(UTC)
    start = _moment(asked["from"], "from")
    if start is None:
        # Whole periods, of which the last one is running: the length is that of the default.
        step: Unit = "week" if "weeks" in default else "day"
        last = statistics.begin_of(end - timedelta(microseconds=1), step)
        start = last - timedelta(**default) + timedelta(**{f"{step}s": 1})
    if start >= end:
        raise invalid_request("from must be before to.", field="from", reason="range")
    if end - start > longest:
        raise invalid_request(
            f"A range has at most {longest.days} days.", field="from", reason="range"
        )
    return Range(start=start, end=end, unit=unit)


def _moment(text: str | None, name: str, *, is_end: bool = False) -> datetime | None:
    if not text:
        return None
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(days=1 if is_end else 0)
            found = datetime.combine(day, time(), UTC)
        else:
            found = datetime.fromisoformat(_LOST_PLUS.sub("+", text))
            found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        if found.year in _YEARS:
            return found
    except (ValueError, OverflowError):
        pass
    raise invalid_request(
        f"{name} is neither a day nor a moment in ISO 8601.", field=name, reason="format"
    )


_ABOUT = (
    " Counted from the processing log, to the event; empty periods are there. Service levels"
    " count photos that ended and requests that were refused with 429 or 503; log_begins_at is"
    " null unless part of the range is older than the log: then only the counts reach back."
)
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/api/stats/global",
        endpoint=global_statistics,
        tag=TAG,
        needs=READ,
        summary="counts how photos ended, over all slots",
        description="At most 90 days, the last 8 weeks unless told." + _ABOUT,
        query=_GLOBAL_QUERY,
        answers={
            200: Answer(
                description="The range in all, and a page of its periods.",
                schema=record(
                    {
                        "range": RANGE,
                        "summary": record(
                            {
                                "total_runs": COUNT,
                                **TOTALS,
                                "error_rate_percent": {"type": "number", "minimum": 0},
                            }
                        ),
                        "data": array(PERIOD),
                        "meta": record({"page": WHOLE, "page_size": WHOLE, "total": WHOLE}),
                    }
                ),
            )
        },
        errors=("slot_not_found",),
    ),
    admin_operation(
        method="GET",
        path="/api/stats/{slot_id}",
        endpoint=slot_statistics,
        tag=TAG,
        needs=READ,
        summary="counts how photos of a slot ended",
        description="At most 31 days, the last 14 unless told. The summary counts what came"
        " after last_reset_at." + _ABOUT,
        query=_SLOT_QUERY,
        answers={
            200: Answer(
                description="The range in all, and period by period.",
                schema=record(
                    {
                        "slot_id": TEXT,
                        "range": RANGE,
                        "summary": record(
                            {"title": nullable(TEXT), **TOTALS, "last_reset_at": nullable(TIME)}
                        ),
                        "metrics": array(PERIOD),
                    }
                ),
            )
        },
        errors=("slot_not_found",),
    ),
    admin_operation(
        method="GET",
        path="/api/stats/{slot_id}/recent_results",
        endpoint=recent_results,
        tag=TAG,
        needs=READ,
        summary="lists the newest results of a slot that can be downloaded",
        description="At most ten of the last 72 hours, newest first.",
        answers={200: Answer(description="The results.", schema=array(RESULT))},
        errors=("slot_not_found",),
    ),
    admin_operation(
        method="POST",
        path="/api/slots/{slot_id}/reset_stats",
        endpoint=reset_stats,
        tag=TAG,
        needs=SLOTS_WRITE,
        summary="lets the summary of a slot begin anew",
        description="Nothing is deleted: periods and the sums of all slots stay as they are.",
        answers={204: Answer(description="It counts from now on.")},
        errors=("slot_not_found", "stale_version", "invalid_request"),
    ),
)
