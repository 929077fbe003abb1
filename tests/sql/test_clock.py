"""One clock for everything, read after a lock was granted; only the tests' own can be moved."""

from __future__ import annotations

import asyncio

from makeready.schema import sql_directory
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, seconds


def test_the_shipped_clock_is_the_server_s_and_follows_no_setting() -> None:
    """Whoever may run SQL could otherwise prune what is young, or stop the recovery of jobs."""
    assert (
        "current_setting"
        not in (sql_directory() / "000_schema.sql")
        .read_text("utf-8")
        .split("makeready.now()")[1]
        .split("comment on function")[0]
    )


async def test_the_clock_follows_its_setting(core: Core, clock: Clock) -> None:
    real = await core.db.fetchval("select clock_timestamp()")
    assert abs(await core.call("now") - real) < seconds(1)
    await clock.advance(3600)
    assert abs(await core.call("now") - real - seconds(3600)) < seconds(5)
    await core.db.execute("set makeready.clock_offset = ''")
    assert abs(await core.call("now") - real) < seconds(5)


async def test_the_clock_moves_inside_a_transaction(core: Core) -> None:
    """now() of PostgreSQL stands still from the begin on; a lock may be granted much later."""
    async with core.db.transaction():
        before = await core.call("now")
        await core.db.execute("select pg_sleep(0.002)")
        assert await core.call("now") > before


async def test_the_clock_is_volatile(core: Core) -> None:
    """A stable clock would be read once a statement, before a wait for a row inside of it."""
    text = "select provolatile::text from pg_proc where oid = 'makeready.now()'::regprocedure"
    assert await core.db.fetchval(text) == "v"


async def test_a_finish_that_waited_for_the_row_past_the_deadline_is_refused(
    core: Core, session: Session
) -> None:
    job = await core.running("free", deadline=await core.call("now") + seconds(0.5))
    holder, worker = await session(), await session()
    transaction = holder.db.transaction()
    await transaction.start()
    await holder.db.execute("update makeready.jobs set progress = '{}' where id = $1", job["id"])
    late = asyncio.create_task(worker.finish(job))
    await core.db.execute("select pg_sleep(0.6)")
    await transaction.commit()
    (answer,) = await asyncio.gather(late, return_exceptions=True)
    assert type(answer).__name__ == "LeaseLost"


async def test_a_failed_attempt_is_timed_after_the_wait_for_its_row(
    core: Core, session: Session
) -> None:
    job = await core.running("free")
    holder, worker = await session(), await session()
    transaction = holder.db.transaction()
    await transaction.start()
    await holder.db.execute("select from makeready.jobs where id = $1 for update", job["id"])
    waiting = asyncio.create_task(worker.fail(job, "fatal"))
    await core.db.execute("select pg_sleep(0.2)")
    released = await core.call("now")
    await transaction.commit()
    assert await waiting == "dead"
    assert (await core.job(job["id"]))["finished_at"] >= released
