"""Who asks: bearer tokens of users. No other header, cookie or parameter names a person."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from makeready.people import user_of_token
from makeready_http.problems import Problem
from makeready_http.services import services_of

TOKEN_MAX = 200  # ours have 67 characters


async def current_user(request: Request) -> UUID:
    """The user whom the bearer token proves; 401 when there is none, or it counts no more."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > TOKEN_MAX:
        raise _unauthorized()
    user = await user_of_token(services_of(request).pool, secret)
    if user is None:
        raise _unauthorized()
    return user


def _unauthorized() -> Problem:
    return Problem(
        "unauthorized",
        "A valid bearer token is needed.",
        headers={"WWW-Authenticate": 'Bearer realm="makeready"'},
    )
