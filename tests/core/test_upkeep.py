from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import asyncpg
import pytest

from makeready import upkeep as upkeep_module
from makeready.config import Settings
from makeready.db import Control, pool_opened
from makeready.orphans import ObjectStore
from makeready.storage import ObjectFacts
from makeready.upkeep import Upkeep
from tests.support.core import Core
from tests.support.waiting import until


class Store:
    """Object storage that is empty and notes what it deletes."""

    bucket = "b"

    def __init__(self, *, fault: Exception | None = None) -> None:
        self.deleted: list[str] = []
        self.fault = fault

    async def delete(self, keys: Sequence[str]) -> None:
        if self.fault is not None:
            raise self.fault
        self.deleted += keys

    async def listing(self, prefix: str = "") -> AsyncGenerator[ObjectFacts, None]:
        objects: list[ObjectFacts] = []
        for found in objects:
            if found.key.startswith(prefix):
                yield found


@asynccontextmanager
async def upkeep(
    settings: Settings, storage: ObjectStore | None = None, *, size: int = 3
) -> AsyncIterator[Upkeep]:
    async with pool_opened(settings, "makeready_worker", size=size) as pool:
        control = Control(settings, "makeready_worker")
        link_ttl_s = settings.presign_ttl_s
        keeper = Upkeep(pool, control, storage=storage, link_ttl_s=link_ttl_s)
        async with anyio.create_task_group() as group:
            group.start_soon(keeper.run)
            yield keeper
            group.cancel_scope.cancel()


async def _add_chore(db: asyncpg.Connection, name: str, body: str) -> None:
    await db.execute(
        f"""
        create function makeready.{name}(integer) returns integer language plpgsql as
        $$ begin {body} end $$;
        alter function makeready.{name}(integer) owner to makeready_owner;
        select makeready.chore_create('{name}', '1 second');
        """
    )


async def test_every_process_ticks_once_a_second(settings: Settings) -> None:
    async with upkeep(settings) as keeper:
        started = time.monotonic()
        await until(lambda: keeper.statistics().ticks == 4)
        assert 2.7 <= time.monotonic() - started <= 6
    assert max(upkeep_module.TICK_S) <= 1.1  # whatever a busy machine adds to it


async def test_a_tick_takes_back_what_a_lost_worker_held(settings: Settings, core: Core) -> None:
    row = await core.running()
    await core.db.execute("delete from makeready.workers")
    async with upkeep(settings):

        async def is_back() -> bool:
            statement = "select state = 'queued' from makeready.jobs where id = $1"
            return bool(await core.db.fetchval(statement, row["id"]))

        await until(is_back)


async def test_due_chores_are_run(settings: Settings, core: Core) -> None:
    soon = await core.db.fetchval("select makeready.now() + interval '0.5 seconds'")
    job = await core.enqueue(due=soon)
    async with upkeep(settings) as keeper:

        async def is_queued() -> bool:
            statement = "select state = 'queued' from makeready.jobs where id = $1"
            return bool(await core.db.fetchval(statement, job))

        await until(is_queued)
        await until(lambda: keeper.statistics().chores.get("promote"))


async def test_two_processes_share_the_chores(settings: Settings, db: asyncpg.Connection) -> None:
    await db.execute("create table public.runs (at timestamptz default now())")
    await db.execute("grant insert on public.runs to makeready_owner")
    await _add_chore(db, "count_runs", "insert into public.runs default values; return 1;")

    async def five() -> bool:
        return bool(await db.fetchval("select count(*) >= 5 from public.runs"))

    async with upkeep(settings), upkeep(settings):
        await until(five)

    row = await db.fetchrow(
        "select count(*) as runs, extract(epoch from max(at) - min(at)) as seconds"
        " from public.runs"
    )
    assert row is not None
    assert row["runs"] <= row["seconds"] + 2, "one a second, not one a second each"


async def test_a_bad_chore_is_noted_and_stops_no_other(
    settings: Settings, db: asyncpg.Connection
) -> None:
    await _add_chore(db, "a_broken_one", "raise exception 'no paper'; return 0;")
    async with upkeep(settings) as keeper:
        await until(lambda: keeper.statistics().failures.get("a_broken_one"))
        await until(lambda: keeper.statistics().chores.get("stats_take"))

        async def is_noted() -> bool:
            text = await db.fetchval(
                "select last_error from makeready.chores where chore = 'a_broken_one'"
            )
            return "no paper" in (text or "")

        await until(is_noted)


