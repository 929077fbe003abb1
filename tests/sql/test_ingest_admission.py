"""Who is let in, who is told at once that it would be in vain, and who is no newcomer at all."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import ingest
from makeready.errors import Busy, Closed, MakereadyError, Rejected, WrongIsolation
from makeready.photo_kinds import KINDS
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.photographing import SLOT, Darkroom, told, upload

LIMIT = 12
CLIENTS = 40
ROUNDS = 20


@pytest.fixture
async def dark(db: asyncpg.Connection) -> Darkroom:
    return Darkroom(db)


async def refusal(
    kind: type[MakereadyError], dark: Darkroom, slot: str = SLOT
) -> dict[str, object]:
    """What admission says."""
    with pytest.raises(kind) as raised:
        await dark.admit(slot)
    return raised.value.details


async def test_forty_at_once_twenty_times_and_never_more_than_twelve(
    dark: Darkroom, connect: Connect
) -> None:
    """ING-019, ING-021: the cap is exact, the others hear how many there are.

    ING-076: the load is counted here, whoever asks and whatever is answered then.
    """
    waiter = await dark.waiter()
    sessions = [Darkroom(await connect()) for _ in range(CLIENTS)]
    for _ in range(ROUNDS):
        answers = await asyncio.gather(
            *(each.admit(waiter=waiter) for each in sessions), return_exceptions=True
        )
        admitted = [answer for answer in answers if isinstance(answer, ingest.Admitted)]
        refused = [answer.details for answer in answers if isinstance(answer, Busy)]
        assert (len(admitted), len(refused)) == (LIMIT, CLIENTS - LIMIT)
        for details in refused:
            assert (details["reason"], details["in_flight"]) == ("limit", LIMIT)
            assert (details["limit"], details["scope"]) == (LIMIT, "all")
            assert 1 <= details["retry_after_s"] <= 60
        await dark.db.execute("delete from makeready.photos; delete from makeready.jobs")


async def test_a_frozen_snapshot_lets_nobody_in(dark: Darkroom) -> None:
    """ING-021: under REPEATABLE READ the count behind the gate would be stale."""
    await dark.waiter()
    for isolation in ("repeatable_read", "serializable"):
        async with dark.db.transaction(isolation=isolation):
            with pytest.raises(WrongIsolation):
                await ingest.admit(
                    dark.db, uuid4(), SLOT, upload(), facts={}, waiter=await dark.waiter()
                )


async def test_a_place_is_free_as_soon_as_a_photo_ends(dark: Darkroom, clock: Clock) -> None:
    """ING-019: active is what has not ended and is not past its deadline, swept or not."""
    jobs = [(await dark.admit()).job_id for _ in range(LIMIT)]
    await refusal(Busy, dark)
    await dark.end(jobs[0], "cancelled")
    await dark.admit()
    await refusal(Busy, dark)
    (claimed,) = await dark.claim(1)
    await dark.finish(claimed)
    await dark.admit()
    await refusal(Busy, dark)
    await clock.advance(49)
    assert (await dark.state(jobs[-1])) == ("queued", None)
    await dark.admit()


async def test_a_slot_may_have_a_limit_of_its_own(dark: Darkroom) -> None:
    """ING-022: and it says whose limit it is."""
    await dark.slot(max_open=1)
    await dark.admit()
    details = await refusal(Busy, dark)
    assert (details["scope"], details["in_flight"], details["limit"]) == ("slot", 1, 1)
    assert details["reason"] == "limit"
    await dark.admit("slot-002")


async def test_a_provider_has_so_many_photos_at_a_time(dark: Darkroom) -> None:
    """ING-022: Gemini 4, Turbotext 2; a full one holds up nobody else's photo."""
    seats = await dark.db.fetch("select lane, max_in_flight from makeready.lanes where lane <> ''")
    found = {row[0]: row[1] for row in seats if row[0] in ("gemini", "turbotext", "local")}
    assert found == {"gemini": 4, "turbotext": 2, "local": None}
    await dark.slot(provider_id="turbotext", operation_id="mix_images")
    for _ in range(3):
        await dark.admit()
    other = await dark.admit("slot-002")
    claimed = await dark.claim(12)
    assert sorted(one.job.lane for one in claimed) == ["local", "turbotext", "turbotext"]
    assert other.job_id in {one.job.id for one in claimed}
    await dark.finish(next(one for one in claimed if one.job.lane == "turbotext"))
    assert [one.job.lane for one in await dark.claim(12)] == ["turbotext"]


