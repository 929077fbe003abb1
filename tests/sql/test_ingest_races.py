"""Two who touch one photo at once: each pair stepped by hand, both ways, and many at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from makeready import ingest
from makeready.errors import Busy, LeaseLost
from makeready.ingest import Admitted
from makeready.leases import Claimed
from tests.sql.interleave import BOTH, Two, two_of
from tests.support.database import Connect
from tests.support.photographing import SLOT, Darkroom, a_file

STATES = {"timeout": "expired", "cancelled": "cancelled"}


@pytest.fixture
async def two(connect: Connect) -> Two[Darkroom]:
    two = await two_of(Darkroom, connect)
    two.two.me = await two.one.waiter()
    return two


async def taken(dark: Darkroom, **options: Any) -> Claimed:
    """A photo that is being processed."""
    await dark.admit(**options)
    return await dark.one()


async def offer(dark: Darkroom, claimed: Claimed) -> None:
    """Shows its prepared image to a provider."""
    job = claimed.job.id
    prepared = a_file(f"prepared/{job}.jpg", b"prepared %b" % job.bytes)
    await ingest.offer(dark.db, job, claimed.lease.token, prepared)


async def once(dark: Darkroom, job: UUID, status: str) -> None:
    """Its log has one end, and this one."""
    ends = [line for line in await dark.log(job) if line in ("succeeded", "failed", "timeout")]
    assert ends == [status]


@BOTH
@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_a_result_while_its_time_runs_out(two: Two[Darkroom], how: str, reason: str) -> None:
    """ING-034: the end comes first; a result that waited for it is refused, or counts."""
    claimed = await taken(two.one)
    transaction = await two.begin()
    await two.one.end(claimed.job.id, reason)  # type: ignore[arg-type]
    late = await two.step(two.two.finish(claimed))
    assert late.waits
    await transaction.end(how)
    if how == "rollback":
        assert await late == "ok"
        assert await two.one.state(claimed.job.id) == ("done", None)
        await once(two.one, claimed.job.id, "succeeded")
    else:
        with pytest.raises(LeaseLost):
            await late
        assert await two.one.state(claimed.job.id) == (STATES[reason], reason)
        await once(two.one, claimed.job.id, {"timeout": "timeout"}.get(reason, "failed"))


@BOTH
@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_time_runs_out_while_a_result_comes(
    two: Two[Darkroom], how: str, reason: str
) -> None:
    """ING-034: the result comes first; who would say timeout waits, and sends it."""
    claimed = await taken(two.one)
    transaction = await two.begin()
    await two.one.finish(claimed)
    late = await two.step(two.two.end(claimed.job.id, reason))  # type: ignore[arg-type]
    assert late.waits
    await transaction.end(how)
    assert await late == ("done" if how == "commit" else STATES[reason])
    ended = {"timeout": "timeout"}.get(reason, "failed")
    await once(two.one, claimed.job.id, "succeeded" if how == "commit" else ended)


OFFERED = "select count(*) from makeready.media_objects where kind = 'prepared' and job_id = $1"


@BOTH
@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_an_image_is_offered_while_its_photo_ends(
    two: Two[Darkroom], how: str, reason: str
) -> None:
    """ING-034: what comes too late is not shown to a provider."""
    claimed = await taken(two.one)
    transaction = await two.begin()
    await two.one.end(claimed.job.id, reason)  # type: ignore[arg-type]
    late = await two.step(offer(two.two, claimed))
    assert late.waits
    await transaction.end(how)
    if how == "rollback":
        await late
    else:
        with pytest.raises(LeaseLost):
            await late
    shown = await two.one.db.fetchval(OFFERED, claimed.job.id)
    assert shown == (1 if how == "rollback" else 0)


@BOTH
@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_a_photo_ends_while_its_image_is_offered(
    two: Two[Darkroom], how: str, reason: str
) -> None:
    """ING-046: the end waits, so that what is offered goes with the photo's other files."""
    claimed = await taken(two.one)
    transaction = await two.begin()
    await offer(two.one, claimed)
    end = await two.step(two.two.end(claimed.job.id, reason))  # type: ignore[arg-type]
    assert end.waits
    await transaction.end(how)
    assert await end == STATES[reason]
    gone = await ingest.answered(two.first.db, claimed.job.id, 504)
    folders = ["payloads", "prepared"] if how == "commit" else ["payloads"]
    assert sorted(stored.path.partition("/")[0] for stored in gone) == folders


