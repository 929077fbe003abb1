from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import anyio
import asyncpg
import pytest

from makeready import jobs
from makeready import waiting as waiting_module
from makeready.config import Settings
from makeready.db import pool_opened
from makeready.jobs import Ended
from makeready.listening import Listener
from makeready.waiting import Waiting
from tests.support.core import Core
from tests.support.proxy import proxied
from tests.support.waiting import until

pytestmark = pytest.mark.notified


@asynccontextmanager
async def waiting_room(settings: Settings) -> AsyncIterator[Waiting]:
    listener = Listener(settings, "makeready_http") if settings.listen else None
    async with pool_opened(settings, "makeready_http", size=2) as pool:
        waiting = Waiting(pool, listener)
        async with anyio.create_task_group() as group:
            group.start_soon(waiting.run)
            if listener is not None:
                group.start_soon(listener.run)
                assert await listener.wait_hearing(5)
            yield waiting
            group.cancel_scope.cancel()


async def _end(core: Core, row: asyncpg.Record, *, announce: bool) -> None:
    await core.finish(row, {"pages": 3})
    if announce:
        await core.call("announce", queue_name=row["queue"], job_ids=[row["id"]])


async def test_a_waiter_gets_the_end_and_the_result(core: Core, settings: Settings) -> None:
    row = await core.running()
    async with waiting_room(settings) as waiting:
        with waiting.expect("free", row["id"]) as expected:
            await _end(core, row, announce=True)
            ended = await expected.wait(5)

    assert ended == Ended(queue="free", job_id=row["id"], state="done", result={"pages": 3})


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is known by a hint."""
    monkeypatch.setattr(waiting_module, "POLL_S", 60.0)
    monkeypatch.setattr(waiting_module, "POLL_DEAF_S", 60.0)


@pytest.mark.usefixtures("no_poll")
async def test_an_end_that_is_announced_is_known_at_once(core: Core, settings: Settings) -> None:
    if not settings.listen:
        pytest.skip("needs notifications")
    row = await core.running()
    async with waiting_room(settings) as waiting:
        with waiting.expect("free", row["id"]) as expected:
            await asyncio.sleep(0)  # the reader sleeps
            await _end(core, row, announce=True)
            assert await expected.wait(5)


@pytest.mark.usefixtures("no_poll")
async def test_an_end_before_the_wait_is_not_missed(core: Core, settings: Settings) -> None:
    row = await core.running()
    await _end(core, row, announce=True)
    async with waiting_room(settings) as waiting:
        ended = await waiting.wait("free", row["id"], 5)

    assert ended is not None
    assert ended.state == "done"


async def test_an_end_that_nobody_announced_is_found_by_the_poll(
    core: Core, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (waiting_module.POLL_S, waiting_module.POLL_DEAF_S) == (1.0, 0.2)
    other = "POLL_DEAF_S" if settings.listen else "POLL_S"
    monkeypatch.setattr(waiting_module, other, 60.0)
    row = await core.running()
    async with waiting_room(settings) as waiting:
        with waiting.expect("free", row["id"]) as expected:
            await _end(core, row, announce=False)
            assert await expected.wait(5)


async def test_hints_for_others_do_not_put_the_poll_off(core: Core, settings: Settings) -> None:
    first, second = await core.running(), await core.running()
    async with waiting_room(settings) as waiting, anyio.create_task_group() as group:
        with (
            waiting.expect("free", first["id"]),
            waiting.expect("free", second["id"]) as expected,
        ):

            async def chatter() -> None:
                while True:
                    waiting.hint("free", first["id"])
                    await asyncio.sleep(0.05)

            group.start_soon(chatter)
            await _end(core, second, announce=False)
            assert await expected.wait(5)
            group.cancel_scope.cancel()


@pytest.mark.usefixtures("no_poll")
async def test_patience_ends_with_none(core: Core, settings: Settings) -> None:
    row = await core.running()
    async with waiting_room(settings) as waiting:
        started = time.monotonic()
        assert await waiting.wait("free", row["id"], 0.3) is None
        assert 0.3 <= time.monotonic() - started < 10
        assert waiting.statistics().waiters == 0


async def test_every_kind_of_end_wakes_its_waiter(core: Core, settings: Settings) -> None:
    rows = [await core.running() for _ in range(2)]
    async with waiting_room(settings) as waiting, anyio.create_task_group() as group:
        found: dict[object, str] = {}

        async def wait(job: object, reason: str) -> None:
            ended = await waiting.wait("free", job, 5)  # type: ignore[arg-type]
            assert ended is not None
            found[reason] = ended.state

        group.start_soon(wait, rows[0]["id"], "failed")
        group.start_soon(wait, rows[1]["id"], "given up")
        await until(lambda: waiting.statistics().waiters == 2)
        await core.fail(rows[0], "fatal")
        await core.give_up("free", rows[1]["id"])

    assert found == {"failed": "dead", "given up": "expired"}


async def test_any_number_may_wait_for_one_job_at_the_cost_of_one_read(
    core: Core, settings: Settings
) -> None:
    """Q3: a burst is coalesced."""
    row = await core.running()
    async with waiting_room(settings) as waiting, anyio.create_task_group() as group:
        ends: list[Ended | None] = []

        async def wait() -> None:
            with waiting.expect("free", row["id"]) as expected:
                ends.append(await expected.wait(5))

        for _ in range(50):
            group.start_soon(wait)
        await until(lambda: waiting.statistics().waiters == 50)
        before = waiting.statistics().peeks
        await _end(core, row, announce=True)
        await until(lambda: len(ends) == 50)
        # The announcement, a poll or two on a busy machine: not one for each of the 50.
        assert waiting.statistics().peeks - before < 10

    assert {ended.state for ended in ends if ended} == {"done"}


async def test_nobody_waiting_costs_no_query(core: Core, settings: Settings) -> None:
    row = await core.running()
    async with waiting_room(settings) as waiting:
        await _end(core, row, announce=True)
        await asyncio.sleep(0.5)
        assert waiting.statistics().peeks == 0


async def test_waiting_survives_a_database_that_cuts_every_connection(
    core: Core, settings: Settings
) -> None:
    assert settings.database_url
    row = await core.running()
    with proxied(settings.database_url) as proxy:
        async with waiting_room(replace(settings, database_url=proxy.dsn)) as waiting:
            with waiting.expect("free", row["id"]) as expected:
                proxy.cut()
                await _end(core, row, announce=False)
                assert await expected.wait(5)


async def test_nonsense_on_the_channel_wakes_nobody(
    core: Core, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[object] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_exception_handler", faults.append)
    async with waiting_room(settings) as waiting:
        with waiting.expect("free", uuid4()) as expected:
            await core.db.execute("select pg_notify('makeready', 'end free not-an-id')")
            await core.db.execute("select pg_notify('makeready', 'end')")
            assert await expected.wait(0.3) is None
    assert faults == []


async def test_the_place_is_taken_before_the_job_exists(core: Core, settings: Settings) -> None:
    job = uuid4()
    async with waiting_room(settings) as waiting:
        with waiting.expect("free", job) as expected:
            await jobs.enqueue(core.db, "free", {}, job=job)
            (row,) = await core.claim()
            await _end(core, row, announce=True)
            ended = await expected.wait(5)

    assert ended is not None
    assert ended.job_id == job


@pytest.mark.usefixtures("no_poll")
async def test_who_is_told_of_an_end_needs_no_look(core: Core, settings: Settings) -> None:
    """All who wait for it, those who have gone excepted; what is told first stays."""
    row = await core.running()
    end = Ended(queue="free", job_id=row["id"], state="done", result={"pages": 3})
    async with waiting_room(settings) as waiting:
        peeks = waiting.statistics().peeks
        with (
            waiting.expect("free", row["id"]) as first,
            waiting.expect("free", row["id"]) as second,
            waiting.expect("free", uuid4()) as other,
        ):
            with waiting.expect("free", row["id"]):
                pass
            waiting.tell(end)
            waiting.tell(replace(end, state="cancelled", result=None))
            assert [await each.wait(5) for each in (first, second)] == [end, end]
            assert await other.wait(0.01) is None
        waiting.tell(end)  # nobody waits any more
        assert waiting.statistics().peeks == peeks
