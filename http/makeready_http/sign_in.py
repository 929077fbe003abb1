"""How users get in and out: a one-time code proves a telephone number and gives a token.

POST /auth/otp/request      {"phone": "+79001234567"}
POST /auth/otp/verify       {"phone": "+79001234567", "code": "123456"}
POST /auth/logout
GET  /debug/otp/latest      ?phone=+79001234567, with DEBUG only

Whoever is refused learns nothing of who exists: an unknown number, a disabled user and a wrong,
used or expired code look the same.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import people, sms
from makeready.sms import CodeSender, MockSender
from makeready.values import Secret
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import bearer, current_user, refuse_unless_debug
from makeready_http.clients import client_of
from makeready_http.operations import (
    ID,
    SMALL_BODY_MAX_BYTES,
    TEXT,
    TRUTH,
    WHOLE,
    Answer,
    Operation,
    done,
    read_body,
    record,
)
from makeready_http.problems import Problem, invalid_request, retry_after
from makeready_http.services import Services, services_of

NOT_SET_UP_RETRY_S = 60

_FILLING = re.compile(r"[\s().\-]")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE = {
    **TEXT,
    "maxLength": 40,
    "description": "With + and country code; blanks, dots, dashes and brackets are left out.",
}
_REQUEST = record({"phone": _PHONE})
_VERIFY = record({"phone": _PHONE, "code": {**TEXT, "maxLength": 20}})

_log = structlog.get_logger(__name__)


async def request_code(request: Request) -> Response:
    """Sends a one-time code; the answer is the same whoever has the number."""
    body = await read_body(request, _REQUEST, max_bytes=SMALL_BODY_MAX_BYTES)
    phone = phone_of(body["phone"])
    services = services_of(request)
    key, sender = _means(services)
    code = people.new_code()
    mac = people.code_mac(key, phone, code)
    await people.code_request(services.pool, phone, mac, client=client_of(request))
    await sender.send(phone, code)
    _log.info("otp_sent", phone=masked(phone), provider=sender.name)
    return Json({"ok": True}, headers=NO_STORE)


async def verify_code(request: Request) -> Response:
    """Takes a code and gives a token; the first time makes the user known."""
    body = await read_body(request, _VERIFY, max_bytes=SMALL_BODY_MAX_BYTES)
    phone = phone_of(body["phone"])
    services = services_of(request)
    key, _ = _means(services)
    mac = people.code_mac(key, phone, body["code"].strip())
    proved = await people.code_verify(services.pool, phone, mac, client=client_of(request))
    if proved is None:
        _log.info("otp_refused", phone=masked(phone))
        raise Problem("invalid_credentials", "The code is wrong, used or too old.")
    _log.info("otp_verified", user_id=str(proved.user))
    left = proved.expires_at - datetime.now(tz=UTC)
    found = {
        "ok": True,
        "token": proved.secret.reveal(),
        "token_type": "bearer",
        "user_id": proved.user,
        "expires_in_sec": max(0, round(left.total_seconds())),
        "offer_accepted": proved.has_accepted,
    }
    return Json(found, headers=NO_STORE)


async def log_out(request: Request) -> Response:
    """Withdraws the token that the request carries."""
    user = await current_user(request)
    await people.token_end(services_of(request).pool, bearer(request))
    _log.info("logged_out", user_id=str(user))
    return Json({"ok": True}, headers=NO_STORE)


async def latest_code(request: Request) -> Response:
    """The code that the mock would have sent last; not there without DEBUG."""
    refuse_unless_debug(request)
    phone = phone_of(request.query_params.get("phone", ""))
    sender = services_of(request).sms
    code = sender.latest(phone) if isinstance(sender, MockSender) else None
    if code is None:
        raise Problem(
            "result_not_found", "No code was asked for in this process.", details={"phone": phone}
        )
    return Json({"ok": True, "phone": phone, "code": code}, headers=NO_STORE)


def phone_of(text: Any) -> str:
    """A number as E.164; 400 for what is none. A `+` of a query may have come as a blank."""
    found = _FILLING.sub("", str(text))
    if text.startswith(" ") and found[:1].isdigit():
        found = f"+{found}"
    if not _E164.fullmatch(found):
        raise invalid_request(
            "A telephone number is + and 7 to 15 digits.", field="phone", reason="format"
        )
    return found


def masked(phone: str) -> str:
    """A number fit for a log."""
    return f"{phone[:2]}…{phone[-2:]}"


def _means(services: Services) -> tuple[Secret, CodeSender]:
    """The key of codes and who sends them; 503 when this service is not set up for it."""
    key, sender = services.settings.jwt_secret, services.sms
    if key is None or sender is None:
        raise not_set_up(sms.complaint(services.settings))
    return key, sender


def not_set_up(why: str) -> Problem:
    """503 for what an operator has to set up first."""
    return Problem(
        "queue_unavailable",
        f"Nobody can sign in this way here: {why}.",
        details={"reason": "not_set_up"},
        headers=retry_after(NOT_SET_UP_RETRY_S),
    )


OPERATIONS = (
    Operation(
        method="POST",
        path="/auth/otp/request",
        endpoint=request_code,
        tag="people",
        who="anyone",
        summary="sends a one-time code to a telephone",
        description="An older code of the number counts no more.",
        body=_REQUEST,
        answers={200: Answer(description="Sent.", schema=done())},
        errors=("rate_limited",),
    ),
    Operation(
        method="POST",
        path="/auth/otp/verify",
        endpoint=verify_code,
        tag="people",
        who="anyone",
        summary="takes a one-time code and gives a token",
        body=_VERIFY,
        answers={
            200: Answer(
                description="The token is shown this once.",
                schema=done(
                    token=TEXT,
                    token_type={"const": "bearer"},
                    user_id=ID,
                    expires_in_sec=WHOLE,
                    offer_accepted=TRUTH,
                ),
            )
        },
        errors=("invalid_credentials", "rate_limited"),
    ),
    Operation(
        method="POST",
        path="/auth/logout",
        endpoint=log_out,
        tag="people",
        summary="withdraws the token that the request carries",
        answers={200: Answer(description="It counts no more.", schema=done())},
    ),
    Operation(
        method="GET",
        path="/debug/otp/latest",
        endpoint=latest_code,
        tag="debug",
        who="anyone",
        summary="shows the code that the mock provider would have sent last",
        description="With DEBUG only, and in the process that took the request for the code.",
        query={"phone": {**TEXT, "description": "With + and country code."}},
        answers={200: Answer(description="The code.", schema=done(phone=TEXT, code=TEXT))},
        errors=("route_not_found", "result_not_found"),
    ),
)
