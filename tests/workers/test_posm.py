"""The handler of the queue `posm`: a card for every table, and where a later attempt goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pymupdf
import pytest

from makeready import posm, posm_making, stamping, storage
from makeready.config import Settings
from makeready.errors import LeaseLost
from makeready.stamping import OpenPress
from makeready.storage_errors import StorageRefused
from makeready_workers import posm_cards
from makeready_workers.handler import Context
from makeready_workers.posm import open_handler
from makeready_workers.storing import Store
from tests.support.card_templates import heavy, settings_for
from tests.support.core import Core
from tests.support.generating import LINK
from tests.support.in_process import working
from tests.support.objectstore import S3
from tests.support.waiting import until
from tests.support.workshop import Workshop, opened

TABLES = 7
CHUNK = 3


@pytest.fixture
async def shop(
    db: asyncpg.Connection, settings: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workshop]:
    assert settings.s3_bucket == s3.bucket
    monkeypatch.setattr(posm_cards, "CHUNK", CHUNK)
    monkeypatch.setattr(posm_cards, "CHUNK_S", 1e6)  # on a busy machine too
    async with opened(db, settings) as made:
        yield made


@pytest.fixture
def stamped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cards that were stamped, in order, by their place."""
    found: list[int] = []
    stamp = OpenPress.stamp

    async def noting(self: OpenPress, first: int, last: int) -> Any:
        found.extend(range(first, last))
        return await stamp(self, first, last)

    monkeypatch.setattr(OpenPress, "stamp", noting)
    return found