@BOTH
async def test_a_join_while_the_only_one_leaves(two: Two[Darkroom], how: str) -> None:
    """ING-038, ING-083: who joins what is being cancelled gets a new photo."""
    await two.one.slot(joins_resent=True)
    first = await two.one.admit(content=b"same")
    transaction = await two.begin()
    await two.one.end(first.job_id, "cancelled")
    joins = await two.step(two.two.admit(content=b"same"))
    assert joins.waits
    await transaction.end(how)
    second: Admitted = await joins
    if how == "commit":
        assert second.verdict == "created"
        assert second.job_id != first.job_id
    else:
        assert (second.job_id, second.verdict) == (first.job_id, "joined")


@BOTH
async def test_the_only_one_leaves_while_another_joins(two: Two[Darkroom], how: str) -> None:
    """ING-038, ING-083: who has joined keeps it."""
    await two.one.slot(joins_resent=True)
    first = await two.one.admit(content=b"same")
    transaction = await two.begin()
    assert (await two.one.admit(content=b"same")).verdict == "joined"
    leaves = await two.step(two.two.end(first.job_id, "cancelled"))
    assert leaves.waits
    await transaction.end(how)
    assert await leaves == ("queued" if how == "commit" else "cancelled")


@BOTH
async def test_a_join_by_key_while_the_photo_ends(two: Two[Darkroom], how: str) -> None:
    """ING-083: joined to what is over would be an answer that never comes."""
    first = await two.one.admit(content=b"same", key="k")
    transaction = await two.begin()
    await two.one.end(first.job_id, "timeout")
    joins = await two.step(two.two.admit(content=b"same", key="k"))
    assert joins.waits
    await transaction.end(how)
    second: Admitted = await joins
    assert (second.verdict == "created") == (how == "commit")
    assert (second.job_id == first.job_id) == (how == "rollback")


@BOTH
async def test_two_resent_images_at_once_are_one_photo(two: Two[Darkroom], how: str) -> None:
    """ING-083: nobody asks the provider twice."""
    await two.one.slot(joins_resent=True)
    transaction = await two.begin()
    first = await two.one.admit(content=b"same")
    joins = await two.step(two.two.admit(content=b"same"))
    assert joins.waits
    await transaction.end(how)
    second: Admitted = await joins
    assert (second.job_id == first.job_id) == (how == "commit")
    assert second.verdict == {"commit": "joined", "rollback": "created"}[how]


@BOTH
async def test_two_answers_at_once_leave_nobody(two: Two[Darkroom], how: str) -> None:
    """ING-038, ING-046: whoever comes last cleans up."""
    await two.one.slot(joins_resent=True)
    job = (await two.one.admit(content=b"same")).job_id
    await two.one.admit(content=b"same")
    transaction = await two.begin()
    assert await ingest.answered(two.first.db, job, 499) == []
    second = await two.step(ingest.answered(two.second.db, job, 499))
    assert second.waits
    await transaction.end(how)
    assert len(await second) == (1 if how == "commit" else 0)
    assert (await two.one.state(job))[0] == ("cancelled" if how == "commit" else "queued")


@BOTH
async def test_two_answers_at_once_of_what_has_ended_leave_nobody(
    two: Two[Darkroom], how: str
) -> None:
    """ING-046: no job is there any more to lock; the photo itself makes them take turns."""
    await two.one.slot(joins_resent=True)
    claimed = await taken(two.one, content=b"same")
    job = claimed.job.id
    await two.one.admit(content=b"same")
    await two.one.finish(claimed)
    transaction = await two.begin()
    assert await ingest.answered(two.first.db, job, 200) == []
    second = await two.step(ingest.answered(two.second.db, job, 200))
    assert second.waits
    await transaction.end(how)
    assert len(await second) == (1 if how == "commit" else 0)
    photo = await two.one.photo(job)
    assert len(photo["waiters"]) == (0 if how == "commit" else 1)


