"""Many real sessions at once: the limit holds at every moment, and each job ends once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from makeready.errors import Busy, Conflict, LeaseLost
from tests.sql.conftest import Session
from tests.sql.test_requests import once
from tests.support.core import PATIENT_S, Core

pytestmark = pytest.mark.timeout(60)

CLAIMERS = 32
SECONDS = 3.0
PATIENCE = 30.0
LIMITS = (3, 7, 12)
LOOK = """
    with running as (select seat, started_at from makeready.jobs
                      where queue = 'limited' and state = 'running'),
         changes as (select id, at, (after ->> 'max_in_flight')::int as seats
                       from makeready.audit_log where action = 'queue_set')
    select count(*) as jobs, count(distinct seat) as seats,
           (select max(c.seats) from changes c
             where c.id >= (select max(x.id) from changes x
                             where x.at <= (select min(started_at) from running))) as allowed
      from running"""


class Race:
    """What the sessions of one race share."""

    def __init__(self, enough: Callable[[Race], bool], seconds: float = SECONDS) -> None:
        self.until = time.monotonic() + seconds
        self.enough = enough
        self.done: list[UUID] = []
        self.refused = 0
        self.looks = 0
        self.most = 0

    @property
    def goes_on(self) -> bool:
        """Until the time is over; on a busy machine, until enough was done."""
        late = time.monotonic() - self.until
        return late < 0 or (late < PATIENCE and not self.enough(self))


async def work(race: Race, core: Core) -> None:
    """Claims, holds for a moment, ends it in one way or another; tries a false lease as well."""
    dice = random.Random(core.db.get_server_pid())
    core.me = await core.worker(stale=PATIENT_S)
    while race.goes_on:
        for job in await core.claim("limited", dice.randint(1, 4)):
            await asyncio.sleep(dice.random() * 0.01)
            try:
                if dice.random() < 0.1:
                    await core.call(
                        "finish", queue_name="limited", job=job["id"], token=uuid4(), outcome={}
                    )
                elif dice.random() < 0.2:
                    await core.fail(job, "interrupted")
                elif await core.finish(job) == "ok":
                    race.done.append(job["id"])
            except LeaseLost:
                race.refused += 1
        await asyncio.sleep(dice.random() * 0.005)


async def change_limits(race: Race, core: Core) -> None:
    """Twenty times a second another limit."""
    dice = random.Random(7)
    while race.goes_on:
        await core.set("limited", max_in_flight=dice.choice(LIMITS))
        await asyncio.sleep(0.05)


async def steal(race: Race, core: Core) -> None:
    """An operator who takes running jobs away, so that many finishes come too late."""
    text = "select id from makeready.jobs where queue = 'limited' and state = 'running' limit 2"
    while race.goes_on:
        for (job,) in await core.db.fetch(text):
            try:
                await core.call("job_evict", queue_name="limited", job=job)
            except Conflict:
                continue
        await asyncio.sleep(0.01)


async def watch(race: Race, core: Core) -> None:
    """An outsider who never sees too many, nor a seat twice."""
    while race.goes_on:
        seen = await core.db.fetchrow(LOOK)
        assert seen is not None
        if seen["jobs"]:
            assert seen["allowed"] is not None
            assert seen["jobs"] <= seen["allowed"]
            assert seen["seats"] == seen["jobs"]
            race.most = max(race.most, seen["jobs"])
        race.looks += 1
        await asyncio.sleep(0)


@pytest.mark.slow
async def test_the_limit_holds_while_32_claim_and_it_changes_20_times_a_second(
    core: Core, session: Session
) -> None:
    await core.set("limited", max_in_flight=LIMITS[0])
    await core.many("limited", 8000)
    people = [await session() for _ in range(CLAIMERS + 3)]
    race = Race(lambda race: len(race.done) > 100 and race.looks > 50 and race.refused > 10)
    async with asyncio.TaskGroup() as group:
        for job, person in zip((change_limits, steal, watch), people[:3], strict=True):
            group.create_task(job(race, person))
        for person in people[3:]:
            group.create_task(work(race, person))
    assert len(race.done) == len(set(race.done)) > 100
    assert await core.count("limited", "done") == len(race.done)
    assert race.looks > 50
    assert race.refused > 10
    assert max(LIMITS) >= race.most > min(LIMITS)


@pytest.mark.slow
async def test_forty_callers_for_twelve_places_fill_exactly_twelve(
    core: Core, session: Session
) -> None:
    """Promise 4, and duplicates mixed in are never refused for the limit."""
    await core.set("bounded", max_open=12)
    people = [await session() for _ in range(40)]
    for round_number in range(5):
        first = await once(people[0], f"dup-{round_number}", "bounded")
        calls = [
            once(person, f"dup-{round_number}" if n % 4 == 0 else f"{round_number}-{n}", "bounded")
            for n, person in enumerate(people)
        ]
        found = await asyncio.gather(*calls, return_exceptions=True)
        duplicates = [answer for n, answer in enumerate(found) if n % 4 == 0]
        assert duplicates == [("joined", first[1], "queued")] * 10
        others = [answer for n, answer in enumerate(found) if n % 4]
        assert sum(isinstance(answer, Busy) for answer in others) == 30 - 11
        assert await core.count("bounded", "queued") == 12
        for job in await core.db.fetch("select id from makeready.jobs where state = 'queued'"):
            await core.cancel("bounded", job["id"])


@pytest.mark.slow
async def test_forty_plain_enqueues_for_twelve_places_fill_exactly_twelve(
    core: Core, session: Session
) -> None:
    await core.set("bounded", max_open=12)
    people = [await session() for _ in range(40)]
    for _ in range(5):
        found = await asyncio.gather(
            *(person.enqueue("bounded") for person in people), return_exceptions=True
        )
        assert sum(isinstance(answer, UUID) for answer in found) == 12
        assert sum(isinstance(answer, Busy) for answer in found) == 28
        await core.db.execute("delete from makeready.jobs")


@pytest.mark.slow
async def test_a_lane_holds_while_many_claim_from_several_queues(
    core: Core, session: Session
) -> None:
    """Two gates, in either order: exact, and without a deadlock."""
    for queue in ("limited", "free"):
        await core.lane(queue, "x", 2)
        await core.many(queue, 1000, lane_name="x")
    people = [await session() for _ in range(12)]
    race = Race(lambda race: len(race.done) > 50 and race.looks > 50, SECONDS / 2)

    async def claim(person: Core, queues: list[str]) -> None:
        person.me = await person.worker(stale=PATIENT_S)
        while race.goes_on:
            for job in await person.claim(queues, 3):
                await asyncio.sleep(0.002)
                assert await person.finish(job) == "ok"
                race.done.append(job["id"])

    async def look() -> None:
        text = (
            "select coalesce(max(n), 0) from (select count(*) as n from makeready.jobs"
            " where state = 'running' group by queue, lane) a"
        )
        while race.goes_on:
            race.most = max(race.most, await core.db.fetchval(text))
            race.looks += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        for n, person in enumerate(people):
            group.create_task(claim(person, ["limited", "free"][:: (-1) ** n]))
    assert len(race.done) > 50
    assert race.looks > 50
    assert race.most == 2


@pytest.mark.slow
async def test_jobs_that_change_state_are_not_overlooked_by_admission(
    core: Core, session: Session
) -> None:
    """Running to queued, waiting to queued: each job is counted in one and the same snapshot."""
    await core.set("bounded", max_open=12, max_in_flight=12)
    await core.many("bounded", 8)
    for _ in range(4):
        await core.db.execute("select makeready.enqueue('bounded', due => 'infinity')")
    race = Race(lambda race: race.refused > 50, SECONDS * 2 / 3)
    admitted: list[UUID] = []

    async def move(person: Core) -> None:
        person.me = await person.worker(stale=PATIENT_S)
        while race.goes_on:
            for job in await person.claim("bounded", 2):
                await person.fail(job, "interrupted")
            await person.call("promote", max_jobs=10)
            await person.db.execute(
                "update makeready.jobs set state = 'waiting' where id in (select id from"
                " makeready.jobs where state = 'queued' limit 2 for update skip locked)"
            )

    async def try_to_enter(person: Core) -> None:
        while race.goes_on:
            try:
                admitted.append(await person.enqueue("bounded"))
            except Busy:
                race.refused += 1

    async with asyncio.TaskGroup() as group:
        for n in range(10):
            group.create_task((move if n % 2 else try_to_enter)(await session()))
    assert admitted == []
    assert race.refused > 50
