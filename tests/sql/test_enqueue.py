"""A job commits or vanishes with its caller's own data."""

from __future__ import annotations

import asyncio
from typing import Literal
from uuid import RFC_4122, uuid4

import pytest

from makeready.errors import Busy, Closed, Conflict, NotFound, Rejected, WrongIsolation
from tests.sql.conftest import Heard, Session
from tests.support.core import Core, plain, seconds


async def test_a_job_commits_or_vanishes_with_the_callers_data(core: Core) -> None:
    await core.db.execute("create table orders (n int)")
    transaction = core.db.transaction()
    await transaction.start()
    await core.db.execute("insert into orders values (1)")
    await core.enqueue("free", body={"order": 1})
    await transaction.rollback()
    assert await core.count("free", "queued") == 0
    async with core.db.transaction():
        await core.db.execute("insert into orders values (1)")
        await core.enqueue("free", body={"order": 1})
    assert await core.count("free", "queued") == 1


async def test_everything_asked_for_is_on_the_row(core: Core) -> None:
    now = await core.call("now")
    await core.lane("free", "gemini", None)
    job, batch = uuid4(), uuid4()
    returned = await core.enqueue(
        "free",
        body={"a": [1]},
        job=job,
        rank=-7,
        due=now + seconds(60),
        deadline=now + seconds(90),
        lane_name="gemini",
        host_name="here",
        owner_key="owner",
        batch_key=batch,
        attempts=9,
    )
    row = await core.job(job)
    assert returned == job
    assert (row["queue"], row["state"], row["priority"]) == ("free", "waiting", -7)
    assert (row["lane"], row["host"], row["owner"]) == ("gemini", "here", "owner")
    assert (row["batch"], row["max_attempts"], plain(row["payload"])) == (batch, 9, {"a": [1]})
    assert (row["run_at"], row["deadline_at"]) == (now + seconds(60), now + seconds(90))
    assert (row["attempt"], row["lost"], row["finished_at"]) == (0, 0, None)


async def test_a_job_without_an_id_gets_a_time_ordered_one(core: Core) -> None:
    first = await core.enqueue("free")
    await core.db.execute("select pg_sleep(0.002)")
    second = await core.enqueue("free")
    assert (first.version, first.variant) == (7, RFC_4122)
    assert first < second
    stamp = await core.db.fetchval("select extract(epoch from now())::float8")
    assert abs((first.int >> 80) / 1000 - stamp) < 5


async def test_a_thousand_ids_are_a_thousand_ids(core: Core) -> None:
    count = "select count(distinct makeready.uuid7()) from generate_series(1, 1000)"
    assert await core.db.fetchval(count) == 1000


async def test_what_is_due_in_the_past_is_queued_at_once(core: Core) -> None:
    job = await core.enqueue("free", due=await core.call("now") - seconds(5))
    assert await core.state(job) == "queued"


async def test_an_unknown_queue_is_refused_with_its_name(core: Core) -> None:
    with pytest.raises(NotFound) as refusal:
        await core.enqueue("nowhere")
    assert refusal.value.details == {"queue": "nowhere"}


async def test_an_id_that_exists_is_refused(core: Core) -> None:
    job = await core.enqueue("free")
    with pytest.raises(Conflict):
        await core.enqueue("free", job=job)


async def test_a_closed_queue_admits_nothing_and_works_off_what_it_has(core: Core) -> None:
    await core.enqueue("free")
    await core.call("queue_close", queue_name="free")
    with pytest.raises(Closed):
        await core.enqueue("free")
    with pytest.raises(Closed):
        await core.many("free", 2)
    assert len(await core.claim("free")) == 1
    await core.call("queue_open", queue_name="free")
    await core.enqueue("free")


async def test_a_full_queue_refuses_with_the_numbers(core: Core) -> None:
    for _ in range(5):
        await core.enqueue("bounded")
    with pytest.raises(Busy) as refusal:
        await core.enqueue("bounded")
    assert refusal.value.details == {
        "queue": "bounded",
        "reason": "limit",
        "in_flight": 5,
        "limit": 5,
        "retry_after_s": 1,
    }


async def test_waiting_queued_and_running_jobs_all_take_a_place(core: Core) -> None:
    await core.enqueue("bounded", due=await core.call("now") + seconds(60))
    await core.many("bounded", 4)
    await core.claim("bounded", 2)
    with pytest.raises(Busy):
        await core.enqueue("bounded")


