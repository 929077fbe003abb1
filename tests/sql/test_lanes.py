"""A lane is a share of a queue with a limit of its own."""

from __future__ import annotations

import pytest

from makeready.errors import NotFound, Rejected
from tests.support.core import Core


async def test_a_lane_never_runs_more_than_its_seats(core: Core) -> None:
    await core.lane("free", "gemini", 2)
    await core.many("free", 5, lane_name="gemini")
    assert len(await core.claim("free", 5)) == 2
    assert await core.claim("free", 5) == []


async def test_a_batch_may_not_overfill_a_lane(core: Core) -> None:
    await core.lane("limited", "gemini", 1)
    await core.many("limited", 4, lane_name="gemini")
    await core.many("limited", 4)
    claimed = await core.claim("limited", 4)
    assert sorted(job["lane"] for job in claimed) == ["", "", "gemini"]


async def test_both_host_lists_together_may_not_overfill_a_lane(core: Core) -> None:
    await core.lane("limited", "gemini", 2)
    worker = await core.worker(host="here")
    await core.many("limited", 3, lane_name="gemini", host_name="here")
    await core.many("limited", 3, lane_name="gemini")
    assert len(await core.claim("limited", 6, worker)) == 2


async def test_a_full_lane_does_not_block_the_others(core: Core) -> None:
    """Q2: a tight lane at the head of the line."""
    await core.lane("free", "slow", 1)
    await core.many("free", 50, lane_name="slow", rank=-1)
    quick = await core.enqueue("free")
    first, second = await core.claim("free", 2)
    assert {first["lane"], second["id"]} == {"slow", quick}


async def test_lanes_share_the_limit_of_their_queue(core: Core) -> None:
    for lane in ("a", "b", "c"):
        await core.lane("limited", lane, 2)
        await core.many("limited", 2, lane_name=lane)
    assert len(await core.claim("limited", 6)) == 3
    assert await core.claim("limited", 6) == []


async def test_priority_goes_across_lanes(core: Core) -> None:
    await core.lane("limited", "a", 1)
    plain_job = await core.enqueue("limited", rank=1)
    in_lane = await core.enqueue("limited", rank=0, lane_name="a")
    claimed = [(await core.claim("limited"))[0]["id"] for _ in range(2)]
    assert claimed == [in_lane, plain_job]


async def test_an_ended_attempt_frees_its_place_in_the_lane(core: Core) -> None:
    await core.lane("free", "one", 1)
    await core.many("free", 2, lane_name="one")
    (job,) = await core.claim("free", 2)
    await core.finish(job)
    assert len(await core.claim("free", 2)) == 1


async def test_a_changed_lane_limit_holds_from_the_next_claim_on(core: Core) -> None:
    await core.lane("free", "one", 1)
    await core.many("free", 5, lane_name="one")
    await core.claim("free", 5)
    await core.lane("free", "one", 3)
    assert len(await core.claim("free", 5)) == 2
    await core.lane("free", "one", None)
    assert len(await core.claim("free", 5)) == 2


async def test_a_lane_with_no_seats_is_closed(core: Core) -> None:
    await core.lane("free", "shut", 0)
    await core.enqueue("free", lane_name="shut")
    assert await core.claim("free") == []


async def test_an_unknown_lane_is_refused(core: Core) -> None:
    with pytest.raises(NotFound):
        await core.many("free", 2, lane_name="nowhere")
    with pytest.raises(NotFound) as refusal:
        await core.enqueue("free", lane_name="nowhere")
    assert refusal.value.details["lane"] == "nowhere"
    assert await core.count("free", "queued") == 0


@pytest.mark.parametrize(("lane", "seats"), [("x", -1), ("x", 1001), ("x" * 61, 1)])
async def test_an_impossible_lane_is_refused(core: Core, lane: str, seats: int) -> None:
    with pytest.raises(Rejected):
        await core.lane("free", lane, seats)


async def test_a_lane_of_an_unknown_queue_is_refused(core: Core) -> None:
    with pytest.raises(NotFound):
        await core.lane("nowhere", "x", 1)
