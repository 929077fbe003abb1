"""In a fair queue owners take turns: a thousand jobs of one never starve the three of another."""

from __future__ import annotations

from tests.support.core import Core


async def order(core: Core, count: int) -> list[str]:
    """The owners of the next jobs, claimed one by one and finished."""
    owners = []
    for _ in range(count):
        (job,) = await core.claim("fair")
        owners.append(job["owner"])
        await core.finish(job)
    return owners


async def test_owners_take_turns(core: Core) -> None:
    await core.many("fair", 6, owner_key="big")
    await core.many("fair", 3, owner_key="small")
    owners = await order(core, 9)
    assert owners[:6].count("small") == 3
    assert owners[6:] == ["big"] * 3


async def test_a_late_owner_waits_one_turn_not_a_thousand_jobs(core: Core) -> None:
    await core.many("fair", 1000, owner_key="big")
    await order(core, 10)
    await core.enqueue("fair", owner_key="late")
    assert "late" in await order(core, 2)


async def test_an_owner_who_paused_saves_up_no_turns(core: Core) -> None:
    """Start-time fairness: credit from an idle time would starve the others afterwards."""
    await core.many("fair", 20, owner_key="steady")
    await order(core, 10)
    await core.many("fair", 10, owner_key="returning")
    owners = await order(core, 10)
    assert owners.count("steady") >= 4


async def test_one_by_one_and_in_bulk_give_the_same_turns(core: Core) -> None:
    await core.many("fair", 4, owner_key="bulk")
    for _ in range(4):
        await core.enqueue("fair", owner_key="single")
    turns = await core.db.fetch(
        "select owner, array_agg(turn order by turn) as turns from makeready.jobs"
        " where queue = 'fair' group by owner"
    )
    assert {row["owner"]: row["turns"] for row in turns} == {
        "bulk": [1, 2, 3, 4],
        "single": [1, 2, 3, 4],
    }


async def test_priority_comes_before_turns(core: Core) -> None:
    await core.many("fair", 3, owner_key="patient", rank=1)
    await core.many("fair", 3, owner_key="urgent", rank=0)
    assert await order(core, 6) == ["urgent"] * 3 + ["patient"] * 3


async def test_a_retried_job_keeps_its_place(core: Core) -> None:
    await core.many("fair", 5, owner_key="one")
    (job,) = await core.claim("fair")
    await core.fail(job, "interrupted")
    (again,) = await core.claim("fair")
    assert again["id"] == job["id"]


async def test_a_queue_that_is_not_fair_runs_by_age(core: Core) -> None:
    jobs = await core.many("free", 3, owner_key="big") + await core.many(
        "free", 1, owner_key="small"
    )
    assert [job["id"] for job in await core.claim("free", 4)] == jobs


async def test_what_waits_when_turns_are_given_up_runs_before_what_comes_then(core: Core) -> None:
    waiting = await core.many("fair", 3, owner_key="first")
    (running,) = await core.claim("fair")
    await core.call("queue_set", queue_name="fair", setting="is_fair", new_value="false")
    await core.fail(running, "interrupted")
    late = await core.enqueue("fair", owner_key="late")
    found = [(await core.claim("fair"))[0]["id"] for _ in range(4)]
    assert found == [*waiting[1:], waiting[0], late]


async def test_a_redriven_job_gets_a_turn_of_its_owner(core: Core) -> None:
    job = await core.running("fair", owner_key="first")
    await core.fail(job, "fatal")
    await core.many("fair", 5, owner_key="other")
    await order(core, 3)
    await core.call("retry", queue_name="fair", job=job["id"])
    assert (await core.job(job["id"]))["turn"] == 4


async def test_redriven_jobs_take_one_turn_after_another(core: Core) -> None:
    """A gap between them would put their owner behind everybody else."""
    jobs = await core.many("fair", 5, owner_key="back")
    for _ in jobs:
        (job,) = await core.claim("fair")
        await core.fail(job, "fatal")
    await core.rows("redrive", queue_name="fair", dry_run=False)
    assert [(await core.job(job))["turn"] for job in jobs] == [1, 2, 3, 4, 5]


async def test_turns_of_one_rank_or_lane_cost_none_in_another(core: Core) -> None:
    """Turns are compared among jobs of one lane, host and rank: only those may be counted."""
    await core.lane("fair", "x", 5)
    for other in ({"rank": -1}, {"lane_name": "x"}, {"host_name": "h"}):
        await core.many("fair", 1000, owner_key="big")
        for owner in ("big", "late"):
            await core.enqueue("fair", owner_key=owner, **other)
        job = await core.enqueue("fair", owner_key="late")
        assert (await core.job(job))["turn"] <= 2, other
        await core.db.execute("delete from makeready.jobs")
