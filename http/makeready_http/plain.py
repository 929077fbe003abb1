"""Documents without a template of their own: sections, or a text in Markdown.

POST /render/jobs       {"title": "…", "sections": [{"kind": "text", "text": "…"}], "meta": {…}}
                        {"title": "…", "markdown": "…", "meta": {…}}

With `pack_id` the document is printed in that pack, as the document `doc_id` of it; else in a pack
of its own. Everything in it is text: HTML is printed as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from makeready import render
from makeready.documents import shipped, typesetting
from makeready.errors import Rejected
from makeready.shapes import problem
from makeready_http.answers import replayed
from makeready_http.auth import current_user
from makeready_http.inputs import idempotency_key, prefer_wait
from makeready_http.items import JOB_FIELDS
from makeready_http.operations import (
    ANYTHING,
    DOC_ID,
    ID,
    LANGUAGE,
    TEXT,
    Answer,
    Operation,
    array,
    done,
    large_body,
    record,
)
from makeready_http.outcomes import document_outcome
from makeready_http.services import services_of

SECTIONS, MARKDOWN = "sections", "markdown"
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "bullets": ("items",),
    "table": ("headers", "rows"),
}
_CONTENT = ("title", "sections", "markdown", "meta")

_log = structlog.get_logger(__name__)


async def create_job(request: Request) -> Response:
    """Prints sections or Markdown."""
    user = await current_user(request)
    key, wait_s = idempotency_key(request), prefer_wait(request)
    services = services_of(request)
    async with large_body(request, _BODY) as body:
        layout = MARKDOWN if "markdown" in body else SECTIONS
        content = {name: body[name] for name in _CONTENT if name in body}
        await to_thread.run_sync(_check, layout, content, limiter=services.heavy)
        document = body.get("doc_id", layout)
        made = await services.write(
            lambda db: render.render_own(
                db,
                user,
                document,
                content,
                layout=layout,
                title=body["title"],
                pack=_id(body, "pack_id"),
                session=_id(body, "session_id"),
                language=body.get("language", "ru"),
                request_key=key,
            )
        )
    if made.is_new:
        services.wake(render.QUEUE)
        _log.info(
            "render_job_created",
            pack_id=str(made.pack_id),
            doc_id=document,
            job_id=str(made.job_id),
        )
    answered = {
        "ok": True,
        "job_id": made.job_id,
        "status": "queued",
        "pack_id": made.pack_id,
        "doc_id": document,
    }
    answer = await document_outcome(services, user, made.job_id, answered, wait_s)
    answer.headers.update(replayed(made.is_new))
    return answer


def _check(layout: str, content: dict[str, Any]) -> None:
    """Names everything that is wrong with the content; raises Rejected."""
    if ("markdown" in content) == ("sections" in content):
        text = "a document has either sections or markdown"
        raise _refused([problem("missing_field", layout, text, "give one of the two")])
    typesetting.check_data(shipped.document_type(layout), content)
    missing = [
        problem("missing_field", f"sections[{place}].{name}", f"{name} is missing", "")
        for place, section in enumerate(content.get("sections", ()))
        for name in _NEEDS[section["kind"]]
        if name not in section
    ]
    if missing:
        raise _refused(missing)


def _refused(problems: list[dict[str, str]]) -> Rejected:
    return Rejected("the document cannot be printed so", details={"problems": problems})


def _id(body: Mapping[str, Any], name: str) -> UUID | None:
    return UUID(body[name]) if body.get(name) is not None else None


_SECTION = record(
    {"kind": {**TEXT, "enum": list(_NEEDS)}},
    {
        "title": TEXT,
        "text": {**TEXT, "description": "Of a text; each line is a paragraph."},
        "items": {**array(TEXT), "description": "Of bullets."},
        "headers": {**array(TEXT), "description": "Of a table."},
        "rows": {
            **array(array({"type": ["string", "number", "null"]})),
            "description": "Of a table.",
        },
    },
)
_BODY = record(
    {"title": {**TEXT, "minLength": 1, "maxLength": 200}},
    {
        "sections": array(_SECTION, maxItems=500),
        "markdown": {**TEXT, "description": "CommonMark with tables; in place of sections."},
        "meta": {
            **ANYTHING,
            "description": "subtitle, author, date and number are printed, others are kept.",
        },
        "pack_id": {**ID, "description": "Left out: a new pack is made."},
        "session_id": {**ID, "description": "That of the pack, or of the new one."},
        "doc_id": DOC_ID,
        "language": LANGUAGE,
    },
)
_MADE = done(job_id=ID, status=TEXT, pack_id=ID, doc_id=TEXT)
OPERATIONS = (
    Operation(
        method="POST",
        path="/render/jobs",
        endpoint=create_job,
        tag="packs",
        summary="prints sections or Markdown",
        description="Give either sections or markdown. In a pack of yours it is printed as the"
        " document doc_id of that pack, and again whenever that document is rendered.",
        body=_BODY,
        is_idempotent=True,
        can_wait=True,
        answers={
            200: Answer(description="It is printed.", schema=done(**JOB_FIELDS)),
            202: Answer(description="It is being printed.", schema=_MADE, headers=("Location",)),
        },
        errors=(
            "pack_not_found",
            "document_not_found",
            "forbidden",
            "already_in_progress",
            "queue_busy",
        ),
    ),
)