def failing_from(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Storage refuses the card with this place among those that come."""
    put, count = Store.put_new, 0

    async def refusing(self: Store, key: str, body: bytes, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > place:
            raise StorageRefused("no room")
        return await put(self, key, body, **options)

    monkeypatch.setattr(Store, "put_new", refusing)


async def test_every_table_gets_a_card_that_was_looked_at(shop: Workshop) -> None:
    """PSM-020, PSM-021: its own code and label, under its own key."""
    claimed = await shop.claimed(TABLES)
    assert await shop.attempt(claimed) == "ok"

    generation = await posm.read(shop.db, claimed.job.id)
    assert (generation.status, generation.tables_done) == ("done", TABLES)
    assert generation.stamper == await stamping.version()
    cards = await posm.manifest(shop.db, generation.id)
    assert [card.label for card in cards] == [str(number) for number in range(1, TABLES + 1)]
    assert sorted(await shop.keys(generation.id)) == sorted(card.key for card in cards)
    for card in cards:
        assert card.key == f"posm/{generation.id}/{card.uuid}-{card.sha256.hex()[:12]}.pdf"
        facts = await shop.storage.head(card.key)
        assert (facts.byte_count, facts.sha256) == (card.byte_count, card.sha256)
        assert LINK.format(uuid=card.uuid) in str(card.evidence)  # what was decoded
        with pymupdf.open("pdf", await shop.storage.get(card.key)) as document:
            assert f"Стол № {card.label}" in document[0].get_text()


async def test_templates_of_several_pages_and_megabytes_are_stamped_too(shop: Workshop) -> None:
    claimed = await shop.claimed(2, pdf=heavy(), settings=settings_for(pages=(1, 2)))
    assert await shop.attempt(claimed) == "ok"
    first, second = await posm.manifest(shop.db, claimed.job.id)
    assert min(first.byte_count, second.byte_count) > len(heavy())


@pytest.mark.notified
async def test_a_press_is_answered_at_once_and_made_in_the_background_psm_010_psm_017(
    shop: Workshop, settings: Settings
) -> None:
    template, place = await shop.template(), await shop.cards.restaurant(TABLES)
    made = await shop.cards.press(template, place, wake=False)
    assert made.status == "created"
    assert await shop.keys(made.id) == []
    async with working(settings, shop.handler) as running:
        await posm.admit(shop.db)
        assert await running.until_ends(timeout_s=60) == {"done": 1}
    generation = await posm.read(shop.db, made.id)
    assert (generation.status, generation.author) == ("done", "olga")
    assert generation.created_at <= (generation.started_at or generation.created_at)
    assert generation.report
    assert generation.report["cards"] == generation.report["made"] == TABLES


async def test_a_later_attempt_goes_on_at_the_first_card_that_is_missing_psm_022(
    shop: Workshop, core: Core, stamped: list[int]
) -> None:
    claimed = await shop.claimed(TABLES)
    with pytest.MonkeyPatch.context() as patch:
        failing_from(patch, 2 * CHUNK)
        failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")
    before = await shop.times_made(claimed.job.id)
    assert [made is not None for made in before] == [True] * 6 + [False]
    del stamped[:]

    await core.call("job_evict", queue_name="posm", job=claimed.job.id)
    assert await shop.attempt(await shop.cards.one()) == "ok"

    assert stamped == [6]
    after = await shop.times_made(claimed.job.id)
    assert after[:6] == before[:6]
    assert await shop.cards.status(claimed.job.id) == "done"
    assert len(await shop.keys(claimed.job.id)) == TABLES


async def test_what_was_stored_and_not_entered_is_found_again(
    shop: Workshop, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await shop.claimed(CHUNK)
    with pytest.MonkeyPatch.context() as patch:

        async def lost(*_: Any) -> int:
            raise StorageRefused("it dies between the store and the database")

        patch.setattr(posm_making, "keep", lost)
        await shop.failure(claimed)
    left = await shop.keys(claimed.job.id)
    assert len(left) == CHUNK

    await core.call("job_evict", queue_name="posm", job=claimed.job.id)
    held = await shop.cards.one()
    assert await shop.attempt(held) == "ok"
    assert await shop.keys(claimed.job.id) == left

    # Old enough for the orphan scan to be deleting it: nobody builds on that.
    monkeypatch.setattr(storage, "REPEAT_WITHIN", timedelta(seconds=-1))
    other = await shop.claimed(1)
    (card,) = await posm.cards(shop.db, other.job.id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posm_making, "keep", lost)
        await shop.failure(other)
    await core.call("job_evict", queue_name="posm", job=other.job.id)
    again = await shop.cards.one()
    assert await shop.attempt(again) == "ok"
    (kept,) = await posm.manifest(shop.db, other.job.id)
    assert kept.key.startswith(f"posm/{other.job.id}/{card.uuid}-")
    assert kept.key.endswith(f"-{again.lease.token.hex[:12]}.pdf")


async def test_a_generation_is_never_stamped_by_two_versions_psm_022(
    shop: Workshop, core: Core, stamped: list[int]
) -> None:
    claimed = await shop.claimed(TABLES)
    await posm_making.begin(shop.db, claimed.lease, "a former one")
    given = await posm_making.input_of(shop.db, claimed.job.id)
    assert given
    await shop.cards.keep(claimed, [card.uuid for card in given.cards[:4]], of="a former one")

    await core.call("job_evict", queue_name="posm", job=claimed.job.id)
    assert await shop.attempt(await shop.cards.one()) == "ok"

    assert sorted(stamped) == list(range(TABLES))
    assert (await posm.read(shop.db, claimed.job.id)).stamper == await stamping.version()


async def test_a_generation_that_runs_twice_does_no_harm_psm_019(
    shop: Workshop, core: Core
) -> None:
    zombie = await shop.claimed(TABLES)
    await core.call("job_evict", queue_name="posm", job=zombie.job.id)
    held = await shop.cards.one()
    assert held.job.id == zombie.job.id
    with pytest.raises(LeaseLost):
        await shop.attempt(zombie)
    assert await shop.times_made(held.job.id) == [None] * TABLES

    assert await shop.attempt(held) == "ok"
    with pytest.raises(LeaseLost):
        await shop.attempt(zombie)
    assert len(await shop.keys(held.job.id)) == TABLES
    assert await shop.cards.status(held.job.id) == "done"


async def test_a_lease_lost_in_the_middle_ends_the_attempt_and_keeps_what_was_entered(
    shop: Workshop, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await shop.claimed(TABLES)
    keep = posm_making.keep

    async def evicted(*values: Any) -> int:
        done = await keep(*values)
        if done == CHUNK:
            await core.call("job_evict", queue_name="posm", job=claimed.job.id)
        return done

    monkeypatch.setattr(posm_making, "keep", evicted)
    with pytest.raises(LeaseLost):
        await shop.attempt(claimed)
    made = await shop.times_made(claimed.job.id)
    assert [each is not None for each in made] == [True] * CHUNK + [False] * (TABLES - CHUNK)
    assert await shop.attempt(await shop.cards.one()) == "ok"


async def test_progress_renews_the_attempt(shop: Workshop) -> None:
    claimed = dataclasses.replace(await shop.claimed(2 * CHUNK), limit_s=30.0)
    assert await shop.attempt(claimed) == "ok"
    progress = await shop.db.fetchval(
        "select progress from makeready.jobs where id = $1", claimed.job.id
    )
    assert '"done": 6' in progress


@pytest.mark.notified
async def test_cancelling_ends_the_stamping_and_nothing_more_is_stored(
    shop: Workshop, settings: Settings, stamped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = await shop.ordered(4 * CHUNK)
    keep = posm_making.keep

    async def cancelled(*values: Any) -> int:
        done = await keep(*values)
        await posm.cancel(shop.db, generation)
        await until(lambda: False, timeout_s=30)  # until the cancellation comes
        return done

    monkeypatch.setattr(posm_making, "keep", cancelled)
    async with working(settings, shop.handler) as running:
        assert await running.until_ends(timeout_s=60) == {"cancelled": 1}
    found = await posm.read(shop.db, generation)
    assert (found.status, found.error_code) == ("error", "cancelled")
    assert found.tables_done == CHUNK
    assert max(stamped) < 3 * CHUNK
    assert len(await shop.keys(generation)) == CHUNK


async def test_the_queue_needs_storage(shop: Workshop, settings: Settings) -> None:
    with pytest.raises(ValueError, match="object storage"):
        async with open_handler(Context(settings=settings, pool=shop.pool)):
            pass


async def test_the_next_generation_finds_a_stamping_process_that_has_started(
    shop: Workshop, settings: Settings
) -> None:
    context = Context(settings=settings, pool=shop.pool, storage=shop.storage)
    async with open_handler(context) as handler:
        shop.handler = handler
        for _ in range(2):
            await until(lambda: stamping._spares, timeout_s=60, what="a helper")
            (helper,) = stamping._spares
            process = helper._process
            assert process is not None
            assert await shop.attempt(await shop.claimed(1)) == "ok"
            assert process.poll() is not None  # it was used, and has ended with the generation
    assert stamping._spares == []


def test_a_chunk_is_a_run_of_neighbours() -> None:
    indexes = [0, 1, 2, 3, 7, 9, 10]
    found = [posm_cards._neighbours(indexes, place, 3) for place in range(len(indexes))]
    assert [list(each) for each in found] == [
        [0, 1, 2], [1, 2, 3], [2, 3], [3], [7], [9, 10], [10],
    ]  # fmt: skip


async def test_cards_that_take_long_come_in_smaller_chunks(
    shop: Workshop, stamped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posm_cards, "CHUNK_S", 1e-6)
    keep, sizes = posm_making.keep, []

    async def noting(db: Any, lease: Any, made: Any) -> int:
        sizes.append(len(made))
        return await keep(db, lease, made)

    monkeypatch.setattr(posm_making, "keep", noting)
    assert await shop.attempt(await shop.claimed(TABLES)) == "ok"
    assert sizes == [CHUNK, 1, 1, 1, 1]
    assert stamped == list(range(TABLES))
