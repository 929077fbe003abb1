"""History, manifests, and whether tables have changed since.

Proves PSM-021, PSM-030, PSM-031, PSM-032, PSM-033, PSM-039.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready import posm, posm_templates, restaurants
from makeready.errors import Conflict, Gone, NotFound
from tests.support.clock import Clock
from tests.support.generating import LINK, Cardroom, card_of

Found = dict[str, list[str]]


async def differences(room: Cardroom, generation: UUID) -> Found:
    """What a check says, by number; without what is empty."""
    found: dict[str, Any] = dict(await posm.check(room.db, generation))
    status = found.pop("status")
    short = {name: [each["number"] for each in tables] for name, tables in found.items() if tables}
    assert status == ("warn" if short else "ok")
    return short


async def test_the_history_of_a_restaurant_tells_all_of_it_psm_030(room: Cardroom) -> None:
    settings = {"fields": [], "cold_every": 5}
    place, template = await room.restaurant(), await room.template("Тент", settings=settings)
    await room.made(template, place)
    made = await room.press(template, place, author="ivan")
    await room.fail(await room.one(), table="3", message="too small")
    bad, good = await posm.page(room.db, restaurant=place)
    assert (bad.id, bad.version, bad.status, bad.author) == (made.id, 2, "error", "ivan")
    assert (bad.error_code, bad.comment) == ("qr_contrast", "table 3: too small")
    assert (good.version, good.status, good.settings) == (1, "done", settings)
    assert (good.tables_total, good.tables_done) == (3, 3)
    assert good.created_at < bad.created_at
    assert await posm.read(room.db, made.id) == bad
    with pytest.raises(NotFound) as raised:
        await posm.read(room.db, uuid4())
    assert raised.value.details["code"] == "generation_not_found"


async def test_the_history_can_be_filtered_and_paged_psm_030(room: Cardroom, clock: Clock) -> None:
    here, there = await room.restaurant(), await room.restaurant(1)
    first, second = await room.template("A"), await room.template("B")
    a = await room.made(first, here)
    b = await room.made(second, here, author="ivan")
    await clock.advance(3600)
    c = (await room.press(first, there)).id
    d = (await room.press(second, there, wake=False)).id
    table = (await room.uuids(here))["2"]
    moment = (await posm.read(room.db, b)).created_at + timedelta(minutes=30)

    async def ids(**filters: Any) -> list[UUID]:
        return [each.id for each in await posm.page(room.db, **filters)]

    assert await ids() == [d, c, b, a]
    assert await ids(restaurant=here) == [b, a]
    assert await ids(template=first) == [c, a]
    assert await ids(restaurant=here, template=first) == [a]
    assert await ids(author="ivan") == [b]
    assert await ids(table=table) == [b, a]  # PSM-031: one table's cards
    assert await ids(made_from=moment) == [d, c]
    assert await ids(made_before=moment) == [b, a]
    assert await ids(status="created") == [d]
    assert await ids(status="scheduled") == [c]
    assert await ids(status="done") == [b, a]
    await room.one()
    assert await ids(status="in-progress") == [c]
    assert await ids(status="scheduled") == []
    assert await ids(limit=3) == [d, c, b]
    assert await ids(limit=3, after=b) == [a]
    assert await ids(restaurant=here, limit=1, after=b) == [a]


async def test_cards_are_listed_page_by_page_also_before_they_are_made_psm_031(
    room: Cardroom,
) -> None:
    made = await room.press(await room.template(), await room.restaurant(5))
    pages: list[posm.CardFacts] = []
    while found := await posm.cards(
        room.db, made.id, limit=2, after=pages[-1].place if pages else -1
    ):
        pages += found
    assert [card.label for card in pages] == ["1", "2", "3", "4", "5"]
    assert {card.made_at for card in pages} == {None}
    with pytest.raises(NotFound):
        await posm.cards(room.db, uuid4())


async def test_only_what_is_whole_can_be_downloaded_psm_032(room: Cardroom) -> None:
    place, template = await room.restaurant(), await room.template()
    made = await room.press(template, place)
    claimed = await room.one()
    tables = list((await room.uuids(place)).values())
    await room.keep(claimed, tables[:2])
    for state in ("in-progress", "error"):
        for call in (posm.manifest, posm.check):
            with pytest.raises(Conflict) as raised:
                await call(room.db, made.id)
            assert raised.value.details["reason"] == "not_done"
            assert (raised.value.details["status"], raised.value.details["done"]) == (state, 2)
        if state == "in-progress":
            await room.fail(claimed)
    await posm.retry(room.db, made.id)
    await room.make(await room.one())

    cards = await posm.manifest(room.db, made.id)
    assert [card.uuid for card in cards] == tables
    expected = card_of(made.id, tables[0])
    one = cards[0]
    assert (one.bucket, one.key) == (expected.stored.bucket, expected.stored.key)
    assert (one.byte_count, one.sha256) == (expected.stored.byte_count, expected.stored.sha256)
    assert (one.crc32, one.evidence) == (expected.crc32, expected.evidence)
    assert str(made.id) in one.key  # PSM-021
    assert str(tables[0]) in one.key


async def test_some_of_the_cards_can_be_asked_for_psm_031(room: Cardroom) -> None:
    place = await room.restaurant()
    made = await room.made(await room.template(), place)
    uuids = await room.uuids(place)
    some = await posm.manifest(room.db, made, tables=[uuids["3"], uuids["1"]])
    assert [card.label for card in some] == ["1", "3"]
    for tables, code in (
        ([uuid4()], "table_not_found"),
        ([uuids["1"], uuid4()], "table_not_found"),
    ):
        with pytest.raises(NotFound) as raised:
            await posm.manifest(room.db, made, tables=tables)
        assert raised.value.details["code"] == code
    with pytest.raises(NotFound) as raised:
        await posm.manifest(room.db, uuid4())
    assert raised.value.details["code"] == "generation_not_found"


async def test_a_check_says_how_the_tables_have_changed_psm_033(room: Cardroom) -> None:
    place = await room.restaurant(5)
    made = await room.made(await room.template(), place)
    assert await differences(room, made) == {}
    uuids = await room.uuids(place)
    await restaurants.put_tables(
        room.db,
        place,
        [
            {"uuid": str(uuids["1"]), "number": "1"},
            {"uuid": str(uuids["2"]), "number": "20"},
            {"uuid": str(uuids["3"]), "number": "3", "name": "У окна"},
            {"uuid": str(uuids["4"]), "number": "4", "url": "https://x.example/4"},
            {"number": "6"},
        ],
    )
    assert await differences(room, made) == {
        "added": ["6"],
        "removed": ["5"],
        "renumbered": ["20"],
        "renamed": ["3"],
        "relinked": ["4"],
    }
    (renumbered,) = (await posm.check(room.db, made))["renumbered"]
    assert renumbered["before"]["number"] == "2"
    assert renumbered["after"]["number"] == "20"
    assert len(await posm.manifest(room.db, made)) == 5  # it warns, it does not stop


async def test_another_link_template_is_a_change_of_every_card_psm_033(room: Cardroom) -> None:
    place = await room.restaurant(2)
    made = await room.made(await room.template(), place)
    await posm_templates.set_policy(room.db, link_template="https://new.example/{uuid}")
    assert await differences(room, made) == {"relinked": ["1", "2"]}
    await posm_templates.set_policy(room.db, link_template=LINK)
    assert await differences(room, made) == {}


async def test_of_chosen_tables_only_what_came_later_is_missing_psm_033(
    room: Cardroom, clock: Clock
) -> None:
    place = await room.restaurant(3)
    uuids = await room.uuids(place)
    made = await room.made(await room.template(), place, tables=[uuids["1"], uuids["2"]])
    assert await differences(room, made) == {}  # 3 was left out on purpose
    await clock.advance(5)
    await room.put(place, "1", "3", "4")
    assert await differences(room, made) == {"added": ["4"], "removed": ["2"]}


async def test_bare_uuids_have_nothing_to_differ_from_psm_033(room: Cardroom) -> None:
    await room.press(await room.template(), cards=[{"uuid": str(uuid4())}])
    claimed = await room.one()
    await room.make(claimed)
    assert await differences(room, claimed.job.id) == {}


async def test_a_deleted_restaurant_s_cards_stay_and_lack_all_tables_psm_033(
    room: Cardroom,
) -> None:
    place = await room.restaurant(1)
    made = await room.made(await room.template(), place)
    await restaurants.delete(room.db, place)
    assert len(await posm.manifest(room.db, made)) == 1
    assert (await posm.read(room.db, made)).restaurant_name == "Ёлки"


async def test_what_retention_has_taken_is_gone_for_every_download_psm_039(
    room: Cardroom, clock: Clock
) -> None:
    place, template = await room.restaurant(), await room.template()
    old = await room.made(template, place)
    await room.made(template, place)
    await clock.advance(91 * 86400)
    await room.db.execute("select makeready.posm_retention(100)")
    for call in (posm.manifest, posm.check, posm.retry):
        with pytest.raises(Gone) as raised:
            await call(room.db, old)
        assert raised.value.details["code"] == "generation_deleted"
