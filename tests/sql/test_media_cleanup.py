"""The cleaner of photos' files: what goes, when, in which order, and what never does."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import media_cleanup
from makeready.errors import Rejected
from makeready.media import MediaStore, StoredMedia
from makeready.media_cleanup import CLEANUP, SCAN, TEMPORARY, MediaCleanup
from makeready.media_folder import open_folder
from makeready.storage_errors import StorageUnavailable
from tests.support.album import Album
from tests.support.clock import Clock

HOUR = 3600.0
TOMORROW = timedelta(days=1)


@pytest.fixture
async def media(tmp_path: Path) -> MediaStore:
    return await open_folder(tmp_path / "media")


@pytest.fixture
def album(db: asyncpg.Connection, media: MediaStore) -> Album:
    return Album(db, media.name)


@pytest.fixture
async def pool(dsn: str, clock: Clock) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3) as opened:
        clock.follow(opened)
        yield opened


@pytest.fixture
def cleaner(pool: asyncpg.Pool, media: MediaStore) -> MediaCleanup:
    return MediaCleanup(pool, media)


async def paths(media: MediaStore) -> list[str]:
    return sorted(
        [
            found.path
            for prefix in ("payloads/", "results/", "templates/", "temporary/")
            async for found in media.listing(prefix)
        ]
    )


async def written(media: MediaStore, *names: str) -> list[StoredMedia]:
    return [await media.write(name, name.encode(), "image/jpeg") for name in names]


async def a_result(album: Album, media: MediaStore) -> UUID:
    """A photo with its result and both thumbnails."""
    job = uuid4()
    stored, before, after = await written(
        media, f"results/{job}.jpg", f"results/{job}.before.jpg", f"results/{job}.after.jpg"
    )
    await album.photo(job=job, stored=stored)
    await album.pictured(job, before, after)
    return job


async def test_ing_048_an_expired_result_goes_with_its_thumbnails_and_leaves_its_facts(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    """ING-047, ING-048: the link is nulled, checksum and expiry stay."""
    job = await a_result(album, media)
    await clock.advance(71.9 * HOUR)
    assert await cleaner.clean("results") == {"results": 0}
    await clock.advance(0.2 * HOUR)
    young = await a_result(album, media)
    assert await cleaner.clean("results") == {"results": 1}
    assert len(await paths(media)) == 3
    row = await album.db.fetchrow("select * from makeready.photos where id = $1", job)
    assert row is not None
    assert (row["result_path"], row["result_store"], row["after_picture"]) == (None, None, None)
    assert row["result_sha256"] is not None
    assert row["result_expires_at"] == row["finished_at"] + timedelta(hours=72)
    kept = "select result_path is not null from makeready.photos where id = $1"
    assert await album.db.fetchval(kept, young)


async def test_ing_054_cut_off_between_file_and_row_it_is_done_again(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock, pool: asyncpg.Pool
) -> None:
    """ING-054: object first, row after; a second node that does the same does no harm."""
    await a_result(album, media)
    await clock.advance(73 * HOUR)
    due = "select * from makeready.media_due('results', $1, 10)"
    (row,) = await pool.fetch(due, media.name)
    await media.delete(row["file_paths"])  # and the process dies
    assert len(await pool.fetch(due, media.name)) == 1, "the row still says so"
    other = MediaCleanup(pool, media)
    assert await cleaner.clean("results") == {"results": 1}
    assert await other.clean("results") == {"results": 0}
    gone = "select makeready.media_gone('results', $1)"
    assert await pool.fetchval(gone, [row["due_id"]]) == 0, "said twice"
    live = await a_result(album, media)
    assert await pool.fetchval(gone, [live]) == 0, "nobody has named it"


async def test_ing_054_files_of_another_store_are_left_to_those_who_reach_it(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    elsewhere = Album(album.db, "bucket:photos")
    job = await elsewhere.photo()
    await elsewhere.media("temporary", lives_s=1)
    payload = await elsewhere.media("payload", lives_s=1)
    (same,) = await written(media, f"results/{job}.jpg")
    await clock.advance(80 * HOUR)
    assert await cleaner.clean("results") == {"results": 0}
    assert await cleaner.clean("temporary") == {"temporary": 0}
    assert await cleaner.clean("payloads") == {"payloads": 0}
    assert await paths(media) == [same.path]
    assert await album.db.fetchval(
        "select exists (select from makeready.media_objects where id = $1)", payload
    )


async def test_ing_053_a_payload_stays_until_its_answer_is_out(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    """ING-053: expired it may be, as long as a living process still owes the answer."""
    waiter = uuid4()
    await album.db.execute(
        "select makeready.worker_register($1, 'here', 'here', 1, 4, '{ingest}', '1', '1 day',"
        " false)",
        waiter,
    )
    job = await album.photo(outcome="timeout", answered=None, waiters=(waiter,))
    (stored,) = await written(media, f"payloads/{job}/IMG_0003.JPG")
    await album.media("payload", job=job, stored=stored)
    await clock.advance(60)
    assert await cleaner.clean("payloads") == {"payloads": 0}
    await album.db.execute(
        "update makeready.photos set answered_at = makeready.now(), answered_with = 504"
    )
    assert await cleaner.clean("payloads") == {"payloads": 1}
    assert await paths(media) == []
    assert await album.db.fetchval("select count(*) from makeready.media_objects") == 0


async def test_a_payload_whose_process_is_gone_goes_after_its_deadline(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    job = await album.photo(outcome="timeout", answered=None, waiters=(uuid4(),))
    stored, prepared = await written(
        media, f"payloads/{job}/a.jpg", f"payloads/{job}/prepared.jpg"
    )
    await album.media("payload", job=job, stored=stored)
    await album.media("prepared", job=job, stored=prepared)
    assert await cleaner.clean("payloads") == {"payloads": 0}, "its time is not over"
    await clock.advance(49)
    assert await cleaner.clean("payloads") == {"payloads": 2}
    assert await paths(media) == []


async def test_a_payload_that_nobody_answered_for_an_hour_goes(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    waiter = uuid4()
    await album.db.execute(
        "select makeready.worker_register($1, 'here', 'here', 1, 4, '{ingest}', '1', '1 day',"
        " false)",
        waiter,
    )
    job = await album.photo(outcome=None, answered=None, waiters=(waiter,))
    await album.media(
        "payload", job=job, stored=(await written(media, f"payloads/{job}/a.jpg"))[0]
    )
    await clock.advance(HOUR)
    assert await cleaner.clean("payloads") == {"payloads": 0}
    await clock.advance(60)
    assert await cleaner.clean("payloads") == {"payloads": 1}


async def test_temporary_media_go_and_their_links_are_known_for_a_week(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    (stored,) = await written(media, "temporary/a.jpg")
    await album.media("temporary", stored=stored)
    assert await cleaner.clean("temporary") == {"temporary": 0}
    await clock.advance(49)
    assert await cleaner.clean("temporary") == {"temporary": 1}
    assert await cleaner.clean("temporary") == {"temporary": 0}
    assert await paths(media) == []
    count = "select count(*) from makeready.media_objects"
    await album.db.execute("select makeready.media_links_purge(10)")
    assert await album.db.fetchval(count) == 1
    await clock.advance(8 * 24 * HOUR)
    await album.db.execute("select makeready.media_links_purge(10)")
    assert await album.db.fetchval(count) == 0


async def test_template_media_that_were_replaced_go_after_the_last_photo_with_them(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    (stored,) = await written(media, "templates/old.png")
    await album.media("template", stored=stored, lives_s=60)
    assert await cleaner.clean("payloads") == {"payloads": 0}
    await clock.advance(61)
    assert await cleaner.clean("payloads") == {"payloads": 1}
    assert await paths(media) == []


async def test_batches_are_bounded_and_all_of_them_are_done(
    album: Album,
    media: MediaStore,
    cleaner: MediaCleanup,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media_cleanup, "BATCH", 2)
    for number in range(5):
        (stored,) = await written(media, f"temporary/{number}.jpg")
        await album.media("temporary", stored=stored)
    await clock.advance(60)
    assert await cleaner.clean("temporary") == {"temporary": 5}


class Stubborn:
    """A store that cannot delete some files, or is away."""

    def __init__(self, media: MediaStore, *, stuck: str = "", is_away: bool = False) -> None:
        self.name = media.name
        self._media = media
        self._stuck, self._is_away = stuck, is_away

    async def delete(self, files: Sequence[str]) -> None:
        if self._is_away:
            raise StorageUnavailable("delete: no answer")
        if self._stuck in files:
            raise PermissionError(13, "Permission denied")
        await self._media.delete(files)


async def test_a_file_that_cannot_be_deleted_keeps_no_other_one_waiting(
    album: Album,
    media: MediaStore,
    pool: asyncpg.Pool,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media_cleanup, "BATCH", 2)
    files = await written(media, *(f"temporary/{number}.jpg" for number in range(4)))
    for stored in files:
        await album.media("temporary", stored=stored)
    await clock.advance(60)
    stubborn = MediaCleanup(pool, Stubborn(media, stuck=files[0].path))  # type: ignore[arg-type]
    assert await stubborn.clean("temporary") == {"temporary": 3, "failed": 1}
    assert await paths(media) == [files[0].path]
    assert await MediaCleanup(pool, media).clean("temporary") == {"temporary": 1}


async def test_a_store_that_is_away_is_noted_and_tried_again(
    album: Album, media: MediaStore, pool: asyncpg.Pool, clock: Clock
) -> None:
    await a_result(album, media)
    await clock.advance(73 * HOUR)
    away = MediaCleanup(pool, Stubborn(media, is_away=True))  # type: ignore[arg-type]
    assert await away.clean_if_due(CLEANUP) is None
    noted = "select last_error from makeready.chores where chore = $1"
    assert "no answer" in await album.db.fetchval(noted, CLEANUP)
    await clock.advance(0.5 * HOUR)
    assert await MediaCleanup(pool, media).clean_if_due(CLEANUP) == {"results": 1}
    assert await album.db.fetchval(noted, CLEANUP) is None


async def test_ing_048_results_every_quarter_of_an_hour_the_rest_within_a_minute(
    cleaner: MediaCleanup, pool: asyncpg.Pool, media: MediaStore, clock: Clock
) -> None:
    """ING-048: one process does a chore at a time; both come round by themselves."""
    other = MediaCleanup(pool, media)
    assert await cleaner.clean_if_due(CLEANUP) is not None
    assert await cleaner.clean_if_due(TEMPORARY) is not None
    assert await other.clean_if_due(CLEANUP) is None
    assert await other.clean_if_due(TEMPORARY) is None
    await clock.advance(30)
    assert await other.clean_if_due(TEMPORARY) is not None
    assert await other.clean_if_due(CLEANUP) is None
    await clock.advance(870)
    assert await other.clean_if_due(CLEANUP) is not None
    longest_s = 30 + max(media_cleanup.LOOK_S)
    assert longest_s < 60


async def test_ing_054_each_store_has_its_own_turn(
    album: Album,
    media: MediaStore,
    clock: Clock,
    pool: asyncpg.Pool,
    tmp_path: Path,
) -> None:
    """ING-054: hosts with folders of their own clean each its own, whoever came first."""
    cleaner, other = MediaCleanup(pool, media), await open_folder(tmp_path / "other")
    elsewhere = MediaCleanup(pool, other)
    for each, store in ((cleaner, media), (elsewhere, other)):
        await a_result(Album(album.db, store.name), store)
        assert await each.clean_if_due(CLEANUP) == {"results": 0}
    await clock.advance(73 * HOUR)
    assert await cleaner.clean_if_due(CLEANUP) == {"results": 1}
    assert await cleaner.clean_if_due(CLEANUP) is None
    assert await elsewhere.clean_if_due(CLEANUP) == {"results": 1}
    await album.db.execute(
        "select makeready.chore_set('photochanger-media-cleanup', false, because => 'a test')"
    )
    await clock.advance(HOUR)
    assert await cleaner.clean_if_due(CLEANUP) is None


def aged(root: Path) -> None:
    """Makes all files a day and an hour old."""
    then = time.time() - 25 * HOUR
    for file in root.rglob("*"):
        if file.is_file():
            os.utime(file, (then, then))


async def test_orphans_of_a_day_go_and_what_rows_know_stays(
    album: Album, media: MediaStore, cleaner: MediaCleanup, tmp_path: Path
) -> None:
    known = await a_result(album, media)
    payload, temporary, template = await written(
        media, "payloads/a/b.jpg", "temporary/c.jpg", "templates/d.png"
    )
    await album.media("payload", stored=payload)
    await album.media("temporary", stored=temporary)
    digest = hashlib.sha256(b"x").digest()
    await album.db.execute(
        "insert into makeready.slot_templates values (gen_random_uuid(), 'slot-001', 'frame', $1,"
        " $2, 'image/png', 1, $3, null, 'anna', makeready.now(), makeready.now())",
        media.name,
        template.path,
        digest,
    )
    before = await paths(media)
    orphans = ["payloads/x/y.jpg", f"results/{uuid4()}.jpg", "temporary/z.jpg", "templates/t.png"]
    await written(media, *orphans)
    await written(media, f"results/{known}.png")  # of a photo that has another one
    aged(tmp_path)
    await written(media, "payloads/young/a.jpg")
    yesterday = datetime.now(UTC) - media_cleanup.YOUNG
    assert await cleaner.scan(older_than=yesterday) == 2, "the store may be another database's"
    await album.db.execute("select makeready.chore_set('files_scan', true, because => 'ours')")
    assert await cleaner.scan(older_than=yesterday) == 3
    assert await paths(media) == sorted([*before, "payloads/young/a.jpg"])
    assert await cleaner.clean_if_due(SCAN) == {"orphans": 0}


async def test_ing_055_a_purge_makes_the_cleaner_come_at_once_for_what_is_stale(
    album: Album, media: MediaStore, cleaner: MediaCleanup, clock: Clock
) -> None:
    """ING-055: live results and templates stay; `media_objects` leaves results alone."""
    for chore in media_cleanup.CHORES:
        await cleaner.clean_if_due(chore)
    await a_result(album, media)
    await clock.advance(72.1 * HOUR)
    for chore in media_cleanup.CHORES:
        await cleaner.clean_if_due(chore)
    live = await a_result(album, media)
    (stored,) = await written(media, "temporary/a.jpg")
    await album.media("temporary", stored=stored, lives_s=-1)
    asked = await media_cleanup.ask(album.db, "media_objects")
    assert await cleaner.clean_if_due(CLEANUP) is None
    assert await cleaner.clean_if_due(TEMPORARY) == {"payloads": 0, "temporary": 1}
    await media_cleanup.ask(album.db, "full")
    assert await cleaner.clean_if_due(CLEANUP) == {"results": 0}
    row = await album.db.fetchrow(
        "select result_path is not null as is_there from makeready.photos where id = $1", live
    )
    assert row is not None
    assert row["is_there"]
    audited = await album.db.fetchval(
        "select after ->> 'purge_id' from makeready.audit_log where action = 'media_purge'"
        " order by at limit 1"
    )
    assert audited == str(asked.id)
    with pytest.raises(Rejected):
        await media_cleanup.ask(album.db, "all")  # type: ignore[arg-type]
