"""Retention: what goes, what stays for ever, and in which steps.

Proves PSM-008, PSM-014, PSM-037, PSM-038, PSM-039, PSM-040.
"""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from makeready import posm, posm_making, posm_templates
from makeready.errors import Conflict, Gone
from tests.support.clock import Clock
from tests.support.generating import STAMPER, Cardroom, unused

DAY = 86400


async def marked(room: Cardroom, most: int = 1000) -> int:
    count: int = await room.db.fetchval("select makeready.posm_retention($1)", most)
    return count


async def vanished(room: Cardroom) -> int:
    count: int = await room.db.fetchval("select makeready.posm_vanish(1000)")
    return count


async def purged(room: Cardroom) -> set[str]:
    """The purge of unused files, whole: keys that were deleted."""
    rows = await room.db.fetch("select * from makeready.files_purge_mark(10000, interval '0')")
    await room.db.execute("select makeready.files_purged($1)", [row["file"] for row in rows])
    return {row["object_name"] for row in rows}


async def kept(room: Cardroom) -> list[int]:
    """Versions that can be downloaded or made again."""
    found = await posm.page(room.db, limit=1000)
    return sorted(each.version for each in found if each.deleted_at is None)


async def failed(room: Cardroom, template: UUID, place: UUID) -> UUID:
    made = await room.press(template, place)
    await room.fail(await room.one())
    return made.id


async def test_the_newest_n_of_a_pair_are_kept_psm_037(room: Cardroom) -> None:
    await posm_templates.set_policy(room.db, keep_generations=3)
    place, template = await room.restaurant(1), await room.template()
    other = await room.template("B")
    for _ in range(5):
        await room.made(template, place)
    await room.made(other, place)
    assert await marked(room) == 4  # two generations, a card each
    assert await marked(room) == 0
    assert await kept(room) == [1, 3, 4, 5]  # 1 is the other pair's


async def test_failed_ones_count_psm_037(room: Cardroom) -> None:
    await posm_templates.set_policy(room.db, keep_generations=2)
    place, template = await room.restaurant(1), await room.template()
    await room.made(template, place)
    await room.made(template, place)
    await failed(room, template, place)
    await failed(room, template, place)
    await marked(room)
    assert await kept(room) == [2, 3, 4]  # 2 by PSM-038 alone
    await room.press(template, place)  # an active one counts too, and is never touched
    await marked(room)
    assert await kept(room) == [2, 4, 5]


async def test_none_is_kept_longer_than_k_days_psm_037(room: Cardroom, clock: Clock) -> None:
    await posm_templates.set_policy(room.db, keep_days=30)
    place, template = await room.restaurant(1), await room.template()
    await room.made(template, place)
    await failed(room, template, place)
    await clock.advance(20 * DAY)
    await room.made(template, place)
    await marked(room)
    assert await kept(room) == [1, 2, 3]
    await clock.advance(11 * DAY)
    await marked(room)
    assert await kept(room) == [3]


async def test_the_last_good_one_stays_for_ever_psm_038(room: Cardroom, clock: Clock) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1, keep_days=1)
    place, template = await room.restaurant(1), await room.template()
    await room.made(template, place)
    good = await room.made(template, place)
    for _ in range(3):
        await failed(room, template, place)
    await clock.advance(4000 * DAY)
    await marked(room)
    assert await kept(room) == [2]
    assert len(await posm.manifest(room.db, good)) == 1
    assert await marked(room) == 0


async def test_active_ones_are_never_touched_psm_039(room: Cardroom, clock: Clock) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1, keep_days=1, max_active=1)
    place = await room.restaurant(1)
    first, second = await room.template("A"), await room.template("B")
    running = await room.press(first, place)
    claimed = await room.one()
    waiting = await room.press(second, place)
    await clock.advance(100 * DAY)
    assert await marked(room) == 0
    assert await room.status(waiting.id) == "created"
    await posm_making.begin(room.db, claimed.lease, STAMPER)
    await room.keep(claimed)
    assert await posm_making.finish(room.db, claimed.lease, {}) == "ok"
    assert await marked(room) == 0
    assert len(await posm.manifest(room.db, running.id)) == 1


async def test_objects_go_first_then_it_is_deleted_and_its_row_stays_psm_039(
    room: Cardroom,
) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1)
    place, template = await room.restaurant(), await room.template()
    old = await room.made(template, place)
    keys = {card.key for card in await posm.manifest(room.db, old)}
    new = await room.made(template, place)
    await marked(room)

    one = await posm.read(room.db, old)
    assert (one.status, one.deleted_at is not None) == ("done", True)
    with pytest.raises(Gone):
        await posm.manifest(room.db, old)
    assert await vanished(room) == 0  # its objects are still there
    assert await purged(room) == keys
    assert await vanished(room) == 1
    assert await vanished(room) == 0
    one = await posm.read(room.db, old)
    assert (one.status, one.version, one.tables_total) == ("deleted", 1, 3)
    assert one.finished_at
    assert [card.label for card in await posm.cards(room.db, old)] == ["1", "2", "3"]
    assert len(await posm.manifest(room.db, new)) == 3
    assert (await room.press(template, place)).version == 3  # PSM-014: never given again