async def test_a_slow_chore_delays_neither_tick_nor_chores(
    settings: Settings, db: asyncpg.Connection
) -> None:
    await _add_chore(db, "a_slow_one", "perform pg_sleep(8); return 0;")
    async with upkeep(settings) as keeper:
        await until(lambda: keeper.statistics().ticks == 1)
        await until(lambda: keeper.statistics().ticks == 4)
        assert keeper.statistics().chores.get("stats_take")
        assert not keeper.statistics().chores.get("a_slow_one")  # it is still at it


async def test_ticking_goes_on_after_its_connection_was_killed(
    settings: Settings, db: asyncpg.Connection
) -> None:
    async with upkeep(settings) as keeper:
        await until(lambda: keeper.statistics().ticks == 1)
        await db.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await until(lambda: keeper.statistics().ticks == 3)
        assert keeper.statistics().missed == 0


async def _unused_file(core: Core, bucket: str = "b") -> str:
    reference, name = uuid4(), f"renders/{uuid4()}.pdf"
    await core.call(
        "file_store",
        bucket_name=bucket,
        object_name=name,
        media_type="application/pdf",
        byte_count=1,
        hash_sha256=b"0" * 32,
        etag_value="e",
        reference=reference,
    )
    await core.call("file_release", reference=reference)
    await core.db.execute("update makeready.files set unused_at = unused_at - interval '2 days'")
    return name


async def test_files_that_nobody_needs_are_deleted_object_first(
    settings: Settings, core: Core
) -> None:
    name = await _unused_file(core)
    store = Store()
    async with upkeep(settings, store) as keeper:
        assert await keeper.purge_files(store) == 1
        assert store.deleted == [name]
        assert await core.db.fetchval("select count(*) from makeready.files") == 0
        assert keeper.statistics().files_purged == 1


async def test_a_file_stays_as_long_as_a_link_to_it_may_hold(
    settings: Settings, core: Core
) -> None:
    name = await _unused_file(core)  # for two days
    store = Store()
    async with upkeep(dataclasses.replace(settings, presign_ttl_s=3 * 86400), store) as keeper:
        assert await keeper.purge_files(store) == 0
        await core.db.execute(
            "update makeready.files set unused_at = unused_at - interval '1 day'"
        )
        assert await keeper.purge_files(store) == 1
        assert store.deleted == [name]


async def test_a_file_whose_object_could_not_be_deleted_is_tried_again(
    settings: Settings, core: Core
) -> None:
    name = await _unused_file(core)
    store = Store(fault=OSError("no store"))
    async with upkeep(settings, store) as keeper:
        with pytest.raises(OSError, match="no store"):
            await keeper.purge_files(store)
        assert await core.db.fetchval("select count(*) from makeready.files") == 1

        store.fault = None
        await core.db.execute("update makeready.files set purging_at = now() - interval '2 days'")
        assert await keeper.purge_files(store) == 1
        assert store.deleted == [name]


async def test_files_in_another_bucket_are_left_to_those_who_have_it(
    settings: Settings, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "PURGE_FILES", 2)
    for _ in range(3):
        await _unused_file(core, "elsewhere")
    own = await _unused_file(core)
    store = Store()
    async with upkeep(settings, store) as keeper:
        assert await keeper.purge_files(store) == 1
        assert store.deleted == [own]
        left = "select count(*) from makeready.files where purging_at is null"
        assert await core.db.fetchval(left) == 3


async def test_a_scan_that_failed_is_noted_as_a_chore(
    settings: Settings, db: asyncpg.Connection
) -> None:
    class Broken(Store):
        async def listing(self, prefix: str = "") -> AsyncGenerator[ObjectFacts, None]:
            async for found in super().listing(prefix):
                yield found
            raise OSError(f"no listing of {prefix}")

    await db.execute(
        "update makeready.chores set is_enabled = true, due_at = makeready.now()"
        " where chore = 'files_scan'"
    )
    async with upkeep(settings) as keeper:
        await keeper.scan_files(Broken())
        assert keeper.statistics().failures == {"files_scan": 1}
        noted = await db.fetchrow(
            "select last_error, failures from makeready.chores where chore = 'files_scan'"
        )
        assert noted is not None
        assert tuple(noted) == ("OSError: no listing of renders/", 1)

        await db.execute("update makeready.chores set due_at = makeready.now()")
        await keeper.scan_files(Store())
        assert keeper.statistics().chores["files_scan"] == 1
        assert not await db.fetchval(
            "select failures from makeready.chores where chore = 'files_scan'"
        )
