"""Generations of table cards: the press of the button, and what becomes of it.

POST /posm/generations                             Idempotency-Key; Prefer: wait=N
GET  /posm/generations                             ?restaurant_id&template_id&status&…&cursor
GET  /posm/generations/{generation_id}             ?tables=false
GET  /posm/generations/{generation_id}/tables      ?limit&after, with the evidence of each card
GET  /posm/generations/{generation_id}/check
POST /posm/generations/{generation_id}/cancel
POST /posm/generations/{generation_id}/retry

What is asked for is checked with the tables' own data before anything is written.
"""

from __future__ import annotations

import asyncpg
import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import posm
from makeready.posm import GenerationMade
from makeready_http.answers import Json, listed, replayed
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import idempotency_key, prefer_wait
from makeready_http.operations import (
    ID,
    TEXT,
    WHOLE,
    Answer,
    admin_operation,
    array,
    done,
    large_body,
    nullable,
    page_of,
    read_query,
    record,
)
from makeready_http.posm_bodies import (
    CARD,
    CARDS,
    DETAILS,
    GENERATE,
    GENERATION,
    HISTORY,
    PROVEN_CARD,
    STATUS,
    card_item,
    generation_item,
    proven_card,
)
from makeready_http.posm_parts import READ, TAG, WRITE, asked_generation
from makeready_http.posm_pressing import pressed, wish_of
from makeready_http.posm_words import in_words
from makeready_http.problems import invalid_request
from makeready_http.services import Services, services_of

ENDED = frozenset({"done", "error", "deleted"})

_log = structlog.get_logger(__name__)


async def generate(request: Request) -> Response:
    """Asks for cards; the same press again is answered with what the first made."""
    member = await current_staff(request, WRITE)
    key, wait_s = idempotency_key(request), prefer_wait(request)
    if key is None:
        text = "Idempotency-Key is missing: a press that is repeated must not print twice."
        raise invalid_request(text, field="Idempotency-Key", reason="missing")
    async with large_body(request, GENERATE) as body:
        wish = wish_of(body)
    services = services_of(request)
    with in_words(request):
        made = await pressed(request, member, wish, key)
    if made.is_new:
        await _admit(services)
        _log.info("posm_generation_created", generation_id=str(made.id), version=made.version)
    return await _outcome(services, made, wait_s)


async def _outcome(services: Services, made: GenerationMade, wait_s: float | None) -> Response:
    """201 for a new one, 200 for a repeated press, 202 when it is waited for and still open."""
    headers = {"Location": f"/posm/generations/{made.id}", **replayed(made.is_new)}
    body = {"ok": True, "id": made.id, "version": made.version, "status": made.status}
    status = 201 if made.is_new else 200
    if wait_s is None:
        return Json(body, status_code=status, headers=headers)
    if made.status not in ENDED:
        await services.waiting.wait(posm.QUEUE, made.id, wait_s)
    found = await posm.read(services.pool, made.id)
    body |= {"status": found.status, "comment": found.comment}
    headers["Preference-Applied"] = f"wait={wait_s:.0f}"
    return Json(body, status_code=status if found.status in ENDED else 202, headers=headers)


async def history(request: Request) -> Response:
    """Everything that was asked for, newest first."""
    await current_staff(request, READ)
    asked = read_query(request, HISTORY)
    rows = await posm.page(
        services_of(request).pool,
        restaurant=asked["restaurant_id"],
        template=asked["template_id"],
        status=asked["status"],
        author=asked["author"],
        made_from=asked["from"],
        made_before=asked["before"],
        table=asked["table"],
        limit=asked["limit"],
        after=asked["after"] or asked["cursor"],
    )
    items = [generation_item(row) for row in rows]
    return listed("generations", items, asked["limit"], "id")


async def show(request: Request) -> Response:
    """One generation with its tables."""
    await current_staff(request, READ)
    with_tables = read_query(request, DETAILS)["tables"]
    generation = asked_generation(request)
    pool = services_of(request).pool
    found = await posm.read(pool, generation)
    body = {"ok": True, **generation_item(found)}
    if with_tables:
        body["tables"] = [card_item(card) for card in await posm.cards(pool, generation)]
    return Json(body)


async def list_cards(request: Request) -> Response:
    """Its tables, each with what was seen of its card."""
    await current_staff(request, READ)
    asked = read_query(request, CARDS)
    generation = asked_generation(request)
    limit = asked["limit"]
    after = -1 if asked["after"] is None else asked["after"]
    rows = await posm.cards(services_of(request).pool, generation, limit=limit, after=after)
    return listed("tables", [proven_card(row) for row in rows], limit, "place")


async def check(request: Request) -> Response:
    """Whether the tables are still those that the cards were made for; bars nothing."""
    await current_staff(request, READ)
    generation = asked_generation(request)
    found = await posm.check(services_of(request).pool, generation)
    entries = [*found["renumbered"], *found["renamed"], *found["relinked"]]
    changed = {entry["uuid"]: entry for entry in entries}
    return Json({"ok": True, **found, "changed": list(changed.values())})


async def cancel(request: Request) -> Response:
    """Ends an active one; a worker that has it is told."""
    member = await current_staff(request, WRITE)
    generation = asked_generation(request)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        status = await posm.cancel(connection, generation)
    await _admit(services)
    _log.info("posm_generation_cancelled", generation_id=str(generation), status=status)
    return Json({"ok": True, "id": generation, "status": status})


