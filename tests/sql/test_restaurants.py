"""Restaurants and their tables: versions, whole lists, and uuids that stay.

Proves PSM-009, PSM-033.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready import restaurants
from makeready.errors import Conflict, NotFound, Rejected
from tests.support.database import Connect
from tests.support.generating import AUTHOR, Cardroom, refusals


async def numbers(room: Cardroom, restaurant: UUID) -> list[str]:
    return [table.number for table in await restaurants.tables(room.db, restaurant)]


async def put(
    room: Cardroom, restaurant: UUID, *given: dict[str, Any], **options: Any
) -> restaurants.TablesPut:
    return await restaurants.put_tables(room.db, restaurant, given, **options)


async def test_a_restaurant_is_entered_read_changed_and_deleted(room: Cardroom) -> None:
    made = await restaurants.create(
        room.db, {"name": " Ёлки ", "brand": "Лес", "city": "Тверь", "logo": None}, author=AUTHOR
    )
    one = await restaurants.read(room.db, made.id)
    assert (one.name, one.brand, one.city, one.logo) == ("Ёлки", "Лес", "Тверь", None)
    assert (one.version, one.tables_version, one.tables) == (1, 1, 0)

    assert await restaurants.change(room.db, made.id, {"city": None}, known=1) == 2
    two = await restaurants.read(room.db, made.id)
    assert (two.name, two.city) == ("Ёлки", None)

    await restaurants.delete(room.db, made.id, known=2)
    found = await refusals(
        NotFound,
        restaurants.read(room.db, made.id),
        restaurants.change(room.db, made.id, {}),
        restaurants.delete(room.db, made.id),
        restaurants.tables(room.db, made.id),
        put(room, made.id),
    )
    assert found == ["restaurant_not_found"] * 5
    assert await restaurants.page(room.db) == []


async def test_a_version_that_has_passed_is_refused_and_the_present_one_is_named(
    room: Cardroom,
) -> None:
    place = await room.restaurant()
    await restaurants.change(room.db, place, {"city": "Омск"})
    found = await refusals(
        Conflict, restaurants.delete(room.db, place, known=1), put(room, place, known=1)
    )
    assert found == ["stale_version"] * 2
    with pytest.raises(Conflict) as raised:
        await restaurants.change(room.db, place, {"city": "Тула"}, known=1)
    assert raised.value.details == {"code": "stale_version", "version": 2, "stated": 1}
    assert (await restaurants.read(room.db, place)).city == "Омск"
    assert await numbers(room, place) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("facts", "paths"),
    [
        ({}, ["name"]),
        ({"name": "  "}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": "x" * 201, "brand": "", "city": 7}, ["brand", "city", "name"]),
        ({"name": "a\nb"}, ["name"]),
        ({"name": "x", "stars": 5}, ["stars"]),
    ],
)
async def test_what_a_restaurant_cannot_have_is_all_named(
    room: Cardroom, facts: dict[str, Any], paths: list[str]
) -> None:
    with pytest.raises(Rejected) as raised:
        await restaurants.create(room.db, facts)
    assert [each["path"] for each in raised.value.details["problems"]] == paths
    assert await restaurants.page(room.db) == []


async def test_the_same_request_makes_one_restaurant(room: Cardroom) -> None:
    first = await restaurants.create(room.db, {"name": "Ёлки"}, author=AUTHOR, request_key="k")
    again = await restaurants.create(room.db, {"name": "Ёлки"}, author=AUTHOR, request_key="k")
    assert (first.is_new, again.is_new, again.id) == (True, False, first.id)
    other = await restaurants.create(room.db, {"name": "Ёлки"}, author="ivan", request_key="k")
    assert other.is_new
    with pytest.raises(Rejected) as raised:
        await restaurants.create(room.db, {"name": "Палки"}, author=AUTHOR, request_key="k")
    assert raised.value.details["code"] == "idempotency_mismatch"


async def test_restaurants_are_found_by_words_and_by_brand_page_by_page(room: Cardroom) -> None:
    places = [
        await room.restaurant(0, name=name, brand=brand)
        for name, brand in (("Ёлки", "Лес"), ("Палки", "Лес"), ("Мост", None))
    ]
    newest = list(reversed(places))
    pages: list[UUID] = []
    while found := await restaurants.page(room.db, limit=2, after=pages[-1] if pages else None):
        pages += [each.id for each in found]
    assert pages == newest
    assert [each.name for each in await restaurants.page(room.db, brand="Лес")] == [
        "Палки",
        "Ёлки",
    ]
    assert [each.name for each in await restaurants.page(room.db, search="ЛКИ")] == [
        "Палки",
        "Ёлки",
    ]
    assert [each.name for each in await restaurants.page(room.db, search="%")] == []


async def test_a_list_of_tables_answers_with_what_it_changed(room: Cardroom) -> None:
    """PSM-033."""
    place = await room.restaurant(0)
    first = await put(room, place, {"number": "1"}, {"number": "2", "seats": 4}, {"number": "3"})
    assert [each["number"] for each in first.added] == ["1", "2", "3"]
    assert (first.kept, first.removed, first.changed, first.version) == (0, [], [], 2)
    was = await room.uuids(place)

    second = await put(
        room, place, {"number": "3"}, {"number": "2", "seats": 6}, {"number": "4"}, known=2
    )
    assert [each["number"] for each in second.added] == ["4"]
    assert [each["number"] for each in second.removed] == ["1"]
    assert [each["before"]["seats"] for each in second.changed] == [4]
    assert [each["after"]["seats"] for each in second.changed] == [6]
    assert (second.kept, second.version) == (1, 3)
    assert await numbers(room, place) == ["3", "2", "4"]  # in the order that was given
    now = await room.uuids(place)
    assert (now["2"], now["3"]) == (was["2"], was["3"])
    assert (await restaurants.read(room.db, place)).tables == 3


async def test_a_dry_run_says_the_same_and_changes_nothing(room: Cardroom) -> None:
    place = await room.restaurant()
    would = await put(room, place, {"number": "2"}, {"number": "9"}, dry_run=True)
    assert (len(would.added), len(would.removed), would.kept, would.version) == (1, 2, 1, 2)
    assert await numbers(room, place) == ["1", "2", "3"]
    assert (await restaurants.read(room.db, place)).tables_version == 2


async def test_a_table_keeps_its_uuid_under_another_number(room: Cardroom) -> None:
    place = await room.restaurant()
    was = await room.uuids(place)
    swapped = [
        {"uuid": str(was["2"]), "number": "1"},
        {"uuid": str(was["1"]), "number": "2"},
        {"number": "3"},
    ]
    diff = await put(room, place, *swapped)
    now = await room.uuids(place)
    assert (now["1"], now["2"], now["3"]) == (was["2"], was["1"], was["3"])
    assert (len(diff.changed), diff.kept) == (2, 1)


async def test_a_number_is_looked_for_in_its_section_first(room: Cardroom) -> None:
    place = await room.restaurant(0)
    await put(
        room, place, {"number": "1", "section": "Зал"}, {"number": "1", "section": "Веранда"}
    )
    was = {table.section: table.uuid for table in await restaurants.tables(room.db, place)}
    diff = await put(
        room, place, {"number": "1", "section": "Веранда"}, {"number": "1", "section": "Зал"}
    )
    assert diff.kept == 2

    # One of them moves: which one it is, number and section of the other tell.
    diff = await put(
        room, place, {"number": "1", "section": "Зал"}, {"number": "1", "section": "Крыша"}
    )
    (moved,) = diff.changed
    assert UUID(moved["uuid"]) == was["Веранда"]
    # Both at once could be either: new tables, rather than links that lead to the wrong one.
    diff = await put(room, place, {"number": "1", "section": "Двор"}, {"number": "1"})
    assert (len(diff.added), len(diff.removed)) == (2, 2)


async def test_a_table_that_is_gone_comes_back_with_its_uuid(room: Cardroom) -> None:
    place = await room.restaurant()
    lost = (await room.uuids(place))["2"]
    await room.put(place, "1", "3")
    diff = await put(
        room, place, {"number": "1"}, {"number": "7", "uuid": str(lost).upper()}, {"number": "3"}
    )
    assert [each["uuid"] for each in diff.added] == [str(lost)]
    assert (await room.uuids(place))["7"] == lost
    # By its number alone it would be another one: that card may hang elsewhere by now.
    await room.put(place, "1", "3")
    await room.put(place, "1", "7", "3")
    assert (await room.uuids(place))["7"] != lost


async def test_a_uuid_belongs_to_one_restaurant_for_ever(room: Cardroom) -> None:
    """PSM-009."""
    place, other = await room.restaurant(), await room.restaurant()
    taken = (await room.uuids(place))["1"]
    for _ in range(2):
        with pytest.raises(Rejected) as raised:
            await put(room, other, {"number": "1", "uuid": str(taken)})
        (problem,) = raised.value.details["problems"]
        assert (problem["code"], problem["path"]) == ("uuid_of_another", "tables[0].uuid")
        await room.put(place)  # also once it is gone
    assert len(await numbers(room, other)) == 3
    own = uuid4()  # one may be brought along
    await put(room, other, {"number": "1", "uuid": str(own)})
    assert (await room.uuids(other))["1"] == own


async def test_of_two_restaurants_that_bring_one_uuid_one_gets_it(
    room: Cardroom, connect: Connect
) -> None:
    places = [await room.restaurant(0), await room.restaurant(0)]
    given = {"number": "1", "uuid": str(uuid4())}

    async def bring(place: UUID) -> bool:
        try:
            await restaurants.put_tables(await connect(), place, [given])
        except Rejected as error:
            return bool(error.details["problems"][0]["code"] != "uuid_of_another")
        return True

    assert sorted(await asyncio.gather(*map(bring, places))) == [False, True]
    assert sorted([len(await numbers(room, place)) for place in places]) == [0, 1]


async def test_everything_that_is_wrong_with_a_list_is_named_by_row(room: Cardroom) -> None:
    place = await room.restaurant()
    one = str(uuid4())
    wrong: list[Any] = [
        {"number": ""},
        {"number": "4", "seats": 2.5},
        {"number": "5", "url": "ftp://x"},
        {"number": "6", "uuid": "six"},
        {"number": "7", "uuid": one},
        {"number": "7", "uuid": one},
        {"number": "8", "colour": "red"},
        {"number": "a\tb", "section": "x" * 101},
        {"name": "ninth"},
        "tenth",
        {"number": 11},
        {"number": "12", "url": "https://a b"},
        {"number": "13", "seats": -1},
    ]
    with pytest.raises(Rejected) as raised:
        await put(room, place, *wrong)
    assert [each["path"] for each in raised.value.details["problems"]] == [
        "tables[0].number",
        "tables[1].seats",
        "tables[2].url",
        "tables[3].uuid",
        "tables[5].number",
        "tables[5].uuid",
        "tables[6].colour",
        "tables[7].number",
        "tables[7].section",
        "tables[8].number",
        "tables[9]",
        "tables[10].number",
        "tables[11].url",
        "tables[12].seats",
    ]
    assert await numbers(room, place) == ["1", "2", "3"]


@pytest.mark.parametrize("given", [None, {}, "x", 5])
async def test_a_list_of_tables_is_a_list(room: Cardroom, given: Any) -> None:
    with pytest.raises(Rejected):
        await restaurants.put_tables(room.db, await room.restaurant(), given)


async def test_a_list_may_be_long_but_not_endless(room: Cardroom) -> None:
    place = await room.restaurant(0)
    many = [{"number": str(number)} for number in range(5000)]
    assert len((await put(room, place, *many)).added) == 5000
    assert (await put(room, place, *reversed(many))).kept == 5000
    with pytest.raises(Rejected):
        await put(room, place, *many, {"number": "one more"})


async def test_every_change_is_in_the_audit_log(room: Cardroom) -> None:
    place = await room.restaurant()
    await restaurants.change(room.db, place, {"city": "Омск"})
    await restaurants.delete(room.db, place)
    found = await room.db.fetch(
        "select action from makeready.audit_log where target = $1 order by id", str(place)
    )
    assert [row["action"] for row in found] == [
        "restaurant_create",
        "restaurant_tables_put",
        "restaurant_set",
        "restaurant_delete",
    ]
