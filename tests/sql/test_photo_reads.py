"""What links to photos show: to the moment, and never what they must not."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from makeready import job_reads
from makeready.errors import Busy, Gone, NotFound
from tests.support.album import Album

HERE = "127.0.0.1"


@pytest.fixture
def album(db: asyncpg.Connection) -> Album:
    return Album(db)


async def test_ing_049_the_last_moment_of_a_result_is_the_one_before_its_expiry(
    album: Album,
) -> None:
    """ING-049: to the microsecond, by clocks that stand still."""
    job = await album.photo()
    until = "select result_expires_at from makeready.photos where id = $1"
    clock = (
        "create or replace function makeready.now() returns timestamptz language sql volatile"
        f" as $$ select timestamptz '{(await album.db.fetchval(until, job)).isoformat()}' - $1 $$"
    )
    await album.db.execute(clock.replace("$1", "interval '1 microsecond'"))
    await job_reads.result(album.db, job)
    await album.db.execute(clock.replace("- $1", ""))
    with pytest.raises(Gone) as refused:
        await job_reads.result(album.db, job)
    assert refused.value.details["code"] == "result_expired"
    with pytest.raises(Gone):
        await job_reads.thumbnail(album.db, job, "after")


async def test_only_photos_that_ended_well_have_a_result(album: Album) -> None:
    for outcome in (None, "timeout", "provider_error", "cancelled"):
        with pytest.raises(NotFound) as refused:
            await job_reads.result(album.db, await album.photo(outcome=outcome))
        assert refused.value.details["code"] == "result_not_found"


async def test_ing_061_older_than_72_hours_is_not_recent(album: Album) -> None:
    """ING-061: however long results are kept."""
    now = await album.now()
    await album.photo(at=now - timedelta(hours=73))
    young = await album.photo(at=now - timedelta(hours=71))
    await album.db.execute(
        "update makeready.photos set result_expires_at = finished_at + interval '168 hours'"
    )
    assert [each.job_id for each in await job_reads.recent(album.db, "slot-001")] == [young]
    await album.db.execute("update makeready.photos set result_expires_at = makeready.now()")
    assert await job_reads.recent(album.db, "slot-001") == []


async def test_a_payload_is_nobodys_to_see(album: Album) -> None:
    with pytest.raises(NotFound) as refused:
        await job_reads.temporary(album.db, await album.media("payload"), HERE)
    assert refused.value.details["code"] == "media_not_found"
    await job_reads.temporary(album.db, await album.media("prepared"), HERE)


async def test_ing_051_media_are_shown_until_they_expire(album: Album) -> None:
    """ING-051: and 410 afterwards, for links that have been there."""
    live, over = await album.media("temporary"), await album.media("temporary", lives_s=-1)
    found = await job_reads.temporary(album.db, live, HERE)
    assert 40 < found.seconds_left <= 48
    with pytest.raises(Gone) as refused:
        await job_reads.temporary(album.db, over, HERE)
    assert refused.value.details["code"] == "media_link_expired"
    with pytest.raises(NotFound):
        await job_reads.temporary(album.db, uuid4(), HERE)


async def test_one_address_asks_so_often_and_no_more(album: Album) -> None:
    await album.db.execute("select makeready.throttle_set('public_media', 1, '1 minute')")
    media = await album.media("temporary")
    await job_reads.temporary(album.db, media, HERE)
    with pytest.raises(Busy):
        await job_reads.temporary(album.db, media, HERE)
    await job_reads.temporary(album.db, media, "127.0.0.2")
