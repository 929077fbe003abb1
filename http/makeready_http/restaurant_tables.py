"""The tables of a restaurant: the whole list is sent, and the answer says what that changed.

GET  /restaurants/{restaurant_id}/tables
PUT  /restaurants/{restaurant_id}/tables          {"tables": [{"number": "1", "section": …}]}
POST /restaurants/{restaurant_id}/tables/import   a CSV file; ?dry_run=true shows what would change

A table keeps its uuid, and with it the link on its card: by the uuid that the list names, else by
its number. `If-Match` is the version of the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from makeready import posm_templates, restaurants
from makeready.errors import Rejected
from makeready.restaurants import RestaurantTable, TablesPut
from makeready.tables_csv import MAX_LINES, SheetRefused, TableLine, TableSheet, read_tables
from makeready.tables_faults import wording
from makeready_http.answers import Json
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import path_uuid, read_bytes
from makeready_http.languages import language_of
from makeready_http.operations import (
    ID,
    TEXT,
    TRUTH,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    array,
    done,
    large_body,
    nullable,
    read_query,
    record,
)
from makeready_http.posm_parts import READ, WRITE
from makeready_http.posm_words import in_words
from makeready_http.problems import Problem
from makeready_http.restaurants import TAG
from makeready_http.services import services_of
from makeready_http.versions import etag, known_version

CSV_MAX_BYTES = 2 << 20
_TABLE_FIELDS: Mapping[str, Schema] = {
    "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
    "section": {"type": ["string", "null"], "minLength": 1, "maxLength": 100},
    "seats": {"type": ["integer", "null"], "minimum": 0, "maximum": 1000},
    "url": {
        "type": ["string", "null"],
        "maxLength": 2000,
        "pattern": r"^https?://[^\s/]+\S*$",
        "description": "A link of its own; else it is made of the common one and its uuid.",
    },
}
_NUMBER = {**TEXT, "minLength": 1, "maxLength": 40, "description": "What people call it: 12a."}
_NEW_TABLE = record({"number": _NUMBER}, {"uuid": nullable(ID), **_TABLE_FIELDS})
_TABLES = record({"tables": array(_NEW_TABLE, maxItems=MAX_LINES)})
_IMPORT: Mapping[str, Schema] = {
    "dry_run": {**TRUTH, "default": False, "description": "Only says what would change."},
}
_STEP = re.compile(r"^tables\[(\d+)\]")
_log = structlog.get_logger(__name__)


async def show(request: Request) -> Response:
    """The tables in their order."""
    await current_staff(request, READ)
    restaurant = path_uuid(request, "restaurant_id", "restaurant_not_found")
    pool = services_of(request).pool
    found = await restaurants.read(pool, restaurant)  # first: its version is never too new
    tables = await restaurants.tables(pool, restaurant)
    common = (await posm_templates.policy(pool)).link_template
    body = {
        "ok": True,
        "restaurant_id": restaurant,
        "version": found.tables_version,
        "tables": [_item(table, common) for table in tables],
    }
    return Json(body, headers=etag(found.tables_version))


async def replace(request: Request) -> Response:
    """Gives the restaurant these tables and no others."""
    await current_staff(request, WRITE)
    async with large_body(request, _TABLES) as body:
        with in_words(request):
            return await _put(request, body["tables"])


async def import_csv(request: Request) -> Response:
    """The same, of a file."""
    await current_staff(request, WRITE)
    is_trial = read_query(request, _IMPORT)["dry_run"]
    raw = await read_bytes(request, CSV_MAX_BYTES)
    language = language_of(request)
    try:
        sheet = await to_thread.run_sync(read_tables, raw, limiter=services_of(request).heavy)
    except SheetRefused as refused:
        found = [wording(fault, language) for fault in refused.faults]
        text = found[0]["message"] if len(found) == 1 else f"{len(found)} problems."
        raise Problem("validation_failed", text, details=found) from None
    about = {
        "encoding": sheet.encoding,
        "separator": sheet.separator,
        "columns": list(sheet.columns),
        "ignored_columns": list(sheet.ignored),
        "dry_run": is_trial,
    }
    given = [_entry(line) for line in sheet.lines]
    with in_words(request):
        try:
            return await _put(request, given, is_trial=is_trial, about=about)
        except Rejected as refused:
            raise _at_lines(refused, sheet) from None


async def _put(
    request: Request,
    given: Sequence[Mapping[str, Any]],
    *,
    is_trial: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Response:
    member = await current_staff(request, WRITE)
    restaurant = path_uuid(request, "restaurant_id", "restaurant_not_found")
    known = known_version(request)
    async with acting(services_of(request), member, request) as connection:
        change = await restaurants.put_tables(
            connection, restaurant, given, known=known, dry_run=is_trial
        )
    _log.info(
        "restaurant_tables_put",
        restaurant_id=str(restaurant),
        added=len(change.added),
        removed=len(change.removed),
        changed=len(change.changed),
        dry_run=is_trial,
    )
    body = {"ok": True, "restaurant_id": restaurant, **_diff(change), **(about or {})}
    return Json(body, headers=etag(change.version))


def _diff(change: TablesPut) -> dict[str, Any]:
    return {
        "added": change.added,
        "removed": change.removed,
        "changed": change.changed,
        "kept": change.kept,
        "version": change.version,
    }


def _item(table: RestaurantTable, common: str | None) -> dict[str, Any]:
    link = table.url or (common and common.replace("{uuid}", str(table.uuid)))
    return {
        "uuid": table.uuid,
        "number": table.number,
        "name": table.name,
        "section": table.section,
        "seats": table.seats,
        "url": table.url,
        "link": link,
    }


def _entry(line: TableLine) -> dict[str, Any]:
    facts = {
        "uuid": None if line.uuid is None else str(line.uuid),
        "number": line.number,
        "name": line.name,
        "section": line.section,
        "seats": line.seats,
        "url": line.url,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _at_lines(refused: Rejected, sheet: TableSheet) -> Rejected:
    """What is wrong with a table, by its line instead of its place."""
    found = []
    for problem in refused.details.get("problems", []):
        step = _STEP.match(problem["path"])
        if step:
            line = sheet.lines[int(step[1])].line
            path = f"lines[{line}]{problem['path'][step.end() :]}"
            message = _STEP.sub(f"Line {line}", problem["message"])
            problem = {**problem, "path": path, "message": message}  # noqa: PLW2901
        found.append(problem)
    return Rejected("the file does not fit", details={"problems": found})


_FACTS: Mapping[str, Schema] = {
    "uuid": ID,
    "number": TEXT,
    "name": nullable(TEXT),
    "section": nullable(TEXT),
    "seats": nullable(WHOLE),
    "url": nullable(TEXT),
}
_TABLE = record(_FACTS)
_LINK = {**nullable(TEXT), "description": "What its code says: its `url`, else the common link."}
_DIFF: Mapping[str, Schema] = {
    "restaurant_id": ID,
    "added": array(_TABLE),
    "removed": array(_TABLE),
    "changed": array(record({"uuid": ID, "before": _TABLE, "after": _TABLE})),
    "kept": {**WHOLE, "description": "How many are as they were."},
    "version": WHOLE,
}
_ERRORS = ("restaurant_not_found", "stale_version")
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/restaurants/{restaurant_id}/tables",
        endpoint=show,
        tag=TAG,
        needs=READ,
        summary="lists the tables of a restaurant in their order",
        answers={
            200: Answer(
                description="All of them; the ETag is that of the list.",
                schema=done(
                    restaurant_id=ID,
                    version=WHOLE,
                    tables=array(record({**_FACTS, "link": _LINK})),
                ),
                headers=("ETag",),
            )
        },
        errors=("restaurant_not_found",),
    ),
    admin_operation(
        method="PUT",
        path="/restaurants/{restaurant_id}/tables",
        endpoint=replace,
        tag=TAG,
        needs=WRITE,
        summary="gives a restaurant these tables and no others, unless `If-Match` names an older"
        " list",
        description="A table keeps its uuid, and so the link on its card: a row that names its"
        " uuid is that table, one that names none is the table with the same number in the same"
        " section, or else the only one with that number. Tables that are not sent are gone until"
        " they are sent again.",
        body=_TABLES,
        answers={
            200: Answer(description="What it changed.", schema=done(**_DIFF), headers=("ETag",))
        },
        errors=_ERRORS,
    ),
    admin_operation(
        method="POST",
        path="/restaurants/{restaurant_id}/tables/import",
        endpoint=import_csv,
        tag=TAG,
        needs=WRITE,
        summary="gives a restaurant the tables of a CSV file and no others",
        description="The first line names the columns in Russian or English: number, name,"
        " section, seats, url, uuid. UTF-8, UTF-16 or windows-1251; separated by comma, semicolon,"
        " tab or bar. All that is wrong is told at once, by line; nothing is changed then.",
        query=_IMPORT,
        body={**TEXT, "description": "The file, at most 2 MiB."},
        body_type="text/csv",
        answers={
            200: Answer(
                description="What it changed, or would change.",
                schema=done(
                    **_DIFF,
                    encoding=TEXT,
                    separator=TEXT,
                    columns=array(TEXT),
                    ignored_columns=array(TEXT),
                    dry_run=TRUTH,
                ),
                headers=("ETag",),
            )
        },
        errors=(*_ERRORS, "validation_failed"),
    ),
)
