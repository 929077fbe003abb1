"""Who asks: bearer tokens of users and of staff. Nothing else in a request names a person.

A user's token is a random secret that the database knows by its hash; a member of staff has a
signed one, and the database says at each request whether it still counts and what it allows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
from starlette.requests import Request

from makeready import staff, staff_tokens
from makeready.db import Connection
from makeready.people import user_of_token
from makeready.staff import Staff
from makeready_http.clients import client_of
from makeready_http.problems import Problem
from makeready_http.services import Services, services_of

TOKEN_MAX = 200  # ours have 67 characters


async def current_user(request: Request) -> UUID:
    """The user whom the bearer token proves; 401 when there is none, or it counts no more."""
    secret = bearer(request)
    if not secret or len(secret) > TOKEN_MAX:
        raise unauthorized()
    user = await user_of_token(services_of(request).pool, secret)
    if user is None:
        raise unauthorized()
    return user


async def current_staff(request: Request, needs: str | None = None) -> Staff:
    """The member of staff whom the bearer token proves.

    401 when there is none, or it counts no more; 403 when the role lacks what the route needs,
    for example `render:read`.
    """
    services = services_of(request)
    secret = services.settings.jwt_secret
    token = staff_tokens.read(secret, bearer(request)) if secret else None
    member = await staff.of_token(services.pool, token) if token else None
    if member is None:
        raise unauthorized()
    if needs is not None and not member.may(needs):
        raise Problem("forbidden", f"Your role lacks {needs}.", details={"needs": needs})
    return member


@asynccontextmanager
async def acting(
    services: Services, member: Staff, request: Request, *, pool: asyncpg.Pool | None = None
) -> AsyncIterator[Connection]:
    """A transaction in which a member of staff acts; the audit log names them and the request.

    `pool`: of the database that the call is about, where that is not the one of staff.
    """
    async with (pool or services.pool).acquire() as connection, connection.transaction():
        await connection.execute(
            "select set_config('makeready.actor', $1, true),"
            " set_config('makeready.request_id', $2, true),"
            " set_config('makeready.address', $3, true)",
            member.name,
            request.state.request_id,
            client_of(request),
        )
        yield connection


def refuse_unless_debug(request: Request) -> None:
    """404, as for any path that is not there: the route is for developers."""
    if not services_of(request).settings.debug:
        raise Problem("route_not_found", "Not Found.")


def bearer(request: Request) -> str:
    """The bearer token of a request, or nothing."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def unauthorized() -> Problem:
    """401, with what a client has to send."""
    return Problem(
        "unauthorized",
        "A valid bearer token is needed.",
        headers={"WWW-Authenticate": 'Bearer realm="makeready"'},
    )
