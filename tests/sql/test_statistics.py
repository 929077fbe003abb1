"""Statistics of photos: exact to the event, in periods of UTC, also where the log is gone."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from makeready import statistics
from makeready.errors import Conflict, NotFound
from makeready.statistics import Range, StatisticsCache, begin_of
from tests.support.album import Album
from tests.support.clock import Clock

DAY = timedelta(days=1)
OUTCOMES = ("success", "timeout", "provider_error", "cancelled")
COLUMNS = ("success", "timeouts", "provider_errors", "cancelled")


@pytest.fixture
def album(db: asyncpg.Connection) -> Album:
    return Album(db)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(start: str, end: str) -> Range:
    return Range(start=moment(start), end=moment(end), unit="day")


def counted(found: statistics.Counts) -> tuple[int, int, int, int]:
    return found.success, found.timeouts, found.provider_errors, found.cancelled


async def test_ing_058_counters_of_a_period(album: Album) -> None:
    """ING-058: errors are all that brought no image, ingest_count is all."""
    at = moment("2026-11-10T12:00")
    for outcome, count in zip(OUTCOMES, (4, 3, 2, 1), strict=True):
        for _ in range(count):
            await album.photo(outcome=outcome, at=at)
    await album.photo(outcome=None)
    found = await statistics.of_slot(album.db, "slot-001", days("2026-11-10", "2026-11-11"))
    assert counted(found.totals) == (4, 3, 2, 1)
    assert (found.totals.errors, found.totals.ingest_count) == (6, 10)
    (period,) = found.periods
    assert (period.errors, period.ingest_count) == (6, 10)


async def test_empty_periods_are_there_and_bounds_are_exact(album: Album) -> None:
    """ING-059: an event belongs to the period in which it lies, the end not included."""
    first, last = moment("2026-11-09T00:00"), moment("2026-11-12T00:00")
    tick = timedelta(microseconds=1)
    for at in (first - tick, first, moment("2026-11-11T23:59:59.999999"), last):
        await album.photo(at=at)
    asked = days("2026-11-09", "2026-11-12")
    found = await statistics.of_slot(album.db, "slot-001", asked)
    assert [each.success for each in found.periods] == [1, 0, 1]
    assert [each.period_start for each in found.periods] == [first + DAY * n for n in range(3)]
    assert all(each.period_end - each.period_start == DAY for each in found.periods)
    cut = await statistics.of_slot(album.db, "slot-001", replace(asked, start=first + tick))
    assert [each.success for each in cut.periods] == [0, 0, 1]
    assert cut.totals.success == 1


async def test_weeks_begin_on_monday_and_months_are_as_long_as_they_are(album: Album) -> None:
    for text in ("2026-08-31T23:59", "2026-09-01T00:00", "2026-09-06T23:59", "2026-09-07T00:00"):
        await album.photo(at=moment(text))
    weeks = Range(start=moment("2026-08-31"), end=moment("2026-09-14"), unit="week")
    months = Range(start=moment("2026-08-01"), end=moment("2026-10-01"), unit="month")
    found = await statistics.of_all(album.db, weeks)
    assert [(each.period_start.day, each.success) for each in found.periods] == [(31, 3), (7, 1)]
    found = await statistics.of_all(album.db, months)
    assert [(each.period_end.month, each.success) for each in found.periods] == [(9, 1), (10, 3)]
    assert begin_of(moment("2026-09-06T23:59"), "week") == moment("2026-08-31")
    assert begin_of(moment("2026-09-06T23:59"), "month") == moment("2026-09-01")


async def test_the_zone_of_the_session_moves_no_period(album: Album) -> None:
    await album.photo(at=moment("2026-11-10T23:30"))
    await album.db.execute("set time zone 'Asia/Vladivostok'")
    found = await statistics.of_slot(album.db, "slot-001", days("2026-11-10", "2026-11-12"))
    assert [each.success for each in found.periods] == [1, 0]


async def test_slots_and_providers_are_told_apart(album: Album) -> None:
    at = moment("2026-11-10T12:00")
    await album.photo("slot-001", at=at, provider="gemini")
    await album.photo("slot-002", at=at, provider="gemini", outcome="timeout")
    await album.photo("slot-002", at=at)
    asked = days("2026-11-10", "2026-11-11")
    all_of_them = await statistics.of_all(album.db, asked)
    assert counted(all_of_them.totals) == (2, 1, 0, 0)
    second = await statistics.of_all(album.db, asked, slot="slot-002")
    assert counted(second.totals) == (1, 1, 0, 0)
    gemini = await statistics.of_all(album.db, asked, provider="gemini")
    assert counted(gemini.totals) == (1, 1, 0, 0)
    both = await statistics.of_all(album.db, asked, slot="slot-002", provider="gemini")
    assert counted(both.totals) == (0, 1, 0, 0)
    with pytest.raises(NotFound) as refused:
        await statistics.of_slot(album.db, "slot-016", asked)
    assert refused.value.details["code"] == "slot_not_found"


async def test_ing_060_the_summary_counts_from_the_reset_and_periods_stay(
    album: Album, clock: Clock
) -> None:
    """ING-060: `last_reset_at` is set, nothing is deleted; other slots are let be."""
    await album.photo()
    await album.photo("slot-002")
    await clock.advance(1)
    at = await statistics.reset(album.db, "slot-001")
    await clock.advance(1)
    await album.photo(outcome="timeout", took=0.5)
    now = await album.now()
    asked = Range(start=now - DAY, end=now + DAY, unit="day")
    found = await statistics.of_slot(album.db, "slot-001", asked)
    assert found.last_reset_at == at
    assert counted(found.totals) == (0, 1, 0, 0)
    assert sum(each.success for each in found.periods) == 1
    assert (await statistics.of_slot(album.db, "slot-002", asked)).totals.success == 1
    assert (await statistics.of_all(album.db, asked)).totals.success == 2
    version = await album.db.fetchval("select version from makeready.slots where id = 'slot-001'")
    await statistics.reset(album.db, "slot-001", version=version)
    with pytest.raises(Conflict) as refused:
        await statistics.reset(album.db, "slot-001", version=version + 1)
    assert refused.value.details["code"] == "stale_version"
    with pytest.raises(NotFound):
        await statistics.reset(album.db, "slot-000")
    audited = "select count(*) from makeready.audit_log where action = 'slot_stats_reset'"
    assert await album.db.fetchval(audited) == 2


async def test_ing_072_service_levels_come_from_recorded_events(album: Album) -> None:
    """ING-072: shares of 200 in time, 504, 429, and availability, of all requests."""
    at = moment("2026-11-10T12:00")
    for _ in range(12):
        await album.photo(at=at)
    await album.photo(at=at, answered=499)  # the booth had gone
    await album.photo(at=at, outcome="timeout", answered=504)
    await album.photo(at=at, outcome="provider_error", answered=503)
    await album.photo(at=at, outcome="cancelled", answered=503)  # the service was stopped
    await album.db.execute(
        "insert into makeready.ingest_refusals values ('slot-001', 'limit', $1, 2),"
        " ('slot-002', 'deadline', $1, 1), ('slot-001', 'unavailable', $1, 1)",
        at,
    )
    found = (await statistics.of_all(album.db, days("2026-11-10", "2026-11-11"))).totals
    assert found.requests == 20
    assert (found.in_time_share, found.late_share, found.busy_share) == (0.6, 0.05, 0.15)
    assert found.availability == 0.9
    nothing = (await statistics.of_all(album.db, days("2026-11-11", "2026-11-12"))).totals
    assert (nothing.in_time_share, nothing.availability) == (None, None)


async def test_times_are_those_of_photos_that_ended_well(album: Album) -> None:
    at = moment("2026-11-10T12:00")
    for took in range(1, 101):
        await album.photo(at=at, took=took / 10)
    await album.photo(at=at, outcome="timeout", took=48)
    found = (await statistics.of_all(album.db, days("2026-11-10", "2026-11-11"))).totals
    assert (found.response_p50_ms, found.response_p95_ms) == (5050, 9505)
    assert found.provider_p95_ms == 4752
    assert found.response_mean_ms == 5050
    assert found.cost == 50


class Reckoning:
    """The same figures, counted in Python from a list of events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, datetime, str]] = []

    def counts(self, start: datetime, end: datetime, slot: str | None) -> tuple[int, ...]:
        found = Counter(
            outcome
            for each, at, outcome in self.events
            if start <= at < end and slot in {None, each}
        )
        return tuple(found[outcome] for outcome in OUTCOMES)


