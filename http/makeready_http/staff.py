"""Staff: a password gives a signed token; who is signed in, and how that ends.

POST /api/login             {"username": "anna", "password": "…"}
POST /admin/logout          ?everywhere=true
GET  /admin/me

Passwords are hashes of argon2id (19 MiB, two passes, one lane). An unknown name, a disabled
account and a wrong password look the same and take the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import anyio
import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from makeready import passwords, staff, staff_tokens
from makeready.staff import SignedIn, Staff
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import acting, current_staff
from makeready_http.clients import client_of
from makeready_http.operations import (
    ID,
    SMALL_BODY_MAX_BYTES,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    Operation,
    array,
    done,
    read_body,
    read_query,
    record,
)
from makeready_http.problems import Problem, retry_after
from makeready_http.services import Services, services_of
from makeready_http.sign_in import not_set_up

PASSWORD_TIMEOUT_S = 5.0  # in line for one of the threads that compare passwords

_LOGIN = record({"username": {**TEXT, "maxLength": 200}, "password": {**TEXT, "maxLength": 1000}})
_LOG_OUT = {"everywhere": {**TRUTH, "default": False, "description": "End all of them."}}
T = TypeVar("T")
_log = structlog.get_logger(__name__)


async def log_in(request: Request) -> Response:
    """Takes the password of an account and gives a token."""
    body = await read_body(request, _LOGIN, max_bytes=SMALL_BODY_MAX_BYTES)
    services = services_of(request)
    secret = services.settings.jwt_secret
    if secret is None:
        raise not_set_up("MAKEREADY_JWT_SECRET is not set")
    name, client = body["username"].strip().lower(), client_of(request)
    account, known = await _judged(services, name, body["password"], client)
    valid_s = services.settings.jwt_ttl_s
    token = staff_tokens.issue(
        secret,
        account=account,
        version=known.version,
        name=known.name,
        role=known.role,
        permissions=known.permissions,
        valid_for=timedelta(seconds=valid_s),
    )
    _log.info("staff_login", staff=known.name)
    found = {
        "access_token": token.reveal(),
        "token_type": "bearer",
        "expires_in_sec": valid_s,
    }
    return Json(found, headers=NO_STORE)


async def log_out(request: Request) -> Response:
    """Ends this log-in, or all of the account."""
    member = await current_staff(request)
    everywhere = read_query(request, _LOG_OUT)["everywhere"]
    async with acting(services_of(request), member, request) as connection:
        await staff.sign_out(connection, member.token, everywhere=everywhere)
    _log.info("staff_logout", staff=member.name, everywhere=everywhere)
    return Json({"ok": True}, headers=NO_STORE)


async def me(request: Request) -> Response:
    """Who is signed in, and what the role allows now."""
    member = await current_staff(request)
    return Json({"ok": True, **_facts(member)}, headers=NO_STORE)


async def hashed(services: Services, password: str) -> str:
    """The hash of a new password, made in one of the threads for it."""
    return await _in_thread(services, lambda: passwords.hashed(password))


async def _judged(
    services: Services, name: str, password: str, client: str
) -> tuple[UUID, SignedIn]:
    """The account and what its token says; 401 whatever is wrong."""
    known = await staff.credentials(services.pool, name, client=client)
    digest = known.digest if known else None
    right, anew = await _in_thread(services, lambda: _compared(password, digest))
    if known is not None and right:
        found = await staff.signed_in(services.pool, known.account, client=client, digest=anew)
        if found is not None:
            return known.account, found
    _log.info("staff_login_refused", client=client)
    raise Problem("invalid_credentials", "User name or password is wrong.")


async def _in_thread(services: Services, call: Callable[[], T]) -> T:
    try:
        with anyio.fail_after(PASSWORD_TIMEOUT_S):
            return await to_thread.run_sync(call, limiter=services.passwords)
    except TimeoutError:
        raise Problem(
            "queue_unavailable", "Too many sign in at this moment.", headers=retry_after()
        ) from None


def _compared(password: str, digest: str | None) -> tuple[bool, str | None]:
    """Whether it is right, and a newer hash of it when the old one has other parameters."""
    right = passwords.is_right(password, digest)
    if right and digest is not None and passwords.is_outdated(digest):
        return True, passwords.rehashed(password)
    return right, None


def _facts(member: Staff) -> dict[str, object]:
    return {
        "staff_id": member.id,
        "name": member.name,
        "role": member.role,
        "permissions": sorted(member.permissions),
        "expires_at": member.token.expires_at,
    }


OPERATIONS = (
    Operation(
        method="POST",
        path="/api/login",
        endpoint=log_in,
        tag="staff",
        who="anyone",
        summary="takes the password of a staff account and gives a token",
        description="The token is a JWT, signed with HS256; it goes into `Authorization: Bearer`.",
        body=_LOGIN,
        answers={
            200: Answer(
                description="The token is shown this once.",
                schema=record(
                    {
                        "access_token": TEXT,
                        "token_type": {"const": "bearer"},
                        "expires_in_sec": WHOLE,
                    }
                ),
            )
        },
        errors=("invalid_credentials", "rate_limited"),
    ),
    Operation(
        method="POST",
        path="/admin/logout",
        endpoint=log_out,
        tag="staff",
        who="staff",
        summary="ends this log-in, or all log-ins of the account",
        query=_LOG_OUT,
        answers={200: Answer(description="They count no more.", schema=done())},
    ),
    Operation(
        method="GET",
        path="/admin/me",
        endpoint=me,
        tag="staff",
        who="staff",
        summary="says who is signed in",
        answers={
            200: Answer(
                description="The account and what its role allows now.",
                schema=done(
                    staff_id=ID, name=TEXT, role=TEXT, permissions=array(TEXT), expires_at=TIME
                ),
            )
        },
    ),
)