async def test_a_deletion_goes_on_where_it_was_cut_short_psm_040(room: Cardroom) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1)
    place, template = await room.restaurant(), await room.template()
    old = await room.made(template, place)
    await room.made(template, place)
    await marked(room)
    # The purge marks one file, deletes its object, and dies before it says so.
    (first,) = await room.db.fetch("select * from makeready.files_purge_mark(1, interval '0')")
    assert await vanished(room) == 0
    assert len(await purged(room)) == 2
    assert await vanished(room) == 0
    await room.db.execute("select makeready.files_purged($1)", [first["file"]])
    assert await vanished(room) == 1
    assert await room.status(old) == "deleted"


async def test_never_another_one_s_files_psm_040(room: Cardroom) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1)
    place, template = await room.restaurant(), await room.template()
    olds = [await room.made(template, place) for _ in range(3)]
    new = await room.made(template, place)
    assert await marked(room, 1) == 4  # a step is one generation at least
    keys = await unused(room.db)
    assert keys
    assert all(key.startswith(f"posm/{olds[0]}/") for key in keys)
    await marked(room)
    await purged(room)
    await vanished(room)
    assert [await room.status(each) for each in olds] == ["deleted"] * 3
    stored = await room.db.fetch("select object_key from makeready.files")
    assert {str(row[0]).split("/")[1] for row in stored} == {str(new), "templates"}


async def test_what_a_generation_alone_held_goes_with_it_psm_008(room: Cardroom) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1)
    place, template = await room.restaurant(1), await room.template()
    await failed(room, template, place)
    pinned = (await posm_templates.read(room.db, template)).key
    await posm_templates.delete(room.db, template)
    assert await unused(room.db) == set()
    await room.db.execute("delete from makeready.posm_generations")
    assert await unused(room.db) == {pinned}


async def test_rows_that_are_deleted_let_their_files_go(room: Cardroom) -> None:
    place = await room.restaurant(2)
    await room.made(await room.template(), place)
    logo = f"posm/assets/{uuid4()}"
    await room.db.execute(
        "select makeready.posm_asset_add('image', 'logo', $1::text::jsonb)",
        f'{{"bucket": "b", "key": "{logo}", "media_type": "image/png", "size_bytes": 1,'
        f' "sha256": "{"00" * 32}", "etag": "e"}}',
    )
    await room.db.execute("delete from makeready.posm_assets")
    assert await unused(room.db) == {logo}
    await room.db.execute("delete from makeready.posm_generations")
    assert len(await unused(room.db)) == 3  # the logo, two cards; the template is its own
    await room.db.execute("delete from makeready.posm_templates")
    assert len(await unused(room.db)) == 4


async def test_one_that_is_made_again_is_not_taken_and_one_that_was_taken_not_made_again(
    room: Cardroom, clock: Clock
) -> None:
    place, template = await room.restaurant(1), await room.template()
    first = await failed(room, template, place)
    await clock.advance(100 * DAY)
    await room.db.execute("select makeready.promote(10)")
    await posm.retry(room.db, first)
    assert await marked(room) == 0
    await room.fail(await room.one())
    assert await marked(room) == 0  # its end is new
    await clock.advance(100 * DAY)
    assert await marked(room) == 2
    with pytest.raises(Gone):
        await posm.retry(room.db, first)
    await room.db.execute("select makeready.retry('posm', $1)", first)
    job = await room.db.fetchrow("select state, error ->> 'code' from makeready.posm_jobs")
    assert job
    assert tuple(job) == ("cancelled", "superseded")
    assert (await posm.read(room.db, first)).status == "error"
    with pytest.raises(Conflict):
        await posm.cancel(room.db, first)


async def test_it_comes_round_each_hour(room: Cardroom, clock: Clock) -> None:
    await posm_templates.set_policy(room.db, keep_generations=1)
    place, template = await room.restaurant(1), await room.template()
    for _ in range(2):
        await room.made(template, place)
    await clock.advance(3601)
    due = {row[0] for row in await room.db.fetch("select makeready.tick()")}
    assert {"posm_retention", "posm_vanish"} <= due
    assert await room.db.fetchval("select makeready.chore_run('posm_retention')") == 2
    assert await kept(room) == [2]
