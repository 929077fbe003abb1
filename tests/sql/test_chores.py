"""Maintenance: whoever comes first does it, in bounded batches, and one bad chore stops none."""

from __future__ import annotations

import asyncpg
import pytest

from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, plain, seconds

RARE = {"stats_take", "prune", "requests_purge", "workers_forget"}


async def due(core: Core) -> list[str]:
    """What a tick names."""
    return [row[0] for row in await core.rows("tick")]


async def run_all(core: Core) -> dict[str, int]:
    """A tick and everything it names."""
    return {name: await core.call("chore_run", chore_name=name) for name in await due(core)}


async def test_a_tick_reaps_and_names_what_is_due(core: Core, clock: Clock) -> None:
    job = await core.running("free")
    assert set(await due(core)) >= RARE
    for _ in range(12):
        await clock.advance(1)
        await due(core)
    assert await core.state(job["id"]) == "queued"


async def test_a_chore_that_ran_is_not_due_again_before_its_time(core: Core, clock: Clock) -> None:
    await run_all(core)
    assert not RARE & set(await due(core))
    await clock.advance(11)
    assert "stats_take" in await due(core)
    assert "prune" not in await due(core)


async def test_an_idle_database_names_neither_promote_nor_expire(core: Core) -> None:
    assert not {"promote", "expire"} & set(await due(core))


async def test_one_missed_hour_is_made_up_once(core: Core, clock: Clock) -> None:
    """No storm of runs to catch up with after a downtime."""
    await run_all(core)
    await clock.advance(3600)
    assert await core.call("chore_run", chore_name="prune") == 0
    assert await core.call("chore_run", chore_name="prune") == -1


async def test_a_chore_that_another_holds_is_left_to_it(core: Core, session: Session) -> None:
    """R4: no leader, no term: the row's lock is the whole election."""
    other = await session()
    async with other.db.transaction():
        assert await other.call("chore_run", chore_name="prune") == 0
        assert await core.call("chore_run", chore_name="prune") == -1
    assert await core.call("chore_run", chore_name="prune") == -1  # done, not due


async def test_a_chore_that_another_process_is_taking_is_refused_at_once(
    core: Core, session: Session
) -> None:
    await core.call("chore_set", chore_name="files_scan", enabled=True)
    other = await session()
    async with other.db.transaction():
        assert await other.call("chore_take", chore_name="files_scan") is True
        await core.db.execute("set lock_timeout = '1s'")
        assert await core.call("chore_take", chore_name="files_scan") is False
    assert await core.call("chore_take", chore_name="files_scan") is False  # taken, not due


async def test_a_chore_whose_process_died_is_done_by_the_next(
    core: Core, session: Session
) -> None:
    other = await session()
    transaction = other.db.transaction()
    await transaction.start()
    await other.call("chore_run", chore_name="prune")
    await transaction.rollback()
    assert await core.call("chore_run", chore_name="prune") == 0


async def test_a_tick_waits_for_nobody(core: Core, session: Session) -> None:
    """A slow chore or a tick elsewhere never delays recovery."""
    other = await session()
    async with other.db.transaction():
        await other.rows("tick")
        await other.call("chore_run", chore_name="prune")
        await core.db.execute("set lock_timeout = '1s'")
        assert "stats_take" in await due(core)


async def test_a_failing_chore_is_noted_and_comes_round_later(core: Core, clock: Clock) -> None:
    await core.db.execute(
        "set role makeready_owner; create function makeready.bad(integer) returns integer"
        " language sql as 'select 1/0'; select makeready.chore_create('bad', '10 seconds');"
        " reset role"
    )
    await run_all_but(core, "bad")
    pauses = []
    for _ in range(9):
        assert "bad" in await due(core)
        with pytest.raises(asyncpg.DivisionByZeroError) as error:
            await core.call("chore_run", chore_name="bad")
        await core.call("chore_failed", chore_name="bad", message=str(error.value))
        row = await core.db.fetchrow(
            "select *, due_at - ran_at as pause from makeready.chores where chore = 'bad'"
        )
        assert row is not None
        assert row["last_error"] == "division by zero"
        pauses.append((row["failures"], round(row["pause"].total_seconds())))
        await clock.advance(pauses[-1][1] + 0.1)
        await run_all_but(core, "bad")
    assert pauses == list(enumerate([10, 20, 40, 80, 160, 320, 600, 600, 600], 1))


async def run_all_but(core: Core, spared: str) -> None:
    """The other chores go on."""
    for name in await due(core):
        if name != spared:
            assert await core.call("chore_run", chore_name=name) >= 0


