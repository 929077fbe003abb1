"""Places for uploads of photos: few at a time in a process, so that memory and disk are bounded.

Who has shown a password keeps its place. Who has not yields it, after a while, when others want
one: else a few connections that send slowly could keep all booths out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import RunVar

from makeready_http.problems import Problem, retry_after

UPLOADS_AT_ONCE = 16
STRANGER_S = 10.0
"""How long a place is safe without a password."""

_taken: RunVar[list[Place]] = RunVar("makeready_photo_places")


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """One upload's; what is read for it is read within `scope`."""

    since: float
    is_known: bool = False
    """The password was right."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def refuse_if_lost(self) -> None:
        """408 for an upload that had to yield."""
        if self.scope.cancelled_caught:
            raise Problem(
                "upload_timeout",
                "Others wait for this place; send the password before the photo.",
                headers={"Connection": "close"},
            )


@contextmanager
def place() -> Iterator[Place]:
    """One of the few; 429 when all are taken."""
    try:
        taken = _taken.get()
    except LookupError:
        taken = []
        _taken.set(taken)
    now = anyio.current_time()
    if len(taken) >= UPLOADS_AT_ONCE:
        _make_room(taken, now)
    mine = Place(since=now)
    taken.append(mine)
    try:
        yield mine
    finally:
        if mine in taken:
            taken.remove(mine)


def _make_room(taken: list[Place], now: float) -> None:
    """The stranger that has been here longest goes; 429 when there is none."""
    oldest = next((each for each in taken if not each.is_known), None)
    if oldest is None or now - oldest.since < STRANGER_S:
        raise Problem(
            "queue_busy",
            "Too many photos are being sent at this moment.",
            details={"reason": "limit", "in_flight": len(taken), "limit": UPLOADS_AT_ONCE},
            headers=retry_after(),
        )
    taken.remove(oldest)
    oldest.scope.cancel()
