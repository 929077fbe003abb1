from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from makeready import jobs
from makeready.config import Settings
from makeready.db import Control
from makeready.errors import Busy, Conflict, NotFound, Rejected
from makeready.jobs import Ended, JobFailed, Options
from tests.support.core import Core, plain
from tests.support.waiting import until


async def test_a_job_vanishes_with_the_transaction_that_enqueued_it(
    core: Core, db: asyncpg.Connection
) -> None:
    async def order_and_pay() -> None:
        async with db.transaction():
            await jobs.enqueue(db, "free", {"page": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await order_and_pay()
    assert await core.claim() == []


async def test_every_option_reaches_its_column(core: Core, db: asyncpg.Connection) -> None:
    now = await db.fetchval("select makeready.now()")
    mine, batch = uuid4(), uuid4()
    await core.lane("free", "gemini", 2)
    options = Options(
        priority=-3,
        due=now + timedelta(minutes=1),
        deadline=now + timedelta(hours=1),
        lane="gemini",
        host="press-1",
        owner="ada",
        batch=batch,
        max_attempts=9,
    )
    assert await jobs.enqueue(db, "free", {"é": "₽"}, job=mine, options=options) == mine

    row = await db.fetchrow("select * from makeready.jobs where id = $1", mine)
    assert row is not None
    assert (row["state"], row["priority"], row["lane"], row["host"]) == (
        "waiting",
        -3,
        "gemini",
        "press-1",
    )
    assert (row["run_at"], row["deadline_at"]) == (options.due, options.deadline)
    assert (row["owner"], row["batch"], row["max_attempts"]) == ("ada", batch, 9)
    assert plain(row["payload"]) == {"é": "₽"}


async def test_many_jobs_come_back_in_order(core: Core, db: asyncpg.Connection) -> None:
    mine = [uuid4() for _ in range(3)]
    payloads = [{"n": n} for n in range(3)]
    assert await jobs.enqueue_many(db, "free", payloads, jobs=mine) == mine

    claimed = await core.claim(count=3)
    assert {row["id"]: plain(row["payload"])["n"] for row in claimed} == dict(
        zip(mine, range(3), strict=True)
    )


async def test_none_of_many_jobs_is_added_when_one_is_refused(
    core: Core, db: asyncpg.Connection
) -> None:
    with pytest.raises(Busy) as caught:
        await jobs.enqueue_many(db, "bounded", [{}] * 6)

    assert caught.value.details["limit"] == 5
    assert await core.claim("bounded") == []


async def test_an_id_that_is_taken_is_a_conflict(core: Core, db: asyncpg.Connection) -> None:
    job = await core.enqueue()
    with pytest.raises(Conflict):
        await jobs.enqueue(db, "free", {}, job=job)


async def test_an_unknown_queue_is_not_found(core: Core) -> None:
    with pytest.raises(NotFound) as caught:
        await jobs.enqueue(core.db, "nowhere", {})

    assert caught.value.details == {"queue": "nowhere"}


async def test_the_same_request_joins_then_replays_and_another_body_is_refused(
    core: Core,
) -> None:
    async def ask(fingerprint: bytes = b"same") -> jobs.Request:
        return await jobs.enqueue_once(
            core.db,
            "free",
            {},
            scope="ada",
            operation="render",
            key="k1",
            fingerprint=fingerprint,
        )

    first = await ask()
    assert first == jobs.Request(verdict="created", job_id=first.job_id, state="queued")
    assert await ask() == replace(first, verdict="joined")

    (row,) = await core.claim()
    await core.finish(row)
    assert await ask() == replace(first, verdict="replayed", state="done")
    with pytest.raises(Rejected):
        await ask(b"other")


async def test_only_ended_jobs_are_shown_by_peek(core: Core, db: asyncpg.Connection) -> None:
    done, dead, open_ = await core.many("free", 3)
    rows = {row["id"]: row for row in await core.claim(count=3)}
    await core.finish(rows[done], {"pages": 2})
    await core.fail(rows[dead], "fatal", {"code": "bad", "message": "so"})

    found = {ended.job_id: ended for ended in await jobs.peek(db, "free", [done, dead, open_])}
    assert found == {
        done: Ended(queue="free", job_id=done, state="done", result={"pages": 2}),
        dead: Ended(
            queue="free", job_id=dead, state="dead", error={"code": "bad", "message": "so"}
        ),
    }


async def test_giving_up_ends_an_open_job_and_shows_an_ended_one(
    core: Core, db: asyncpg.Connection
) -> None:
    open_ = await core.enqueue()
    ended = await jobs.give_up(db, "free", open_, {"code": "timeout", "message": "too slow"})
    assert ended is not None
    assert (ended.state, ended.error) == ("expired", {"code": "timeout", "message": "too slow"})

    row = await core.running()
    await core.finish(row, {"in": "the last moment"})
    ended = await jobs.give_up(db, "free", row["id"])
    assert ended is not None
    assert (ended.state, ended.result) == ("done", {"in": "the last moment"})

    assert await jobs.give_up(db, "free", uuid4()) is None


async def test_cancelling_tells_the_state_that_the_job_is_in_now(core: Core) -> None:
    queued = await core.enqueue()
    assert await jobs.cancel(core.db, "free", queued, "not needed") == "cancelled"
    running = (await core.running())["id"]
    assert await jobs.cancel(core.db, "free", running) == "running"
    with pytest.raises(NotFound):
        await jobs.cancel(core.db, "free", uuid4())


async def test_hints_are_notifications_and_a_lost_one_is_no_error(
    core: Core, settings: Settings
) -> None:
    heard: list[object] = []
    await core.db.add_listener("makeready", lambda *facts: heard.append(facts[-1]))
    job, control = uuid4(), Control(settings, "makeready_http")
    await jobs.wake(control, "free")
    await jobs.announce(control, "free", [job])
    await until(lambda: heard == ["wake free", f"end free {job}"], what="both notifications")
    await control.close()

    nowhere = replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none")
    away = Control(nowhere, "makeready_http")
    await jobs.wake(away, "free")
    await jobs.announce(away, "free", [job])


def test_a_failure_keeps_its_evidence_with_the_error() -> None:
    failure = JobFailed("retry", "too_wet", "ink not dry", evidence={"drops": 3})

    assert str(failure) == "too_wet: ink not dry"
    assert failure.problem() == {
        "code": "too_wet",
        "message": "ink not dry",
        "evidence": {"drops": 3},
    }
    assert JobFailed("fatal", "a", "b").problem() == {"code": "a", "message": "b"}
