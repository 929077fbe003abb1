"""Trying settings out: what is wrong with them, and how a card looks. Nothing is stored.

POST /posm/templates/{template_id}/validate      {"settings": …, "restaurant_id": …}
POST /posm/templates/{template_id}/copy-fields   {"template_id": …, "field_ids": […]}
POST /posm/preview                               {"template_id": …, "settings": …, "table_id": …}
GET  /posm/settings-schema

A preview is made by what makes the cards of a generation, and verified as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from makeready import posm, posm_templates, stamping
from makeready.cards import schema
from makeready.cards.settings import copied
from makeready.cards.values import SAMPLE_ROWS, Row
from makeready.errors import Rejected
from makeready.shapes import cut, problem
from makeready.staff import Staff
from makeready.stamping import Order
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import current_staff
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TRUTH,
    WHOLE,
    Answer,
    admin_operation,
    array,
    done,
    large_body,
    read_body,
    record,
)
from makeready_http.posm_bodies import BARE, SETTINGS, VALIDATE
from makeready_http.posm_items import TEMPLATE
from makeready_http.posm_parts import (
    FINDING,
    PDF,
    PNG,
    READ,
    TAG,
    WRITE,
    finding_items,
    refuse_errors,
    told,
    turn,
)
from makeready_http.posm_pressing import planned, wish_of
from makeready_http.posm_reading import (
    asked_template,
    assets_of,
    changed_template,
    checked,
    facts_of,
    findings_of,
    pdf_of,
)
from makeready_http.posm_words import in_words
from makeready_http.problems import invalid_request, not_found
from makeready_http.services import Services, services_of
from makeready_http.versions import known_version


async def validate(request: Request) -> Response:
    """Everything that is to be said of settings, with sample data or with real tables."""
    member = await current_staff(request, READ)
    template = await asked_template(request)
    services = services_of(request)
    async with large_body(request, VALIDATE) as body:
        pass
    if body.keys() & {"restaurant_id", "uuids"}:
        with in_words(request):
            plan = await planned(services, wish_of(body, template.id), member.name)
        found, tables = plan.findings, len(plan.rows)
    else:
        settings = body.get("settings", template.settings)
        found, tables = await findings_of(services, facts_of(template), settings, None), 0
    errors = sum(each.is_error for each in found)
    answer = {
        "ok": True,
        "is_valid": not errors,
        "errors": errors,
        "warnings": len(found) - errors,
        "tables": tables,
        "findings": finding_items(request, found),
    }
    return Json(answer)


async def copy_fields(request: Request) -> Response:
    """Takes the fields of another template over: all settings, or some fields into its own."""
    member = await current_staff(request, WRITE)
    known = known_version(request)
    template = await asked_template(request)
    body = await read_body(request, _COPY)
    services = services_of(request)
    other = await posm_templates.read(services.pool, UUID(body["template_id"]))
    merged = _merged(template.settings, other.settings, body.get("field_ids"))
    settings, left_out = copied(merged, facts_of(template))
    findings = [*left_out, *await checked(request, facts_of(template), settings)]
    return await changed_template(
        request,
        member,
        template.id,
        {"settings": settings},
        known=template.version if known is None else known,
        findings=findings,
    )


def _merged(
    own: Mapping[str, Any], other: Mapping[str, Any], field_ids: Sequence[str] | None
) -> dict[str, Any]:
    if field_ids is None:
        return dict(other)
    theirs = {field["id"]: field for field in other.get("fields", [])}
    problems = [
        problem("unknown_field", f"field_ids[{place}]", f"there is no field {cut(name)}", "")
        for place, name in enumerate(field_ids)
        if name not in theirs
    ]
    if problems:
        raise Rejected("fields are missing", details={"problems": problems})
    fields = {field["id"]: field for field in own.get("fields", [])}
    fields |= {name: theirs[name] for name in field_ids}
    return {"schema": 1, **own, "fields": list(fields.values())}


async def preview(request: Request) -> Response:
    """One card as it would be printed, or a picture of one of its pages."""
    member = await current_staff(request, READ)
    async with large_body(request, _PREVIEW) as body:
        pass
    services = services_of(request)
    template = await posm_templates.read(services.pool, UUID(body["template_id"]))
    settings = body.get("settings", template.settings)
    with in_words(request):
        rows, index = await _rows(services, member, body)
    found = await findings_of(services, facts_of(template), settings, rows)
    if len(rows) > 1 and any(each.is_error for each in found):  # perhaps of other tables
        rows, index = [rows[index]], 0
        found = await findings_of(services, facts_of(template), settings, rows)
    refuse_errors(request, found)
    page, is_pdf = body.get("page", 1), body.get("format", "pdf") == "pdf"
    if not is_pdf and page > len(template.inspection["pages"]):
        said = f"The template has {len(template.inspection['pages'])} pages."
        raise invalid_request(said, field="page", reason="missing")
    async with turn(services.previews):
        order = Order(
            pdf=await pdf_of(services, template),
            settings=settings,
            rows=rows,
            assets=await assets_of(services, settings),
        )
        with told(request):
            if is_pdf:
                content, _ = await stamping.preview_pdf(order, index)
                return Response(content, media_type=PDF, headers=NO_STORE)
            content = await stamping.preview_png(
                order, index, page=page, dpi=body.get("dpi", 100), grid=body.get("grid", False)
            )
    return Response(content, media_type=PNG, headers=NO_STORE)


async def _rows(
    services: Services, member: Staff, body: Mapping[str, Any]
) -> tuple[Sequence[Row], int]:
    """The rows that a generation would have, and which of them is looked at.

    All of them: the size of a code is that of the longest link of all.
    """
    if "restaurant_id" not in body and "table" not in body:
        return SAMPLE_ROWS, 0
    uuids = {"uuids": [body["table"]]} if "table" in body else {}
    wish = wish_of({**body, **uuids})
    rows = await posm.rows_of(
        services.pool, wish.template, author=member.name, **wish.tables_asked
    )
    wanted = body.get("table_id")
    if wanted is None and rows:
        return rows, 0
    for index, row in enumerate(rows):
        if row["table"]["uuid"] == str(wanted).lower():
            return rows, index
    raise not_found("table_not_found", "table_id", wanted)


async def show_schema(request: Request) -> Response:
    """The JSON Schema of settings."""
    await current_staff(request, READ)
    return Json(schema.SCHEMA)


_COPY = record(
    {"template_id": {**ID, "description": "Whose fields are taken."}},
    {
        "field_ids": {
            **array(TEXT, minItems=1, maxItems=schema.MAX_FIELDS),
            "description": "Only these, beside the template's own; left out: all settings.",
        }
    },
)
_PREVIEW = record(
    {"template_id": ID},
    {
        "settings": SETTINGS,
        "restaurant_id": {**ID, "description": "Whose tables; left out: sample data."},
        "table_id": {**ID, "description": "Which of them; left out: the first."},
        "table": {**BARE, "description": "A table of no restaurant."},
        "format": {"type": "string", "enum": ["pdf", "png"]},
        "page": {**WHOLE, "minimum": 1, "maximum": 9999, "description": "Of a picture."},
        "dpi": {**WHOLE, "minimum": 36, "maximum": 300, "description": "Of a picture."},
        "grid": {**TRUTH, "description": "Draws a grid in millimetres, and boxes."},
    },
)
OPERATIONS = (
    admin_operation(
        method="POST",
        path="/posm/templates/{template_id}/validate",
        endpoint=validate,
        tag=TAG,
        needs=READ,
        summary="says everything that is wrong with settings on a template",
        description="With sample data, or with the tables of a restaurant or bare uuids. What is"
        " found is the answer, never a refusal; it is what `POST /posm/generations` would refuse.",
        body=VALIDATE,
        answers={
            200: Answer(
                description="All that was found, errors first, at most a hundred.",
                schema=done(
                    is_valid=TRUTH,
                    errors=WHOLE,
                    warnings=WHOLE,
                    tables={**WHOLE, "description": "How many were looked at; 0: a sample."},
                    findings=array(FINDING),
                ),
            )
        },
        errors=("template_not_found", "restaurant_not_found", "storage_unavailable"),
    ),
    admin_operation(
        method="POST",
        path="/posm/templates/{template_id}/copy-fields",
        endpoint=copy_fields,
        tag=TAG,
        needs=WRITE,
        summary="copies settings, or some fields, from another template, unless `If-Match` names"
        " an older version",
        description="A field whose id is there already is replaced.",
        body=_COPY,
        answers={
            200: Answer(
                description="As it is now.",
                schema=done(template=TEMPLATE, findings=array(FINDING)),
                headers=("ETag",),
            )
        },
        errors=("template_not_found", "stale_version", "storage_unavailable"),
    ),
    admin_operation(
        method="POST",
        path="/posm/preview",
        endpoint=preview,
        tag=TAG,
        needs=READ,
        summary="makes one card as it would be printed, and stores nothing",
        description="A PDF, verified as the cards of a generation are, or a picture of one page.",
        body=_PREVIEW,
        answers={
            200: Answer(description="The card; a picture with `format` png.", media_type=PDF)
        },
        errors=(
            "template_not_found",
            "restaurant_not_found",
            "table_not_found",
            "storage_unavailable",
        ),
    ),
    admin_operation(
        method="GET",
        path="/posm/settings-schema",
        endpoint=show_schema,
        tag=TAG,
        needs=READ,
        summary="shows the JSON Schema of settings, for editors",
        answers={200: Answer(description="The schema.", schema=ANYTHING)},
    ),
)
