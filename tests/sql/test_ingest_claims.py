"""A photo that is claimed by the call that lets it in: when, which one, and who is not held up."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import leases
from makeready.errors import Busy
from makeready.ingest import Admitted
from makeready.leases import Claimed
from tests.sql.interleave import BOTH, Two, two_of
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.photographing import SLOT, Darkroom, told


@pytest.fixture
async def dark(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


async def eager(dark: Darkroom, **options: object) -> Admitted:
    """Lets a photo in, for a process with a free task."""
    return await dark.admit(and_claim=True, **options)  # type: ignore[arg-type]


def taken(admitted: Admitted) -> Claimed:
    """What was claimed with it."""
    assert admitted.claimed is not None
    return admitted.claimed


async def limit(dark: Darkroom, *, lanes: int | None = None, most: int | None = None) -> None:
    """How many photos may be processed at a time."""
    await dark.db.execute("update makeready.lanes set max_in_flight = $1", lanes)
    await dark.db.execute("update makeready.queues set max_in_flight = $1", most)
    await dark.db.execute("select makeready.queue_gate('ingest')")


@pytest.fixture(params=[True, False], ids=["gated", "free"])
async def gated(request: pytest.FixtureRequest, dark: Darkroom) -> bool:
    """As it is shipped some providers have limits, and every claim goes through the gate."""
    if not request.param:
        await limit(dark)
    assert await is_gated(dark) == request.param
    return bool(request.param)


async def is_gated(dark: Darkroom) -> bool:
    query = "select is_gated from makeready.queues where queue = 'ingest'"
    return bool(await dark.db.fetchval(query))


async def begun(dark: Darkroom) -> int:
    """How many were dispatched so far."""
    query = "select count(*) from makeready.processing_logs where status = 'dispatched'"
    return int(await dark.db.fetchval(query))


async def is_left(dark: Darkroom, admitted: Admitted) -> None:
    """It was let in, waits, and is the next for anybody who may claim."""
    assert (admitted.verdict, admitted.claimed) == ("created", None)
    assert await dark.state(admitted.job_id) == ("queued", None)
    assert await dark.log(admitted.job_id) == ["received"]
    (claimed,) = await dark.claim(worker=await dark.process())
    assert claimed.job.id == admitted.job_id


@pytest.mark.usefixtures("gated")
async def test_what_nobody_is_ahead_of_is_begun_as_it_comes(dark: Darkroom) -> None:
    admitted = await eager(dark, content=b"here")
    claimed = taken(admitted)
    assert (admitted.verdict, claimed.job.id) == ("created", admitted.job_id)
    assert await dark.log(admitted.job_id) == ["received", "dispatched"]
    moments = "select count(distinct xmin::text) from makeready.processing_logs where job_id = $1"
    assert await dark.db.fetchval(moments, admitted.job_id) == 1
    job = await dark.row("select * from makeready.jobs where id = $1", admitted.job_id)
    assert (job["state"], job["worker_id"], job["lease"]) == (
        "running",
        dark.me,
        claimed.lease.token,
    )
    assert (claimed.job.attempt, claimed.job.owner, claimed.job.lane) == (1, SLOT, "local")
    assert 0 < claimed.limit_s <= admitted.seconds_left


async def test_its_worker_is_told_all_that_it_needs(dark: Darkroom) -> None:
    """As by a claim of its own."""
    found = told(taken(await eager(dark)))
    await dark.admit()
    by_claim = told(await dark.one())
    assert (found.slot, found.is_awaited) == (SLOT, True)
    assert found.chain == by_claim.chain
    assert found.chain
    assert found.payload.path.startswith("payloads/")


async def test_what_was_claimed_with_an_admission_ends_like_any_other(dark: Darkroom) -> None:
    claimed = taken(await eager(dark))
    assert await dark.finish(claimed) == "ok"
    assert await dark.state(claimed.job.id) == ("done", None)
    assert await dark.log(claimed.job.id) == [
        "received",
        "dispatched",
        "provider_responded",
        "succeeded",
    ]


@pytest.mark.usefixtures("gated")
async def test_who_has_waited_longer_goes_first(dark: Darkroom) -> None:
    first, second = await dark.admit(), await dark.admit()
    third = await eager(dark)
    assert taken(third).job.id == first.job_id
    assert told(taken(third)).is_awaited
    assert await dark.log(third.job_id) == ["received"]
    assert await dark.state(third.job_id) == ("queued", None)
    assert {one.job.id for one in await dark.claim()} == {second.job_id, third.job_id}


async def test_what_only_another_machine_reaches_is_left_to_it(dark: Darkroom) -> None:
    here = await dark.process(host="folder:here")
    there = await eager(dark, store="folder:there", waiter=here)
    assert there.claimed is None
    mine = await eager(dark, store="folder:here", waiter=here)
    assert taken(mine).job.id == mine.job_id


async def test_nothing_is_claimed_unless_it_is_asked_for(dark: Darkroom) -> None:
    await is_left(dark, await dark.admit())


async def test_a_worker_that_drains_lets_its_photo_in_all_the_same(dark: Darkroom) -> None:
    """Else a service that ends would refuse what others could process."""
    await leases.drain(dark.db, await dark.waiter())  # type: ignore[arg-type]
    await is_left(dark, await eager(dark))


async def test_a_worker_that_is_silent_lets_its_photo_in_all_the_same(
    dark: Darkroom, clock: Clock
) -> None:
    me = await dark.waiter()
    await clock.advance(11)
    await is_left(dark, await eager(dark, waiter=me))


async def test_a_claim_that_is_not_durable_is_not_made_with_an_admission_that_is(
    dark: Darkroom,
) -> None:
    await dark.policy(is_durable=True)
    await is_left(dark, await eager(dark))


async def test_a_full_queue_lets_a_photo_in_and_leaves_it(dark: Darkroom) -> None:
    await limit(dark, most=1)
    first = taken(await eager(dark))
    second = await eager(dark)
    assert (second.verdict, second.claimed) == ("created", None)
    assert await dark.log(second.job_id) == ["received"]
    assert await dark.finish(first) == "ok"
    third = await eager(dark)
    assert taken(third).job.id == second.job_id


async def test_a_provider_that_is_full_does_not_hold_up_others(dark: Darkroom) -> None:
    """ING-022: its photo waits, and the task takes what is behind it."""
    await dark.slot(provider_id="turbotext", operation_id="mix_images")
    assert [taken(await eager(dark)).job.lane for _ in range(2)] == ["turbotext"] * 2
    full = await eager(dark)
    assert full.claimed is None
    other = await eager(dark, slot="slot-002")
    assert taken(other).job.id == other.job_id
    assert await dark.state(full.job_id) == ("queued", None)


async def test_the_same_call_again_claims_nothing(dark: Darkroom) -> None:
    """Its first answer was lost: whatever was claimed with it goes back another way."""
    job = uuid4()
    first = await eager(dark, content=b"same", job=job)
    other = await dark.admit()
    again = await eager(dark, content=b"same", job=job)
    assert taken(first).job.id == job
    assert (again.job_id, again.verdict, again.claimed) == (job, "created", None)
    assert await dark.state(other.job_id) == ("queued", None)
    assert await begun(dark) == 1


async def test_who_joins_claims_nothing(dark: Darkroom) -> None:
    """Neither by the image nor by the key; nor who is told of the end once more."""
    await dark.slot(joins_resent=True)
    first = await dark.admit(content=b"same", key="k")
    for key in (None, "k"):
        joined = await eager(dark, content=b"same", key=key)
        assert (joined.job_id, joined.verdict, joined.claimed) == (first.job_id, "joined", None)
    await dark.finish(await dark.one())
    await dark.admit()
    for key in (None, "k"):
        replayed = await eager(dark, content=b"same", key=key)
        assert (replayed.verdict, replayed.claimed) == ("replayed", None)
    assert await begun(dark) == 1


async def test_who_is_refused_claims_nothing(dark: Darkroom) -> None:
    waiting = [(await dark.admit()).job_id for _ in range(12)]
    with pytest.raises(Busy):
        await eager(dark)
    assert {await dark.state(job) for job in waiting} == {("queued", None)}
    assert await begun(dark) == 0


@pytest.fixture
async def two(connect: Connect) -> Two[Darkroom]:
    two = await two_of(Darkroom, connect)
    await two.one.waiter()
    await two.two.waiter()
    return two


@BOTH
async def test_two_who_come_at_once_take_one_each(two: Two[Darkroom], how: str) -> None:
    transaction = await two.begin()
    first = await eager(two.one)
    second = await two.step(eager(two.two))
    assert second.waits  # to be let in
    await transaction.end(how)
    found: Admitted = await second
    assert taken(found).job.id == found.job_id != taken(first).job.id
    assert await begun(two.one) == (2 if how == "commit" else 1)


@BOTH
async def test_two_who_come_at_once_do_not_take_the_same_older_one(
    two: Two[Darkroom], how: str
) -> None:
    older = (await two.one.admit()).job_id
    transaction = await two.begin()
    first = await eager(two.one)
    assert taken(first).job.id == older
    second = await two.step(eager(two.two))
    await transaction.end(how)
    found: Admitted = await second
    assert taken(found).job.id == (first.job_id if how == "commit" else older)
    assert await two.one.log(taken(found).job.id) == ["received", "dispatched"]


@BOTH
async def test_a_claim_while_a_photo_is_let_in_and_claimed(
    two: Two[Darkroom], how: str, *, gated: bool
) -> None:
    """What one takes the other does not; behind the gate it waits, and takes the next."""
    older = (await two.one.admit()).job_id
    transaction = await two.begin()
    first = await eager(two.one)
    claim = await two.step(two.two.claim(1))
    assert claim.waits == gated
    await transaction.end(how)
    found = [one.job.id for one in await claim]
    if not gated:
        assert found == []
        found = [one.job.id for one in await two.two.claim(1)]
    assert found == ([first.job_id] if how == "commit" else [older])


@BOTH
async def test_who_claims_holds_up_nobody_who_is_let_in(
    two: Two[Darkroom], how: str, *, gated: bool
) -> None:
    """A claim that hangs, or a forgotten session: the photo is let in, and stays queued."""
    older = (await two.one.admit()).job_id
    transaction = await two.begin()
    assert [one.job.id for one in await two.one.claim(1)] == [older]
    second = await two.step(eager(two.two))
    assert not second.waits
    admitted: Admitted = await second
    if gated:
        assert admitted.claimed is None
    else:
        assert taken(admitted).job.id == admitted.job_id
    await transaction.end(how)
    left = set() if how == "commit" else {older}
    left |= {admitted.job_id} if gated else set()
    assert {one.job.id for one in await two.two.claim()} == left


class Handed(list[UUID]):
    """Photos that were claimed, in their order."""

    with_an_admission = 0


async def come_and_go(dark: Darkroom, dice: random.Random, handed: Handed) -> None:
    """One process: lets photos in, claims with and without, and ends what it has."""
    for _ in range(20):
        found: list[Claimed] = []
        try:
            admitted = await dark.admit(and_claim=dice.random() < 0.7)
            found += [admitted.claimed] if admitted.claimed else []
            handed.with_an_admission += len(found)
        except Busy:
            pass
        if dice.random() < 0.5:
            found += await dark.claim(dice.randint(1, 4))
        for claimed in found:
            handed.append(claimed.job.id)
            assert await dark.finish(claimed) == "ok"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("most", [None, 3], ids=["of providers", "of the queue"])
async def test_a_storm_at_both_gates_hands_out_each_photo_once(
    connect: Connect, most: int | None
) -> None:
    """Nor does it stand still: PostgreSQL would report a circle of the gates as a deadlock."""
    many = [Darkroom(await connect()) for _ in range(8)]
    if most is not None:
        await limit(many[0], most=most)
    assert await is_gated(many[0])
    handed = Handed()
    await asyncio.gather(
        *(come_and_go(dark, random.Random(seed), handed) for seed, dark in enumerate(many))
    )
    while left := await many[0].claim(12):
        for claimed in left:
            handed.append(claimed.job.id)
            await many[0].finish(claimed)
    rows = await many[0].db.fetch("select id, state, attempt from makeready.jobs")
    assert {(row["state"], row["attempt"]) for row in rows} == {("done", 1)}
    assert sorted(handed) == sorted(row["id"] for row in rows)
    assert await begun(many[0]) == len(rows)
    assert handed.with_an_admission > 0