async def test_the_last_place_is_given_once(two: Two[Darkroom]) -> None:
    """ING-021: whoever waits at the gate counts who came before."""
    await two.one.db.execute("update makeready.queues set max_open = 1 where queue = 'ingest'")
    transaction = await two.begin()
    await two.one.admit()
    second = await two.step(two.two.admit())
    assert second.waits
    await transaction.end("commit")
    with pytest.raises(Busy):
        await second


async def test_the_last_place_of_a_slot_is_given_once(two: Two[Darkroom]) -> None:
    """ING-022."""
    await two.one.slot(max_open=1)
    transaction = await two.begin()
    await two.one.admit()
    second = await two.step(two.two.admit())
    assert second.waits
    await transaction.end("commit")
    with pytest.raises(Busy):
        await second


async def keep_house(dark: Darkroom) -> None:
    """What every process does each second, as often as it can."""
    while True:
        for call in ("expire(100)", "reap()", "ingest_abandoned(100)"):
            await dark.db.execute(f"select makeready.{call}")


async def attack(dark: Darkroom, dice: random.Random, known: list[UUID]) -> None:
    """Whatever may happen to photos, at random."""
    content = bytes([dice.randrange(4)])
    found: list[Claimed] = []
    try:
        key = f"key {content.hex()}" if dice.random() < 0.3 else None
        eager = dice.random() < 0.5
        admitted = await dark.admit(content=content, key=key, and_claim=eager)
        known.append(admitted.job_id)
        found += [admitted.claimed] if admitted.claimed else []
    except Busy:
        pass
    job = dice.choice(known)
    moves: list[Callable[[], Awaitable[Any]]] = [
        lambda: dark.end(job, "timeout"),
        lambda: dark.end(job, "cancelled"),
        lambda: ingest.answered(dark.db, job, 200),
        lambda: ingest.pictured(dark.db, job, None, None),
        lambda: dark.db.fetchval("select makeready.cancel('ingest', $1)", job),
    ]
    for claimed in [*found, *await dark.claim(2)]:
        await dice.choice(moves)()
        try:
            if dice.random() < 0.8:
                await dark.finish(claimed)
            else:
                await dark.fail(claimed)
        except LeaseLost:
            pass
    await dice.choice(moves)()


@pytest.mark.timeout(60)
async def test_whatever_happens_each_photo_ends_once(dark_many: list[Darkroom]) -> None:
    """ING-034, ING-057: state, log and job never contradict each other."""
    known: list[UUID] = [(await dark_many[0].admit()).job_id]

    async def play(dark: Darkroom, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(25):
            await attack(dark, dice, known)

    keeper = asyncio.ensure_future(keep_house(dark_many[-1]))
    await asyncio.gather(*(play(dark, seed) for seed, dark in enumerate(dark_many[:-1])))
    assert not keeper.done()
    keeper.cancel()
    await asyncio.wait([keeper])
    rows = await dark_many[0].db.fetch(
        "select j.state, p.failure_reason, p.finished_at is not null as ended, p.result_path,"
        " array(select status from makeready.processing_logs l where l.job_id = p.id"
        "   and status in ('succeeded', 'failed', 'timeout')) as ends"
        " from makeready.photos p join makeready.jobs j on j.id = p.id"
    )
    allowed = {
        ("done", None, True, ("succeeded",)),
        ("dead", "provider_error", True, ("failed",)),
        ("expired", "timeout", True, ("timeout",)),
        ("cancelled", "cancelled", True, ("failed",)),
        ("queued", None, False, ()),
        ("running", None, False, ()),
    }
    seen = {(row[0], row[1], row[2], tuple(row[4])) for row in rows}
    assert seen <= allowed
    assert "done" in {row["state"] for row in rows}
    assert len({row["state"] for row in rows}) >= 3
    assert all((row["result_path"] is not None) == (row["state"] == "done") for row in rows)


@pytest.fixture
async def dark_many(connect: Connect) -> list[Darkroom]:
    first = Darkroom(await connect())
    await first.slot(SLOT, joins_resent=True)
    await first.policy(replay_s=0)
    many = [first, *[Darkroom(await connect()) for _ in range(7)]]
    for dark in many:
        dark.me = await first.waiter()
    return many
