"""The password of booths: argon2id once, then a keyed mark in memory until it is changed.

A booth pays the 20 ms of a comparison with its first photo. What is remembered is no password and
no hash of one that is of use elsewhere: its key dies with the process. Only comparisons count as
tries, so booths that send what is right touch no throttle.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b

import anyio
import asyncpg
from anyio import to_thread

from makeready import ingest, passwords
from makeready.ingest import Door
from makeready_http.problems import Problem, retry_after

TIMEOUT_S = 5.0  # in line for one of the threads that compare passwords


class BoothPassword:
    """One a process. `limiter`: how many passwords of whatever kind are compared at a time."""

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._key = secrets.token_bytes(32)
        self._right = b""
        """The mark of the last one that was right, with its version."""
        self._turns: dict[bytes, anyio.Lock] = {}
        self._in_line: Counter[bytes] = Counter()
        self.comparisons = 0

    async def check(self, pool: asyncpg.Pool, door: Door, client: str, password: str) -> None:
        """Raises `invalid_credentials` when it is wrong, Busy after too many tries."""
        mark = self._mark(door.password_version, password)
        if hmac.compare_digest(mark, self._right):
            return
        if door.password_hash is None:
            raise wrong_password()
        try:
            with anyio.fail_after(TIMEOUT_S):
                async with self._turn(mark):
                    if not hmac.compare_digest(mark, self._right):
                        await self._compare(pool, door, client, password)
                        self._right = mark
        except TimeoutError:
            raise Problem(
                "queue_unavailable", "Too many passwords at this moment.", headers=retry_after()
            ) from None

    async def _compare(self, pool: asyncpg.Pool, door: Door, client: str, password: str) -> None:
        await ingest.password_tried(pool, door.slot, client)
        self.comparisons += 1
        right = await to_thread.run_sync(
            passwords.is_right, password, door.password_hash, limiter=self._limiter
        )
        if not right:
            raise wrong_password()
        await ingest.password_right(pool, door.slot, client)

    @asynccontextmanager
    async def _turn(self, mark: bytes) -> AsyncIterator[None]:
        """The same password is compared once at a time: booths that start together send one."""
        self._in_line[mark] += 1
        try:
            async with self._turns.setdefault(mark, anyio.Lock()):
                yield
        finally:
            self._in_line[mark] -= 1
            if not self._in_line[mark]:
                del self._in_line[mark], self._turns[mark]

    def _mark(self, version: int, password: str) -> bytes:
        text = f"{version}:{password}".encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._key).digest()


def wrong_password() -> Problem:
    """401, for a password that is wrong, or while none is set."""
    return Problem("invalid_credentials", "The password is wrong.", details={"field": "password"})
