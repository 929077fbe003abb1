"""Results of photos and temporary media under their links, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from makeready.config import Settings
from makeready.media import MediaStore, StoredMedia
from makeready.media_bucket import BucketStore
from makeready.media_folder import open_folder
from makeready.storage import Storage
from tests.support.album import Album
from tests.support.clock import Clock
from tests.support.objectstore import S3
from tests.support.service import Member, Service, error_code, fetch, serving

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 16
HOUR = 3600.0
KEPT_S = 72 * HOUR


@pytest.fixture
async def media(settings: Settings) -> MediaStore:
    """The store of the service."""
    return await open_folder(settings.media_folder)


@pytest.fixture
def album(db: asyncpg.Connection, media: MediaStore) -> Album:
    return Album(db, media.name)


async def a_result(
    album: Album, media: MediaStore, *, media_type: str = "image/jpeg", ext: str = "jpg"
) -> UUID:
    job = uuid4()
    stored = await media.write(f"results/{job}.{ext}", PICTURE, media_type)
    return await album.photo(job=job, stored=stored)


def link(job: UUID | str) -> str:
    return f"/public/results/{job}"


async def test_ing_050_a_result_is_sent_from_the_folder_until_it_expires(
    service: Service, album: Album, media: MediaStore
) -> None:
    """ING-050: 200 with `max-age` of what is left, `Expires` and an expiry of its own."""
    job = await a_result(album, media)
    answer = await service.client.get(link(job))
    assert (answer.status_code, answer.content) == (200, PICTURE)
    headers = answer.headers
    assert headers["content-type"] == "image/jpeg"
    assert headers["content-length"] == str(len(PICTURE))
    max_age = int(headers["cache-control"].removeprefix("private, max-age="))
    assert KEPT_S - 60 < max_age <= KEPT_S
    row = await album.db.fetchrow("select * from makeready.photos where id = $1", job)
    assert row is not None
    assert datetime.fromisoformat(headers["x-result-expires-at"]) == row["result_expires_at"]
    assert headers["x-result-expires-at"].endswith("Z")
    expires = parsedate_to_datetime(headers["expires"])
    assert expires == row["result_expires_at"].replace(microsecond=0)
    assert headers["etag"] == f'"{row["result_sha256"].hex()}"'


async def test_a_browser_takes_a_result_for_a_picture_and_nothing_else(
    service: Service, album: Album, media: MediaStore
) -> None:
    job = await a_result(album, media)
    headers = (await service.client.get(link(job))).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-robots-tag"] == "noindex"
    assert headers["content-disposition"].startswith("inline")
    assert f"{job}.jpg" in headers["content-disposition"]
    other = await a_result(album, media, media_type="image/heic", ext="heic")
    headers = (await service.client.get(link(other))).headers
    assert headers["content-disposition"].startswith("attachment")


async def test_head_ranges_and_etags(service: Service, album: Album, media: MediaStore) -> None:
    job = await a_result(album, media)
    head = await service.client.head(link(job))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(PICTURE))
    part = await service.client.get(link(job), headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, PICTURE[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(PICTURE)}"
    assert part.headers["cache-control"].startswith("private, max-age=2")
    outside = await service.client.get(link(job), headers={"Range": "bytes=99999-"})
    assert (outside.status_code, error_code(outside)) == (416, "range_not_satisfiable")
    known = await service.client.get(link(job), headers={"If-None-Match": head.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["cache-control"].startswith("private, max-age=2")


async def test_ing_049_from_its_expiry_on_it_is_gone_whether_or_not_the_file_is(
    service: Service, album: Album, media: MediaStore
) -> None:
    """ING-049: decided by the row; after the cleaner has been there it is the same."""
    job = await a_result(album, media)
    await album.db.execute(
        "update makeready.photos set result_expires_at = makeready.now() where id = $1", job
    )
    until = await album.db.fetchval(
        "select result_expires_at from makeready.photos where id = $1", job
    )
    for _ in range(2):
        answer = await service.client.get(link(job))
        assert (answer.status_code, error_code(answer)) == (410, "result_expired")
        details = answer.json()["error"]["details"]
        assert details["job_id"] == str(job)
        assert datetime.fromisoformat(details["result_expires_at"]) == until
        assert answer.headers["cache-control"] == "no-store"
        await album.db.execute("select makeready.media_gone('results', $1)", [job])
    gone = "select result_path is null from makeready.photos where id = $1"
    assert await album.db.fetchval(gone, job)
    assert (await service.client.head(link(job))).status_code == 410


async def test_what_has_no_result_looks_the_same(service: Service, album: Album) -> None:
    """ING-050: unknown, unfinished and failed are all 404 `result_not_found`."""
    missing = await album.photo(stored=album.stored("results/missing.jpg"))
    jobs = [uuid4(), missing]
    jobs += [await album.photo(outcome=each) for each in (None, "timeout", "cancelled")]
    for job in jobs:
        for suffix in ("", "/thumbnail"):
            answer = await service.client.get(link(job) + suffix)
            assert (answer.status_code, error_code(answer)) == (404, "result_not_found")
            assert answer.json()["error"]["details"] == {"job_id": str(job)}
            assert answer.headers["cache-control"] == "no-store"
    for text in ("1", "not-an-id", "00000000000000000000000000000000", f"{{{uuid4()}}}"):
        answer = await service.client.get(link(text))
        assert (answer.status_code, error_code(answer)) == (400, "invalid_request")


async def test_a_file_of_another_store_is_a_fault_of_ours(service: Service, album: Album) -> None:
    elsewhere = Album(album.db, "folder:elsewhere")
    answer = await service.client.get(link(await elsewhere.photo()))
    assert (answer.status_code, error_code(answer)) == (503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def test_thumbnails_are_for_whoever_has_the_link_and_before_for_staff(
    service: Service, album: Album, media: MediaStore, viewer: Member, clock: Clock
) -> None:
    job = await a_result(album, media)
    before = await media.write(f"results/{job}.before.jpg", b"before", "image/jpeg")
    after = await media.write(f"results/{job}.after.jpg", b"after", "image/jpeg")
    assert (await service.client.get(f"{link(job)}/thumbnail")).status_code == 404
    await album.pictured(job, before, after)
    answer = await service.client.get(f"{link(job)}/thumbnail")
    assert (answer.status_code, answer.content) == (200, b"after")
    assert answer.headers["cache-control"].startswith("private, max-age=2")
    staff = f"/api/jobs/{job}/thumbnail"
    assert (await viewer.get(staff, params={"side": "before"})).content == b"before"
    assert (await viewer.get(staff)).content == b"after"
    assert (await service.client.get(staff)).status_code == 401
    await clock.advance(KEPT_S + 1)
    await album.db.execute(
        "update makeready.photos set result_expires_at = now() where id = $1", job
    )
    assert (await service.client.get(f"{link(job)}/thumbnail")).status_code == 410


async def offered(album: Album, media: MediaStore, kind: str = "temporary") -> UUID:
    path = f"temporary/{uuid4()}.jpg"
    stored = await media.write(path, PICTURE, "image/jpeg")
    return await album.media(kind, stored=stored)


async def test_ing_051_temporary_media_are_shown_until_they_expire(
    service: Service, album: Album, media: MediaStore
) -> None:
    """ING-051: 200, then 410, also when file and row have gone; nothing prolongs it."""
    wanted = await offered(album, media)
    address = f"/public/media/{wanted}"
    answer = await service.client.get(address)
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["cache-control"] == "private, max-age=0"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await service.client.head(address)).status_code == 200
    for method in ("POST", "PUT", "PATCH"):
        assert (await service.client.request(method, address)).status_code == 405
    assert (await service.client.post(f"{address}/extend")).status_code == 404
    await album.db.execute("update makeready.media_objects set expires_at = makeready.now()")
    for _ in range(2):
        answer = await service.client.get(address)
        assert (answer.status_code, error_code(answer)) == (410, "media_link_expired")
        assert answer.json()["error"]["details"]["id"] == str(wanted)
        assert answer.headers["cache-control"] == "no-store"
        await album.db.execute("select makeready.media_gone('temporary', $1)", [wanted])


async def test_ing_052_a_prepared_image_is_shown_once_offered_and_a_payload_never(
    service: Service, album: Album, media: MediaStore
) -> None:
    """ING-052: until the photo's deadline, which is T after it was let in."""
    job = await album.photo(outcome=None, answered=None)
    public = await album.db.fetchval("select public_id from makeready.photos where id = $1", job)
    assert (await service.client.get(f"/public/media/{public}")).status_code == 404
    prepared = await offered(album, media, "prepared")
    await album.db.execute(
        "update makeready.media_objects set id = $1, job_id = $2 where id = $3",
        public,
        job,
        prepared,
    )
    assert (await service.client.get(f"/public/media/{public}")).content == PICTURE
    payload = await offered(album, media, "payload")
    answer = await service.client.get(f"/public/media/{payload}")
    assert (answer.status_code, error_code(answer)) == (404, "media_not_found")
    await album.db.execute("delete from makeready.media_objects where id = $1", public)
    await album.db.execute("update makeready.photos set expires_at = makeready.now()")
    answer = await service.client.get(f"/public/media/{public}")
    assert (answer.status_code, error_code(answer)) == (410, "media_link_expired")


