"""Work: cards in chunks, resumption, every way a generation ends.

Proves PSM-013, PSM-017, PSM-019, PSM-022, PSM-023, PSM-024, PSM-025, PSM-045.
"""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from makeready import leases, posm, posm_making
from makeready.errors import Conflict, LeaseLost, NotFound
from makeready.leases import Claimed
from tests.support.clock import Clock
from tests.support.generating import STAMPER, Cardroom, card_of, refusals, unused


async def claimed_one(room: Cardroom, tables: int = 3) -> Claimed:
    """A generation that was pressed and taken."""
    await room.press(await room.template(), await room.restaurant(tables))
    return await room.one()


async def tables_of(room: Cardroom, generation: UUID) -> list[UUID]:
    return [card.uuid for card in await posm.cards(room.db, generation)]


async def open_tables(room: Cardroom, generation: UUID) -> list[UUID]:
    """Those whose card is still to be made."""
    found = await posm_making.input_of(room.db, generation)
    assert found
    return [card.uuid for card in found.cards if card.sha256 is None]


async def test_it_goes_from_created_to_done_psm_017(room: Cardroom) -> None:
    made = await room.press(await room.template(), await room.restaurant(), wake=False)
    seen = [await room.status(made.id)]
    await posm.admit(room.db)
    seen.append(await room.status(made.id))
    claimed = await room.one()
    seen.append(await room.status(made.id))
    await room.make(claimed)
    seen.append(await room.status(made.id))
    assert seen == ["created", "scheduled", "in-progress", "done"]
    one = await posm.read(room.db, made.id)
    assert (one.tables_done, one.attempts, one.stamper) == (3, 1, STAMPER)
    assert one.report == {"ms": 1}
    times = (one.created_at, one.scheduled_at, one.started_at, one.finished_at)
    assert list(times) == sorted(time for time in times if time)


async def test_cards_are_kept_in_chunks_and_progress_shows_psm_022(room: Cardroom) -> None:
    claimed = await claimed_one(room, 5)
    generation = claimed.job.id
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, generation)
    assert await room.keep(claimed, tables[:2]) == 2
    assert (await posm.read(room.db, generation)).tables_done == 2
    assert await room.keep(claimed, tables[1:4]) == 4  # one of them again
    progress = await room.db.fetchval(
        "select progress::text from makeready.jobs where id = $1", generation
    )
    assert progress == '{"done": 4, "total": 5}'
    cards = await posm.cards(room.db, generation)
    assert [card.made_at is not None for card in cards] == [True] * 4 + [False]
    assert cards[0].evidence == {"decoded": True}
    assert cards[0].crc32 == card_of(generation, tables[0]).crc32


async def test_keeping_cards_gives_the_attempt_its_time_again_psm_022(
    room: Cardroom, clock: Clock
) -> None:
    claimed = await claimed_one(room)
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, claimed.job.id)
    until = "select run_until from makeready.jobs where id = $1"
    first = await room.db.fetchval(until, claimed.job.id)
    await clock.advance(200)
    await room.keep(claimed, tables[:1])
    assert await room.db.fetchval(until, claimed.job.id) > first


async def test_a_retry_goes_on_at_the_first_card_that_is_missing_psm_022(
    room: Cardroom, clock: Clock
) -> None:
    claimed = await claimed_one(room, 4)
    generation = claimed.job.id
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, generation)
    await room.keep(claimed, tables[:3])
    before = await posm.cards(room.db, generation)
    assert await room.fail(claimed, "retry") == "waiting"
    await clock.advance(60)
    await room.db.execute("select makeready.promote(10)")
    again = await room.one()
    assert again.job.attempt == 2
    assert await posm_making.begin(room.db, again.lease, STAMPER) == 0
    assert await open_tables(room, generation) == tables[3:]
    await room.make(again)
    assert (await posm.cards(room.db, generation))[:3] == before[:3]
    assert (await posm.read(room.db, generation)).attempts == 2


async def test_another_stamper_begins_anew_and_nothing_is_mixed_psm_022(
    room: Cardroom, clock: Clock
) -> None:
    claimed = await claimed_one(room)
    generation = claimed.job.id
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, generation)
    await room.keep(claimed, tables[:2])
    await room.fail(claimed, "retry")
    await clock.advance(60)
    await room.db.execute("select makeready.promote(10)")
    again = await room.one()
    assert await posm_making.begin(room.db, again.lease, "2/1") == 2
    assert (await posm.read(room.db, generation)).tables_done == 0
    assert await open_tables(room, generation) == tables
    assert await unused(room.db) == set()  # what is equal may still be wanted
    made = [card_of(generation, tables[0], STAMPER), card_of(generation, tables[1], "2/1")]
    assert await posm_making.keep(room.db, again.lease, made) == 2
    assert await unused(room.db) == {card_of(generation, tables[1], STAMPER).stored.key}
    await posm_making.keep(room.db, again.lease, [card_of(generation, tables[2], "2/1")])
    assert await posm_making.finish(room.db, again.lease, {}) == "ok"
    assert (await posm.read(room.db, generation)).stamper == "2/1"
    assert len(await posm.manifest(room.db, generation)) == 3


