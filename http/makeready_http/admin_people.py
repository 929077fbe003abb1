"""What staff do about people: users and their tokens, the accounts of staff.

GET    /admin/users                                     ?limit=50&after=…&phone=+79001234567
POST   /admin/users/{user_id}/disable, /enable, /logout
GET    /admin/users/{user_id}/tokens
DELETE /admin/users/{user_id}/tokens/{token_id}
GET    /admin/staff                                     ?limit=50&after=…
POST   /admin/staff                                     {"name", "password", "role"}
POST   /admin/staff/{staff_id}/role, /password, /disable, /enable
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from makeready import people, staff
from makeready.db import Connection
from makeready.passwords import LENGTH_MAX, LENGTH_MIN
from makeready.staff import ROLES, Account
from makeready_http.answers import Json, listed
from makeready_http.auth import acting, current_staff
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    ID,
    PAGE,
    SMALL_BODY_MAX_BYTES,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    Operation,
    Schema,
    admin_operation,
    array,
    done,
    nullable,
    page_of,
    read_body,
    read_page,
    record,
)
from makeready_http.people import TOKEN, token_item
from makeready_http.services import services_of
from makeready_http.sign_in import phone_of
from makeready_http.staff import hashed

READ, WRITE = "people:read", "people:write"

_USER = record(
    {
        "user_id": ID,
        "name": TEXT,
        "phone": nullable(TEXT),
        "offer_accepted_at": nullable(TIME),
        "disabled_at": nullable(TIME),
        "created_at": TIME,
    }
)
_ACCOUNT = record(
    {
        "staff_id": ID,
        "name": TEXT,
        "role": TEXT,
        "created_at": TIME,
        "signed_in_at": nullable(TIME),
        "disabled_at": nullable(TIME),
    }
)
_NAME = {**TEXT, "pattern": "^[a-z0-9._-]{3,64}$"}
_PASSWORD = {**TEXT, "minLength": LENGTH_MIN, "maxLength": LENGTH_MAX}
_ROLE = {**TEXT, "enum": list(ROLES)}
_REASON = {**TEXT, "maxLength": 500, "description": "Goes into the audit log."}
_NEW_ACCOUNT = record({"name": _NAME, "password": _PASSWORD, "role": _ROLE})
_NEW_ROLE = record({"role": _ROLE}, {"reason": _REASON})
_NEW_PASSWORD = record({"password": _PASSWORD}, {"reason": _REASON})

Endpoint = Callable[[Request], Awaitable[Response]]
Change = Callable[[Connection, UUID], Awaitable[Any]]


async def list_users(request: Request) -> Response:
    """Users, newest first; with a number only its owner."""
    await current_staff(request, READ)
    limit, after = read_page(request)
    phone = request.query_params.get("phone")
    found = await people.users(
        services_of(request).pool,
        limit=limit,
        older_than=after,
        phone=None if phone is None else phone_of(phone),
    )
    return listed("users", [_user_item(user) for user in found], limit, "user_id")


async def disable_user(request: Request) -> Response:
    """Shuts a user out at once."""
    return await _changed_user(
        request, lambda db, user: people.user_set_disabled(db, user, disabled=True)
    )


async def enable_user(request: Request) -> Response:
    """Lets a user in again."""
    return await _changed_user(
        request, lambda db, user: people.user_set_disabled(db, user, disabled=False)
    )


async def log_user_out(request: Request) -> Response:
    """Withdraws all tokens of a user."""
    member = await current_staff(request, WRITE)
    user = path_uuid(request, "user_id", "user_not_found")
    async with acting(services_of(request), member, request) as connection:
        count = await people.user_sign_out(connection, user)
    return Json({"ok": True, "user_id": user, "revoked": count})


async def list_tokens(request: Request) -> Response:
    """The tokens of a user that count."""
    await current_staff(request, READ)
    user = path_uuid(request, "user_id", "user_not_found")
    found = await people.tokens(services_of(request).pool, user)
    return Json({"ok": True, "tokens": [token_item(token) for token in found]})


async def revoke_token(request: Request) -> Response:
    """Withdraws a token of a user."""
    member = await current_staff(request, WRITE)
    user = path_uuid(request, "user_id", "user_not_found")
    token = path_uuid(request, "token_id", "result_not_found")
    async with acting(services_of(request), member, request) as connection:
        revoked = await people.token_revoke_of(connection, user, token)
    return Json({"ok": True, "revoked": revoked})


async def list_staff(request: Request) -> Response:
    """All accounts, oldest first."""
    await current_staff(request, READ)
    limit, after = read_page(request)
    found = await staff.accounts(services_of(request).pool, limit=limit, after=after)
    return listed("staff", [_account_item(account) for account in found], limit, "staff_id")


async def add_staff(request: Request) -> Response:
    """Makes an account."""
    member = await current_staff(request, WRITE)
    body = await read_body(request, _NEW_ACCOUNT, max_bytes=SMALL_BODY_MAX_BYTES)
    services = services_of(request)
    digest = await hashed(services, body["password"])
    async with acting(services, member, request) as connection:
        account = await staff.add(connection, body["name"], digest, body["role"])
    return Json({"ok": True, "staff_id": account}, status_code=201)


async def set_staff_role(request: Request) -> Response:
    """Gives an account another role."""
    member = await current_staff(request, WRITE)
    body = await read_body(request, _NEW_ROLE, max_bytes=SMALL_BODY_MAX_BYTES)
    account = path_uuid(request, "staff_id", "user_not_found")
    async with acting(services_of(request), member, request) as connection:
        await staff.set_role(connection, account, body["role"], reason=body.get("reason"))
    return Json({"ok": True, "staff_id": account, "changed": True})


async def set_staff_password(request: Request) -> Response:
    """Gives an account another password; its log-ins end."""
    member = await current_staff(request, WRITE)
    body = await read_body(request, _NEW_PASSWORD, max_bytes=SMALL_BODY_MAX_BYTES)
    account = path_uuid(request, "staff_id", "user_not_found")
    services = services_of(request)
    digest = await hashed(services, body["password"])
    async with acting(services, member, request) as connection:
        await staff.set_password(connection, account, digest, reason=body.get("reason"))
    return Json({"ok": True, "staff_id": account, "changed": True})


async def disable_staff(request: Request) -> Response:
    """Shuts an account out at once."""
    return await _changed_staff(request, staff.disable)


async def enable_staff(request: Request) -> Response:
    """Lets an account in again."""
    return await _changed_staff(request, staff.enable)


async def _changed_user(request: Request, change: Change) -> Response:
    member = await current_staff(request, WRITE)
    user = path_uuid(request, "user_id", "user_not_found")
    async with acting(services_of(request), member, request) as connection:
        changed = await change(connection, user)
    return Json({"ok": True, "user_id": user, "changed": changed})


async def _changed_staff(request: Request, change: Change) -> Response:
    member = await current_staff(request, WRITE)
    account = path_uuid(request, "staff_id", "user_not_found")
    async with acting(services_of(request), member, request) as connection:
        changed = await change(connection, account)
    return Json({"ok": True, "staff_id": account, "changed": changed})


def _user_item(user: people.User) -> dict[str, Any]:
    return {
        "user_id": user.id,
        "name": user.name,
        "phone": user.phone,
        "offer_accepted_at": user.offer_accepted_at,
        "disabled_at": user.disabled_at,
        "created_at": user.created_at,
    }


def _account_item(account: Account) -> dict[str, Any]:
    return {
        "staff_id": account.id,
        "name": account.name,
        "role": account.role,
        "created_at": account.created_at,
        "signed_in_at": account.signed_in_at,
        "disabled_at": account.disabled_at,
    }


def _on_user(name: str, endpoint: Endpoint, summary: str) -> Operation:
    return _on("users", "user_id", name, endpoint, summary, errors=("user_not_found",))


def _on_staff(
    name: str, endpoint: Endpoint, summary: str, body: Schema | None = None
) -> Operation:
    errors = ("user_not_found", "conflict")
    return _on("staff", "staff_id", name, endpoint, summary, body=body, errors=errors)


def _on(
    whose: str,
    key: str,
    name: str,
    endpoint: Endpoint,
    summary: str,
    *,
    errors: tuple[str, ...],
    body: Schema | None = None,
) -> Operation:
    return admin_operation(
        method="POST",
        path=f"/admin/{whose}/{{{key}}}/{name}",
        endpoint=endpoint,
        tag="staff",
        needs=WRITE,
        summary=summary,
        body=body,
        answers={
            200: Answer(
                description="`changed`: whether anything had to be.",
                schema=done(**{key: ID, "changed": TRUTH}),
            )
        },
        errors=errors,
    )


OPERATIONS = (
    admin_operation(
        method="GET",
        path="/admin/users",
        endpoint=list_users,
        tag="staff",
        needs=READ,
        summary="lists users, newest first",
        query={**PAGE, "phone": {**TEXT, "description": "Only the user of this number."}},
        answers={200: Answer(description="A page.", schema=page_of("users", _USER))},
    ),
    _on_user("disable", disable_user, "shuts a user out at once"),
    _on_user("enable", enable_user, "lets a user in again, with the tokens they had"),
    admin_operation(
        method="POST",
        path="/admin/users/{user_id}/logout",
        endpoint=log_user_out,
        tag="staff",
        needs=WRITE,
        summary="withdraws all tokens of a user",
        answers={
            200: Answer(description="How many there were.", schema=done(user_id=ID, revoked=WHOLE))
        },
        errors=("user_not_found",),
    ),
    admin_operation(
        method="GET",
        path="/admin/users/{user_id}/tokens",
        endpoint=list_tokens,
        tag="staff",
        needs=READ,
        summary="lists the tokens of a user that count, newest first",
        answers={200: Answer(description="Without secrets.", schema=done(tokens=array(TOKEN)))},
        errors=("user_not_found",),
    ),
    admin_operation(
        method="DELETE",
        path="/admin/users/{user_id}/tokens/{token_id}",
        endpoint=revoke_token,
        tag="staff",
        needs=WRITE,
        summary="withdraws a token of a user",
        answers={
            200: Answer(
                description="`revoked` is false when they have none to withdraw with this id.",
                schema=done(revoked=TRUTH),
            )
        },
        errors=("user_not_found", "result_not_found"),
    ),
    admin_operation(
        method="GET",
        path="/admin/staff",
        endpoint=list_staff,
        tag="staff",
        needs=READ,
        summary="lists the accounts of staff, oldest first",
        query=PAGE,
        answers={200: Answer(description="A page.", schema=page_of("staff", _ACCOUNT))},
    ),
    admin_operation(
        method="POST",
        path="/admin/staff",
        endpoint=add_staff,
        tag="staff",
        needs=WRITE,
        summary="makes an account of staff",
        body=_NEW_ACCOUNT,
        answers={201: Answer(description="Made.", schema=done(staff_id=ID))},
        errors=("conflict",),
    ),
    _on_staff("role", set_staff_role, "gives an account another role", _NEW_ROLE),
    _on_staff(
        "password",
        set_staff_password,
        "gives an account another password and ends its log-ins",
        _NEW_PASSWORD,
    ),
    _on_staff("disable", disable_staff, "shuts an account out at once"),
    _on_staff("enable", enable_staff, "lets an account in again, with the password it had"),
)