async def retry(request: Request) -> Response:
    """Makes a failed one again, from the first card that is missing."""
    member = await current_staff(request, WRITE)
    generation = asked_generation(request)
    services = services_of(request)
    async with acting(services, member, request) as connection:
        status = await posm.retry(connection, generation)
    await _admit(services)
    _log.info("posm_generation_retried", generation_id=str(generation), status=status)
    headers = {"Location": f"/posm/generations/{generation}"}
    return Json({"ok": True, "id": generation, "status": status}, headers=headers)


async def _admit(services: Services) -> None:
    """Lets the next ones in at once; what fails here is made up for within a minute."""
    try:
        admitted = await posm.admit(services.pool)
    except (asyncpg.PostgresError, OSError) as error:
        _log.warning("posm_admit_failed", error=type(error).__name__)
        return
    if admitted:
        services.wake(posm.QUEUE)


_MADE = {"id": ID, "version": WHOLE, "status": STATUS}
_PRESSED = done({"comment": nullable(TEXT)}, **_MADE)
_STATE = done(id=ID, status=STATUS)
_FACTS = {
    "uuid": ID,
    "number": TEXT,
    "name": nullable(TEXT),
    "section": nullable(TEXT),
    "seats": nullable(WHOLE),
    "url": nullable(TEXT),
}
_TABLE = record(_FACTS, {"id": ID})
_ENTRY = record({"uuid": ID, "number": TEXT, "before": _TABLE, "after": _TABLE})
_UNKNOWN = ("generation_not_found",)
OPERATIONS = (
    admin_operation(
        method="POST",
        path="/posm/generations",
        endpoint=generate,
        tag=TAG,
        needs=WRITE,
        summary="makes a card for every table of a restaurant, for some of them, or for uuids",
        description="`Idempotency-Key` is needed: the same press again is answered 200 with what"
        " the first has made, for ever. Settings are checked with the data of all tables first,"
        " and 422 names everything that is wrong. With `Prefer: wait=N` the answer comes when the"
        " generation has ended, well or not; see `status`.",
        body=GENERATE,
        is_idempotent=True,
        can_wait=True,
        wait_errors=(),
        answers={
            200: Answer(
                description="The same press has made it before.",
                schema=_PRESSED,
                headers=("Location",),
            ),
            201: Answer(description="It is asked for.", schema=_PRESSED, headers=("Location",)),
            202: Answer(
                description="It was waited for, and has not ended.",
                schema=_PRESSED,
                headers=("Location",),
            ),
        },
        errors=(
            "template_not_found",
            "restaurant_not_found",
            "already_in_progress",
            "conflict",
            "storage_unavailable",
        ),
    ),
    admin_operation(
        method="GET",
        path="/posm/generations",
        endpoint=history,
        tag=TAG,
        needs=READ,
        summary="lists generations, newest first, those that are deleted included",
        query=HISTORY,
        answers={
            200: Answer(description="A page.", schema=page_of("generations", record(GENERATION)))
        },
    ),
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}",
        endpoint=show,
        tag=TAG,
        needs=READ,
        summary="shows a generation: settings, tables, progress, why it failed",
        query=DETAILS,
        answers={
            200: Answer(description="It.", schema=done({"tables": array(CARD)}, **GENERATION))
        },
        errors=_UNKNOWN,
    ),
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/tables",
        endpoint=list_cards,
        tag=TAG,
        needs=READ,
        summary="lists the cards of a generation with the evidence that each can be read",
        query=CARDS,
        answers={200: Answer(description="A page.", schema=page_of("tables", PROVEN_CARD))},
        errors=_UNKNOWN,
    ),
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/check",
        endpoint=check,
        tag=TAG,
        needs=READ,
        summary="compares the cards of a generation with the tables as they are now",
        description="A warning only: what was made can be downloaded all the same.",
        answers={
            200: Answer(
                description="`ok`, or `warn` with what differs; `changed` has all that are there"
                " under another number, name or link.",
                schema=done(
                    status={"type": "string", "enum": ["ok", "warn"]},
                    added=array(_TABLE),
                    removed=array(_TABLE),
                    renumbered=array(_ENTRY),
                    renamed=array(_ENTRY),
                    relinked=array(_ENTRY),
                    changed=array(_ENTRY),
                ),
            )
        },
        errors=(*_UNKNOWN, "conflict", "generation_deleted"),
    ),
    admin_operation(
        method="POST",
        path="/posm/generations/{generation_id}/cancel",
        endpoint=cancel,
        tag=TAG,
        needs=WRITE,
        summary="ends a generation that is active (else 409 `conflict`)",
        answers={
            200: Answer(
                description="`error`, or still `in-progress` while its worker is told.",
                schema=_STATE,
            )
        },
        errors=(*_UNKNOWN, "conflict"),
    ),
    admin_operation(
        method="POST",
        path="/posm/generations/{generation_id}/retry",
        endpoint=retry,
        tag=TAG,
        needs=WRITE,
        summary="makes a generation that failed again, from the first card that is missing",
        answers={
            200: Answer(
                description="Under the same version.", schema=_STATE, headers=("Location",)
            )
        },
        errors=(*_UNKNOWN, "conflict", "already_in_progress", "generation_deleted"),
    ),
)
