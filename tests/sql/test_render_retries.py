"""Renders that an operator, a deadline or a dying worker ends, and those that are opened again."""

from __future__ import annotations

import json

import asyncpg
import pytest

from makeready import render
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.rendering import Press


async def test_a_cancelled_render_is_failed(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    await press.db.execute("select makeready.cancel('render', $1, 'not wanted')", job)

    state = await press.document(user, pack, "invoice")
    assert (state.status, state.last_error) == ("failed", "cancelled: not wanted")
    assert await press.open_count(pack) == 0


async def test_a_render_is_tried_five_times_with_pauses_that_double_rnd_014_rnd_015(
    press: Press, clock: Clock
) -> None:
    policy = await press.db.fetchrow(
        "select retry_base, retry_factor, retry_cap from makeready.queues where queue = 'render'"
    )
    assert policy is not None
    assert [part.total_seconds() for part in (policy["retry_base"], policy["retry_cap"])] == [
        1,
        60,
    ]
    assert policy["retry_factor"] == 2

    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    paused = "select run_at - makeready.now() from makeready.jobs where id = $1"
    for place in range(4):
        await press.fail(await press.one(), "retry", "STORAGE_ERROR")
        pause = (await press.db.fetchval(paused, job)).total_seconds()
        assert 2**place / 2 < pause <= 2**place * 1.5
        assert await press.states(user, pack) == ["queued"]
        await clock.advance(2**place * 2)
        await press.db.execute("select makeready.promote(10)")
    assert await press.fail(await press.one(), "retry", "STORAGE_ERROR") == "dead"
    assert await press.states(user, pack) == ["failed"]


async def test_a_render_that_kills_its_worker_three_times_is_failed(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    for _ in range(3):
        assert await press.states(user, pack) == ["queued"]
        await press.one()
        await press.db.execute("delete from makeready.workers")
        await press.db.execute("select makeready.reap()")
        press = Press(press.db)

    state = await press.document(user, pack, "invoice")
    assert state.status == "failed"
    assert (state.last_error or "").startswith("lease_lost")
    assert await press.open_count(pack) == 0


async def test_a_render_past_its_deadline_is_failed(press: Press, clock: Clock) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    await press.db.execute(
        "update makeready.jobs set deadline_at = makeready.now() + '1 minute' where id = $1", job
    )
    await clock.advance(61)
    await press.db.execute("select makeready.chore_run('expire')")

    assert await press.states(user, pack) == ["failed"]


async def test_an_operators_retry_opens_the_document_again(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    assert await press.db.fetchval("select makeready.retry('render', $1)", job) == "queued"

    assert await press.states(user, pack) == ["queued"]
    assert await press.open_count(pack) == 1
    await press.publish(await press.one())
    assert await press.states(user, pack) == ["ready"]
    assert await press.open_count(pack) == 0


async def test_a_redrive_runs_only_the_latest_render_of_a_document(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice", "letter")
    jobs = []
    for doc in ("invoice", "invoice", "letter"):
        jobs.append(await press.job_of(user, pack, doc))
        await press.fail(await press.one())
    rows = await press.db.fetch("select * from makeready.redrive('render', dry_run => false)")
    assert {row[0] for row in rows} == set(jobs)

    assert [(await press.one()).job.id for _ in range(2)] == jobs[1:]
    assert await press.open_count(pack) == 2
    error = await press.db.fetchval("select error from makeready.jobs where id = $1", jobs[0])
    assert json.loads(error)["code"] == "superseded"


async def test_a_retry_while_a_later_render_is_open_ends_by_itself(
    press: Press, connect: Connect
) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    # The later render is entered but not committed yet: the retry waits for it, and finds it.
    other = await connect()
    transaction = other.transaction()
    await transaction.start()
    await render.render_document(other, user, pack, "invoice")
    await press.db.execute("set lock_timeout = '200 ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await press.db.execute("select makeready.retry('render', $1)", job)
    await transaction.commit()

    assert await press.db.fetchval("select makeready.retry('render', $1)", job) == "cancelled"
    assert await press.open_count(pack) == 1
