"""The PDF of a template, and what its pages look like.

GET /posm/templates/{template_id}/file
PUT /posm/templates/{template_id}/file                 the PDF as the body; If-Match
GET /posm/templates/{template_id}/pages/{page}.png     ?dpi&grid

Generations keep the PDF they were made with, whatever takes its place here.
"""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import posm_templates, stamping
from makeready.storage import content_disposition
from makeready_http.auth import current_staff
from makeready_http.downloads import not_modified, validators
from makeready_http.file_upload import received_file
from makeready_http.operations import TEXT, Answer, admin_operation, array, done, read_query
from makeready_http.posm_items import TEMPLATE
from makeready_http.posm_parts import (
    FINDING,
    IMAGE,
    PDF,
    PNG,
    READ,
    TAG,
    WRITE,
    path_page,
    told,
    turn,
)
from makeready_http.posm_reading import (
    asked_template,
    changed_template,
    checked,
    pdf_of,
    read_template,
    stored_template,
)
from makeready_http.services import services_of
from makeready_http.versions import known_version

_log = structlog.get_logger(__name__)


async def show_file(request: Request) -> Response:
    """The PDF as it was uploaded."""
    await current_staff(request, READ)
    template = await asked_template(request)
    tag = template.sha256.hex()
    same = not_modified(request, tag)
    if same is not None:
        return same
    headers = {
        "Content-Disposition": content_disposition(f"{template.name}.pdf"),
        **validators(tag),
    }
    content = await pdf_of(services_of(request), template)
    return Response(content, media_type=PDF, headers=headers)


async def replace_file(request: Request) -> Response:
    """Gives the template another PDF; its settings must fit that one too."""
    member = await current_staff(request, WRITE)
    known = known_version(request)
    template = await asked_template(request)
    services = services_of(request)
    most = (await posm_templates.policy(services.pool)).max_template_bytes
    async with received_file(request, most) as pdf, services.designs:
        read = await read_template(request, await pdf.content())
        settings = template.settings
        findings = await checked(request, read.facts, settings) if settings else []
        stored = await stored_template(services, read)
    answer = await changed_template(
        request,
        member,
        template.id,
        {},
        known=template.version if known is None else known,  # checked with the settings of this
        findings=findings,
        stored=stored,
        facts=read.facts,
    )
    _log.info("posm_template_replaced", template_id=str(template.id), size=len(read.content))
    return answer


async def show_page(request: Request) -> Response:
    """A picture of one page, with a grid in millimetres when asked for."""
    await current_staff(request, READ)
    asked = read_query(request, IMAGE)
    template = await asked_template(request)
    page = path_page(request, len(template.inspection["pages"]))
    grid = f"{template.version}" if asked["grid"] else ""  # it shows the fields
    tag = f"{template.sha256.hex()}-{page}-{asked['dpi']}-{grid}"
    same = not_modified(request, tag)
    if same is not None:
        return same
    services = services_of(request)
    async with turn(services.previews):
        content = await pdf_of(services, template)
        with told(request):
            image = await stamping.page_image(
                content,
                page=page,
                dpi=asked["dpi"],
                grid=asked["grid"],
                settings=template.settings,
            )
    return Response(image, media_type=PNG, headers=validators(tag))


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/posm/templates/{template_id}/file",
        endpoint=show_file,
        tag=TAG,
        needs=READ,
        summary="sends the PDF of a template as it was uploaded",
        answers={
            200: Answer(
                description="It.", media_type=PDF, headers=("ETag", "Content-Disposition")
            ),
            304: Answer(description="`If-None-Match` names it."),
        },
        errors=("template_not_found", "storage_unavailable"),
    ),
    admin_operation(
        method="PUT",
        path="/posm/templates/{template_id}/file",
        endpoint=replace_file,
        tag=TAG,
        needs=WRITE,
        summary="gives a template another PDF, unless `If-Match` names an older version",
        description="The settings of the template are checked with the new PDF. Generations keep"
        " the PDF they were made with.",
        body={**TEXT, "format": "binary", "description": "The designer's PDF."},
        body_type=PDF,
        answers={
            200: Answer(
                description="As it is now; `findings` has warnings.",
                schema=done(template=TEMPLATE, findings=array(FINDING)),
                headers=("ETag",),
            )
        },
        errors=(
            "template_not_found",
            "stale_version",
            "conflict",
            "unsupported_media_type",
            "validation_failed",
            "storage_unavailable",
        ),
    ),
    admin_operation(
        method="GET",
        path="/posm/templates/{template_id}/pages/{page}.png",
        endpoint=show_page,
        tag=TAG,
        needs=READ,
        summary="draws a page of a template",
        query=IMAGE,
        answers={
            200: Answer(description="A picture.", media_type=PNG, headers=("ETag",)),
            304: Answer(description="`If-None-Match` names it."),
        },
        errors=("template_not_found", "validation_failed", "storage_unavailable"),
    ),
)
