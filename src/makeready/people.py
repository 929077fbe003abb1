"""People: users and the tokens that prove them; one typed call for each SQL function.

The HTTP service asks `user_of_token` at every request; commands make users and tokens. A secret
leaves the database once, when it is made, and comes back only as its hash: it is in no log, not
of this process and not of the server.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from uuid import UUID

from makeready.db import Executor
from makeready.values import Secret

TOKEN_VALID = timedelta(days=30)


def token_hash(secret: str) -> bytes:
    """What the database keeps of a token: SHA-256. Its 244 random bits need no slower hash."""
    return hashlib.sha256(secret.encode()).digest()


async def user_create(db: Executor, name: str, *, phone: str | None = None) -> UUID:
    """The user with this number (E.164), made known if need be; without one always a new user."""
    found = await db.fetchval("select makeready.user_create($1, $2)", name, phone)
    return UUID(str(found))


async def token_create(
    db: Executor, user: UUID, *, purpose: str = "", valid_for: timedelta = TOKEN_VALID
) -> Secret:
    """Makes a bearer token and returns its secret, this once.

    Raises NotFound for an unknown or disabled user, Rejected outside one second to ten years.
    """
    found = await db.fetchval(
        "select makeready.token_create($1, $2, $3)", user, purpose, valid_for
    )
    return Secret(str(found))


async def user_of_token(db: Executor, secret: str) -> UUID | None:
    """Whom a token proves; None when it is unknown, expired or revoked, or its user disabled."""
    found = await db.fetchval("select makeready.token_user($1)", token_hash(secret))
    return None if found is None else UUID(str(found))


async def token_revoke(db: Executor, token: UUID, *, reason: str | None = None) -> bool:
    """Withdraws the token with this id from now on; False when there was none to withdraw."""
    return bool(await db.fetchval("select makeready.token_revoke($1, $2)", token, reason))
