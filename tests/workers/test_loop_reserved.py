"""Tasks for which others claim: they are counted, and what got lost on the way comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from makeready import leases
from makeready.config import Settings
from makeready.jobs import Done, Job
from makeready.leases import Claimed
from makeready_workers import strays
from makeready_workers.attempt import HeldLease
from tests.support.core import Core
from tests.support.in_process import Scripted, Shop, without_polls, working
from tests.support.waiting import until

pytestmark = pytest.mark.notified

LOST = "select count(*) from makeready.attempts where error ->> 'code' = 'claim_lost'"
STOPPING = """
select not exists (select from makeready.workers where id = $1 and draining_at is null)"""


async def _waits(_: Job, __: HeldLease) -> Done:
    await asyncio.Event().wait()
    return Done()


async def _one(shop: Shop) -> list[Claimed]:
    """A claim of somebody else's, in a transaction of its own."""
    return await leases.claim(shop.pool, ["free"], shop.worker.id, 1)


@asynccontextmanager
async def _task_of(shop: Shop) -> AsyncIterator[Callable[[Claimed], None]]:
    """A free task; a claim of the loop has all of them for a moment."""
    while True:
        with shop.worker.reserved() as take:
            if take is not None:
                yield take
                return
        await asyncio.sleep(0.0005)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """See `without_polls`."""
    return without_polls(monkeypatch)


async def _settled(shop: Shop, quiet: asyncio.Event) -> int:
    """How many claims there were when the loop began to wait for a kick."""
    quiet.clear()
    shop.worker.kick()

    def is_still() -> bool:
        worker = shop.worker
        return quiet.is_set() and not worker._kick.is_set() and not worker._reserved

    await until(is_still)
    return shop.worker.statistics().claims


async def _fails(shop: Shop, error: BaseException, core: Core | None = None) -> None:
    """A block that ends like this, and has claimed a job before if it could make one."""
    async with _task_of(shop):
        if core is not None:
            await core.enqueue()
            assert await _one(shop)
        raise error


async def _standing(core: Core, job: UUID) -> tuple[str, int, int]:
    """Its state, how many attempts it used up, and how often it was lost."""
    row = await core.job(job)
    return row["state"], row["attempt"], row["lost"]


async def test_what_the_block_claims_runs_without_another_claim(
    settings: Settings, core: Core, quiet: asyncio.Event
) -> None:
    handler = Scripted(run=_waits)
    async with working(settings, handler) as shop:
        claims = await _settled(shop, quiet)
        job = await core.enqueue()
        with shop.worker.reserved() as take:
            assert take is not None
            for claimed in await _one(shop):
                take(claimed)
        await until(lambda: handler.jobs)
        assert [seen.id for seen in handler.jobs] == [job]
        assert shop.worker.statistics().claims == claims
        assert shop.worker.statistics().claimed == 1


async def test_never_more_run_than_there_are_tasks(settings: Settings) -> None:
    """Claims of the loop and of others in any order, also while attempts end."""
    running: list[int] = []

    async def run(_: Job, __: HeldLease) -> Done:
        running.append(shop.worker.statistics().running)
        await asyncio.sleep(0.003)
        return Done()

    async def come(shop: Shop) -> None:
        for _ in range(15):
            await shop.pool.fetchval("select makeready.enqueue('free', '{}')")
            async with _task_of(shop) as take:
                for claimed in await _one(shop):
                    take(claimed)
                    given.append(claimed.job.id)

    given: list[UUID] = []
    handler = Scripted(run=run)
    async with working(settings, handler, tasks=4) as shop:
        await asyncio.gather(*(come(shop) for _ in range(8)))
        assert await shop.until_ends(120, timeout_s=30) == {"done": 120}

    assert handler.most_at_once <= 4
    assert max(running) <= 4
    assert len({job.id for job in handler.jobs}) == len(handler.jobs) == 120
    assert given


async def test_each_free_task_is_given_once(
    settings: Settings, core: Core, quiet: asyncio.Event
) -> None:
    async with working(settings, Scripted(), tasks=2) as shop:
        await _settled(shop, quiet)
        with shop.worker.reserved() as first, shop.worker.reserved() as second:
            assert first is not None
            assert second is not None
            with shop.worker.reserved() as third:
                assert third is None
            claims = shop.worker.statistics().claims
            await core.enqueue()
            quiet.clear()
            assert not shop.worker.kick()  # others have to be told: these two may get jobs
            await quiet.wait()
            assert shop.worker.statistics().claims == claims
        assert await shop.until_ends() == {"done": 1}
        await _settled(shop, quiet)
        with shop.worker.reserved() as take:
            assert take is not None
            assert shop.worker.kick()


async def test_none_is_given_while_all_are_busy(settings: Settings, core: Core) -> None:
    handler = Scripted(run=_waits)
    async with working(settings, handler, tasks=2) as shop:
        await core.many("free", 2, wake=True)
        await until(lambda: handler.at_once == 2)
        with shop.worker.reserved() as take:
            assert take is None
        assert not shop.worker.kick()


async def test_none_is_given_by_a_worker_that_stops(
    settings: Settings, quiet: asyncio.Event
) -> None:
    async with working(settings, Scripted()) as shop:
        await _settled(shop, quiet)
        shop.worker.stop()
        with shop.worker.reserved() as take:
            assert take is None


