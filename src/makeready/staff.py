"""Staff: accounts that look after the system, their roles, their log-ins.

One typed call for each SQL function. A password is hashed (makeready.passwords) before it comes
here; a token is signed and read by makeready.staff_tokens, and asked about at each request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from makeready.db import Executor
from makeready.staff_tokens import StaffToken

ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """A member of staff who is signed in, with what the role allows now."""

    id: UUID
    name: str
    role: str
    permissions: frozenset[str]
    token: StaffToken

    def may(self, needs: str) -> bool:
        """Whether the role includes a permission, for example `render:read`."""
        return needs in self.permissions


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a password is compared with."""

    account: UUID
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What a new token says."""

    name: str
    role: str
    permissions: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A row of the list of accounts."""

    id: UUID
    name: str
    role: str
    created_at: datetime
    signed_in_at: datetime | None
    disabled_at: datetime | None


async def credentials(db: Executor, name: str, *, client: str) -> Credentials | None:
    """Counts a try to sign in; None for an account that is unknown or disabled.

    Raises Busy (`rate_limited`) after too many tries.
    """
    text = "select account, digest from makeready.staff_credentials($1, $2)"
    row = await db.fetchrow(text, name, client)
    return None if row is None else Credentials(**row)


async def signed_in(
    db: Executor, account: UUID, *, client: str, digest: str | None = None
) -> SignedIn | None:
    """Notes a log-in; None when the account was disabled meanwhile."""
    row = await db.fetchrow(
        "select * from makeready.staff_signed_in($1, $2, $3)", account, client, digest
    )
    if row is None:
        return None
    return SignedIn(
        name=row["account_name"],
        role=row["account_role"],
        permissions=tuple(row["allowed"]),
        version=row["version"],
    )


async def of_token(db: Executor, token: StaffToken) -> Staff | None:
    """Whom a token proves; None when it counts no more."""
    row = await db.fetchrow(
        "select * from makeready.staff_of_token($1, $2, $3)",
        token.account,
        token.version,
        token.id,
    )
    if row is None:
        return None
    return Staff(
        id=token.account,
        name=row["account_name"],
        role=row["account_role"],
        permissions=frozenset(row["allowed"]),
        token=token,
    )


async def sign_out(db: Executor, token: StaffToken, *, everywhere: bool = False) -> None:
    """Ends the log-in of this token, or all of its account."""
    await db.execute(
        "select makeready.staff_sign_out($1, $2, $3, $4)",
        token.account,
        token.id,
        token.expires_at,
        everywhere,
    )


async def add(db: Executor, name: str, digest: str, role: str) -> UUID:
    """Makes an account; Rejected for a bad name or role, Conflict for a name that is taken."""
    found = await db.fetchval("select makeready.staff_add($1, $2, $3)", name, digest, role)
    return UUID(str(found))


async def named(db: Executor, name: str) -> UUID:
    """The account of this name; NotFound when there is none."""
    return UUID(str(await db.fetchval("select makeready.staff_named($1)", name)))


async def set_role(db: Executor, account: UUID, role: str, *, reason: str | None = None) -> None:
    """Gives an account another role; Conflict for the last active admin."""
    await db.execute("select makeready.staff_set_role($1, $2, $3)", account, role, reason)


async def set_password(
    db: Executor, account: UUID, digest: str, *, reason: str | None = None
) -> None:
    """Gives an account another password and ends its log-ins."""
    await db.execute("select makeready.staff_set_password($1, $2, $3)", account, digest, reason)


async def disable(db: Executor, account: UUID) -> bool:
    """Shuts an account out; False when it was. Conflict for the last active admin."""
    return bool(await db.fetchval("select makeready.staff_disable($1)", account))


async def enable(db: Executor, account: UUID) -> bool:
    """Lets a disabled account in again; False when it was not disabled."""
    return bool(await db.fetchval("select makeready.staff_enable($1)", account))


async def accounts(
    db: Executor, *, limit: int = 200, after: UUID | None = None
) -> Sequence[Account]:
    """A page of all accounts, oldest first."""
    rows = await db.fetch(
        "select id, name, role, created_at, signed_in_at, disabled_at"
        " from makeready.staff_list($1, $2)",
        limit,
        after,
    )
    return [Account(**row) for row in rows]