async def test_the_door_says_what_holds_before_a_body_is_read(dark: Darkroom) -> None:
    """ING-008: a provider that fetches takes what everybody shows."""
    door = await ingest.door(dark.db, SLOT, "::1")
    assert (door.max_bytes, door.max_pixels) == (2147483648, 100_000_000)
    assert (door.password_hash, door.password_version) == (None, 0)
    assert set(door.media_types) == {
        f"image/{name}" for name in ("jpeg", "png", "webp", "heic", "heif")
    }
    await dark.slot(provider_id="turbotext", max_bytes=15_000_000)
    door = await ingest.door(dark.db, SLOT, "::1")
    assert door.media_types == ("image/jpeg", "image/png", "image/webp")
    assert door.max_bytes == 15_000_000


@pytest.mark.parametrize("options", [{}, {"requires_public_media": True}])
async def test_the_door_and_the_kinds_of_providers_agree_on_types(
    dark: Darkroom, options: dict[str, Any]
) -> None:
    """ING-008: what a slot takes is said by `photo_kinds`, and decided in SQL."""
    given = json.dumps(options)
    await dark.db.execute("update makeready.providers set options = $1::text::jsonb", given)
    kinds = await dark.db.fetch("select id, kind from makeready.providers")
    assert {row["kind"] for row in kinds} == set(KINDS)
    for row in kinds:
        await dark.slot(provider_id=row["id"])
        door = await ingest.door(dark.db, SLOT, "::1")
        assert door.media_types == KINDS[row["kind"]].slot_media_types(options), row["kind"]


async def test_a_full_queue_is_known_at_the_door(dark: Darkroom) -> None:
    """But not to a request that may be one that is there already: its bytes tell."""
    for _ in range(LIMIT):
        await dark.admit()
    with pytest.raises(Busy):
        await ingest.door(dark.db, SLOT, "::1")
    await ingest.door(dark.db, SLOT, "::1", may_repeat=True)
    await dark.slot(joins_resent=True)
    await ingest.door(dark.db, SLOT, "::1")


@pytest.mark.parametrize("how", ["queue_close", "queue_pause"])
async def test_a_queue_that_takes_nothing_says_so_at_once(dark: Darkroom, how: str) -> None:
    """Else the booth would wait the whole window for nothing."""
    await dark.db.execute(f"select makeready.{how}('ingest')")
    details = await refusal(Closed, dark)
    assert details["code"] == "queue_unavailable"
    with pytest.raises(Closed):
        await ingest.door(dark.db, SLOT, "::1")


async def test_a_disabled_provider_takes_no_photo(dark: Darkroom) -> None:
    await dark.db.execute("update makeready.providers set is_enabled = false where id = 'local'")
    assert (await refusal(Closed, dark))["reason"] == "provider_disabled"


async def test_wrong_passwords_lock_one_client_out_of_one_slot(
    dark: Darkroom, clock: Clock
) -> None:
    for _ in range(10):
        await ingest.door(dark.db, SLOT, "::1")
        await ingest.password_tried(dark.db, SLOT, "::1")
    for call in (ingest.door, ingest.password_tried):
        with pytest.raises(Busy) as refused:
            await call(dark.db, SLOT, "::1")
        assert refused.value.details["code"] == "rate_limited"
        assert 0 < refused.value.details["retry_after_s"] <= 300
    await ingest.door(dark.db, SLOT, "::2")
    await ingest.door(dark.db, "slot-002", "::1")
    await clock.advance(301)
    await ingest.door(dark.db, SLOT, "::1")


