"""Sessions: a profession is named, and a pack of the documents for hiring comes of it.

POST /sessions              {"profession_query": "бариста"}
POST /ml/job                {"session_id": "…", "language": "ru"}
POST /events/client         {"event": "page_opened", "props": {…}}

The pack is a mock: its texts are examples with this profession in them, and nobody has thought.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from makeready import hiring, people, render
from makeready_http.answers import Json, pack_made, replayed
from makeready_http.auth import current_user
from makeready_http.clients import client_of
from makeready_http.inputs import idempotency_key
from makeready_http.operations import (
    ANYTHING,
    ID,
    LANGUAGE,
    TEXT,
    Answer,
    Operation,
    done,
    read_body,
    record,
)
from makeready_http.services import services_of

BODY_MAX_BYTES = 8192
PROPS_MAX = 20
PROP_MAX = 200

_SESSION = record(
    {"profession_query": {**TEXT, "minLength": 1, "maxLength": hiring.PROFESSION_LIMIT}}
)
_JOB = record({"session_id": ID}, {"language": LANGUAGE})
_EVENT = record({"event": {**TEXT, "pattern": "^[a-z][a-z0-9_.:-]{0,62}$"}}, {"props": ANYTHING})

_log = structlog.get_logger(__name__)


async def create_session(request: Request) -> Response:
    """Begins a session about a profession."""
    user = await current_user(request)
    key = idempotency_key(request)
    body = await read_body(request, _SESSION, max_bytes=BODY_MAX_BYTES)
    query = body["profession_query"]
    services = services_of(request)
    await to_thread.run_sync(hiring.pack, query, "ru", limiter=services.heavy)  # 422 early
    session, is_new = await services.write(
        lambda db: people.session_begin(db, user, query, request_key=key)
    )
    _log.info("session_created", session_id=str(session), is_new=is_new)
    return Json({"ok": True, "session_id": session}, status_code=201, headers=replayed(is_new))


async def create_job(request: Request) -> Response:
    """Makes the pack of a session."""
    user = await current_user(request)
    key = idempotency_key(request)
    body = await read_body(request, _JOB, max_bytes=BODY_MAX_BYTES)
    services = services_of(request)
    session, language = UUID(body["session_id"]), body.get("language", "ru")
    topic = await people.session_topic(services.pool, user, session)
    data = await to_thread.run_sync(hiring.pack, topic, language, limiter=services.heavy)
    made = await services.write(
        lambda db: render.pack_create(
            db, user, data, language=language, session=session, request_key=key
        )
    )
    return pack_made(made, len(data), {"session_id": session})


async def note_event(request: Request) -> Response:
    """Writes down what a page reports: in the log and nowhere else."""
    client = client_of(request)
    await people.throttle(services_of(request).pool, "client_events", client)
    body = await read_body(request, _EVENT, max_bytes=BODY_MAX_BYTES)
    _log.info("client_event", name=body["event"], props=_harmless(body.get("props", {})))
    return Json({"ok": True})


def _harmless(props: Mapping[str, Any]) -> dict[str, Any]:
    """Few and short: numbers, words and their names; what is nested is left out."""
    plain = {
        name[:PROP_MAX]: value[:PROP_MAX] if isinstance(value, str) else value
        for name, value in props.items()
        if value is None or isinstance(value, str | int | float)
    }
    return dict(list(plain.items())[:PROPS_MAX])


OPERATIONS = (
    Operation(
        method="POST",
        path="/sessions",
        endpoint=create_session,
        tag="people",
        summary="begins a session about a profession",
        body=_SESSION,
        is_idempotent=True,
        answers={201: Answer(description="Begun.", schema=done(session_id=ID))},
    ),
    Operation(
        method="POST",
        path="/ml/job",
        endpoint=create_job,
        tag="packs",
        summary="makes the hiring pack of a session, of example texts",
        description="Its documents are rendered by `POST /packs/{pack_id}/render`.",
        body=_JOB,
        is_idempotent=True,
        answers={
            201: Answer(
                description="The pack.",
                schema=done(pack_id=ID, session_id=ID),
                headers=("Location",),
            )
        },
        errors=("forbidden", "session_not_found"),
    ),
    Operation(
        method="POST",
        path="/events/client",
        endpoint=note_event,
        tag="operations",
        who="anyone",
        summary="writes an event of a page into the log",
        description=f"At most {PROPS_MAX} plain props are kept.",
        body=_EVENT,
        answers={200: Answer(description="Written.", schema=done())},
        errors=("rate_limited",),
    ),
)
