"""People: users, the tokens and codes that prove them; one typed call for each SQL function.

The HTTP service asks `user_of_token` at every request; commands make users and tokens. A secret
leaves the database once, when it is made, and comes back only as its hash: it is in no log, not
of this process and not of the server. A one-time code is made here and never gets there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from makeready.db import Executor, one
from makeready.errors import unknown
from makeready.values import Secret

TOKEN_VALID = timedelta(days=30)
CODE_DIGITS = 6
_USER = "id, name, phone_e164 as phone, offer_accepted_at, disabled_at, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user, as they and staff see them."""

    id: UUID
    name: str
    phone: str | None
    offer_accepted_at: datetime | None
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that counts; nothing that would prove anybody."""

    id: UUID
    label: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was made just now, with its secret."""

    id: UUID
    secret: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What a right code gives."""

    user: UUID
    secret: Secret
    expires_at: datetime
    has_accepted: bool
    """Whether the offer was accepted."""


def token_hash(secret: str) -> bytes:
    """What the database keeps of a token: SHA-256. Its 244 random bits need no slower hash."""
    return hashlib.sha256(secret.encode()).digest()


def new_code() -> str:
    """Six random digits."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"


def code_mac(key: Secret, phone: str, code: str) -> bytes:
    """What the database keeps of a code: without the key a million guesses tell nothing."""
    inner = hmac.digest(key.reveal().encode(), b"makeready one-time code", "sha256")
    return hmac.digest(inner, f"{phone} {code}".encode(), "sha256")


async def user_create(db: Executor, name: str, *, phone: str | None = None) -> UUID:
    """The user with this number (E.164), made known if need be; without one always a new user.

    A new one counts as having accepted the offer.
    """
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


async def token_derive(
    db: Executor, own_secret: str, *, purpose: str, valid_for: timedelta
) -> NewToken:
    """Makes another token for the user whom a token proves; Rejected beyond a year."""
    row = await one(
        db,
        "select * from makeready.token_derive($1, $2, $3)",
        token_hash(own_secret),
        purpose,
        valid_for,
    )
    return NewToken(id=row["token"], secret=Secret(row["secret"]), expires_at=row["ends_at"])


async def user_of_token(db: Executor, secret: str) -> UUID | None:
    """Whom a token proves; None when it is unknown, expired or revoked, or its user disabled."""
    found = await db.fetchval("select makeready.token_user($1)", token_hash(secret))
    return None if found is None else UUID(str(found))


async def tokens(db: Executor, user: UUID) -> Sequence[Token]:
    """The tokens of a user that count, newest first."""
    rows = await db.fetch(
        "select token as id, purpose as label, made_at as created_at, ends_at as expires_at"
        " from makeready.tokens_of($1)",
        user,
    )
    return [Token(**row) for row in rows]


async def token_revoke_of(db: Executor, user: UUID, token: UUID) -> bool:
    """Withdraws a token of this user; False when they have none to withdraw with this id."""
    return bool(await db.fetchval("select makeready.token_revoke_of($1, $2)", user, token))


async def token_end(db: Executor, own_secret: str) -> None:
    """Withdraws the token itself: its owner logs out."""
    await db.execute("select makeready.token_end($1)", token_hash(own_secret))


async def code_request(db: Executor, phone: str, mac: bytes, *, client: str) -> None:
    """Puts a new code in the place of the number's older one; Busy after too many."""
    await db.execute("select makeready.otp_request($1, $2, $3)", phone, mac, client)


async def code_verify(db: Executor, phone: str, mac: bytes, *, client: str) -> Proved | None:
    """The user of a number and a new token; None for a code that does not count."""
    row = await db.fetchrow("select * from makeready.otp_verify($1, $2, $3)", phone, mac, client)
    if row is None:
        return None
    return Proved(
        user=row["person"],
        secret=Secret(row["secret"]),
        expires_at=row["ends_at"],
        has_accepted=row["has_accepted"],
    )


async def offer_accept(db: Executor, user: UUID) -> datetime:
    """Notes that a user accepts the offer; the first time counts, and is returned."""
    found: datetime = await db.fetchval("select makeready.offer_accept($1)", user)
    return found


async def session_begin(
    db: Executor, user: UUID, topic: str, *, request_key: str | None = None
) -> tuple[UUID, bool]:
    """Begins a session of a user; False when the same request had begun it before.

    Raises Rejected when the key belongs to a request about something else.
    """
    row = await one(
        db,
        "select verdict, session_id from makeready.session_begin($1, $2, $3)",
        user,
        topic,
        request_key,
    )
    return row["session_id"], row["verdict"] == "created"


async def session_topic(db: Executor, user: UUID, session: UUID) -> str:
    """What a session of this user is about; NotFound."""
    found = await db.fetchval("select makeready.session_topic($1, $2)", user, session)
    if found is None:
        raise unknown("session_not_found", session_id=session)
    return str(found)


async def user(db: Executor, user_id: UUID) -> User | None:
    """One user."""
    row = await db.fetchrow(f"select {_USER} from makeready.user_show($1)", user_id)  # noqa: S608
    return None if row is None else User(**row)


async def users(
    db: Executor, *, limit: int, older_than: UUID | None = None, phone: str | None = None
) -> Sequence[User]:
    """A page of all users, newest first; with a number only its owner."""
    text = f"select {_USER} from makeready.user_list($1, $2, $3)"  # noqa: S608
    return [User(**row) for row in await db.fetch(text, limit, older_than, phone)]


async def user_set_disabled(db: Executor, user_id: UUID, *, disabled: bool) -> bool:
    """Shuts a user out or lets them in again; False when nothing had to be changed."""
    return bool(await db.fetchval("select makeready.user_set_disabled($1, $2)", user_id, disabled))


async def user_sign_out(db: Executor, user_id: UUID) -> int:
    """Withdraws all tokens of a user; how many there were."""
    return int(await db.fetchval("select makeready.user_sign_out($1)", user_id))


async def throttle(db: Executor, rule: str, client: str) -> None:
    """Counts one try under a rule of `throttle_rules`; Busy (`rate_limited`) after too many."""
    await db.execute("select makeready.throttle_take($1, $2)", rule, client)
