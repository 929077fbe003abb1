"""Templates and assets: who may use them, versions, and what pins them.

Proves PSM-001, PSM-002, PSM-003, PSM-004, PSM-005, PSM-006, PSM-007, PSM-008, PSM-015.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import posm, posm_making, posm_templates, restaurants
from makeready.errors import Conflict, Forbidden, NotFound, Rejected
from tests.support.database import Connect
from tests.support.generating import AUTHOR, Cardroom, an_object, refusals, unused

QR = {"fields": [{"id": "qr", "kind": "qr", "value": "{table.url}"}]}


async def names(room: Cardroom, restaurant: UUID | None = None) -> list[str]:
    found = await posm_templates.page(room.db, restaurant=restaurant)
    return [template.name for template in found]


async def test_a_template_is_entered_read_changed_and_deleted_psm_001(room: Cardroom) -> None:
    template = await room.template("Тент", description="A6", settings=QR)
    one = await posm_templates.read(room.db, template)
    assert (one.name, one.description, one.settings) == ("Тент", "A6", QR)
    assert (one.visibility, one.version, one.author) == ("global", 1, AUTHOR)
    assert (one.inspection, one.byte_count) == ({"pages": []}, len("Тент".encode()))
    assert await posm_templates.change(room.db, template, {"name": "Тент 2"}, known=1) == 2
    two = await posm_templates.read(room.db, template)
    assert (two.name, two.description, two.settings) == ("Тент 2", "A6", QR)
    assert two.file_id == one.file_id
    await posm_templates.delete(room.db, template, known=2)
    found = await refusals(
        NotFound,
        posm_templates.read(room.db, template),
        posm_templates.change(room.db, template, {}),
        posm_templates.delete(room.db, template),
    )
    assert found == ["template_not_found"] * 3
    assert await names(room) == []


async def test_a_version_that_has_passed_is_refused(room: Cardroom) -> None:
    template = await room.template()
    await posm_templates.change(room.db, template, {"name": "B"})
    pdf = an_object("posm/templates/b", b"b")
    found = await refusals(
        Conflict,
        posm_templates.change(room.db, template, {"name": "C"}, known=1),
        posm_templates.change(room.db, template, {}, known=1, stored=pdf, inspection={}),
        posm_templates.delete(room.db, template, known=1),
    )
    assert found == ["stale_version"] * 3
    assert await names(room) == ["B"]


@pytest.mark.parametrize(
    ("facts", "paths"),
    [
        ({"name": ""}, ["name"]),
        ({"name": None, "description": None, "settings": []}, ["description", "name", "settings"]),
        ({"visibility": "nobody"}, ["visibility"]),
        ({"visibility": "brand"}, ["brand"]),
        ({"brand": "Лес"}, ["brand"]),
        ({"visibility": "restaurant"}, ["restaurants"]),
        ({"restaurants": [str(uuid4())]}, ["restaurants"]),
        ({"visibility": "restaurant", "restaurants": ["x"]}, ["restaurants"]),
        ({"settings": {"x": "y" * 300_000}}, ["settings"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
async def test_what_a_template_cannot_be_is_all_named_psm_002(
    room: Cardroom, facts: dict[str, Any], paths: list[str]
) -> None:
    with pytest.raises(Rejected) as raised:
        await room.template(**{"name": "Тент", **facts})
    assert [each["path"] for each in raised.value.details["problems"]] == paths
    assert await names(room) == []


async def test_a_template_for_a_restaurant_that_there_is_not(room: Cardroom) -> None:
    with pytest.raises(NotFound) as raised:
        await room.template(visibility="restaurant", restaurants=[str(uuid4())])
    assert raised.value.details["code"] == "restaurant_not_found"


async def test_a_restaurant_is_offered_what_is_for_all_for_it_and_for_its_brand_psm_004(
    room: Cardroom,
) -> None:
    here, there = await room.restaurant(brand="Лес"), await room.restaurant(brand="Степь")
    nowhere = await room.restaurant()
    await room.template("all")
    await room.template("here", visibility="restaurant", restaurants=[str(here)])
    both = [str(here), str(there)]
    await room.template("both", visibility="restaurant", restaurants=both)  # PSM-003
    await room.template("wood", visibility="brand", brand="Лес")

    assert await names(room, here) == ["wood", "both", "here", "all"]
    assert await names(room, there) == ["both", "all"]
    assert await names(room, nowhere) == ["all"]
    assert len(await names(room)) == 4
    with pytest.raises(NotFound):
        await names(room, uuid4())


async def test_whom_a_template_is_for_may_change_psm_003(room: Cardroom) -> None:
    here, there = await room.restaurant(), await room.restaurant()
    template = await room.template(visibility="restaurant", restaurants=[str(here)])
    await posm_templates.change(room.db, template, {"restaurants": [str(there), str(there)]})
    assert (await posm_templates.read(room.db, template)).restaurants == [there]
    assert await names(room, here) == []
    with pytest.raises(Forbidden):
        await room.press(template, here)
    await posm_templates.change(room.db, template, {"visibility": "brand", "brand": "Лес"})
    one = await posm_templates.read(room.db, template)
    assert (one.visibility, one.brand, one.restaurants) == ("brand", "Лес", [])
    await posm_templates.change(room.db, template, {"visibility": "global"})
    assert (await posm_templates.read(room.db, template)).brand is None


async def test_a_restaurant_that_is_deleted_stands_in_nobody_s_way(room: Cardroom) -> None:
    here = await room.restaurant()
    template = await room.template(visibility="restaurant", restaurants=[str(here)])
    await restaurants.delete(room.db, here)
    assert (await posm_templates.read(room.db, template)).restaurants == []
    await posm_templates.change(room.db, template, {"name": "B"})


async def test_template_and_restaurant_have_one_live_link_psm_006(
    room: Cardroom, connect: Connect
) -> None:
    here = str(await room.restaurant())
    template = await room.template(visibility="restaurant", restaurants=[here])

    async def link_anew() -> None:
        other = await connect()
        await posm_templates.change(other, template, {"visibility": "global"})
        link = {"visibility": "restaurant", "restaurants": [here]}
        await posm_templates.change(other, template, link)

    await asyncio.gather(*(link_anew() for _ in range(4)))
    found = await room.db.fetchrow(
        "select count(*) as links, count(*) filter (where deleted_at is null) as live"
        " from makeready.posm_template_restaurants"
    )
    assert found
    assert found["live"] == 1
    assert found["links"] > 1  # those that were taken away stay
    with pytest.raises(asyncpg.UniqueViolationError):
        await room.db.execute(
            "insert into makeready.posm_template_restaurants"
            " (template_id, restaurant_id, created_at) values ($1, $2, now())",
            template,
            UUID(here),
        )


async def test_a_deleted_template_is_not_offered_and_its_cards_stay_psm_005(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template()
    done = await room.made(template, place)
    active = await room.press(template, place)
    await posm_templates.delete(room.db, template)
    with pytest.raises(NotFound) as raised:
        await room.press(template, place)
    assert raised.value.details["code"] == "template_not_found"
    assert len(await posm.manifest(room.db, done)) == 3
    assert await room.make(await room.one()) == "ok"  # what had been asked for is made
    assert len(await posm.manifest(room.db, active.id)) == 3
    assert await unused(room.db) == set()


async def test_another_pdf_is_another_object_and_generations_keep_theirs_psm_008(
    room: Cardroom,
) -> None:
    place, template = await room.restaurant(), await room.template("old")
    old = await posm_templates.read(room.db, template)
    pressed = await room.press(template, place)
    stored = an_object(f"posm/templates/{uuid4()}.pdf", b"new")
    await posm_templates.change(room.db, template, {}, stored=stored, inspection={"new": True})
    new = await posm_templates.read(room.db, template)
    assert (new.key, new.inspection, new.version) == (stored.key, {"new": True}, 2)
    assert await unused(room.db) == set()

    await room.make(await room.one())
    later = await room.press(template, place)
    for made, key in ((pressed.id, old.key), (later.id, new.key)):
        found = await posm_making.input_of(room.db, made)
        assert found
        assert found.template.key == key


async def test_a_pdf_that_nothing_was_made_of_goes_with_the_unused_files(room: Cardroom) -> None:
    template = await room.template()
    old = await posm_templates.read(room.db, template)
    stored = an_object("posm/templates/new.pdf", b"new")
    await posm_templates.change(room.db, template, {}, stored=stored, inspection={})
    assert await unused(room.db) == {old.key}
    await posm_templates.delete(room.db, template)
    assert await unused(room.db) == {old.key, stored.key}


async def test_a_pdf_may_be_as_large_as_the_policy_says_psm_007(room: Cardroom) -> None:
    await posm_templates.set_policy(room.db, max_template_bytes=1024)
    big = an_object("posm/templates/big.pdf", b"x" * 1025)
    template = await room.template()
    found = await refusals(
        Rejected,
        posm_templates.create(room.db, {"name": "B"}, big, {}),
        posm_templates.change(room.db, template, {}, stored=big, inspection={}),
    )
    assert found == ["payload_too_large"] * 2


async def test_the_same_request_makes_one_template(room: Cardroom) -> None:
    made = [
        await posm_templates.create(
            room.db,
            {"name": "Тент"},
            an_object(f"posm/templates/{uuid4()}.pdf", b"one"),
            {},
            author=AUTHOR,
            request_key="k",
        )
        for _ in range(2)
    ]
    assert [each.is_new for each in made] == [True, False]
    assert made[0].id == made[1].id
    with pytest.raises(Rejected) as raised:
        await posm_templates.create(
            room.db,
            {"name": "Тент"},
            an_object("posm/templates/two.pdf", b"two"),
            {},
            author=AUTHOR,
            request_key="k",
        )
    assert raised.value.details["code"] == "idempotency_mismatch"


async def asset(room: Cardroom, content: bytes, kind: str = "image") -> posm_templates.AssetMade:
    stored = an_object(f"posm/assets/{uuid4()}", content, "image/png")
    return await posm_templates.asset_add(room.db, kind, "logo.png", stored, author=AUTHOR)


async def test_equal_bytes_are_one_asset(room: Cardroom) -> None:
    first, again = await asset(room, b"a"), await asset(room, b"a")
    assert (first.is_new, again.is_new, again.id) == (True, False, first.id)
    font = await asset(room, b"f", "font")
    assert [each.id for each in await posm_templates.assets(room.db)] == [font.id, first.id]
    assert [each.id for each in await posm_templates.assets(room.db, kind="font")] == [font.id]
    one = await posm_templates.asset(room.db, first.id)
    found = await posm_templates.assets(room.db, hashes=[one.sha256])
    assert [each.id for each in found] == [first.id]
    with pytest.raises(Rejected):
        await asset(room, b"x", "sound")


async def test_an_asset_goes_when_neither_template_nor_generation_needs_it(
    room: Cardroom,
) -> None:
    logo = await posm_templates.asset(room.db, (await asset(room, b"logo")).id)
    settings = {"fields": [{"kind": "qr", "logo": {"asset": logo.reference}}]}
    place, template = await room.restaurant(), await room.template(settings=settings)
    with pytest.raises(Conflict) as raised:
        await posm_templates.asset_delete(room.db, logo.id)
    assert raised.value.details["reason"] == "in_use"
    assert raised.value.details["templates"][0]["template_id"] == str(template)

    made = await room.press(template, place)
    await posm_templates.change(room.db, template, {"settings": {}})
    await posm_templates.asset_delete(room.db, logo.id)
    with pytest.raises(NotFound):
        await posm_templates.asset(room.db, logo.id)
    assert await unused(room.db) == set()  # the generation has it
    found = await posm_making.input_of(room.db, made.id)
    assert found
    assert found.assets[logo.reference].key == logo.key
    await room.make(await room.one())

    with pytest.raises(Rejected) as missing:
        await room.press(template, place, settings=settings)
    (problem,) = missing.value.details["problems"]
    assert (problem["code"], problem["assets"]) == ("asset_unknown", [logo.reference])
    assert (await asset(room, b"logo")).is_new  # it may come again
    assert (await room.press(template, place, settings=settings)).version == 2


async def test_a_template_is_used_by_those_it_is_for_psm_015(room: Cardroom) -> None:
    here, there = await room.restaurant(), await room.restaurant(brand="Лес")
    private = await room.template(visibility="restaurant", restaurants=[str(here)])
    wood = await room.template(visibility="brand", brand="Лес")
    await room.press(private, here)
    await room.press(wood, there)
    bare = [{"uuid": str(uuid4())}]
    for template, place, cards in (
        (private, there, None),
        (wood, here, None),
        (private, None, bare),
        (wood, None, bare),
    ):
        with pytest.raises(Forbidden) as raised:
            await room.press(template, place, cards=cards)
        assert raised.value.details["reason"] == "template_not_visible"
