"""Passwords of staff: argon2id, 19 MiB, two passes, one lane (about 20 ms).

Every call blocks for that long: off the event loop it goes, and a few at a time, since each holds
its 19 MiB meanwhile.
"""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from makeready.errors import Rejected

LENGTH_MIN, LENGTH_MAX = 12, 128
AT_ONCE = 2
"""Hashes that a process computes side by side."""

_HASHER = PasswordHasher(
    time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
)


def hashed(password: str) -> str:
    """The hash of a new password. Raises Rejected unless it has 12 to 128 characters."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise Rejected(
            f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters", details={"path": "password"}
        )
    return rehashed(password)


def rehashed(password: str) -> str:
    """The hash of a password that is known to be right, whatever its length."""
    return _HASHER.hash(password)


def is_right(password: str, digest: str | None) -> bool:
    """Whether a password belongs to a hash; without one it is wrong after the same time."""
    try:
        _HASHER.verify(digest or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return digest is not None


def is_outdated(digest: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(digest)


def generated() -> str:
    """A password for somebody who did not choose one: 128 random bits."""
    return secrets.token_urlsafe(16)


@cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_urlsafe(16))
