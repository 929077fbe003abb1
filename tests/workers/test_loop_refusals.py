"""What cannot be written down of an attempt does not let its job run for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from makeready.config import Settings
from makeready.db import LOCK_TIMEOUT_S
from makeready.jobs import Done, Job, JobFailed
from makeready_workers.attempt import HeldLease
from tests.support.core import Core, plain
from tests.support.in_process import Scripted, working
from tests.support.waiting import until

pytestmark = pytest.mark.notified


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (JobFailed("retry", "broken", "a zero \0 in the text"), "broken"),
        (JobFailed("retry", "broken", "half a pair \ud800"), "broken"),
        (JobFailed("retry", "broken", "", evidence={"text": "a zero \0"}), "internal_error"),
        (JobFailed("retry", "broken", "", evidence={"text": "\ud800"}), "internal_error"),
    ],
)
async def test_a_failure_that_cannot_be_stored_is_counted_all_the_same(
    settings: Settings,
    core: Core,
    db: asyncpg.Connection,
    failure: JobFailed,
    code: str,
) -> None:
    async def run(_: Job, __: HeldLease) -> Done:
        raise failure

    await core.set("free", max_attempts=1)
    async with working(settings, Scripted(run=run)) as shop:
        await core.enqueue(wake=True)
        assert await shop.until_ends() == {"dead": 1}
    assert plain(await db.fetchval("select error from makeready.jobs"))["code"] == code


@pytest.mark.parametrize("outcome", [None, {"cards": 12}])
async def test_a_handler_that_returns_no_outcome_fails_its_job(
    settings: Settings, core: Core, db: asyncpg.Connection, outcome: Any
) -> None:
    async def run(_: Job, __: HeldLease) -> Any:
        return outcome

    await core.set("free", max_attempts=1)
    async with working(settings, Scripted(run=run)) as shop:
        await core.enqueue(wake=True)
        assert await shop.until_ends() == {"dead": 1}
    error = plain(await db.fetchval("select error from makeready.jobs"))
    assert error["code"] == "internal_error"
    assert "TypeError" in error["message"]


@pytest.mark.parametrize(
    ("job", "end"),
    [
        (('{"n": ' + "9" * 5000 + "}", None), "dead"),
        (('{"n": ' + "[" * 2000 + "]" * 2000 + "}", None), "dead"),
        (("{}", "infinity"), "done"),
        (("{}", "10000-02-01 00:00:00+00"), "done"),
    ],
    ids=["number", "nesting", "no deadline", "year"],
)
async def test_a_job_that_python_cannot_read_holds_up_no_other(
    settings: Settings, core: Core, db: asyncpg.Connection, job: tuple[str, str | None], end: str
) -> None:
    statement = (
        "select makeready.enqueue('free', $1::text::jsonb, deadline => $2::text::timestamptz)"
    )
    odd, plain_one = await db.fetchval(statement, *job), await core.enqueue()
    async with working(settings, Scripted()) as shop:
        await shop.until_ends(2)
    ended = await db.fetch("select id, state from makeready.jobs")
    assert dict(map(tuple, ended)) == {odd: end, plain_one: "done"}


async def test_a_row_that_somebody_holds_keeps_no_neighbour_from_ending(
    settings: Settings, core: Core, db: asyncpg.Connection
) -> None:
    """They share a call, and the session that holds it may be a forgotten one."""
    may_end = asyncio.Event()

    async def run(_: Job, __: HeldLease) -> Done:
        await may_end.wait()
        return Done()

    held, *others = [await core.enqueue() for _ in range(4)]
    handler = Scripted(run=run)
    async with working(settings, handler) as shop:
        await until(lambda: len(handler.jobs) == 4, what="all of them to run")
        async with db.transaction():
            await db.execute("select from makeready.jobs where id = $1 for update", held)
            may_end.set()
            ended = await shop.until_ends(3, timeout_s=LOCK_TIMEOUT_S * 0.9)
            assert ended == {"done": len(others)}
        assert await shop.until_ends(4) == {"done": 4}