@pytest.fixture
async def busy_year(album: Album) -> Reckoning:
    """Photos of the last 40 days, some of them at the bounds of hours."""
    dice, book, now = random.Random(7), Reckoning(), await album.now()
    hour = begin_of(now, "hour")
    for number in range(120):
        at = now - timedelta(seconds=dice.uniform(60, 40 * 86400))
        if number % 10 == 0:
            at = hour - timedelta(hours=dice.randrange(2, 960))
        slot, outcome = f"slot-00{dice.randrange(1, 4)}", dice.choice(OUTCOMES)
        await album.photo(slot, at=at, outcome=outcome, answered=None)
        book.events.append((slot, at, outcome))
    return book


async def _agrees(album: Album, book: Reckoning) -> None:
    end = begin_of(await album.now(), "day") + DAY
    for unit, length in (("hour", 31), ("day", 31), ("week", 84), ("month", 90)):
        asked = Range(start=end - DAY * length, end=end, unit=unit)  # type: ignore[arg-type]
        for slot in (None, "slot-002"):
            found = await statistics.of_all(album.db, asked, slot=slot)
            for each in found.periods:
                start = max(each.period_start, asked.start)
                wanted = book.counts(start, min(each.period_end, end), slot)
                assert counted(each) == wanted, (unit, slot, each.period_start)
            assert counted(found.totals) == book.counts(asked.start, end, slot)


