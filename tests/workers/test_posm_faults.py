"""How generations fail: cards that are refused, storage that is away or lies, helpers that die."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import posm, stamping
from makeready.cards import wording
from makeready.config import Secret, Settings
from makeready.stamping import HelperLost, OpenPress, StampingFailed
from makeready.storage import ObjectFacts, open_storage
from makeready.storage_errors import StorageRefused, StorageUnavailable
from makeready_workers import posm_cards, storing
from makeready_workers.handler import Context
from makeready_workers.posm import COMMENT_LENGTH, PosmHandler, open_handler
from tests.support.card_templates import light, settings_for
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


class Faulty:
    """A store that does what a test says, and otherwise what the real one does."""

    def __init__(self, shop: Workshop) -> None:
        self._real = shop.storage
        self.faults = 0
        """So many puts fail first."""
        self.forgets = 0
        """So many puts are answered, and not carried out, first."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def of_bucket(self, bucket: str) -> Faulty:
        assert bucket == self._real.bucket
        return self

    async def put(self, key: str, body: bytes, **options: Any) -> ObjectFacts:
        self.faults -= 1
        if self.faults >= 0:
            raise StorageUnavailable("not now")
        stored = await self._real.put(key, body, **options)
        self.forgets -= 1
        if self.forgets >= 0:
            await self._real.delete([key])
        return stored


def served_by(shop: Workshop, storage: Any) -> Any:
    """The shop's handler works with this storage from now on."""
    context = Context(settings=Settings(), pool=shop.pool, storage=storage)
    shop.handler = PosmHandler(context, storage)
    return storage


@pytest.mark.notified
async def test_a_card_that_cannot_be_is_an_error_that_names_its_table_psm_023(
    shop: Workshop, settings: Settings
) -> None:
    place = await shop.cards.restaurant(0)
    await shop.cards.put(place, "1", "2", "Веранда у пруда, под старой ивой 17")
    fields = settings_for()
    fields["fields"][1] |= {"width": 30, "x": 37, "size": 20, "min_size": 18}
    template = await shop.template(settings=fields)
    generation = (await shop.cards.press(template, place)).id
    async with working(settings, shop.handler) as running:
        assert await running.until_ends(timeout_s=60) == {"dead": 1}

    found = await posm.read(shop.db, generation)
    assert (found.status, found.error_code) == ("error", "text_does_not_fit")
    assert found.comment
    assert "под старой ивой 17" in found.comment
    assert found.attempts == 1  # it would be the same the next time
    assert await shop.keys(generation) == []
    assert "Traceback" not in found.comment


async def test_a_comment_has_a_thousand_characters_at_most_psm_023(shop: Workshop) -> None:
    fields = settings_for()
    fields["fields"] += [
        fields["fields"][0] | {"id": f"qr{number}", "width": 9, "height": 9}
        for number in range(12)
    ]
    failure = await shop.failure(await shop.claimed(2, settings=fields))
    assert failure.kind == "fatal"
    assert COMMENT_LENGTH - 1 <= len(failure.message) <= COMMENT_LENGTH
    assert failure.message.endswith("…")
    problems = failure.evidence["problems"]
    assert problems[0]["code"] == failure.code
    assert len(problems) > 10


