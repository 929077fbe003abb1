"""Pairs: one active generation, versions without gaps, keys.

Proves PSM-012, PSM-013, PSM-014, PSM-044.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from makeready import posm, posm_templates
from makeready.errors import Conflict, Rejected, WrongIsolation
from tests.support.database import Connect
from tests.support.generating import AUTHOR, Cardroom
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(60)


async def test_without_a_restaurant_the_pair_is_author_and_template_psm_044(
    room: Cardroom,
) -> None:
    template, other = await room.template(), await room.template("B")
    cards = [{"uuid": str(uuid4())}]
    first = await room.press(template, cards=cards)
    with pytest.raises(Conflict) as raised:
        await room.press(template, cards=[{"uuid": str(uuid4())}])
    assert raised.value.details["generation_id"] == str(first.id)
    assert (await room.press(template, cards=cards, author="ivan")).version == 1
    assert (await room.press(other, cards=cards)).version == 1
    place = await room.restaurant()
    assert (await room.press(template, place)).version == 1  # another pair again


async def test_one_token_and_one_body_are_one_generation_for_ever_psm_012(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template()
    first = await room.press(template, place, request_key="k")
    again = await room.press(template, place, request_key="k")
    assert (again.id, again.version, again.is_new) == (first.id, 1, False)
    await room.make(await room.one())
    later = await room.press(template, place, request_key="k")
    assert (later.id, later.status, later.is_new) == (first.id, "done", False)

    for changed in ({"settings": {"a": 1}}, {"tables": list((await room.uuids(place)).values())}):
        with pytest.raises(Rejected) as raised:
            await room.press(template, place, request_key="k", **changed)
        assert raised.value.details["code"] == "idempotency_mismatch"
        assert raised.value.details["resource"] == str(first.id)
    assert (await room.press(template, place, request_key="k", author="ivan")).version == 2
    await posm_templates.delete(room.db, template)
    assert (await room.press(template, place, request_key="k")).id == first.id


async def test_another_token_while_one_is_active_is_refused_psm_013(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    first = await room.press(template, place, request_key="a", wake=False)
    states = []
    for _ in range(3):
        states.append(await room.status(first.id))
        with pytest.raises(Conflict) as raised:
            await room.press(template, place, request_key="b")
        assert raised.value.details["code"] == "already_in_progress"
        assert raised.value.details["generation_id"] == str(first.id)
        assert raised.value.details["version"] == 1
        if states[-1] == "created":
            await posm.admit(room.db)
        elif states[-1] == "scheduled":
            claimed = await room.one()
    assert states == ["created", "scheduled", "in-progress"]
    assert (await room.press(await room.template("B"), place)).version == 1
    await room.make(claimed)
    assert (await room.press(template, place, request_key="b")).version == 2


async def waiting(room: Cardroom, count: int) -> None:
    """Until so many sessions wait for a lock."""

    async def seen() -> bool:
        locked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        return bool(await room.db.fetchval(locked) == count)

    await until(seen, what=f"{count} who wait")


async def test_forty_presses_at_once_make_one_generation_psm_012_psm_013_psm_014(
    room: Cardroom, connect: Connect
) -> None:
    place, template = await room.restaurant(), await room.template()
    await posm.cancel(room.db, (await room.press(template, place)).id)
    sessions = [await connect() for _ in range(40)]
    refusals: list[str] = []

    async def press(number: int) -> str:
        key = "same" if number < 20 else f"other {number}"
        try:
            made = await Cardroom(sessions[number]).press(template, place, request_key=key)
        except Conflict as error:
            refusals.append(error.details["code"])
            return "conflict"
        return "created" if made.is_new else "replayed"

    async with room.db.transaction():  # the first one waits at the head of the line
        await room.db.execute(
            "select makeready.posm_pair_lock($1, $2, $3)", template, place, AUTHOR
        )
        presses = [asyncio.ensure_future(press(0))]
        await waiting(room, 1)
        presses += [asyncio.ensure_future(press(number)) for number in range(1, 40)]
        await waiting(room, 40)
    outcomes = Counter(await asyncio.gather(*presses))
    assert outcomes == {"created": 1, "replayed": 19, "conflict": 20}
    assert set(refusals) == {"already_in_progress"}
    assert [made.version for made in await posm.page(room.db)] == [2, 1]


async def test_versions_have_no_gaps_whatever_is_rolled_back_or_refused_psm_014(
    room: Cardroom, connect: Connect
) -> None:
    place, template = await room.restaurant(), await room.template()
    others = [Cardroom(await connect()) for _ in range(6)]
    versions: list[int] = []

    async def press_and_fail(other: Cardroom, dice: int) -> None:
        for turn in range(6):
            transaction = other.db.transaction()
            await transaction.start()
            try:
                made = await other.press(template, place, request_key=f"{dice} {turn}")
            except Conflict:
                await transaction.rollback()
                continue
            if (turn + dice) % 3 == 0:
                await transaction.rollback()
                continue
            await posm.cancel(other.db, made.id)
            await transaction.commit()
            versions.append(made.version)

    await asyncio.gather(*(press_and_fail(other, dice) for dice, other in enumerate(others)))
    assert versions
    assert sorted(versions) == list(range(1, len(versions) + 1))
    stored = await room.db.fetch("select version from makeready.posm_generations order by seq")
    assert [row[0] for row in stored] == sorted(versions)


async def test_one_key_for_two_pairs_at_once_is_a_mistake_of_one_psm_012(
    room: Cardroom, connect: Connect
) -> None:
    places, template = [await room.restaurant(), await room.restaurant()], await room.template()
    first, second = Cardroom(await connect()), Cardroom(await connect())
    transaction = first.db.transaction()
    await transaction.start()
    await first.press(template, places[0], request_key="k", wake=False)
    late = asyncio.ensure_future(second.press(template, places[1], request_key="k", wake=False))
    await waiting(room, 1)
    await transaction.commit()
    with pytest.raises(Rejected) as raised:
        await late
    assert raised.value.details["code"] == "idempotency_mismatch"
    assert (await second.press(template, places[1])).version == 1  # no version was used up


async def test_it_needs_read_committed(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    async with room.db.transaction(isolation="repeatable_read"):
        with pytest.raises(WrongIsolation):
            await room.press(template, place, wake=False)


async def test_the_tables_themselves_know_one_active_one_and_each_version_once_psm_013_psm_014(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(1), await room.template()
    await room.made(template, place)
    await room.press(template, place)
    again = (
        "insert into makeready.posm_generations (id, pair_id, template_id, template_file_id,"
        " version, status, scope, author, fields, place_facts, tables_total, created_at,"
        " finished_at) select makeready.uuid7(), pair_id, template_id, template_file_id, $1, $2,"
        " scope, author, fields, place_facts, 1, created_at, $3"
        " from makeready.posm_generations limit 1"
    )
    for version, status, ended, index in (
        (9, "created", None, "posm_generations_one_active"),
        (2, "error", datetime.now(UTC), "posm_generations_one_version"),
    ):
        with pytest.raises(asyncpg.UniqueViolationError) as raised:
            await room.db.execute(again, version, status, ended)
        assert raised.value.constraint_name == index