async def sums(album: Album) -> int:
    count: int = await album.db.fetchval("select makeready.photo_sums_take(100000)")
    return count


async def test_sums_agree_with_the_log_and_repeating_changes_nothing(
    album: Album, busy_year: Reckoning
) -> None:
    """ING-078: figures come from the log, sums of it are upserted idempotently."""
    await _agrees(album, busy_year)
    assert await sums(album) > 0
    assert await sums(album) == 0
    await _agrees(album, busy_year)  # read from them now
    dice, now = random.Random(3), await album.now()
    for _ in range(20):
        start = now - timedelta(seconds=dice.uniform(0, 40 * 86400))
        end = start + timedelta(seconds=dice.choice((60, 3600, 86400)) * dice.uniform(0.1, 9))
        cut = await statistics.of_all(album.db, Range(start=start, end=end, unit="day"))
        assert counted(cut.totals) == busy_year.counts(start, end, None), (start, end)
    rows = await album.db.fetch("select * from makeready.processing_log_aggregates")
    assert {row["granularity"] for row in rows} == {"hour", "day", "week", "month"}
    for row in rows:
        found = tuple(
            row[name] for name in ("success", "timeouts", "provider_errors", "cancelled")
        )
        assert found == busy_year.counts(row["period_start"], row["period_end"], row["slot_id"])
    # Somebody has made them all anew: the same rows.
    await album.db.execute("update makeready.photo_sums set taken_until = '-infinity'")
    assert await sums(album) == 0


async def test_what_the_log_no_longer_holds_is_counted_from_its_sums(
    album: Album, busy_year: Reckoning
) -> None:
    """Photos past `keep_days` go with their log; no figure changes by that."""
    await album.db.execute("update makeready.ingest_policy set keep_days = 7")
    await album.db.execute("update makeready.photos set result_path = null, result_store = null")
    purge = "select makeready.photos_purge($1)"
    assert await album.db.fetchval(purge, 10) == 0, "not before there are sums"
    await sums(album)
    assert await album.db.fetchval(purge, 10) == 10
    await _agrees(album, busy_year)  # in the middle of it
    while await album.db.fetchval(purge, 1000):
        pass
    await _agrees(album, busy_year)
    assert await sums(album) == 0
    now = await album.now()
    left = sum(at > now - timedelta(days=7) for _, at, _ in busy_year.events)
    assert left <= await album.db.fetchval("select count(*) from makeready.photos") <= left + 5
    assert await album.db.fetchval("select count(*) from makeready.processing_logs") <= 2 * (
        left + 5
    )
    asked = Range(start=now - DAY * 30, end=now, unit="day")
    found = await statistics.of_all(album.db, asked, provider="local")
    assert found.totals.log_begins is not None
    assert found.totals.log_begins > asked.start