async def test_media_that_are_unknown_or_asked_for_too_often(
    service: Service, album: Album, media: MediaStore
) -> None:
    answer = await service.client.get(f"/public/media/{uuid4()}")
    assert (answer.status_code, error_code(answer)) == (404, "media_not_found")
    answer = await service.client.get("/public/media/1")
    assert (answer.status_code, error_code(answer)) == (400, "invalid_request")
    await album.db.execute("select makeready.throttle_set('public_media', 2, '1 minute')")
    wanted = await offered(album, media)
    answers = [await service.client.get(f"/public/media/{wanted}") for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert error_code(answers[-1]) == "rate_limited"
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.fixture
async def bucketed(settings: Settings, s3: S3) -> AsyncIterator[Service]:
    """A service whose photos lie in object storage."""
    assert settings.s3_bucket == s3.bucket
    async with serving(replace(settings, media_store="bucket")) as running:
        yield running


@pytest.fixture
def bucket(storage: Storage, tmp_path: Path) -> BucketStore:
    return BucketStore(storage, tmp_path)


async def test_ing_050_from_a_bucket_a_result_comes_by_a_redirect(
    bucketed: Service, bucket: BucketStore, db: asyncpg.Connection
) -> None:
    """ING-050: 307 to a link that holds as long as the result; media are sent by the service."""
    album = Album(db, bucket.name)
    job = await a_result(album, bucket)
    answer = await bucketed.client.get(link(job))
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["cache-control"].startswith("private, max-age=2")
    assert "x-result-expires-at" in answer.headers
    status, content = await asyncio.to_thread(fetch, answer.headers["location"])
    assert (status, content) == (200, PICTURE)
    expires_s = int(httpx2.URL(answer.headers["location"]).params["X-Amz-Expires"])
    assert KEPT_S - 60 < expires_s <= KEPT_S
    for media_type, ext, how in (("image/jpeg", "jpg", "inline"), ("image/heic", "heic", "attac")):
        other = await a_result(album, bucket, media_type=media_type, ext=ext)
        leads = httpx2.URL((await bucketed.client.get(link(other))).headers["location"])
        assert leads.params["response-content-disposition"].startswith(how)  # as from a folder
    assert (await bucketed.client.head(link(job))).status_code == 307
    wanted = await offered(album, bucket)
    shown = await bucketed.client.get(f"/public/media/{wanted}")
    assert (shown.status_code, shown.content) == (200, PICTURE)
    await db.execute("update makeready.photos set result_expires_at = makeready.now()")
    assert (await bucketed.client.get(link(job))).status_code == 410


async def test_a_large_result_is_sent_in_pieces(
    service: Service, album: Album, media: MediaStore
) -> None:
    job, content = uuid4(), bytes(range(256)) * 20_000
    stored: StoredMedia = await media.write(f"results/{job}.jpg", content, "image/jpeg")
    await album.photo(job=job, stored=stored)
    assert (await service.client.get(link(job))).content == content
    part = await service.client.get(link(job), headers={"Range": "bytes=-1000"})
    assert part.content == content[-1000:]
