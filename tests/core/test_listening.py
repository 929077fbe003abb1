from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import anyio
import asyncpg
import pytest

from makeready import listening
from makeready.config import Settings
from makeready.listening import Listener
from tests.support.proxy import proxied
from tests.support.waiting import until


@asynccontextmanager
async def listening_to(settings: Settings) -> AsyncIterator[Listener]:
    listener = Listener(settings, "makeready_worker")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.run)
        assert await listener.wait_hearing(5)
        yield listener
        group.cancel_scope.cancel()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CANARY_EVERY_S", 0.2)


async def _kill_listener(db: asyncpg.Connection) -> None:
    killed = await db.fetchval(
        "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity"
        " where application_name like 'makeready listener%' and datname = current_database()"
    )
    assert killed == 1


async def test_each_verb_reaches_those_who_asked_for_it(
    settings: Settings, db: asyncpg.Connection
) -> None:
    woken: list[list[str]] = []
    ended: list[list[str]] = []
    async with listening_to(settings) as listener:
        listener.on("wake", woken.append)
        listener.on("wake", woken.append)
        listener.on("end", ended.append)
        await db.execute("select makeready.wake('render')")
        await db.execute("select pg_notify('makeready', 'end render a b')")
        await until(lambda: ended)

    assert woken == [["render"], ["render"]]
    assert ended == [["render", "a", "b"]]


async def test_nonsense_on_the_channel_harms_nobody(
    settings: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[list[str]] = []
    faults: list[object] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_exception_handler", faults.append)
    async with listening_to(settings) as listener:
        listener.on("wake", heard.append)
        await db.execute("select pg_notify('makeready', '')")
        await db.execute("select pg_notify('makeready', 'dance now')")
        await db.execute("select pg_notify('makeready', 'wake')")
        await until(lambda: heard)
        assert listener.hears

    assert heard == [[]]
    assert faults == []


async def test_a_killed_listener_is_back_soon_and_looks_at_everything_once(
    settings: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B1: lost registration."""
    monkeypatch.setattr(listening, "CANARY_EVERY_S", 60.0)  # it is not what notices
    sweeps: list[bool] = []
    async with listening_to(settings) as listener:
        listener.on_sweep(lambda: sweeps.append(listener.hears))
        await _kill_listener(db)
        await until(lambda: sweeps == [False, True])
        assert listener.statistics().connects == 2


@pytest.mark.usefixtures("quick")
async def test_a_half_open_connection_is_noticed_by_the_canary(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B1: half-open connection, behind a proxy."""
    assert settings.database_url
    monkeypatch.setattr(listening, "CANARY_WITHIN_S", 1.0)
    monkeypatch.setattr(listening, "STATEMENT_TIMEOUT_S", 60.0)  # it is not what notices
    with proxied(settings.database_url) as proxy:
        async with listening_to(replace(settings, database_url=proxy.dsn)) as listener:
            proxy.silence()  # no reset, no error: only nothing
            await until(lambda: not listener.hears)
            proxy.restore_connectivity()
            await until(lambda: listener.hears)


async def test_a_listener_that_was_refused_goes_on_trying(settings: Settings) -> None:
    nowhere = replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none")
    listener = Listener(nowhere, "makeready_worker")
    with anyio.move_on_after(0.5) as scope:
        await listener.run()

    assert scope.cancelled_caught
    assert not listener.hears


@pytest.mark.usefixtures("quick")
async def test_the_session_holds_the_workers_lock_and_takes_it_again(
    settings: Settings, db: asyncpg.Connection
) -> None:
    worker = uuid4()

    async def is_open() -> bool:
        return bool(await db.fetchval("select makeready.session_is_open($1)", worker))

    listener = Listener(settings, "makeready_worker")
    listener.lock_for(worker)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.run)
        assert await listener.wait_hearing(5)
        assert listener.holds_lock
        assert await is_open()

        await _kill_listener(db)
        await until(lambda: listener.statistics().connects == 2 and listener.holds_lock)
        assert await is_open()
        group.cancel_scope.cancel()

    async def is_free() -> bool:
        return not await is_open()

    await until(is_free)


@pytest.mark.usefixtures("quick")
async def test_a_lock_that_an_old_session_still_holds_is_taken_later(
    settings: Settings, db: asyncpg.Connection
) -> None:
    worker = uuid4()
    await db.execute("select pg_advisory_lock(makeready.session_key($1))", worker)
    listener = Listener(settings, "makeready_worker")
    listener.lock_for(worker)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.run)
        assert await listener.wait_hearing(5)  # it does not wait for the lock
        assert not listener.holds_lock
        await db.execute("select pg_advisory_unlock(makeready.session_key($1))", worker)
        await until(lambda: listener.holds_lock)
        group.cancel_scope.cancel()


async def test_one_process_is_one_listening_session_that_waits_for_no_flush(
    settings: Settings, db: asyncpg.Connection
) -> None:
    async with listening_to(settings):
        rows = await db.fetch(
            "select 1 from pg_stat_activity where application_name like 'makeready listener%'"
            " and datname = current_database()"
        )
    assert len(rows) == 1
    assert listening.SESSION["synchronous_commit"] == "off"
