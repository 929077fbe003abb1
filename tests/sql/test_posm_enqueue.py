"""The button: which tables, one active of a pair, versions, keys. PSM-009 to 016, and 044."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import posm, posm_making, posm_templates, restaurants
from makeready.errors import Conflict, Forbidden, NotFound, Rejected, WrongIsolation
from tests.support.database import Connect
from tests.support.generating import AUTHOR, LINK, Cardroom, unused
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(60)


async def labels(room: Cardroom, generation: UUID) -> list[str]:
    return [card.label for card in await posm.cards(room.db, generation)]


async def problem(call: Any) -> dict[str, Any]:
    with pytest.raises(Rejected) as raised:
        await call
    (found,) = raised.value.details["problems"]
    return dict(found)


async def test_a_press_records_created_with_the_caller_as_its_author_psm_010(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template()
    made = await room.press(template, place, wake=False)
    assert (made.status, made.version, made.is_new) == ("created", 1, True)
    one = await posm.read(room.db, made.id)
    assert (one.status, one.author, one.scope, one.comment) == ("created", AUTHOR, "all", None)
    assert (one.restaurant_id, one.restaurant_name) == (place, "Ёлки")
    assert (one.template_id, one.template_name) == (template, "Тейбл-тент")
    assert (one.tables_total, one.tables_done, one.attempts) == (3, 0, 0)
    assert one.scheduled_at is one.started_at is one.finished_at is one.deleted_at is None
    job = await room.db.fetchrow("select id, state from makeready.jobs where queue = 'posm'")
    assert job
    assert (job["id"], job["state"]) == (made.id, "waiting")  # PSM-019


async def test_it_is_for_all_tables_for_chosen_ones_or_for_those_that_are_new_psm_009(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template()
    uuids = await room.uuids(place)
    first = await room.made(template, place)
    assert await labels(room, first) == ["1", "2", "3"]

    chosen = await room.made(template, place, tables=[uuids["3"], uuids["1"], uuids["3"]])
    assert await labels(room, chosen) == ["1", "3"]  # in the order of the tables
    assert (await posm.read(room.db, chosen)).scope == "chosen"

    await room.put(place, "0", "1", "2", "4")
    assert await labels(room, await room.made(template, place, since_version=1)) == ["0", "4"]
    assert (await problem(room.press(template, place, since_version=3)))["code"] == "no_tables"
    # Version 2 was for two tables, and version 1 had all of them.
    assert await labels(room, await room.made(template, place, since_version=2)) == ["0", "4"]


async def test_new_is_what_no_version_before_was_made_for_with_success_psm_009(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template()
    await room.press(template, place)
    await room.fail(await room.one())
    again = await room.made(template, place, since_version=1)
    assert await labels(room, again) == ["1", "2", "3"]
    found = await problem(room.press(template, place, since_version=7))
    assert (found["path"], found["message"]) == ("since_version", "there is no version 7")


async def test_bare_uuids_need_no_restaurant_psm_009(room: Cardroom) -> None:
    template = await room.template()
    one, two = uuid4(), uuid4()
    cards = [
        {"uuid": str(one), "number": "7а", "row": {"guest": "Анна", "seat": 3}},
        {"uuid": str(two).upper(), "url": "https://x.example/two"},
    ]
    made = await room.press(template, cards=cards)
    found = await posm_making.input_of(room.db, made.id)
    assert found
    assert [card.uuid for card in found.cards] == [one, two]
    assert [card.label for card in found.cards] == ["7а", "2"]
    first, second = (card.row for card in found.cards)
    assert first["table"]["url"] == LINK.format(uuid=one)
    assert first["row"] == {"guest": "Анна", "seat": 3}
    assert first["restaurant"] == {}
    assert second["table"]["url"] == "https://x.example/two"
    assert (await posm.read(room.db, made.id)).scope == "uuids"


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


@pytest.mark.parametrize(
    ("cards", "paths"),
    [
        ({}, ["uuids"]),
        ([{}], ["uuids[0]"]),
        (["x"], ["uuids[0]"]),
        ([{"uuid": "x"}, {"uuid": None}], ["uuids[0]", "uuids[1]"]),
        ([{"uuid": "U", "number": 5}], ["uuids[0]"]),
        ([{"uuid": "U", "number": "a\nb"}], ["uuids[0]"]),
        ([{"uuid": "U", "label": "5"}], ["uuids[0]"]),
        ([{"uuid": "U", "url": "javascript:x"}], ["uuids[0]"]),
        ([{"uuid": "U", "row": {"a": {"b": 1}}}], ["uuids[0]"]),
        ([{"uuid": "U", "row": []}], ["uuids[0]"]),
        ([{"uuid": "U", "seats": 1.5}], ["uuids[0]"]),
        ([{"uuid": "U"}, {"uuid": "U"}], ["uuids[1]"]),
    ],
)
async def test_bare_uuids_that_cannot_be_read_are_named(
    room: Cardroom, cards: Any, paths: list[str]
) -> None:
    one = str(uuid4())
    for card in cards:
        if isinstance(card, dict) and card.get("uuid") == "U":
            card["uuid"] = one
    with pytest.raises(Rejected) as raised:
        await room.press(await room.template(), cards=cards)
    assert [each["path"] for each in raised.value.details["problems"]] == paths


async def test_the_settings_are_the_template_s_or_the_caller_s_own_psm_011(
    room: Cardroom,
) -> None:
    theirs, own = {"fields": [], "cold_every": 7}, {"fields": [], "cold_every": 9}
    place, template = await room.restaurant(), await room.template(settings=theirs)
    first = await room.made(template, place)
    assert (await posm.read(room.db, first)).settings == theirs
    second = await room.press(template, place, settings=own)
    assert (await posm.read(room.db, second.id)).settings == own
    assert (await posm_templates.read(room.db, template)).settings == theirs
    await posm_templates.change(room.db, template, {"settings": {}})
    found = await posm_making.input_of(room.db, first)
    assert found
    assert found.settings == theirs


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


@pytest.mark.parametrize(
    "case",
    ["template", "restaurant", "no tables", "no such table", "nothing", "both", "too many"],
)
async def test_what_cannot_be_generated_is_refused_psm_015(room: Cardroom, case: str) -> None:
    place, template = await room.restaurant(), await room.template()
    table = (await room.uuids(place))["1"]
    if case == "template":
        with pytest.raises(NotFound) as raised:
            await room.press(uuid4(), place)
        assert raised.value.details["code"] == "template_not_found"
    elif case == "restaurant":
        with pytest.raises(NotFound) as raised:
            await room.press(template, uuid4())
        assert raised.value.details["code"] == "restaurant_not_found"
    elif case == "no tables":
        empty = await room.restaurant(0)
        assert (await problem(room.press(template, empty)))["code"] == "no_tables"
        assert (await problem(room.press(template, place, tables=[])))["code"] == "no_tables"
        assert (await problem(room.press(template, cards=[])))["code"] == "no_tables"
    elif case == "no such table":
        other = (await room.uuids(await room.restaurant()))["1"]
        found = await problem(room.press(template, place, tables=[table, other]))
        assert (found["code"], found["tables"]) == ("table_not_found", [str(other)])
    elif case == "nothing":
        await problem(room.press(template))
    elif case == "both":
        await problem(room.press(template, place, cards=[{"uuid": str(table)}]))
        await problem(room.press(template, place, tables=[table], since_version=1))
    else:
        await posm_templates.set_policy(room.db, max_tables=2)
        found = await problem(room.press(template, place))
        assert (found["code"], found["message"]) == (
            "too_many_tables",
            "3 tables are too many: 2 at most",
        )
    assert await posm.page(room.db) == []
    assert await room.db.fetchval("select count(*) from makeready.jobs") == 0


async def test_a_deleted_restaurant_gets_nothing_and_a_deleted_table_no_card_psm_015(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template()
    gone = (await room.uuids(place))["2"]
    await room.put(place, "1", "3")
    assert (await problem(room.press(template, place, tables=[gone])))["code"] == "table_not_found"
    assert await labels(room, (await room.press(template, place)).id) == ["1", "3"]
    await restaurants.delete(room.db, place)
    with pytest.raises(NotFound):
        await room.press(template, place)


async def test_a_table_without_any_link_is_refused_by_its_number(
    db: asyncpg.Connection,
) -> None:
    room = Cardroom(db)  # the policy has no link template yet
    place, template = await room.restaurant(0), await room.template()
    own = {"number": "1", "url": "https://x.example/1"}
    await restaurants.put_tables(db, place, [own, {"number": "2"}])
    found = await problem(room.press(template, place))
    assert (found["code"], found["path"], found["tables"]) == (
        "value_empty",
        "link_template",
        ["2"],
    )
    tables = [(await room.uuids(place))["1"]]
    assert (await room.press(template, place, tables=tables)).version == 1


async def test_tables_and_labels_are_frozen_psm_016(room: Cardroom) -> None:
    place, template = await room.restaurant(city="Тверь"), await room.template()
    uuids = await room.uuids(place)
    made = await room.press(template, place)
    before = await posm_making.input_of(room.db, made.id)
    await restaurants.put_tables(
        room.db, place, [{"uuid": str(uuids["1"]), "number": "99", "name": "Терраса"}]
    )
    await restaurants.change(room.db, place, {"name": "Палки", "city": "Омск"})
    await posm_templates.set_policy(room.db, link_template="https://new.example/{uuid}")
    after = await posm_making.input_of(room.db, made.id)
    assert after == before
    assert after
    row = after.cards[0].row
    assert row["table"]["number"] == "1"
    assert row["table"]["url"] == LINK.format(uuid=uuids["1"])
    assert row["restaurant"] == {"id": str(place), "name": "Ёлки", "city": "Тверь", "logo": None}
    made_on = datetime.fromisoformat(str(row["generation"]["date"])).date()
    assert made_on == after.made_on
    assert row["generation"] == {"version": 1, "date": made_on.isoformat(), "author": AUTHOR}


async def test_it_commits_or_vanishes_with_the_caller_s_own_data(
    room: Cardroom, connect: Connect
) -> None:
    place, template = await room.restaurant(), await room.template()
    app = await connect("makeready_app")
    for how in ("rollback", "commit"):
        await app.execute("begin")
        row = await app.fetchrow(
            "select * from makeready.posm_enqueue($1, $2, key_given => 'k')", template, place
        )
        assert row
        assert (row["verdict"], row["generation_version"]) == ("created", 1)
        await app.execute(how)
        found = await posm.page(room.db)
        assert [each.id for each in found] == ([row["generation"]] if how == "commit" else [])
    assert found[0].author.startswith("database:")
    assert await app.fetchval("select makeready.posm_admit()") == 1
    assert await room.status(found[0].id) == "scheduled"
    assert await unused(room.db) == set()


async def test_it_needs_read_committed(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    async with room.db.transaction(isolation="repeatable_read"):
        with pytest.raises(WrongIsolation):
            await room.press(template, place)


async def test_what_cards_would_read_can_be_asked_before(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    rows = await posm.rows_of(room.db, template, restaurant=place, author=AUTHOR)
    made = await room.press(template, place)
    found = await posm_making.input_of(room.db, made.id)
    assert found
    assert rows == [card.row for card in found.cards]
    (next_time,) = await posm.rows_of(
        room.db,
        template,
        restaurant=place,
        tables=[(await room.uuids(place))["2"]],
        author=AUTHOR,
    )
    assert next_time["generation"]["version"] == 2
    private = await room.template(visibility="brand", brand="Лес")
    with pytest.raises(Forbidden):
        await posm.rows_of(room.db, private, restaurant=place, author=AUTHOR)