async def test_done_is_refused_while_a_card_is_missing_psm_025(room: Cardroom) -> None:
    claimed = await claimed_one(room)
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, claimed.job.id)
    await room.keep(claimed, [tables[0], tables[2]])
    with pytest.raises(Conflict) as raised:
        await posm_making.finish(room.db, claimed.lease, {})
    assert raised.value.details["reason"] == "incomplete"
    assert raised.value.details["missing"] == ["2"]
    assert await room.status(claimed.job.id) == "in-progress"  # nothing of it was done
    await room.keep(claimed, tables[1:2])
    assert await posm_making.finish(room.db, claimed.lease, {}) == "ok"


async def test_doing_it_twice_does_no_harm_psm_019(room: Cardroom) -> None:
    claimed = await claimed_one(room)
    generation = claimed.job.id
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    assert await posm_making.begin(room.db, claimed.lease, STAMPER) == 0
    tables = await tables_of(room, generation)
    assert [await room.keep(claimed, tables) for _ in range(2)] == [3, 3]
    assert await unused(room.db) == set()
    assert await posm_making.finish(room.db, claimed.lease, {}) == "ok"
    before = await posm.read(room.db, generation)
    assert await posm_making.finish(room.db, claimed.lease, {"late": True}) == "repeat"
    assert await posm.read(room.db, generation) == before


async def test_whoever_lost_the_lease_keeps_nothing_psm_019(room: Cardroom) -> None:
    claimed = await claimed_one(room)
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, claimed.job.id)
    await room.db.execute("select makeready.job_evict('posm', $1)", claimed.job.id)
    again = await room.one()
    found = await refusals(
        LeaseLost,
        posm_making.begin(room.db, claimed.lease, "9"),
        room.keep(claimed, tables),
        posm_making.finish(room.db, claimed.lease, {}),
    )
    assert found == [None] * 3
    assert await open_tables(room, claimed.job.id) == tables
    assert await room.db.fetchval("select count(*) from makeready.files") == 1  # the template
    assert await room.make(again) == "ok"


async def test_a_card_of_a_table_that_it_has_not_is_refused_with_the_chunk(
    room: Cardroom,
) -> None:
    claimed = await claimed_one(room)
    tables = await tables_of(room, claimed.job.id)
    with pytest.raises(NotFound) as raised:
        await room.keep(claimed, [*tables, uuid4()])
    assert raised.value.details["code"] == "table_not_found"
    assert await open_tables(room, claimed.job.id) == tables


async def test_a_failure_is_an_error_whose_comment_names_the_table_psm_023(
    room: Cardroom,
) -> None:
    claimed = await claimed_one(room)
    said = "contrast  of\n 1.2 is too low " + "x" * 2000
    assert await room.fail(claimed, table="12а", message=said) == "dead"
    one = await posm.read(room.db, claimed.job.id)
    assert (one.status, one.error_code, one.attempts) == ("error", "qr_contrast", 1)
    assert one.comment
    assert one.comment.startswith("table 12а: contrast of 1.2 is too low xxx")
    assert len(one.comment) == 1000
    assert one.finished_at
    (alert,) = await room.db.fetch("select event, context::text from makeready.alerts")
    assert alert["event"] == "posm_generation_failed"
    assert str(one.id) in alert["context"]


async def test_attempts_are_counted_and_used_up_psm_022(room: Cardroom, clock: Clock) -> None:
    claimed = await claimed_one(room)
    for attempt in range(1, 5):
        to = await room.fail(claimed, "retry")
        assert to == ("dead" if attempt == 4 else "waiting")
        await clock.advance(200)
        await room.db.execute("select makeready.promote(10)")
        if attempt < 4:
            assert await room.status(claimed.job.id) == "scheduled"
            claimed = await room.one()
    one = await posm.read(room.db, claimed.job.id)
    assert (one.status, one.attempts, one.max_attempts) == ("error", 4, 4)


async def test_a_generation_that_kills_its_workers_names_how_far_it_had_come_psm_023(
    room: Cardroom, clock: Clock
) -> None:
    claimed = await claimed_one(room)
    tables = await tables_of(room, claimed.job.id)
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    await room.keep(claimed, tables[:1])
    for _ in range(4):
        await clock.advance(3600)
        await room.db.execute("select makeready.reap(100, true)")
        await room.db.execute("select makeready.promote(100)")
        await room.claim()
    one = await posm.read(room.db, claimed.job.id)
    assert (one.status, one.error_code) == ("error", "lease_lost")
    assert one.comment
    assert one.comment.startswith("table 2 or one after it: ")
    assert one.tables_done == 1


