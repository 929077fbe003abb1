"""Webhooks of users: where their own programs are told that something has ended. Thin.

POST   /me/webhooks                             {"url": "https://…", "events"?: ["pack.done"]}
GET    /me/webhooks
PATCH  /me/webhooks/{webhook_id}                {"events"?, "enabled"?}
DELETE /me/webhooks/{webhook_id}
POST   /me/webhooks/{webhook_id}/rotate
GET    /me/webhooks/{webhook_id}/deliveries     ?limit=50&after=<the last id of the page before>
POST   /me/webhooks/{webhook_id}/deliveries/{delivery_id}/retry

A secret is in two answers only: of the call that makes the webhook, and of a rotation.
"""

from __future__ import annotations

from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import webhooks
from makeready.addresses import URL_MAX, check_url
from makeready.errors import Rejected
from makeready.shapes import problem
from makeready_http.answers import NO_STORE, Json, listed, replayed
from makeready_http.auth import current_user
from makeready_http.inputs import idempotency_key, path_uuid
from makeready_http.operations import (
    ANYTHING,
    ID,
    PAGE,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    Operation,
    array,
    done,
    nullable,
    page_of,
    read_body,
    read_page,
    record,
)
from makeready_http.services import services_of

_EVENTS = {
    "type": "array",
    "items": {"type": "string", "enum": list(webhooks.EVENTS)},
    "minItems": 1,
    "maxItems": len(webhooks.EVENTS),
}
_URL = {"type": "string", "minLength": 1, "maxLength": URL_MAX}
_NEW = record({"url": _URL}, {"events": _EVENTS})
_CHANGE = record({}, {"events": _EVENTS, "enabled": TRUTH})
WEBHOOK = record(
    {
        "webhook_id": ID,
        "url": TEXT,
        "events": array(TEXT),
        "enabled": TRUTH,
        "disabled_why": nullable(TEXT),
        "disabled_at": nullable(TIME),
        "failures": WHOLE,
        "failing_since": nullable(TIME),
        "created_at": TIME,
    }
)
DELIVERY = record(
    {
        "delivery_id": ID,
        "event": TEXT,
        "status": TEXT,
        "attempts": WHOLE,
        "tries": array(ANYTHING),
        "last_error": nullable(ANYTHING),
        "created_at": TIME,
        "finished_at": nullable(TIME),
        "next_try_at": nullable(TIME),
    }
)

_log = structlog.get_logger(__name__)


async def create(request: Request) -> Response:
    """Registers a webhook."""
    user = await current_user(request)
    key = idempotency_key(request)
    body = await read_body(request, _NEW)
    services = services_of(request)
    try:
        url = check_url(body["url"], private=services.settings.webhook_private)
    except ValueError as error:
        found = problem("url", "url", f"url {error}", "")
        raise Rejected("the body does not fit", details={"problems": [found]}) from None
    events = body.get("events", webhooks.EVENTS)
    made = await services.write(lambda db: webhooks.create(db, user, url, events, request_key=key))
    _log.info("webhook_created", endpoint_id=str(made.id))
    return Json(
        {"ok": True, "webhook_id": made.id, "secret": made.secret.reveal()},
        status_code=201,
        headers=NO_STORE | replayed(made.is_new),
    )


async def my_webhooks(request: Request) -> Response:
    """The user's webhooks, oldest first."""
    user = await current_user(request)
    found = await webhooks.endpoints(services_of(request).pool, user)
    return Json({"ok": True, "webhooks": [_webhook_item(one) for one in found]})


async def change(request: Request) -> Response:
    """Changes what a webhook is told, or whether."""
    user = await current_user(request)
    endpoint = path_uuid(request, "webhook_id", "webhook_not_found")
    body = await read_body(request, _CHANGE)
    events, enabled = body.get("events"), body.get("enabled")
    await services_of(request).write(
        lambda db: webhooks.change(db, user, endpoint, events=events, enabled=enabled)
    )
    return Json({"ok": True})


async def delete(request: Request) -> Response:
    """Forgets a webhook."""
    user = await current_user(request)
    endpoint = path_uuid(request, "webhook_id", "webhook_not_found")
    await services_of(request).write(lambda db: webhooks.delete(db, user, endpoint))
    _log.info("webhook_deleted", endpoint_id=str(endpoint))
    return Json({"ok": True})


