"""Deadline-aware admission: whoever would not be served in time hears so at once."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import ingest
from makeready.errors import Busy, LeaseLost
from makeready.leases import Claimed
from tests.support.clock import Clock
from tests.support.photographing import SLOT, Darkroom, upload

WINDOW_S = 48.0
TASKS = 4


@pytest.fixture
async def dark(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


async def paced(dark: Darkroom, *seconds: float, provider: str = "local") -> None:
    """Photos of a provider that took so long."""
    await dark.db.execute(
        "insert into makeready.photos (id, slot_id, provider_id, chain, payload_sha256, waiters,"
        " created_at, expires_at, started_at, finished_at, result_sha256, result_size_bytes)"
        " select gen_random_uuid(), $1, $2, '[]', sha256(''), '{}', e.ended - took, e.ended,"
        " e.ended - took, e.ended, sha256(''), 1"
        " from unnest($3::float8[]) with ordinality s (seconds, place)"
        " cross join lateral (select makeready.now() - interval '1 minute' * place as ended,"
        " make_interval(secs => s.seconds) as took) e",
        SLOT,
        provider,
        list(seconds),
    )


async def busy(dark: Darkroom, slot: str = SLOT, photos: int = TASKS) -> None:
    """So many photos that run."""
    for _ in range(photos):
        await dark.admit(slot)
    assert len(await dark.claim(photos)) == photos


async def test_a_refusal_says_deadline_and_when_to_come_back(dark: Darkroom) -> None:
    """ING-083: only while all workers are busy."""
    await paced(dark, *[30.0] * 10)
    await busy(dark, photos=TASKS - 1)
    await dark.admit()
    with pytest.raises(Busy) as refused:  # one is free, but it has been promised
        await dark.admit()
    details = refused.value.details
    assert (details["code"], details["reason"]) == ("queue_busy", "deadline")
    assert (details["in_flight"], details["limit"]) == (TASKS, 12)
    assert 1 <= details["retry_after_s"] <= 12  # 30 s until one is free, 30 s for it, in 48 s


async def test_nobody_is_refused_while_a_worker_is_free(dark: Darkroom) -> None:
    """ING-083: however long the provider takes."""
    await paced(dark, *[47.9] * 10)
    await busy(dark, photos=TASKS - 1)
    assert (await dark.admit()).verdict == "created"


async def test_it_can_be_switched_off(dark: Darkroom) -> None:
    """ING-083."""
    await paced(dark, *[47.0] * 10)
    await busy(dark)
    with pytest.raises(Busy):
        await dark.admit()
    await dark.policy(refuses_late=False)
    await dark.admit()


async def test_too_little_is_known_to_refuse(dark: Darkroom) -> None:
    """Fewer than five durations."""
    await paced(dark, *[47.0] * 4)
    await busy(dark)
    await dark.admit()


async def test_a_quick_provider_refuses_nobody(dark: Darkroom) -> None:
    """Three waves of twelve fit in."""
    await paced(dark, *[10.0] * 20)
    await busy(dark)
    for _ in range(8):
        await dark.admit()


async def test_what_ran_for_a_while_is_soon_over(dark: Darkroom, clock: Clock) -> None:
    await paced(dark, *[30.0] * 10)
    await busy(dark)
    await clock.advance(5)
    await dark.waiter()
    with pytest.raises(Busy):  # 25 and 30 in 48
        await dark.admit()
    await clock.advance(15)
    await dark.waiter()
    await dark.admit()


async def test_another_provider_has_its_own_pace(dark: Darkroom) -> None:
    """And one that is full is waited for, although workers will be free long before."""
    await paced(dark, *[5.0] * 10)
    await paced(dark, *[20.0] * 10, provider="turbotext")
    await dark.slot("slot-002", provider_id="turbotext")
    await dark.db.execute("update makeready.lanes set max_in_flight = 1 where lane = 'turbotext'")
    await busy(dark)
    await dark.admit("slot-002")  # from second 5 to 25
    await dark.admit("slot-002")  # to 45
    with pytest.raises(Busy):
        await dark.admit("slot-002")
    await dark.admit()


async def test_photos_that_wait_for_their_provider_keep_no_worker(dark: Darkroom) -> None:
    """ING-022, ING-083: two tasks idle while Turbotext has its two."""
    await paced(dark, *[40.0] * 10, provider="turbotext")
    await paced(dark, *[40.0] * 10)
    await dark.slot("slot-002", provider_id="turbotext")
    await busy(dark, "slot-002", 2)
    for _ in range(2):
        await dark.admit("slot-002")
    await dark.admit()
    await dark.admit()
    with pytest.raises(Busy):
        await dark.admit()


async def test_photos_on_another_machine_keep_no_worker_here(dark: Darkroom) -> None:
    """ING-083: workers that cannot reach their files are not busy with them."""
    await paced(dark, *[40.0] * 10)
    await dark.process(host="folder:one")
    there = await dark.process(host="folder:two")
    for _ in range(TASKS):
        await dark.admit(store="folder:two")
    assert len(await dark.claim(TASKS, there)) == TASKS
    await dark.admit(store="folder:one")
    with pytest.raises(Busy):
        await dark.admit(store="folder:two")


async def test_one_that_was_cut_off_counts_as_the_whole_window(dark: Darkroom) -> None:
    """Else a slow provider would look quick; one that nobody waited for tells nothing."""
    for reason in ("timeout", "cancelled"):
        for _ in range(5):
            job = (await dark.admit()).job_id
            await dark.one()
            await dark.end(job, reason)
    pace = await dark.db.fetchval("select makeready.ingest_pace('local', makeready.now())")
    assert pace == [WINDOW_S] * 5


class Booths:
    """An afternoon of booths in a few seconds: real functions, a clock that jumps."""

    def __init__(
        self, dark: Darkroom, *, seed: int, per_s: float, median_s: float, p95_s: float
    ) -> None:
        self._dark = dark
        self._dice = random.Random(seed)
        self._per_s = per_s
        self._log_normal = math.log(median_s), math.log(p95_s / median_s) / 1.645
        self._events: list[tuple[float, int, str, Any]] = []
        self._order = itertools.count()
        self._running: dict[UUID, Claimed] = {}
        self.outcomes: Counter[str] = Counter()

    def _at(self, time_s: float, what: str, about: Any = None) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), what, about))

    async def run(self, photos: int) -> None:
        """So many photos come."""
        me = self._dark.me = await self._dark.process(tasks=TASKS)
        await self._dark.db.execute("update makeready.workers set stale_after = '1 day'")
        now_s = 0.0
        for _ in range(photos):
            now_s += self._dice.expovariate(self._per_s)
            self._at(now_s, "comes")
        while self._events:
            now_s, _, what, about = heapq.heappop(self._events)
            await self._dark.db.execute(
                "select set_config('makeready.clock_offset', $1, false)", f"{now_s} seconds"
            )
            await getattr(self, what)(now_s, about)
            for claimed in await self._dark.claim(TASKS - len(self._running), me):
                self._running[claimed.job.id] = claimed
                self._at(now_s + self._dice.lognormvariate(*self._log_normal), "ends", claimed)

    async def comes(self, now_s: float, _: None) -> None:
        try:
            admitted = await ingest.admit(
                self._dark.db, uuid4(), SLOT, upload(), facts={}, waiter=self._dark.me or uuid4()
            )
        except Busy as refused:
            self.outcomes[refused.details["reason"]] += 1
        else:
            self._at(now_s + WINDOW_S, "is_late", admitted.job_id)

    async def ends(self, _: float, claimed: Claimed) -> None:
        if self._running.pop(claimed.job.id, None):
            with suppress(LeaseLost):  # at the very deadline: late, in a moment
                await self._dark.finish(claimed)
                self.outcomes["ok"] += 1

    async def is_late(self, _: float, job: UUID) -> None:
        if (await self._dark.state(job))[0] in ("queued", "running"):
            await self._dark.end(job, "timeout")
            self._running.pop(job, None)
            self.outcomes["late"] += 1


async def test_an_afternoon_with_too_many_guests(dark: Darkroom) -> None:
    """ING-083: half of all photos would be too late; one in twenty is, and more are done."""
    seen = {}
    for refuses in (False, True):
        await dark.db.execute(
            "delete from makeready.photos; delete from makeready.jobs;"
            " delete from makeready.workers"
        )
        await dark.policy(refuses_late=refuses)
        booths = Booths(dark, seed=2, per_s=0.25, median_s=25, p95_s=45)
        await booths.run(200)
        seen[refuses] = booths.outcomes
    plain, aware = seen[False], seen[True]
    assert plain["late"] >= 0.4 * plain.total()
    assert aware["late"] <= 0.05 * aware.total()
    assert aware["ok"] >= 1.2 * plain["ok"]