@pytest.mark.parametrize("end", ["done", "dead", "cancelled", "expired"])
async def test_an_ended_job_gives_its_place_back(core: Core, end: str) -> None:
    jobs = await core.many("bounded", 5)
    if end == "cancelled":
        await core.cancel("bounded", jobs[0])
    elif end == "expired":
        await core.give_up("bounded", jobs[0])
    else:
        (job,) = await core.claim("bounded")
        await (core.finish(job) if end == "done" else core.fail(job, "fatal"))
    await core.enqueue("bounded")
    with pytest.raises(Busy):
        await core.enqueue("bounded")


async def test_a_refused_enqueue_takes_no_place(core: Core) -> None:
    await core.many("bounded", 4)
    for _ in range(3):
        with pytest.raises(Busy):
            await core.many("bounded", 2)
    await core.enqueue("bounded")


async def test_a_raised_limit_holds_from_the_next_enqueue_on(core: Core) -> None:
    await core.many("bounded", 5)
    await core.set("bounded", max_open=6)
    await core.enqueue("bounded")
    await core.set("bounded", max_open=2)
    with pytest.raises(Busy) as refusal:
        await core.enqueue("bounded")
    assert refusal.value.details["limit"] == 2
    await core.set("bounded", max_open=None)
    await core.many("bounded", 20)


async def test_two_that_race_for_the_last_place_get_one(core: Core, session: Session) -> None:
    await core.many("bounded", 4)
    sessions = [await session() for _ in range(2)]
    found = await asyncio.gather(
        *(other.enqueue("bounded") for other in sessions), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in found) == ["Busy", "UUID"]


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_a_frozen_snapshot_cannot_enqueue_under_a_limit(
    core: Core, level: Literal["repeatable_read", "serializable"]
) -> None:
    with pytest.raises(WrongIsolation):
        async with core.db.transaction(isolation=level):
            await core.enqueue("bounded")


async def test_without_a_limit_any_isolation_may_enqueue(core: Core) -> None:
    async with core.db.transaction(isolation="serializable"):
        await core.enqueue("free")
    assert await core.count("free", "queued") == 1


async def test_a_bulk_enqueue_is_all_or_nothing(core: Core) -> None:
    known = await core.enqueue("free")
    with pytest.raises(Conflict):
        await core.many("free", 3, job_ids=[uuid4(), known, uuid4()])
    assert await core.count("free", "queued") == 1


async def test_a_bulk_enqueue_returns_ids_in_order_of_its_bodies(core: Core) -> None:
    ids = await core.call("enqueue_many", queue_name="free", bodies=[{"n": n} for n in range(100)])
    bodies = [plain((await core.job(job))["payload"])["n"] for job in ids]
    assert bodies == list(range(100))
    assert ids == sorted(ids)


async def test_a_bulk_enqueue_of_nothing_is_nothing(core: Core) -> None:
    assert await core.db.fetchval("select makeready.enqueue_many('free', '{}')") == []


async def test_ids_and_bodies_must_be_as_many(core: Core) -> None:
    with pytest.raises(Rejected):
        await core.many("free", 3, job_ids=[uuid4()])


async def test_the_same_id_twice_in_one_call_is_refused(core: Core) -> None:
    job = uuid4()
    with pytest.raises(Conflict):
        await core.many("free", 2, job_ids=[job, job])


async def test_a_huge_payload_is_refused(core: Core) -> None:
    noise = "".join(str(uuid4()) for _ in range(60_000))
    with pytest.raises(Rejected, match="a job of queue free may have"):
        await core.enqueue("free", body={"bytes": noise})


async def test_enqueue_notifies_only_when_asked_to(core: Core, heard: Heard) -> None:
    """A NOTIFY in a flushed transaction caps the whole database at one commit a flush."""
    await core.enqueue("free")
    await core.many("free", 2)
    job = await core.running("free")
    await core.finish(job)
    await core.enqueue("free", wake=True)
    await core.many("free", 3, wake=True)
    await core.call("wake", queue_name="free")
    assert await heard() == ["wake free"] * 3


async def test_ends_are_announced_in_payloads_that_fit(core: Core, heard: Heard) -> None:
    ids = [uuid4() for _ in range(450)]
    await core.call("announce", queue_name="free", job_ids=ids)
    messages = await heard()
    assert [message.split()[:2] for message in messages] == [["end", "free"]] * 3
    assert {word for message in messages for word in message.split()[2:]} == {str(x) for x in ids}
    assert max(map(len, messages)) < 8000
