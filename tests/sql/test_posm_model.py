"""Generations against a small model: versions, admission, retention.

Proves PSM-014, PSM-018, PSM-037, PSM-038, PSM-039, PSM-040.
MAKEREADY_TEST_EXAMPLES=500 runs it for long, with other random numbers each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from threading import Thread
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from makeready import posm, posm_templates
from makeready.errors import Conflict, Gone
from makeready.leases import Claimed
from tests.support.generating import Cardroom

EXAMPLES = int(os.environ.get("MAKEREADY_TEST_EXAMPLES", "0"))
DAY = 86400
NUMBER = st.integers(min_value=0, max_value=99)
ACTIVE = ("created", "scheduled", "in-progress")
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclass(slots=True)
class Made:
    """A generation as the model sees it."""

    pair: int
    version: int
    status: str = "created"
    ended: int = 0
    """Day of its end."""
    is_marked: bool = False
    """Retention has taken it."""


class Machine(RuleBasedStateMachine):
    """Every rule calls the functions and the model; after each one all generations agree."""

    room: Cardroom
    run: Run

    @initialize()
    def begin(self) -> None:
        self.made: dict[UUID, Made] = {}
        self.leases: dict[UUID, Claimed] = {}
        self.day = 0
        self.limit, self.keep, self.days = 2, 3, 30
        self.run(self.reset())

    async def reset(self) -> None:
        await self.room.db.execute(
            "truncate makeready.jobs, makeready.attempts, makeready.restaurants,"
            " makeready.posm_templates, makeready.file_references, makeready.files,"
            " makeready.alerts, makeready.audit_log cascade"
        )
        await self.clock()
        await posm_templates.set_policy(
            self.room.db, max_active=2, keep_generations=3, keep_days=30
        )
        self.place = await self.room.restaurant(2)
        self.templates = [await self.room.template(name) for name in "AB"]

    async def clock(self) -> None:
        text = "select set_config('makeready.clock_offset', $1, false)"
        await self.room.db.execute(text, f"{self.day * DAY} seconds")

    def some(self, number: int) -> tuple[UUID, Made] | None:
        return list(self.made.items())[number % len(self.made)] if self.made else None

    def admit(self) -> None:
        """What the model does wherever there may be room."""
        for made in self.made.values():
            active = sum(each.status in ACTIVE[1:] for each in self.made.values())
            if made.status == "created" and active < self.limit:
                made.status = "scheduled"

    def is_busy(self, pair: int) -> bool:
        return any(each.pair == pair and each.status in ACTIVE for each in self.made.values())

    @rule(pair=st.sampled_from([0, 0, 1]))
    def press(self, pair: int) -> None:
        call = self.room.press(self.templates[pair], self.place)
        if self.is_busy(pair):
            with pytest.raises(Conflict):
                self.run(call)
            return
        found = self.run(call)
        version = 1 + max((e.version for e in self.made.values() if e.pair == pair), default=0)
        assert found.version == version
        self.made[found.id] = Made(pair, version)
        self.admit()

    @rule()
    def claim(self) -> None:
        found = self.run(self.room.claim())
        due = {each for each, made in self.made.items() if made.status == "scheduled"}
        assert {claimed.job.id for claimed in found} == due
        for claimed in found:
            self.leases[claimed.job.id] = claimed
            self.made[claimed.job.id].status = "in-progress"

    @rule(number=NUMBER, how=st.sampled_from(["done", "done", "error"]))
    def end(self, number: int, how: str) -> None:
        running = [each for each, made in self.made.items() if made.status == "in-progress"]
        if not running:
            return
        one = running[number % len(running)]
        lease = self.leases.pop(one)
        self.run(self.room.make(lease) if how == "done" else self.room.fail(lease))
        self.made[one].status, self.made[one].ended = how, self.day
        self.admit()

    @rule(number=NUMBER)
    def retry(self, number: int) -> None:
        found = self.some(number)
        if found is None:
            return
        one, made = found
        call = posm.retry(self.room.db, one)
        refusal: type[Exception] | None = None
        if made.is_marked:
            refusal = Gone
        elif self.is_busy(made.pair) or made.status != "error":
            refusal = Conflict
        if refusal:
            with pytest.raises(refusal):
                self.run(call)
            return
        self.run(call)
        made.status = "created"
        self.admit()

    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        found = self.some(number)
        if found is None or found[1].status not in ACTIVE[:2]:
            return
        assert self.run(posm.cancel(self.room.db, found[0])) == "error"
        found[1].status, found[1].ended = "error", self.day
        self.admit()

    @rule(limit=st.integers(0, 3), keep=st.integers(1, 4), days=st.integers(10, 40))
    def policy(self, limit: int, keep: int, days: int) -> None:
        self.limit, self.keep, self.days = limit, keep, days
        changes: dict[str, Any] = {
            "max_active": limit,
            "keep_generations": keep,
            "keep_days": days,
        }
        self.run(posm_templates.set_policy(self.room.db, **changes))
        self.admit()

    @rule(days=st.integers(1, 25))
    def wait(self, days: int) -> None:
        self.day += days
        self.run(self.clock())

    @rule()
    def retention(self) -> None:
        self.run(self.room.db.execute("select makeready.posm_retention(1000)"))
        for pair in (0, 1):
            kept = [e for e in self.made.values() if e.pair == pair and not e.is_marked]
            kept.sort(key=lambda each: -each.version)
            good = next((each for each in kept if each.status == "done"), None)
            for place, each in enumerate(kept, 1):
                is_old = each.ended <= self.day - self.days  # real time goes on as well
                if each is good or each.status in ACTIVE or not (place > self.keep or is_old):
                    continue
                each.is_marked = True

    @rule()
    def purge(self) -> None:
        self.run(self.emptied())
        for each in self.made.values():
            if each.is_marked:
                each.status = "deleted"

    async def emptied(self) -> None:
        text = "select * from makeready.files_purge_mark(10000, interval '0')"
        rows = await self.room.db.fetch(text)
        await self.room.db.execute("select makeready.files_purged($1)", [r["file"] for r in rows])
        await self.room.db.execute("select makeready.posm_vanish(1000)")

    @invariant()
    def agree(self) -> None:
        found = self.run(posm.page(self.room.db, limit=1000))
        seen = {each.id: (each.version, each.status, bool(each.deleted_at)) for each in found}
        wanted = {
            one: (made.version, made.status, made.is_marked) for one, made in self.made.items()
        }
        assert seen == wanted

    @invariant()
    def whole(self) -> None:
        """What is done and not taken has all its cards; files are there for these alone."""
        for one, made in self.made.items():
            if made.status == "done" and not made.is_marked:
                assert len(self.run(posm.manifest(self.room.db, one))) == 2


@pytest.fixture
def apart() -> Iterator[Run]:
    """An event loop in a thread of its own: hypothesis is not asynchronous."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(15)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(3600 if EXAMPLES else 90)
def test_generations_agree_with_the_model(dsn: str, apart: Run) -> None:
    """PSM-014, PSM-018, PSM-037, PSM-038, PSM-039, PSM-040."""
    connection = apart(asyncpg.connect(dsn))
    room = apart(Cardroom(connection).open())
    bound = type("Bound", (Machine,), {"room": room, "run": staticmethod(apart)})
    try:
        run_state_machine_as_test(
            bound,
            settings=settings(
                max_examples=EXAMPLES or 25,
                stateful_step_count=30,
                derandomize=not EXAMPLES,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        apart(connection.close())