async def test_a_right_password_forgets_the_wrong_ones(dark: Darkroom) -> None:
    for _ in range(3):
        for _ in range(9):
            await ingest.password_tried(dark.db, SLOT, "::1")
        await ingest.password_right(dark.db, SLOT, "::1")
    await ingest.door(dark.db, SLOT, "::1")


async def test_the_settings_of_the_slot_are_frozen_with_the_photo(dark: Darkroom) -> None:
    """ING-029: later edits touch only new photos."""
    fallback = [{"provider_id": "openai", "operation_id": "edit", "settings": {"prompt": "b"}}]
    await dark.slot(
        provider_id="gemini",
        operation_id="edit",
        settings_json='{"prompt": "a"}',
        fallbacks=str(fallback).replace("'", '"'),
    )
    await dark.admit()
    await dark.slot(provider_id="local", operation_id="echo", settings_json="{}", fallbacks="[]")
    first = await dark.one()
    begun = told(first)
    assert [(step.provider, step.operation, step.settings) for step in begun.chain] == [
        ("gemini", "edit", {"prompt": "a"}),
        ("openai", "edit", {"prompt": "b"}),
    ]
    await dark.admit()
    (step,) = told(await dark.one()).chain
    assert (step.provider, step.operation) == ("local", "echo")


async def test_a_test_run_may_ask_for_something_else(dark: Darkroom) -> None:
    await dark.slot(settings_json='{"frame": "a", "size": 1}')
    admitted = await dark.admit(source="ui_test", overrides={"settings_json": {"size": 2}})
    assert (await dark.photo(admitted.job_id))["source"] == "ui_test"
    (step,) = told(await dark.one()).chain
    assert step.settings == {"frame": "a", "size": 2}
    await dark.admit(overrides={"provider_id": "gemini", "operation_id": "edit"})
    (step,) = told(await dark.one()).chain
    assert (step.provider, step.operation, step.settings) == ("gemini", "edit", {})
    with pytest.raises(Rejected):
        await dark.admit(overrides={"provider_id": "nobody"})


async def test_a_key_tells_a_repeated_request(dark: Darkroom) -> None:
    """A duplicate is never refused, not even by a full queue; another image under a key is."""
    first = await dark.admit(content=b"a", key="k")
    for _ in range(LIMIT - 1):
        await dark.admit()
    again = await dark.admit(content=b"a", key="k")
    assert (again.job_id, again.verdict) == (first.job_id, "joined")
    assert again.expires_at == first.expires_at
    with pytest.raises(Rejected) as refused:
        await dark.admit(content=b"b", key="k")
    assert refused.value.details["code"] == "idempotency_mismatch"
    with pytest.raises(Busy):
        await dark.admit("slot-002", content=b"a", key="k")
    (claimed,) = await dark.claim(1)
    await dark.finish(claimed)
    late = await dark.admit(content=b"a", key="k")
    assert (late.job_id, late.verdict) == (first.job_id, "replayed")


async def test_a_key_of_a_photo_that_was_cut_off_is_free_again(dark: Darkroom) -> None:
    first = await dark.admit(content=b"a", key="k")
    await dark.end(first.job_id, "timeout")
    again = await dark.admit(content=b"a", key="k")
    assert again.verdict == "created"
    assert again.job_id != first.job_id


async def test_a_key_that_was_refused_for_the_limit_is_not_taken(dark: Darkroom) -> None:
    jobs = [(await dark.admit()).job_id for _ in range(LIMIT)]
    with pytest.raises(Busy):
        await dark.admit(content=b"a", key="k")
    await dark.end(jobs[0], "cancelled")
    assert (await dark.admit(content=b"b", key="k")).verdict == "created"