async def rotate(request: Request) -> Response:
    """Makes a new secret."""
    user = await current_user(request)
    endpoint = path_uuid(request, "webhook_id", "webhook_not_found")
    secret = await services_of(request).write(lambda db: webhooks.rotate(db, user, endpoint))
    return Json({"ok": True, "secret": secret.reveal()}, headers=NO_STORE)


async def list_deliveries(request: Request) -> Response:
    """What was and is to be sent, newest first."""
    user = await current_user(request)
    endpoint = path_uuid(request, "webhook_id", "webhook_not_found")
    limit, after = read_page(request)
    rows = await webhooks.deliveries(
        services_of(request).pool, user, endpoint, limit=limit, older_than=after
    )
    return listed("deliveries", [_delivery_item(row) for row in rows], limit, "delivery_id")


async def retry(request: Request) -> Response:
    """Sends a delivery again that has ended."""
    user = await current_user(request)
    endpoint = path_uuid(request, "webhook_id", "webhook_not_found")
    delivery = path_uuid(request, "delivery_id", "delivery_not_found")
    services = services_of(request)
    await services.write(lambda db: webhooks.retry(db, user, endpoint, delivery))
    services.wake(webhooks.QUEUE)
    return Json({"ok": True}, status_code=202)


def _webhook_item(one: webhooks.Endpoint) -> dict[str, Any]:
    return {
        "webhook_id": one.id,
        "url": one.url,
        "events": list(one.events),
        "enabled": one.disabled_at is None,
        "disabled_why": one.disabled_why,
        "disabled_at": one.disabled_at,
        "failures": one.failures,
        "failing_since": one.failing_since,
        "created_at": one.created_at,
    }


def _delivery_item(row: webhooks.Delivery) -> dict[str, Any]:
    return {
        "delivery_id": row.id,
        "event": row.event,
        "status": row.status,
        "attempts": row.attempts,
        "tries": list(row.tries),
        "last_error": row.last_error,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "next_try_at": row.next_try_at,
    }


_PATH = "/me/webhooks"
_ONE = f"{_PATH}/{{webhook_id}}"
_DONE = Answer(description="Done.", schema=done())
OPERATIONS = (
    Operation(
        method="POST",
        path=_PATH,
        endpoint=create,
        tag="webhooks",
        summary="registers a webhook",
        description="Without `events` it is told of all. The secret is shown this once. Messages"
        " are signed as Standard Webhooks say, come at least once and in no certain order; a"
        " repeat has the same `webhook-id`. A receiver answers any 2xx within 10 s, or 410 to be"
        " left in peace.",
        body=_NEW,
        answers={
            201: Answer(
                description="Its id and its secret.", schema=done(webhook_id=ID, secret=TEXT)
            )
        },
        errors=("conflict", "webhook_not_found"),
        is_idempotent=True,
    ),
    Operation(
        method="GET",
        path=_PATH,
        endpoint=my_webhooks,
        tag="webhooks",
        summary="lists the user's webhooks, oldest first",
        answers={200: Answer(description="At most ten.", schema=done(webhooks=array(WEBHOOK)))},
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        endpoint=change,
        tag="webhooks",
        summary="changes what a webhook is told, or whether",
        description="Enabling it forgets its failures.",
        body=_CHANGE,
        answers={200: _DONE},
        errors=("webhook_not_found",),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        endpoint=delete,
        tag="webhooks",
        summary="forgets a webhook and its deliveries",
        answers={200: _DONE},
        errors=("webhook_not_found",),
    ),
    Operation(
        method="POST",
        path=f"{_ONE}/rotate",
        endpoint=rotate,
        tag="webhooks",
        summary="makes a new secret; the one before signs too for a day",
        answers={200: Answer(description="The new secret.", schema=done(secret=TEXT))},
        errors=("webhook_not_found",),
    ),
    Operation(
        method="GET",
        path=f"{_ONE}/deliveries",
        endpoint=list_deliveries,
        tag="webhooks",
        summary="lists what was and is to be sent to a webhook, newest first",
        query=PAGE,
        answers={200: Answer(description="A page.", schema=page_of("deliveries", DELIVERY))},
        errors=("webhook_not_found",),
    ),
    Operation(
        method="POST",
        path=f"{_ONE}/deliveries/{{delivery_id}}/retry",
        endpoint=retry,
        tag="webhooks",
        summary="sends a delivery again that has ended",
        answers={202: Answer(description="It is sent at once.", schema=done())},
        errors=("webhook_not_found", "delivery_not_found", "conflict"),
    ),
)
