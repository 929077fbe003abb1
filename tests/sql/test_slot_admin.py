"""Slots, providers and template media in SQL: what a change touches, and what races leave."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import photo_policy, photo_providers, slots
from makeready.errors import Conflict, NotFound, Rejected
from tests.sql.interleave import step
from tests.support.clock import Clock
from tests.support.core import Core
from tests.support.database import Connect
from tests.support.generating import refusals
from tests.support.photographing import SLOT, STORE, Darkroom, a_file, told

WEBHOOK = {"kind": "webhook", "name": "Ours"}
STEP = {"provider_id": "ours", "operation_id": "call", "settings": {}}


@pytest.fixture
def room(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


def wrong(error: Rejected) -> list[str]:
    """The paths that a refusal names."""
    return [each["path"] for each in error.details["problems"]]


async def put_media(
    db: asyncpg.Connection, content: bytes = b"frame", *, replaces: bool = False
) -> UUID:
    stored = a_file(f"templates/{uuid4()}.png", content)
    return await slots.media_put(db, SLOT, "frame", stored, replaces=replaces)


async def due(db: asyncpg.Connection) -> list[str]:
    """Files that the cleaner would delete now."""
    rows = await db.fetch("select * from makeready.media_due('payloads', $1, 100)", STORE)
    return [path for row in rows for path in row["file_paths"]]


async def test_ing_066_photos_that_are_there_keep_their_deadline(room: Darkroom) -> None:
    """ING-025."""
    before = await room.admit()
    await photo_policy.put(room.db, {"sync_response_s": 60})
    after = await room.admit()

    kept, new = await room.photo(before.job_id), await room.photo(after.job_id)
    assert (kept["expires_at"] - kept["created_at"]).total_seconds() == 48
    assert (new["expires_at"] - new["created_at"]).total_seconds() == 60
    deadline = "select deadline_at from makeready.jobs where id = $1"
    assert await room.db.fetchval(deadline, before.job_id) == kept["expires_at"]


async def test_ing_029_a_slot_is_changed_for_photos_from_now_on(room: Darkroom) -> None:
    await room.admit()
    await slots.put(room.db, SLOT, {"operation_id": "filter", "settings_json": {"steps": []}})
    begun = told(await room.one())
    assert [step.operation for step in begun.chain] == ["echo"]


async def test_ing_069_a_photo_keeps_the_images_its_slot_had(room: Darkroom, clock: Clock) -> None:
    # ING-069
    await put_media(room.db, b"old")
    (old,) = await slots.media_listed(room.db, SLOT)
    await room.admit()
    await put_media(room.db, b"new", replaces=True)
    (new,) = await slots.media_listed(room.db)
    assert new.id == old.id
    assert new.stored.path != old.stored.path

    begun = told(await room.one())
    assert begun.templates["frame"] == old.stored
    assert old.stored.path not in await due(room.db)
    await clock.advance(48)  # the photo may be there until now
    assert old.stored.path not in await due(room.db)
    await clock.advance(11)
    assert old.stored.path in await due(room.db)
    assert new.stored.path not in await due(room.db)


async def test_ing_069_a_deleted_image_goes_the_same_way(room: Darkroom, clock: Clock) -> None:
    # ING-069
    await put_media(room.db)
    (found,) = await slots.media_listed(room.db, SLOT)
    async with room.db.transaction():
        await slots.media_delete(room.db, found, await photo_providers.everyone(room.db))
    assert await slots.media_listed(room.db) == []
    with pytest.raises(NotFound):
        await slots.media_read(room.db, found.id)
    await clock.advance(60)
    assert await due(room.db) == [found.stored.path]


async def test_ing_068_versions_and_times_never_repeat(room: Darkroom, clock: Clock) -> None:
    """Also when the clock is put back."""
    found = []
    for n in range(4):
        found.append(await slots.put(room.db, SLOT, {"name": f"N{n}"}))
        await clock.advance(-10)
    assert [version for version, _ in found] == [2, 3, 4, 5]
    times = [at for _, at in found]
    assert times == sorted(set(times))


async def test_a_slot_that_has_changed_is_not_opened(db: asyncpg.Connection) -> None:
    first = await slots.read(db, SLOT)
    await slots.put(db, SLOT, {"name": "Left"})
    now = await slots.read(db, SLOT)
    codes = await refusals(
        Conflict,
        slots.opened(db, SLOT, known=1),
        slots.opened(db, SLOT, known_time=first.updated_at),
    )
    assert codes == ["stale_version"] * 2
    assert (await slots.opened(db, SLOT, known=2, known_time=now.updated_at)).name == "Left"
    codes = await refusals(
        NotFound, slots.opened(db, "slot-016"), slots.read(db, "slot-016"), slots.put(db, "x", {})
    )
    assert codes == ["slot_not_found"] * 3


async def test_psql_is_told_what_a_slot_cannot_be(db: asyncpg.Connection) -> None:
    odd: dict[str, Any] = {
        "name": " ",
        "provider_id": "nobody",
        "operation_id": "",
        "settings_json": [],
        "fallbacks": [{"provider_id": "nobody", "operation_id": "x", "settings": {}}],
        "is_enabled": "yes",
        "max_bytes": 1,
        "max_pixels": None,
        "max_open": 0,
        "joins_resent": None,
        "hue": 1,
    }
    with pytest.raises(Rejected) as refused:
        await slots.put(db, SLOT, odd)
    expected = {*odd, "fallbacks[0].provider_id"} - {"fallbacks"}
    assert set(wrong(refused.value)) == expected
    lists: list[Any] = [{}, [5], [{}] * 6, [{**STEP, "settings": None}]]
    for odd_list in lists:
        with pytest.raises(Rejected) as refused:
            await slots.put(db, SLOT, {"fallbacks": odd_list})
        assert "fallbacks" in wrong(refused.value)
    assert (await slots.read(db, SLOT)).version == 1


async def test_psql_is_told_what_a_provider_cannot_be(db: asyncpg.Connection) -> None:
    odd: dict[str, Any] = {"name": "", "options": [], "max_parallel": 1001, "is_enabled": 1}
    with pytest.raises(Rejected) as refused:
        await photo_providers.put(db, "gemini", odd | {"hue": 1})
    assert set(wrong(refused.value)) == {*odd, "hue"}
    for name in ("Ours", "1st", "x" * 41, ""):
        with pytest.raises(Rejected) as refused:
            await photo_providers.put(db, name, WEBHOOK)
        assert wrong(refused.value) == ["id"]
    with pytest.raises(Rejected) as refused:
        await photo_providers.put(db, "ours", {"kind": "fax"})
    assert wrong(refused.value) == ["kind"]
    codes = await refusals(
        NotFound,
        photo_providers.put(db, "ours", {"name": "x"}),
        photo_providers.read(db, "ours"),
        photo_providers.delete(db, "ours"),
        photo_providers.keys_drop(db, "ours"),
    )
    assert codes == ["provider_not_found"] * 4


async def test_a_provider_has_a_lane_of_its_size(db: asyncpg.Connection) -> None:
    lane = "select max_in_flight from makeready.lanes where queue = 'ingest' and lane = $1"
    assert await photo_providers.put(db, "ours", WEBHOOK | {"max_parallel": 3})
    assert await db.fetchval(lane, "ours") == 3
    assert not await photo_providers.put(db, "ours", {"max_parallel": None})
    assert await db.fetchval(lane, "ours") is None
    await photo_providers.delete(db, "ours")
    assert "ours" not in await photo_providers.everyone(db)
    assert await photo_providers.put(db, "ours", WEBHOOK)  # and may come back


@pytest.mark.parametrize("use", [{"provider_id": "ours"}, {"fallbacks": [STEP]}])
async def test_a_provider_that_a_slot_begins_to_ask_is_not_deleted(
    connect: Connect, use: dict[str, Any]
) -> None:
    """Whoever comes first: the slot is never left with a provider that is not there."""
    one, two, three = [await connect() for _ in range(3)]
    await photo_providers.put(one, "ours", WEBHOOK)
    async with one.transaction():
        await slots.put(one, SLOT, use)
        deleting = await step(three, Core(two), photo_providers.delete(two, "ours"))
    with pytest.raises(Conflict):
        await deleting

    await slots.put(one, SLOT, {"provider_id": "local", "fallbacks": []})
    async with one.transaction():
        await photo_providers.delete(one, "ours")
        using = await step(three, Core(two), slots.put(two, SLOT, use))
    with pytest.raises(Rejected):
        await using


async def test_ing_068_of_two_who_save_at_once_the_second_sees_the_first(
    connect: Connect,
) -> None:
    one, two, three = [await connect() for _ in range(3)]
    async with one.transaction():
        await slots.opened(one, SLOT, known=1)
        second = await step(three, Core(two), slots.opened(two, SLOT, known=1))
        assert second.waits
        await slots.put(one, SLOT, {"name": "First"})
    with pytest.raises(Conflict):
        await second


async def test_ing_069_a_setting_has_one_image(db: asyncpg.Connection) -> None:
    # ING-069
    first = await put_media(db)
    with pytest.raises(Conflict) as refused:
        await put_media(db)
    assert refused.value.details["id"] == str(first)
    assert await put_media(db, replaces=True) == first


async def test_a_key_that_was_changed_meanwhile_is_not_overwritten(
    db: asyncpg.Connection,
) -> None:
    key = uuid4()
    sealed = "select makeready.provider_key_put('fal', $1, $2, $3)"
    await db.execute(sealed, key, bytes(12), b"a" * 40)
    again = "select makeready.provider_key_reseal($1, $2, $3, $4)"
    assert await db.fetchval(again, key, 1, bytes(12), b"b" * 40) is True
    assert await db.fetchval(again, key, 1, bytes(12), b"c" * 40) is False
    (row,) = await db.fetch("select * from makeready.provider_keys_sealed()")
    assert (row["seal_text"], row["row_version"]) == (b"b" * 40, 2)


async def test_twenty_keys_are_enough(db: asyncpg.Connection) -> None:
    call = "select makeready.provider_key_put('fal', $1, $2, $3)"
    for _ in range(20):
        await db.execute(call, uuid4(), bytes(12), bytes(40))
    with pytest.raises(Rejected):
        await db.execute(call, uuid4(), bytes(12), bytes(40))
    (fal,) = await db.fetch("select * from makeready.provider_list('fal')")
    assert len(json.loads(fal["key_facts"])) == 20
    assert "sealed" not in fal["key_facts"]
    assert await photo_providers.keys_drop(db, "fal") == 20


async def test_operators_do_in_psql_what_staff_does_and_enter_no_key(connect: Connect) -> None:
    ops = await connect("makeready_ops")
    await slots.put(ops, SLOT, {"name": "Hall"})
    await photo_providers.put(ops, "ours", WEBHOOK)
    await photo_providers.delete(ops, "ours")
    await photo_policy.put(ops, {"refuses_late": False})
    assert len(await slots.listed(ops)) == 15
    assert (await slots.read(ops, SLOT)).updated_by.startswith("database:")  # type: ignore[union-attr]
    for call in (
        "select makeready.provider_key_put('fal', gen_random_uuid(), ''::bytea, ''::bytea)",
        "select makeready.ingest_settle('sync_response_s')",
        "update makeready.slots set name = 'x'",
        "update makeready.ingest_policy set sync_response_s = 1",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ops.execute(call)