async def resent(dark: Darkroom, slot: str = SLOT) -> tuple[UUID, str]:
    """The same image once more."""
    admitted = await dark.admit(slot, content=b"same")
    return admitted.job_id, admitted.verdict


async def test_a_resent_image_is_a_new_photo_unless_the_slot_says_so(dark: Darkroom) -> None:
    """ING-083: off by default, a switch per slot."""
    first, _ = await resent(dark)
    assert (await resent(dark))[0] != first
    await dark.slot("slot-002", joins_resent=True)
    second, verdict = await resent(dark, "slot-002")
    assert verdict == "created"
    assert await resent(dark, "slot-002") == (second, "joined")
    assert len((await dark.photo(second))["waiters"]) == 2


async def test_a_key_of_a_resent_image_is_that_photo_s_from_then_on(dark: Darkroom) -> None:
    """ING-083: joined by its bytes first, by its key ever after."""
    await dark.slot(joins_resent=True)
    first, _ = await resent(dark)
    for verdict in ("joined", "joined", "replayed"):
        again = await dark.admit(content=b"same", key="k")
        assert (again.job_id, again.verdict) == (first, verdict)
        if len((await dark.photo(first))["waiters"]) == 3:
            await dark.finish(await dark.one())


async def test_a_resent_image_is_answered_again_for_a_while(dark: Darkroom, clock: Clock) -> None:
    """ING-083: from its result, unless it failed or the slot does something else by now."""
    await dark.slot(joins_resent=True)
    job = await dark.done(content=b"same")
    assert await resent(dark) == (job, "replayed")
    await dark.slot(settings_json='{"size": 2}')
    other, verdict = await resent(dark)
    assert verdict == "created"
    await dark.end(other, "timeout")
    failed, verdict = await resent(dark)
    assert verdict == "created"
    (claimed,) = await dark.claim(1)
    assert claimed.job.id == failed
    await dark.finish(claimed)
    assert await resent(dark) == (failed, "replayed")
    await clock.advance(601)
    await dark.waiter()
    assert (await resent(dark))[1] == "created"


async def test_the_same_call_again_finds_its_photo(dark: Darkroom) -> None:
    """Its first answer was lost: it is neither refused nor taken for another."""
    job = uuid4()
    first = await dark.admit(content=b"a", job=job)
    for _ in range(LIMIT - 1):
        await dark.admit()
    again = await dark.admit(content=b"a", job=job)
    assert (again.job_id, again.verdict, again.expires_at) == (job, "created", first.expires_at)
    assert len((await dark.photo(job))["waiters"]) == 1
    assert await dark.log(job) == ["received"]


async def test_refusals_are_counted_by_slot_and_minute(dark: Darkroom) -> None:
    minute = datetime(2026, 11, 22, 18, tzinfo=UTC)
    for slot, reason, count in (
        (SLOT, "limit", 1),
        (SLOT, "limit", 1),
        (SLOT, "deadline", 1),
        ("slot-099", "limit", 1),
    ):
        what = ingest.Refused(slot=slot, reason=reason, minute=minute)
        await ingest.refused(dark.db, {what: count})
    rows = await dark.db.fetch(
        "select slot_id, reason, sum(refused) from makeready.ingest_refusals group by 1, 2"
    )
    assert {tuple(row) for row in rows} == {(SLOT, "limit", 2), (SLOT, "deadline", 1)}


async def test_photos_of_a_folder_go_to_those_who_reach_it(dark: Darkroom) -> None:
    """Photos in a bucket to anybody."""
    here = await dark.process(host="folder:one")
    there = await dark.process(host="folder:two")
    await dark.admit(store="folder:one")
    await dark.admit(store="bucket:photos")
    assert [one.job.host for one in await dark.claim(12, there)] == [""]
    assert [one.job.host for one in await dark.claim(12, here)] == ["folder:one"]
