"""What a route that renders answers: at once, or when the work has ended (`Prefer: wait=N`).

Waiting holds no connection to the database, and never gives a job up: when the time is over the
answer is 202 with the place to ask again.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from starlette.responses import Response

from makeready import library, render
from makeready.jobs import Ended
from makeready_http.answers import Json
from makeready_http.items import document_item, job_item
from makeready_http.problems import Problem
from makeready_http.services import Services

OPEN = frozenset({"queued", "rendering"})


async def document_outcome(
    services: Services, user: UUID, job_id: UUID, body: dict[str, Any], wait_s: float | None
) -> Response:
    """The answer about one job; 422 or 503 when it has failed while the client waited."""
    location = {"Location": f"/render/jobs/{job_id}"}
    if wait_s is None:
        return Json(body, status_code=202, headers=location)
    found = await ended_render(services, user, job_id, wait_s)
    applied = {"Preference-Applied": f"wait={wait_s:.0f}"}
    if found.status in OPEN:
        body |= {"status": found.status}
        return Json(body, status_code=202, headers=location | applied)
    return Json(body | job_item(found), headers=applied)


async def ended_render(
    services: Services, user: UUID | None, job_id: UUID, wait_s: float
) -> library.RenderJob:
    """The render once it has ended or the time is over; 422 or 503 when it has failed."""
    ended = await services.waiting.wait(render.QUEUE, job_id, wait_s)
    found = await library.job(services.pool, user, job_id)
    if found.status == "failed":
        raise failed(job_id, found.last_error, ended)
    return found


async def pack_outcome(
    services: Services,
    user: UUID | None,
    pack: UUID,
    *,
    body: dict[str, Any],
    wait_s: float | None,
) -> Response:
    """The answer about a pack; 200 with all documents once none is open, whoever asked for it."""
    headers = {"Location": f"/packs/{pack}/documents"}
    if wait_s is None:
        return Json(body, status_code=202, headers=headers)
    until = time.monotonic() + wait_s
    waited: set[UUID | None] = set()
    while True:
        found = await library.documents(services.pool, user, pack)
        left = {state.job_id for state in found if state.status in OPEN}
        if left <= waited or time.monotonic() >= until:
            break
        for job_id in left - waited:
            if job_id is not None:
                timeout_s = max(0.0, until - time.monotonic())
                await services.waiting.wait(render.QUEUE, job_id, timeout_s)
        waited |= left
    is_open = bool(left)
    return Json(
        body | {"documents": [document_item(state, services.settings) for state in found]},
        status_code=202 if is_open else 200,
        headers=headers | {"Preference-Applied": f"wait={wait_s:.0f}"},
    )


def failed(job_id: UUID, error: str | None, ended: Ended | None) -> Problem:
    """The refusal for a render that has failed: `error` is its code, a colon and why."""
    details = {"job_id": str(job_id)}
    if ended is not None and ended.state == "cancelled":
        return Problem("job_cancelled", "The job was cancelled.", details=details)
    code, _, why = (error or "unknown").partition(": ")
    return Problem(
        "render_failed",
        f"The document could not be rendered: {why}" if why else "The document was not rendered.",
        details=details | {"reason": code.lower()},
    )
