"""What users do about themselves: the offer, their tokens.

GET    /me
POST   /legal/offer/accept
GET    /me/tokens
POST   /me/tokens               {"label": "booth", "days": 90}
DELETE /me/tokens/{token_id}
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import people
from makeready.people import Token
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import bearer, current_user, unauthorized
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    ID,
    SMALL_BODY_MAX_BYTES,
    TEXT,
    TIME,
    TRUTH,
    Answer,
    Operation,
    array,
    done,
    nullable,
    read_body,
    record,
)
from makeready_http.services import services_of

DAYS_DEFAULT = 30
TOKEN = record({"token_id": ID, "label": TEXT, "created_at": TIME, "expires_at": TIME})
_NEW_TOKEN = record(
    {"label": {**TEXT, "minLength": 1, "maxLength": 200}},
    {"days": {"type": "integer", "minimum": 1, "maximum": 365, "default": DAYS_DEFAULT}},
)

_log = structlog.get_logger(__name__)


async def me(request: Request) -> Response:
    """Who the token proves."""
    user_id = await current_user(request)
    user = await people.user(services_of(request).pool, user_id)
    if user is None:  # removed since
        raise unauthorized()
    found = {
        "ok": True,
        "user_id": user.id,
        "name": user.name,
        "phone": user.phone,
        "offer_accepted_at": user.offer_accepted_at,
    }
    return Json(found, headers=NO_STORE)


async def accept_offer(request: Request) -> Response:
    """Notes that the user accepts the offer; the first time counts."""
    user = await current_user(request)
    since = await people.offer_accept(services_of(request).pool, user)
    _log.info("offer_accepted", user_id=str(user))
    return Json({"ok": True, "offer_accepted_at": since})


async def list_tokens(request: Request) -> Response:
    """The user's tokens that count, newest first."""
    user = await current_user(request)
    found = await people.tokens(services_of(request).pool, user)
    return Json({"ok": True, "tokens": [token_item(token) for token in found]})


async def make_token(request: Request) -> Response:
    """Makes another token of the user, for a program of theirs."""
    user = await current_user(request)
    body = await read_body(request, _NEW_TOKEN, max_bytes=SMALL_BODY_MAX_BYTES)
    made = await people.token_derive(
        services_of(request).pool,
        bearer(request),
        purpose=body["label"],
        valid_for=timedelta(days=body.get("days", DAYS_DEFAULT)),
    )
    _log.info("token_created", user_id=str(user), token_id=str(made.id))
    found = {
        "ok": True,
        "token_id": made.id,
        "token": made.secret.reveal(),
        "expires_at": made.expires_at,
    }
    return Json(found, status_code=201, headers=NO_STORE)


async def revoke_token(request: Request) -> Response:
    """Withdraws a token of the user."""
    user = await current_user(request)
    token = path_uuid(request, "token_id", "result_not_found")
    revoked = await people.token_revoke_of(services_of(request).pool, user, token)
    if revoked:
        _log.info("token_revoked", user_id=str(user), token_id=str(token))
    return Json({"ok": True, "revoked": revoked})


def token_item(token: Token) -> dict[str, Any]:
    """A token in a list."""
    return {
        "token_id": token.id,
        "label": token.label,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }


OPERATIONS = (
    Operation(
        method="GET",
        path="/me",
        endpoint=me,
        tag="people",
        summary="says who the token proves",
        answers={
            200: Answer(
                description="The user; null since when the offer is not accepted.",
                schema=done(
                    user_id=ID, name=TEXT, phone=nullable(TEXT), offer_accepted_at=nullable(TIME)
                ),
            )
        },
    ),
    Operation(
        method="POST",
        path="/legal/offer/accept",
        endpoint=accept_offer,
        tag="people",
        summary="accepts the offer, which ordering needs",
        description="The first time counts; a repetition changes nothing.",
        answers={200: Answer(description="Since when.", schema=done(offer_accepted_at=TIME))},
    ),
    Operation(
        method="GET",
        path="/me/tokens",
        endpoint=list_tokens,
        tag="people",
        summary="lists the user's tokens that count, newest first",
        answers={200: Answer(description="Without secrets.", schema=done(tokens=array(TOKEN)))},
    ),
    Operation(
        method="POST",
        path="/me/tokens",
        endpoint=make_token,
        tag="people",
        summary="makes another token of the user",
        body=_NEW_TOKEN,
        answers={
            201: Answer(
                description="The token is shown this once.",
                schema=done(token_id=ID, token=TEXT, expires_at=TIME),
            )
        },
        errors=("user_not_found",),
    ),
    Operation(
        method="DELETE",
        path="/me/tokens/{token_id}",
        endpoint=revoke_token,
        tag="people",
        summary="withdraws a token of the user",
        answers={
            200: Answer(
                description="`revoked` is false when there is none to withdraw with this id.",
                schema=done(revoked=TRUTH),
            )
        },
        errors=("result_not_found",),
    ),
)