async def test_a_photo_whose_files_are_there_keeps_its_row(album: Album, clock: Clock) -> None:
    await album.db.execute("update makeready.ingest_policy set keep_days = 7")
    with_result, with_payload = await album.photo(), await album.photo(outcome="timeout")
    await album.media("payload", job=with_payload)
    gone = await album.photo(outcome="cancelled")
    await clock.advance(8 * 86400)
    await sums(album)
    assert await album.db.fetchval("select makeready.photos_purge(10)") == 1
    rows = await album.db.fetch("select id from makeready.photos")
    assert {row["id"] for row in rows} == {with_result, with_payload}
    assert gone not in {row["id"] for row in rows}


async def test_an_hour_that_is_not_over_is_summed_up_again(album: Album, clock: Clock) -> None:
    await album.photo()
    assert await sums(album) == 8  # four lengths, of a slot and of all
    await album.photo(outcome="timeout")
    assert await sums(album) == 8
    await clock.advance(7200)
    assert await sums(album) == 0
    late = "select timeouts from makeready.processing_log_aggregates where granularity = 'month'"
    assert await album.db.fetchval(late) == 1


async def unsummed(album: Album, at: datetime) -> None:
    """A photo that comes after the sums, and leaves them as they are."""
    taken = await album.db.fetchval("select taken_until from makeready.photo_sums")
    await album.photo(at=at, outcome="timeout")
    await album.db.execute("update makeready.photo_sums set taken_until = $1", taken)


async def test_what_came_after_the_sums_is_read_from_the_log(album: Album) -> None:
    await album.photo()
    await sums(album)
    now = await album.now()
    await unsummed(album, now)
    found = await statistics.of_all(album.db, Range(start=now - DAY, end=now + DAY, unit="day"))
    assert counted(found.totals) == (1, 1, 0, 0)


async def test_what_was_committed_late_is_summed_up_yet(album: Album, clock: Clock) -> None:
    await album.photo()
    await sums(album)
    await clock.advance(3600)
    await sums(album)
    taken = await album.db.fetchval("select taken_until from makeready.photo_sums")
    await unsummed(album, taken - timedelta(minutes=59, seconds=59))
    asked = Range(start=taken - DAY, end=taken + DAY, unit="day")
    assert counted((await statistics.of_all(album.db, asked)).totals) == (1, 1, 0, 0)
    assert await sums(album) > 0
    assert counted((await statistics.of_all(album.db, asked)).totals) == (1, 1, 0, 0)


async def test_ing_060_the_cache_holds_until_something_ends_or_it_is_old(album: Album) -> None:
    """ING-060: 300 s for a slot and 60 s for all, invalidated by new events."""
    assert (statistics.SLOT_CACHE_S, statistics.GLOBAL_CACHE_S) == (300, 60)
    time, counts = [0.0], 0
    cache = StatisticsCache[int](60, clock=lambda: time[0])

    async def count() -> int:
        nonlocal counts
        counts += 1
        return counts

    async def asked(slot: str | None = "slot-001") -> int:
        return await cache.get(album.db, ("key", slot), slot, count)

    assert [await asked(), await asked()] == [1, 1]
    await album.photo("slot-002")
    assert await asked() == 1, "nothing of this slot"
    await album.photo(at=await album.now() - timedelta(seconds=5))
    assert [await asked(), await asked()] == [2, 2]
    await album.photo(at=await album.now() - timedelta(seconds=30))  # committed late
    assert [await asked(), await asked()] == [3, 3]
    await statistics.reset(album.db, "slot-001")
    assert [await asked(), await asked()] == [4, 4]
    await album.refused()
    assert [await asked(), await asked()] == [5, 5]
    await album.refused()
    assert await asked() == 6
    await album.photo(answered=None)
    assert [await asked(), await asked()] == [7, 7]
    await album.db.execute("update makeready.photos set answered_at = makeready.now()")
    assert [await asked(), await asked()] == [8, 8]
    time[0] = 60.0
    assert [await asked(), await asked()] == [9, 9]
    assert await asked(None) == 10


async def test_ing_057_a_photo_has_one_end(album: Album) -> None:
    """ING-057: a second final line is refused by the table itself."""
    job = await album.photo()
    for status, reason in (("succeeded", None), ("timeout", "timeout"), ("failed", "cancelled")):
        with pytest.raises(asyncpg.UniqueViolationError):
            await album.line(
                job, "slot-001", "local", status=status, at=await album.now(), reason=reason
            )