async def test_a_card_that_does_not_pass_is_kept_nowhere_psm_023(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = stamping.Problem(code="card_code_unreadable", tables=("5",))
    assert refused.code in wording.codes()
    stamp = OpenPress.stamp

    async def refusing(self: OpenPress, first: int, last: int) -> Any:
        if first >= CHUNK:
            raise stamping.CardsRefused([refused])
        return await stamp(self, first, last)

    monkeypatch.setattr(OpenPress, "stamp", refusing)
    claimed = await shop.claimed(TABLES)
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("fatal", "card_code_unreadable")
    assert "(стол 5)" in failure.message
    made = await shop.times_made(claimed.job.id)
    assert made[CHUNK:] == [None] * (TABLES - CHUNK)
    assert len(await shop.keys(claimed.job.id)) <= CHUNK


async def test_cards_wait_for_storage_that_is_away_for_a_moment(shop: Workshop) -> None:
    storage = served_by(shop, Faulty(shop))
    storage.faults = 5
    with capture_logs() as lines:
        assert await shop.attempt(await shop.claimed(TABLES)) == "ok"
    assert [line["event"] for line in lines].count("storage_awaited") == 5
    alerts = await shop.db.fetch("select event from makeready.alerts")
    assert [row["event"] for row in alerts] == ["s3_upload_error"]


async def test_storage_that_stays_away_is_a_retry(shop: Workshop, settings: Settings) -> None:
    away = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    claimed = dataclasses.replace(await shop.claimed(), limit_s=storing.AFTERWORK_S)
    async with open_storage(away) as storage:
        served_by(shop, storage)
        failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")
    assert "127.0.0.1" not in failure.message


async def test_storage_that_goes_away_in_the_middle_keeps_what_was_entered(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = served_by(shop, Faulty(shop))
    claimed = await shop.claimed(TABLES)
    put = Faulty.put

    async def gone(self: Faulty, key: str, body: bytes, **options: Any) -> ObjectFacts:
        if len(await shop.keys(claimed.job.id)) >= CHUNK:
            monkeypatch.setattr(storing, "AFTERWORK_S", 1e6)  # its time is over
            raise StorageUnavailable("gone")
        return await put(self, key, body, **options)

    monkeypatch.setattr(Faulty, "put", gone)
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")
    made = await shop.times_made(claimed.job.id)
    assert [each is not None for each in made] == [True] * CHUNK + [False] * (TABLES - CHUNK)
    assert storage.faults < 0


async def test_storage_that_forgets_gets_the_cards_again_psm_025(shop: Workshop) -> None:
    storage = served_by(shop, Faulty(shop))
    storage.forgets = 2
    claimed = await shop.claimed(TABLES)
    with capture_logs() as lines:
        assert await shop.attempt(claimed) == "ok"
    (missing,) = [line for line in lines if line["event"] == "posm_cards_missing"]
    assert missing["cards"] == 2
    cards = await posm.manifest(shop.db, claimed.job.id)
    assert sorted(card.key for card in cards) == sorted(await shop.keys(claimed.job.id))


async def test_storage_that_forgets_for_ever_makes_no_generation_done_psm_025(
    shop: Workshop,
) -> None:
    storage = served_by(shop, Faulty(shop))
    storage.forgets = 1000
    claimed = await shop.claimed(TABLES)
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")
    assert await shop.cards.status(claimed.job.id) == "in-progress"


async def test_cards_that_fail_together_are_one_failure(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them = asyncio.Barrier(CHUNK)

    async def refused(*_: Any, **__: Any) -> ObjectFacts:
        await all_of_them.wait()
        raise StorageRefused("the key has expired")

    storage = served_by(shop, Faulty(shop))
    claimed = await shop.claimed(TABLES)
    monkeypatch.setattr(storage, "put", refused)
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")


async def test_a_template_whose_bytes_have_changed_is_not_printed(shop: Workshop) -> None:
    claimed = await shop.claimed()
    (key,) = [facts.key async for facts in shop.storage.listing("posm/templates/")]
    await shop.storage.put(key, light() + b"\n% other")
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")
    await shop.storage.delete([key])
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "storage_unavailable")


async def test_a_stamping_process_that_dies_is_started_again(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = 0
    stamp = OpenPress.stamp

    async def dying(self: OpenPress, first: int, last: int) -> Any:
        nonlocal deaths
        if first == CHUNK:
            process = self._helper._process
            assert process is not None
            process.kill()
            deaths += 1
        return await stamp(self, first, last)

    monkeypatch.setattr(OpenPress, "stamp", dying)
    claimed = await shop.claimed(TABLES)
    assert await shop.attempt(claimed) == "ok"
    assert deaths == 1
    assert len(await shop.keys(claimed.job.id)) == TABLES


@pytest.mark.parametrize("error", [HelperLost(), StampingFailed("a library failed")])
async def test_cards_that_kill_it_each_time_are_a_retry(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, error: HelperLost | StampingFailed
) -> None:
    async def dead(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(OpenPress, "stamp", dead)
    failure = await shop.failure(await shop.claimed())
    assert (failure.kind, failure.code) == ("retry", error.code)


async def test_cards_that_take_too_long_get_a_second_attempt_and_no_third(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamping, "LONG_TIMEOUT_S", 0.001)
    claimed = await shop.claimed()
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "stamping_timeout")
    second = dataclasses.replace(claimed, job=dataclasses.replace(claimed.job, attempt=2))
    assert (await shop.failure(second)).kind == "fatal"


async def test_a_worker_that_was_replaced_while_it_ran_stamps_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def former() -> str:
        return "a former one"

    monkeypatch.setattr(stamping, "version", former)
    claimed = await shop.claimed()
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("retry", "stamping_failed")
    assert await shop.keys(claimed.job.id) == []


async def test_a_job_without_a_generation_is_fatal(shop: Workshop) -> None:
    claimed = await shop.claimed()
    await shop.db.execute("delete from makeready.posm_cards")
    await shop.db.execute("delete from makeready.posm_generations")
    failure = await shop.failure(claimed)
    assert (failure.kind, failure.code) == ("fatal", "generation_not_found")


async def test_whatever_else_happens_is_the_loops_to_judge(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise ConnectionResetError

    monkeypatch.setattr(OpenPress, "stamp", away)
    with pytest.raises(ConnectionResetError):
        await shop.attempt(await shop.claimed())


async def test_a_store_or_a_library_that_is_missing_keeps_no_worker_from_starting(
    shop: Workshop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamping, "_PROGRAM", "raise SystemExit(3)")
    away = dataclasses.replace(
        settings, s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key=Secret("b")
    )
    with capture_logs() as lines:
        async with open_storage(away) as storage:
            context = Context(settings=away, pool=shop.pool, storage=storage)
            async with open_handler(context):
                await until(
                    lambda: "posm_warm_up_failed" in [line["event"] for line in lines],
                    timeout_s=30,
                )
    assert "storage_awaited" in [line["event"] for line in lines]