async def test_a_success_forgets_the_failures(core: Core) -> None:
    await core.db.execute("update makeready.chores set failures = 3, last_error = 'x'")
    await core.call("chore_run", chore_name="prune")
    row = await core.db.fetchrow("select * from makeready.chores where chore = 'prune'")
    assert row is not None
    assert (row["failures"], row["last_error"], row["last_rows"]) == (0, None, 0)


async def test_a_disabled_chore_does_not_run(core: Core) -> None:
    await core.db.execute("update makeready.chores set is_enabled = false where chore = 'prune'")
    assert "prune" not in await due(core)
    assert await core.call("chore_run", chore_name="prune") == -1


async def test_an_unknown_chore_is_nobodys(core: Core) -> None:
    assert await core.call("chore_run", chore_name="nothing; drop table x") == -1


@pytest.mark.parametrize(
    ("batch", "done", "ms", "then"),
    [
        (100, 100, 49.9, 200),  # full and quick
        (15_000, 15_000, 1, 20_000),
        (100, 99, 1, 100),  # there was no more
        (100, 100, 50, 100),  # full, but neither quick nor slow
        (1000, 1000, 200, 1000),
        (1000, 7, 200.1, 500),  # slow, however little it did
        (150, 150, 9000, 100),
    ],
)
async def test_the_next_batch_follows_the_last_ones_speed(
    core: Core, batch: int, done: int, ms: float, then: int
) -> None:
    assert await core.call("chore_batch", size=batch, rows_done=done, ms=ms) == then


async def test_a_full_batch_goes_on_at_once(core: Core, clock: Clock) -> None:
    await core.db.execute("update makeready.chores set batch = 100 where chore = 'promote'")
    await core.many("free", 250, due=await core.call("now") + seconds(5))
    await clock.advance(6)
    left, batch = 250, 100
    while left:
        assert "promote" in await due(core)
        done = await core.call("chore_run", chore_name="promote")
        assert done == min(left, batch)
        left, full = left - done, done == batch
        ran = await core.db.fetchrow("select * from makeready.chores where chore = 'promote'")
        assert ran is not None
        # How quick it was is the machine's affair; what follows from it is not.
        batch = await core.call("chore_batch", size=batch, rows_done=done, ms=ran["last_ms"])
        assert (ran["batch"], ran["last_rows"]) == (batch, done)
        assert (ran["due_at"] == ran["ran_at"]) is full
    assert await core.call("chore_run", chore_name="promote") == -1


async def test_promote_queues_what_is_due_and_nothing_else(core: Core, clock: Clock) -> None:
    now = await core.call("now")
    soon = await core.enqueue("limited", due=now + seconds(5))
    later = await core.enqueue("free", due=now + seconds(50))
    never = await core.db.fetchval("select makeready.enqueue('free', due => 'infinity')")
    await clock.advance(6)
    assert await core.call("promote", max_jobs=100) == 1
    states = [await core.state(job) for job in (soon, later, never)]
    assert states == ["queued", "waiting", "waiting"]


async def test_expire_ends_what_waits_and_spares_what_runs(core: Core, clock: Clock) -> None:
    now = await core.call("now")
    running = await core.running("free", deadline=now + seconds(5))
    queued = await core.enqueue("free", deadline=now + seconds(5))
    waiting = await core.enqueue("free", due=now + seconds(3), deadline=now + seconds(5))
    patient = await core.enqueue("free", deadline=now + seconds(60))
    await clock.advance(6)
    assert "expire" in await due(core)
    warnings: list[object] = []
    core.db.add_log_listener(lambda _, message: warnings.append(message))
    assert await core.call("expire", max_jobs=100) == 2
    assert warnings == []  # it did not even try to end what runs
    states = [await core.state(job) for job in (queued, waiting, patient, running["id"])]
    assert states == ["expired", "expired", "queued", "running"]
    assert plain((await core.job(queued))["error"])["code"] == "deadline"


async def test_a_clock_that_was_ahead_holds_up_no_chore(core: Core, clock: Clock) -> None:
    """What it noted lies far away when it is right again; then once round, as always."""
    await core.call("chore_set", chore_name="files_scan", enabled=True, period=seconds(60))
    for offset in (3600, -3600):
        await clock.advance(offset)
        assert "prune" in await due(core)
        assert await core.call("chore_run", chore_name="prune") == 0
        assert await core.call("chore_take", chore_name="files_scan") is True
        assert "prune" not in await due(core)
        assert await core.call("chore_run", chore_name="prune") == -1
        assert await core.call("chore_take", chore_name="files_scan") is False


