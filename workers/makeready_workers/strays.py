"""Jobs that a worker has claimed without hearing of it, and how they are given back.

The worker lives and beats, so nobody else would take them before their attempt's limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import structlog

from makeready import leases
from makeready.db import Control
from makeready.faults import is_away, is_transient

AFTER_S = 5.0  # above two lock_timeouts: by then a claim whose socket was cut has ended

_log = structlog.get_logger(__name__)


class Strays:
    """Those of one worker. Its loop gives them back while no claim is under way."""

    def __init__(self, control: Control, worker: UUID) -> None:
        self._control = control
        self._worker = worker
        self._due: list[float] = []

    @property
    def are_looked_for(self) -> bool:
        """A look is due now or later."""
        return bool(self._due)

    def look(self) -> None:
        """A job of ours may have nobody who works on it, for sure by now."""
        now = _now()
        self._due = [now, *(due for due in self._due if due > now)]

    def look_twice(self) -> None:
        """A claim may have been committed and its answer lost, or may still be under way there."""
        now = _now()
        self._due = [now, now + AFTER_S]

    async def give_back(self, known: Sequence[UUID], *, at_once: bool = False) -> None:
        """All but the `known` tokens, when a look is due; `at_once`: when there is to be one."""
        now = _now()
        if self._due and (at_once or self._due[0] <= now):
            count = await leases.return_strays(self._control, self._worker, known)
            self._due = [due for due in self._due if due > now]
            if count:
                _log.warning("strays_returned", jobs=count)


def may_have_claimed(error: BaseException) -> bool:
    """Whether a call that claims and ended like this may have done so without telling."""
    if not isinstance(error, Exception):
        return True  # cancelled while it was under way
    if isinstance(error, asyncpg.PostgresError):
        return is_away(error)  # else the server has said that nothing came of it
    return is_transient(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
