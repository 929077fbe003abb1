"""Two who touch one generation, pair or template at once: each pair stepped by hand, both ways."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from makeready import posm, posm_making, posm_templates
from makeready.errors import Conflict, Gone, LeaseLost
from makeready.leases import Claimed
from tests.sql.interleave import BOTH, Two, two_of
from tests.support.database import Connect
from tests.support.generating import STAMPER, Cardroom, an_object, unused


@pytest.fixture
async def two(connect: Connect) -> Two[Cardroom]:
    return await two_of(Cardroom, connect)


@pytest.fixture
async def place(room: Cardroom) -> UUID:
    return await room.restaurant()


@pytest.fixture
async def template(room: Cardroom) -> UUID:
    return await room.template()


async def taken(room: Cardroom, template: UUID, place: UUID) -> Claimed:
    """A generation in progress, with all its cards."""
    await room.press(template, place)
    claimed = await room.one()
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    await room.keep(claimed)
    return claimed


@BOTH
@pytest.mark.parametrize("key", ["same", "other"])
async def test_a_press_waits_for_the_press_before_it_psm_013(
    two: Two[Cardroom], place: UUID, template: UUID, how: str, key: str
) -> None:
    transaction = await two.begin()
    first = await two.one.press(template, place, request_key="same", wake=False)
    call = await two.step(two.two.press(template, place, request_key=key, wake=False))
    assert call.waits
    await transaction.end(how)
    if how == "rollback":
        made = await call
        assert (made.version, made.is_new) == (1, True)
    elif key == "same":
        made = await call
        assert (made.id, made.is_new) == (first.id, False)
    else:
        with pytest.raises(Conflict) as raised:
            await call
        assert raised.value.details["generation_id"] == str(first.id)


async def test_a_press_that_waited_takes_the_template_as_it_is_by_then_psm_008(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    transaction = await two.begin()
    await two.first.call("posm_pair_lock", template=template, restaurant=place, asked_by="x")
    call = await two.step(two.two.press(template, place, wake=False))
    assert call.waits
    stored = an_object(f"posm/templates/{uuid4()}.pdf", b"new")
    await posm_templates.change(room.db, template, {}, stored=stored, inspection={})
    await transaction.end("rollback")
    found = await posm_making.input_of(room.db, (await call).id)
    assert found
    assert found.template.key == stored.key


async def test_presses_for_two_restaurants_share_a_template_and_its_assets(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    other = await room.restaurant()
    transaction = await two.begin()
    await two.one.press(template, place, wake=False)
    made = await two.two.press(template, other)  # a caller's long transaction is not in its way
    await transaction.end("rollback")
    assert await room.status(made.id) == "scheduled"


@BOTH
async def test_a_pdf_that_is_let_go_during_a_press_stays_if_that_is_committed_psm_008(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID, how: str
) -> None:
    key = (await posm_templates.read(room.db, template)).key
    transaction = await two.begin()
    await two.one.press(template, place, wake=False)
    call = await two.step(posm_templates.delete(two.two.db, template))
    assert call.waits
    await transaction.end(how)
    await call
    assert await unused(room.db) == (set() if how == "commit" else {key})


@BOTH
async def test_a_press_during_the_end_of_one_is_refused_until_that_is_committed(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID, how: str
) -> None:
    claimed = await taken(room, template, place)
    transaction = await two.begin()
    await posm_making.finish(two.one.db, claimed.lease, {})
    with pytest.raises(Conflict):
        await two.two.press(template, place, wake=False)
    await transaction.end(how)
    if how == "commit":
        assert (await two.two.press(template, place, wake=False)).version == 2
    else:
        with pytest.raises(Conflict):
            await two.two.press(template, place, wake=False)


@BOTH
async def test_admission_waits_for_the_admission_before_it_psm_024(
    two: Two[Cardroom], room: Cardroom, place: UUID, how: str
) -> None:
    await posm_templates.set_policy(room.db, max_active=1)
    for name in "AB":
        await room.press(await room.template(name), place, wake=False)
    transaction = await two.begin()
    assert await posm.admit(two.one.db) == 1
    call = await two.step(posm.admit(two.two.db))
    assert call.waits
    await transaction.end(how)
    assert await call == (0 if how == "commit" else 1)
    count = "select count(*) from makeready.posm_generations where status = 'scheduled'"
    assert await room.db.fetchval(count) == 1


async def test_a_place_that_a_failure_frees_is_given_once_psm_024(
    two: Two[Cardroom], room: Cardroom, place: UUID
) -> None:
    await posm_templates.set_policy(room.db, max_active=1)
    made = [(await room.press(await room.template(name), place)).id for name in "ABC"]
    claimed = await room.one()
    transaction = await two.begin()
    await two.one.fail(claimed)
    call = await two.step(posm.admit(two.two.db))
    assert call.waits
    await transaction.end("commit")
    assert await call == 0
    assert [await room.status(each) for each in made] == ["error", "scheduled", "created"]


@BOTH
async def test_a_cancellation_after_the_end_changes_nothing(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID, how: str
) -> None:
    claimed = await taken(room, template, place)
    transaction = await two.begin()
    await posm_making.finish(two.one.db, claimed.lease, {})
    call = await two.step(posm.cancel(two.two.db, claimed.job.id))
    assert call.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Conflict):
            await call
        assert await room.status(claimed.job.id) == "done"
    else:
        assert await call == "in-progress"


async def test_an_end_after_the_worker_was_told_to_stop_counts(
    room: Cardroom, place: UUID, template: UUID
) -> None:
    claimed = await taken(room, template, place)
    assert await posm.cancel(room.db, claimed.job.id) == "in-progress"
    assert await posm_making.finish(room.db, claimed.lease, {}) == "ok"
    assert await room.status(claimed.job.id) == "done"


async def test_whoever_is_reaped_meanwhile_keeps_no_card_psm_019(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    await room.press(template, place)
    claimed = await room.one()
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    transaction = await two.begin()
    await two.first.db.execute("select makeready.job_evict('posm', $1)", claimed.job.id)
    call = await two.step(two.two.keep(claimed))
    assert call.waits
    await transaction.end("commit")
    with pytest.raises(LeaseLost):
        await call
    assert (await posm.read(room.db, claimed.job.id)).tables_done == 0


async def test_whoever_is_reaped_meanwhile_begins_nothing_psm_019(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    claimed = await taken(room, template, place)
    transaction = await two.begin()
    await two.first.db.execute("select makeready.job_evict('posm', $1)", claimed.job.id)
    begun = posm_making.begin(two.two.db, claimed.lease, "another stamper")
    call = await two.step(begun)
    assert call.waits
    await transaction.end("commit")
    with pytest.raises(LeaseLost):
        await call
    assert (await posm.read(room.db, claimed.job.id)).tables_done == 3


@BOTH
async def test_a_retry_waits_for_retention_and_hears_that_it_is_gone_psm_039(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID, how: str
) -> None:
    made = await room.press(template, place)
    await room.fail(await room.one())
    await room.db.execute(
        "update makeready.posm_generations set finished_at = finished_at - $1::interval",
        timedelta(days=100),
    )
    transaction = await two.begin()
    assert await two.first.db.fetchval("select makeready.posm_retention(100)") > 0
    call = await two.step(posm.retry(two.two.db, made.id))
    assert call.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Gone):
            await call
        assert await room.status(made.id) == "error"
    else:
        assert await call == "scheduled"


@BOTH
async def test_retention_waits_for_a_retry_and_leaves_it_alone_psm_039(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID, how: str
) -> None:
    made = await room.press(template, place)
    await room.fail(await room.one())
    await room.db.execute(
        "update makeready.posm_generations set finished_at = finished_at - $1::interval",
        timedelta(days=100),
    )
    transaction = await two.begin()
    await posm.retry(two.one.db, made.id)
    call = await two.step(two.second.db.fetchval("select makeready.posm_retention(100)"))
    assert call.waits
    await transaction.end(how)
    assert await call == (0 if how == "commit" else 4)
    assert bool((await posm.read(room.db, made.id)).deleted_at) == (how == "rollback")


async def test_a_press_and_a_retry_of_one_pair_make_one_active_psm_013(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    failed = await room.press(template, place)
    await room.fail(await room.one())
    transaction = await two.begin()
    newer = await two.one.press(template, place, wake=False)
    call = await two.step(posm.retry(two.two.db, failed.id))
    assert call.waits
    await transaction.end("commit")
    with pytest.raises(Conflict) as raised:
        await call
    assert raised.value.details["generation_id"] == str(newer.id)

    await posm.cancel(room.db, newer.id)
    transaction = await two.begin()
    await two.first.db.execute("select makeready.retry('posm', $1)", failed.id)
    call = await two.step(two.two.press(template, place, wake=False))
    assert call.waits
    await transaction.end("commit")
    with pytest.raises(Conflict) as raised:
        await call
    assert raised.value.details["generation_id"] == str(failed.id)


async def test_a_caller_s_long_transaction_holds_up_nobody_s_admission_psm_018(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    transaction = await two.begin()
    await two.one.press(template, place, wake=False)
    made = await room.press(await room.template("B"), place)
    await room.make(await room.one())
    assert await room.status(made.id) == "done"
    await transaction.end("commit")


async def test_work_ends_also_while_somebody_keeps_the_gate_psm_018(
    two: Two[Cardroom], room: Cardroom, place: UUID, template: UUID
) -> None:
    claimed = await taken(room, template, place)
    failing = await room.press(await room.template("B"), place)
    waiting = await room.press(await room.template("C"), place)
    (other,) = await room.claim()
    transaction = await two.begin()
    await posm.admit(two.one.db)  # a caller's long transaction, with wake
    assert await posm_making.finish(room.db, claimed.lease, {}) == "ok"
    assert await room.fail(other) == "dead"
    pressed = await room.press(await room.template("D"), place)
    made = (claimed.job.id, failing.id, waiting.id, pressed.id)
    states = [await room.status(each) for each in made]
    assert states == ["done", "error", "created", "created"]
    await transaction.end("commit")
    assert await posm.admit(room.db) == 2


async def test_a_caller_with_a_frozen_snapshot_may_cancel(
    room: Cardroom, place: UUID, template: UUID
) -> None:
    made = await room.press(template, place)
    async with room.db.transaction(isolation="repeatable_read"):
        await room.db.execute("select makeready.cancel('posm', $1)", made.id)
    assert await room.status(made.id) == "error"


async def test_many_who_press_fail_and_retry_at_once_keep_the_rules(
    room: Cardroom, connect: Connect, place: UUID
) -> None:
    templates = [await room.template(name) for name in "ABC"]
    rooms = [Cardroom(await connect()) for _ in range(8)]

    async def work(own: Cardroom, number: int) -> None:
        for turn in range(12):
            try:
                made = await own.press(templates[(number + turn) % 3], place)
                if turn % 4 == 3:
                    await posm.cancel(own.db, made.id)
                    await posm.retry(own.db, made.id)
            except Conflict:
                pass
            for claimed in await own.claim(2):
                if turn % 3:
                    await own.make(claimed)
                else:
                    await own.fail(claimed)

    await asyncio.gather(*(work(own, number) for number, own in enumerate(rooms)))
    found = await room.db.fetch(
        "select pair_id, array_agg(version order by version) as versions,"
        " count(*) filter (where status in ('created', 'scheduled')) as active"
        " from makeready.posm_generations group by pair_id"
    )
    assert len(found) == 3
    for row in found:
        assert row["versions"] == list(range(1, len(row["versions"]) + 1))
        assert row["active"] <= 1