async def test_a_task_that_got_nothing_is_claimed_for_at_once(
    settings: Settings, core: Core, quiet: asyncio.Event
) -> None:
    """The loop may have found no free task a moment before, and does not ask again by itself."""
    async with working(settings, Scripted(), tasks=1) as shop:
        await _settled(shop, quiet)
        with shop.worker.reserved() as take:
            assert take is not None
            await core.enqueue()
            quiet.clear()
            shop.worker.kick()
            await quiet.wait()
            assert shop.worker.statistics().claimed == 0
        assert await shop.until_ends() == {"done": 1}


async def test_a_job_whose_claim_was_not_heard_of_runs_within_seconds(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    handler = Scripted()
    async with working(settings, handler, tasks=1) as shop:
        with pytest.raises(ConnectionResetError):
            await _fails(shop, ConnectionResetError(), core)
        with shop.worker.reserved() as take:
            assert take is None  # until it is back, nobody else's claim can be told from it
        assert await shop.until_ends(timeout_s=20) == {"done": 1}

    assert await db.fetchval(LOST) == 1
    assert await _standing(core, handler.jobs[0].id) == ("done", 1, 0)


async def test_a_job_whose_claim_was_cancelled_too_late_runs_within_seconds(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    claimed = asyncio.Event()

    async def claims(shop: Shop) -> None:
        async with _task_of(shop):
            await core.enqueue()
            assert await _one(shop)
            claimed.set()
            await asyncio.Event().wait()

    async with working(settings, Scripted(), tasks=1) as shop:
        task = asyncio.create_task(claims(shop))
        await claimed.wait()
        task.cancel()
        assert await shop.until_ends(timeout_s=20) == {"done": 1}
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await db.fetchval(LOST) == 1


async def test_nobody_looks_for_jobs_while_somebody_claims(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    """What is on its way to be told of would be given back, and be in work twice."""
    handler = Scripted()
    async with working(settings, handler, tasks=3) as shop:
        async with _task_of(shop) as take:
            await core.enqueue()
            mine = await _one(shop)
            with pytest.raises(ConnectionResetError):
                await _fails(shop, ConnectionResetError())
            claims = shop.worker.statistics().claims
            await until(lambda: shop.worker.statistics().claims > claims + 1)
            assert await db.fetchval(LOST) == 0
            for claimed in mine:
                take(claimed)
        await until(lambda: len(shop.worker._strays._due) == 1, what="the first look")
        assert sum((await shop.until_ends()).values()) == len(handler.jobs) == 1
    assert await db.fetchval(LOST) == 0


async def test_a_claim_that_is_committed_after_its_fault_is_found_by_the_second_look(
    settings: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket was cut while it waited for a lock; other faults do not make us forget it."""
    monkeypatch.setattr(strays, "AFTER_S", 60.0)
    async with working(settings, Scripted(), tasks=1) as shop:
        with pytest.raises(ConnectionResetError):
            await _fails(shop, ConnectionResetError())
        looks = shop.worker._strays
        await until(lambda: len(looks._due) == 1, what="the first look")
        async with db.transaction():
            await db.fetchval("select makeready.enqueue('free', '{}')")
            await leases.claim(db, ["free"], shop.worker.id, 1)
            looks.look()  # as after an attempt of which the database could not be told
            assert len(looks._due) == 2
            shop.worker.kick()
            await until(lambda: len(looks._due) == 1, what="that look")
        looks._due[0] -= 60
        shop.worker.kick()
        assert await shop.until_ends(timeout_s=20) == {"done": 1}
        assert not looks.are_looked_for
    assert await db.fetchval(LOST) == 1


@pytest.mark.parametrize(
    "error", [asyncpg.SerializationError("so"), asyncpg.LockNotAvailableError("so"), ValueError()]
)
async def test_what_was_refused_has_claimed_nothing(settings: Settings, error: Exception) -> None:
    """Nobody looks for it, and the next request has a task."""
    async with working(settings, Scripted()) as shop:
        with pytest.raises(type(error)):
            await _fails(shop, error)
        assert not shop.worker._strays.are_looked_for


async def test_a_worker_that_stops_waits_for_who_claims_for_it(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    """Else it would leave a job behind that it knows of, and be reaped as if it had died."""
    async with working(settings, Scripted(run=_waits), tasks=1) as shop:
        async with _task_of(shop) as take:
            job = await core.enqueue()
            (claimed,) = await _one(shop)
            shop.worker.stop(0)
            await until(lambda: db.fetchval(STOPPING, shop.worker.id))
            take(claimed)
        assert await shop.until_ends() == {"queued": 1}

    assert await _standing(core, job) == ("queued", 0, 0)


async def test_a_worker_that_stops_gives_back_what_it_never_heard_of(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async with working(settings, Scripted(), tasks=1) as shop:
        try:
            async with _task_of(shop):
                job = await core.enqueue()
                assert await _one(shop)
                shop.worker.stop()
                await until(lambda: db.fetchval(STOPPING, shop.worker.id))
                raise ConnectionResetError
        except ConnectionResetError:
            pass

    assert await db.fetchval(LOST) == 1
    assert await _standing(core, job) == ("queued", 0, 0)


async def test_a_worker_that_stops_does_not_put_the_second_look_off(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    async with working(settings, Scripted(), tasks=1) as shop:
        with pytest.raises(ConnectionResetError):
            await _fails(shop, ConnectionResetError())
        await until(lambda: len(shop.worker._strays._due) == 1, what="the first look")
        async with db.transaction():
            job = await core.enqueue()
            assert await leases.claim(db, ["free"], shop.worker.id, 1)

    assert await _standing(core, job) == ("queued", 0, 0)
