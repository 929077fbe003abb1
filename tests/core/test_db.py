from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import (
    CONTROL_TIMEOUT_S,
    Control,
    close_pool,
    is_transient,
    open_pool,
    pool_opened,
)
from makeready.faults import DatabaseAway
from tests.support.proxy import proxied
from tests.support.waiting import until


async def test_connections_of_the_pool_take_the_role_of_their_process(settings: Settings) -> None:
    async with pool_opened(settings, "makeready_http", size=2) as pool:
        assert await pool.fetchval("select current_user") == "makeready_http"
        assert await pool.fetchval("show lock_timeout") == "2s"
        assert await pool.fetchval("show statement_timeout") == "30s"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute("delete from makeready.jobs")


async def test_a_database_with_a_stricter_default_is_used_as_any_other(
    settings: Settings, db: asyncpg.Connection
) -> None:
    name = await db.fetchval("select current_database()")
    await db.execute(
        f"alter database {name} set default_transaction_isolation = 'repeatable read'"
    )
    async with pool_opened(settings, "makeready_worker", size=1) as pool:
        assert await pool.fetchval("show transaction_isolation") == "read committed"
    control = Control(settings, "makeready_worker")
    assert (await control.fetch("show transaction_isolation"))[0][0] == "read committed"
    await control.close()


async def test_without_roles_connections_keep_their_user(settings: Settings) -> None:
    settings = replace(settings, database_roles=False)
    async with pool_opened(settings, "makeready_http", size=1) as pool:
        assert await pool.fetchval("select current_user") == "postgres"


async def test_the_pool_takes_no_round_trip_to_give_a_connection_back(
    settings: Settings, db: asyncpg.Connection
) -> None:
    async with pool_opened(settings, "makeready_http", size=1) as pool:
        pid = await pool.fetchval("select pg_backend_pid()")
        last = await db.fetchval("select query from pg_stat_activity where pid = $1", pid)
        assert last == "select pg_backend_pid()"


async def test_a_database_that_is_not_there_yet_is_waited_for(settings: Settings) -> None:
    assert settings.database_url
    with proxied(settings.database_url) as proxy:
        proxy.silence()
        behind = replace(settings, database_url=proxy.dsn)
        asyncio.get_running_loop().call_later(0.5, proxy.cut)
        asyncio.get_running_loop().call_later(0.6, proxy.restore_connectivity)
        pool = await open_pool(behind, "makeready_http", size=1, patience_s=10)
        assert await pool.fetchval("select 1") == 1
        await close_pool(pool)


async def test_a_database_that_is_not_there_is_an_error_at_once_without_patience(
    settings: Settings,
) -> None:
    nowhere = replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseAway, match="Connect call failed"):
        async with pool_opened(nowhere, "makeready_http", size=1):
            raise AssertionError("there is no database")


async def test_the_control_connection_waits_for_no_flush(control: Control) -> None:
    rows = await control.fetch("show synchronous_commit")
    assert rows[0][0] == "off"


async def test_a_killed_control_connection_is_back_within_the_same_call(
    control: Control, db: asyncpg.Connection
) -> None:
    pid = (await control.fetch("select pg_backend_pid()"))[0][0]
    await db.execute("select pg_terminate_backend($1, 5000)", pid)

    assert (await control.fetch("select pg_backend_pid()"))[0][0] != pid


async def test_an_error_of_the_statement_keeps_the_control_connection(control: Control) -> None:
    pid = (await control.fetch("select pg_backend_pid()"))[0][0]
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await control.fetch("select no_such_function()")

    assert (await control.fetch("select pg_backend_pid()"))[0][0] == pid


async def test_a_silent_database_costs_a_control_call_no_more_than_its_time(
    settings: Settings,
) -> None:
    assert settings.database_url
    with proxied(settings.database_url) as proxy:
        control = Control(replace(settings, database_url=proxy.dsn), "makeready_worker")
        await control.fetch("select 1")
        proxy.silence()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await control.fetch("select 1", timeout_s=0.3)
        assert time.monotonic() - started < CONTROL_TIMEOUT_S - 0.5

        proxy.restore_connectivity()
        assert (await control.fetch("select 2"))[0][0] == 2
        await control.close()


async def test_calls_over_the_control_connection_take_turns(control: Control) -> None:
    rows = await asyncio.gather(*(control.fetch("select $1::int", n) for n in range(20)))

    assert [row[0][0] for row in rows] == list(range(20))


async def test_a_cancelled_control_call_leaves_no_broken_connection(
    control: Control, db: asyncpg.Connection
) -> None:
    await control.fetch("select 1")
    call = asyncio.create_task(control.fetch("select pg_sleep(60)", timeout_s=60))

    async def asleep() -> bool:
        statement = "select exists (select from pg_stat_activity where query = $1)"
        return bool(await db.fetchval(statement, "select pg_sleep(60)"))

    await until(asleep)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert (await control.fetch("select 2"))[0][0] == 2


async def test_a_control_connection_says_that_it_was_cut(
    settings: Settings, db: asyncpg.Connection
) -> None:
    control = Control(settings, "makeready_worker")
    asked = "select current_setting('makeready.reconnected', true) as is_back, pg_backend_pid()"
    (first,) = await control.fetch(asked)
    await db.fetchval("select pg_terminate_backend($1, 5000)", first["pg_backend_pid"])
    (second,) = await control.fetch(asked)
    await control.close()

    assert (first["is_back"], second["is_back"]) == (None, "on")


async def test_nobody_waits_for_a_connection_for_ever(settings: Settings) -> None:
    pool = await open_pool(settings, "makeready_http", size=1, turn_s=0.05)
    try:
        async with pool.acquire():
            with pytest.raises(TimeoutError) as caught:
                await pool.fetchval("select 1")
        assert is_transient(caught.value)
        assert await pool.fetchval("select 1") == 1
    finally:
        await close_pool(pool)
