"""The button: which tables, whose settings, what is frozen, what is refused.

Proves PSM-009, PSM-010, PSM-011, PSM-015, PSM-016, PSM-019.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import posm, posm_making, posm_templates, restaurants
from makeready.errors import Forbidden, NotFound, Rejected
from tests.support.database import Connect
from tests.support.generating import AUTHOR, LINK, Cardroom, unused

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
        ([{"uuid": "U", "seats": 1e99}], ["uuids[0]"]),
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
        await problem(room.press(template, place, request_key=""))
        await problem(room.press(template, place, settings=[]))
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


async def test_the_example_of_the_page_runs_for_an_application(
    room: Cardroom, connect: Connect
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "table-cards.md").read_text("utf-8")
    (example,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    for found in (await room.template(), await room.restaurant()):
        example = example.replace("…", str(found), 1)
    await room.db.execute(
        "create table public.halls (id integer, cards_asked timestamptz);"
        "insert into public.halls values (7); grant all on public.halls to makeready_app"
    )
    try:
        await (await connect("makeready_app")).execute(example)
        assert await room.db.fetchval("select cards_asked is not null from public.halls")
    finally:
        await room.db.execute("drop table public.halls")
    (made,) = await posm.page(room.db)
    assert made.status == "scheduled"


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
