"""Tokens of staff: JWT, HS256 and nothing else, every claim required.

A token says who, in which version of the account, and until when. What it says of role and
permissions is for whoever holds it; the service asks the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import jwt

from makeready.values import Secret

ALGORITHM = "HS256"
LEEWAY_S = 10  # between the clocks of two machines
TOKEN_MAX = 4096
_REQUIRED = ["exp", "iat", "sub", "role", "jti", "ver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffToken:
    """What a token that was read says of itself."""

    id: UUID
    account: UUID
    version: int
    expires_at: datetime


def issue(
    secret: Secret,
    *,
    account: UUID,
    version: int,
    name: str,
    role: str,
    permissions: Sequence[str],
    valid_for: timedelta,
) -> Secret:
    """Signs a token, valid from now on."""
    now = datetime.now(tz=UTC)
    claims = {
        "sub": str(account),
        "name": name,
        "role": role,
        "permissions": list(permissions),
        "ver": version,
        "jti": str(uuid4()),
        "iat": now,
        "exp": now + valid_for,
    }
    return Secret(jwt.encode(claims, secret.reveal(), algorithm=ALGORITHM))


def read(secret: Secret, text: str) -> StaffToken | None:
    """What a token says; None for one that is forged, expired or incomplete."""
    if len(text) > TOKEN_MAX:
        return None
    try:
        claims = jwt.decode(
            text,
            secret.reveal(),
            algorithms=[ALGORITHM],
            leeway=LEEWAY_S,
            options={"require": _REQUIRED},
        )
        return StaffToken(
            id=UUID(claims["jti"]),
            account=UUID(claims["sub"]),
            version=_whole(claims["ver"]),
            expires_at=datetime.fromtimestamp(claims["exp"], tz=UTC),
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, AttributeError):
        return None


def _whole(value: object) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError("no version")
    return value