@pytest.mark.parametrize("code", ["helper_lost", "stamping_failed", "stamping_timeout"])
async def test_what_fails_without_a_word_is_told_with_the_table_it_had_come_to_psm_023(
    room: Cardroom, code: str
) -> None:
    claimed = await claimed_one(room)
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    await room.keep(claimed, (await tables_of(room, claimed.job.id))[:2])
    await room.fail(claimed, code=code, message="the helper died")
    one = await posm.read(room.db, claimed.job.id)
    assert one.comment == "table 3 or one after it: the helper died"


@pytest.mark.parametrize("when", ["created", "scheduled", "in-progress"])
async def test_it_can_be_cancelled(room: Cardroom, when: str) -> None:
    made = await room.press(await room.template(), await room.restaurant(), wake=False)
    if when != "created":
        await posm.admit(room.db)
    if when == "in-progress":
        claimed = await room.one()
        assert await posm.cancel(room.db, made.id, because="wrong hall") == "in-progress"
        assert await room.fail(claimed, "cancelled", code="cancelled") == "cancelled"
    else:
        assert await posm.cancel(room.db, made.id, because="wrong hall") == "error"
    one = await posm.read(room.db, made.id)
    assert (one.status, one.error_code) == ("error", "cancelled")
    assert one.comment == ("so" if when == "in-progress" else "wrong hall")
    assert await room.db.fetchval("select count(*) from makeready.alerts") == 0
    with pytest.raises(Conflict) as raised:
        await posm.cancel(room.db, made.id)
    assert raised.value.details["reason"] == "ended"
    with pytest.raises(NotFound):
        await posm.cancel(room.db, uuid4())


async def test_a_failed_one_is_made_again_from_the_first_card_that_is_missing(
    room: Cardroom,
) -> None:
    claimed = await claimed_one(room)
    generation = claimed.job.id
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    tables = await tables_of(room, generation)
    await room.keep(claimed, tables[:2])
    await room.fail(claimed)
    assert await posm.retry(room.db, generation) == "scheduled"
    one = await posm.read(room.db, generation)
    assert (one.version, one.comment, one.error_code) == (1, None, None)
    assert one.finished_at is None
    assert await open_tables(room, generation) == tables[2:]
    assert await room.make(await room.one()) == "ok"
    with pytest.raises(Conflict) as raised:
        await posm.retry(room.db, generation)
    assert raised.value.details["reason"] == "not_failed"


async def test_a_retry_waits_for_admission_like_everybody_else_psm_024(room: Cardroom) -> None:
    failed = await claimed_one(room)
    await room.fail(failed)
    others = [await claimed_one(room), await claimed_one(room)]
    assert await posm.retry(room.db, failed.job.id) == "created"
    assert await room.claim() == []
    await room.make(others[0])
    assert await room.status(failed.job.id) == "scheduled"


async def test_a_retry_is_refused_while_a_newer_one_is_active_psm_013(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    failed = await room.press(template, place)
    await room.fail(await room.one())
    newer = await room.press(template, place)
    with pytest.raises(Conflict) as raised:
        await posm.retry(room.db, failed.id)
    assert raised.value.details["code"] == "already_in_progress"
    assert raised.value.details["generation_id"] == str(newer.id)

    # In bulk, such a one ends again and stops no other.
    other = await room.press(await room.template("B"), place)
    (_, claimed) = sorted(await room.claim(), key=lambda each: each.job.id == other.id)
    await room.fail(claimed)
    found = await room.db.fetch("select makeready.redrive('posm', dry_run => false)")
    assert {row[0] for row in found} == {failed.id, other.id}
    assert await room.status(failed.id) == "error"
    assert await room.status(other.id) == "created"
    await posm.admit(room.db)
    assert await room.status(other.id) == "scheduled"


async def test_pruned_jobs_change_no_history_psm_045(room: Cardroom, clock: Clock) -> None:
    place, template = await room.restaurant(), await room.template()
    done = await room.made(template, place)
    failed = await room.press(template, place)
    await room.fail(await room.one(), table="2")
    before = [await posm.read(room.db, each) for each in (done, failed.id)]
    await clock.advance(40 * 86400)
    assert await room.db.fetchval("select makeready.prune(100)") >= 2
    assert await room.db.fetchval("select count(*) from makeready.posm_jobs") == 0
    assert [await posm.read(room.db, each) for each in (done, failed.id)] == before
    assert len(await posm.manifest(room.db, done)) == 3
    # And a failed one can still be made again.
    assert await posm.retry(room.db, failed.id) == "scheduled"
    claimed = await room.one()
    assert claimed.job.id == failed.id
    assert await room.make(claimed) == "ok"


async def test_a_job_that_is_no_generation_is_refused(room: Cardroom) -> None:
    await room.db.execute("select makeready.enqueue('posm')")
    claimed = await room.one()
    with pytest.raises(NotFound) as raised:
        await posm_making.begin(room.db, claimed.lease, STAMPER)
    assert raised.value.details["code"] == "generation_not_found"
    assert await posm_making.input_of(room.db, claimed.job.id) is None
    assert await leases.fail(room.db, claimed.lease, "fatal", {"code": "x"}) == "dead"