@pytest.mark.parametrize("chore", ["promote", "expire", "prune"])
async def test_a_sweep_is_bounded_and_waits_for_no_row(
    core: Core, session: Session, clock: Clock, chore: str
) -> None:
    """What another session holds is left for the next time."""
    now = await core.call("now")
    times = {"promote": {"due": now + seconds(5)}, "expire": {"deadline": now + seconds(5)}}
    jobs = await core.many("free", 4, **times.get(chore, {}))
    if chore == "prune":
        for job in jobs:
            await core.cancel("free", job)
    await clock.advance(30 * 86400)
    other = await session()
    async with other.db.transaction():
        await other.db.execute("select from makeready.jobs where id = $1 for update", jobs[0])
        await core.db.execute("set lock_timeout = '1s'")
        assert await core.call(chore, max_jobs=2) == 2
        assert await core.call(chore, max_jobs=10) == 1
    assert await core.call(chore, max_jobs=10) == 1


async def test_prune_keeps_each_end_for_its_own_time(core: Core, clock: Clock) -> None:
    await core.set("free", keep_done="1 hour", keep_dead="2 hours")
    await core.many("free", 3)
    done, dead, running = await core.claim("free", 3)
    await core.finish(done)
    await core.fail(dead, "fatal")
    assert await core.call("prune", max_jobs=100) == 0
    await clock.advance(3601)
    assert await core.call("prune", max_jobs=100) == 1
    await clock.advance(3600)
    assert await core.call("prune", max_jobs=100) == 1
    assert await core.db.fetchval("select array_agg(id) from makeready.jobs") == [running["id"]]
    assert await core.db.fetchval("select count(*) from makeready.attempts") == 0


async def test_prune_is_bounded_and_takes_the_oldest(core: Core, clock: Clock) -> None:
    """Every sweep is bounded in rows."""
    await core.set("free", keep_done="1 hour")
    for count in (3, 4):
        await core.many("free", count)
        for job in await core.claim("free", count):
            await core.finish(job)
        await clock.advance(60)
        if core.me:
            await core.beat(core.me)
    await clock.advance(7200)
    ages = "select array_agg(finished_at order by finished_at) from makeready.jobs"
    before = await core.db.fetchval(ages)
    assert await core.call("prune", max_jobs=3) == 3
    assert await core.db.fetchval(ages) == before[3:]


async def test_minutes_older_than_a_month_are_pruned(core: Core) -> None:
    text = (
        "insert into makeready.queue_minutes"
        " select 'free', makeready.now() - make_interval(days => d), 1, 0, 0, 0, 0, 0"
        " from unnest(array[1, 29, 31, 32, 33]) d"
    )
    await core.db.execute(text)
    for left in (3, 2):  # bounded
        await core.call("prune", max_jobs=2)
        assert await core.db.fetchval("select count(*) from makeready.queue_minutes") == left
    text = "select makeready.now() - min(minute) < '30 days' from makeready.queue_minutes"
    assert await core.db.fetchval(text) is True


async def test_workers_silent_for_an_hour_are_forgotten(core: Core, clock: Clock) -> None:
    await core.worker()
    for _ in range(3):  # somebody looks on, so heartbeats are trusted
        await clock.advance(1300)
        for _ in range(15):
            await clock.advance(1)
            await due(core)
    assert await core.call("workers_forget", max_rows=10) == 1


async def test_workers_are_forgotten_in_bounded_batches(core: Core, clock: Clock) -> None:
    for _ in range(3):
        await core.worker()
    await clock.advance(3601)
    done = [await core.call("workers_forget", max_rows=2) for _ in range(3)]
    assert done == [2, 1, 0]


async def test_minutes_tell_what_happened_and_are_corrected_later(
    core: Core, clock: Clock
) -> None:
    await core.many("free", 4)
    done, dead, retried, last = await core.claim("free", 4)
    await clock.advance(2)
    await core.finish(done)
    await core.fail(dead, "fatal")
    await core.fail(retried)
    assert await core.call("stats_take", max_rows=1000) >= 1
    await core.give_up("free", last["id"])
    await core.call("stats_take", max_rows=1000)
    row = await core.db.fetchrow(
        "select sum(done) as done, sum(dead) as dead, sum(retried) as retried,"
        " sum(expired) as expired, max(run_p50_ms) as run from makeready.queue_minutes"
    )
    assert row is not None
    assert (row["done"], row["dead"], row["retried"], row["expired"]) == (1, 1, 1, 1)
    assert row["run"] >= 2000
    assert await core.call("stats_take", max_rows=1000) == 0  # nothing new, nothing written
    assert await core.call("retry_after", queue_name="free") == round(row["run"] / 1000 + 0.5)
