"""Where photos lie: a folder and a bucket behave alike, and neither keeps half of anything."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from makeready.config import Secret, Settings
from makeready.media import MediaStore, NoRoom, StoredMedia
from makeready.media_bucket import BucketStore
from makeready.media_folder import open_folder
from makeready.media_opening import open_media
from makeready.storage import open_storage
from makeready.storage_errors import StorageError
from tests.support.objectstore import S3
from tests.support.stored_media import LARGE, PHOTO, listed, published


def of_store(s3: S3, root: Path, kind: str) -> Settings:
    return Settings(
        data_dir=root,
        media_store=kind,
        s3_endpoint=s3.endpoint,
        s3_bucket=s3.bucket,
        s3_region=s3.region,
        s3_access_key=s3.access_key,
        s3_secret_key=Secret(s3.secret_key),
    )


@pytest.fixture(params=["folder", "bucket"])
async def media(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MediaStore]:
    if request.param == "folder":
        yield await open_folder(tmp_path / "media")
        return
    settings = of_store(request.getfixturevalue("s3"), tmp_path, "bucket")
    async with open_storage(settings) as storage, open_media(settings, storage) as opened:
        yield opened
        await storage.delete([facts.key async for facts in storage.listing()])


async def test_a_spooled_file_is_there_when_it_is_published_and_not_before(
    media: MediaStore,
) -> None:
    async with media.spool() as file:
        file.write(PHOTO)
        assert await listed(media, "payloads/") == []

    stored = await published(media, "payloads/1/IMG.JPG")

    assert stored == StoredMedia(
        store=media.name,
        path="payloads/1/IMG.JPG",
        media_type="image/jpeg",
        size_bytes=len(PHOTO),
        sha256=hashlib.sha256(PHOTO).digest(),
    )
    assert await media.read(stored) == PHOTO
    (found,) = [each async for each in media.listing("payloads/")]
    assert (found.path, found.size_bytes) == (stored.path, len(PHOTO))
    assert found.modified_at.tzinfo is not None


async def test_bytes_are_written_and_an_older_file_is_replaced(media: MediaStore) -> None:
    await media.write("results/1.jpg", b"old", "image/jpeg")
    stored = await media.write("results/1.jpg", PHOTO, "image/png")

    assert (stored.media_type, stored.size_bytes) == ("image/png", len(PHOTO))
    assert stored.sha256 == hashlib.sha256(PHOTO).digest()
    assert await media.read(stored) == PHOTO
    assert await listed(media, "results") == ["results/1.jpg"]

    again = await published(media, "results/1.jpg", b"newest")
    assert await media.read(again) == b"newest"


async def test_a_file_is_streamed_in_pieces_and_in_parts(media: MediaStore) -> None:
    stored = await published(media, "results/1.jpg", LARGE)

    pieces = [piece async for piece in media.stream(stored)]
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) <= 1 << 20
    for first, last in ((0, 0), (10, 1_200_000), (len(LARGE) - 5, len(LARGE) - 1)):
        found = b"".join([piece async for piece in media.stream(stored, first, last)])
        assert found == LARGE[first : last + 1]
    assert (
        b"".join([piece async for piece in media.stream(stored, 2_000_000)]) == LARGE[2_000_000:]
    )


async def test_a_file_can_be_opened_where_a_library_wants_one(media: MediaStore) -> None:
    stored = await published(media, "results/1.jpg", LARGE)

    async with media.local(stored) as file:
        assert os.fstat(file.fileno()).st_size == len(LARGE)
        file.seek(100)
        assert file.read(10) == LARGE[100:110]


async def test_what_is_deleted_is_gone_and_may_be_gone_already(media: MediaStore) -> None:
    one = await published(media, "payloads/1/IMG.JPG")
    other = await published(media, "payloads/1/prepared.jpg")
    await media.delete([one.path, one.path, "payloads/2/none.jpg"])

    assert await listed(media, "payloads/") == [other.path]
    await media.delete([other.path])
    await media.delete([])
    assert await listed(media, "payloads/") == []
    for use in (media.read(one), anext(aiter(media.stream(one)))):
        with pytest.raises(FileNotFoundError):
            await use
    with pytest.raises(FileNotFoundError):
        async with media.local(one):
            pass


async def test_files_of_another_store_are_not_looked_for(media: MediaStore) -> None:
    stored = await published(media, "results/1.jpg")
    foreign = StoredMedia(
        store="folder:0123456789abcdef",
        path=stored.path,
        media_type="image/jpeg",
        size_bytes=1,
        sha256=b"",
    )

    with pytest.raises(FileNotFoundError, match="folder:0123456789abcdef"):
        await media.read(foreign)


async def test_a_path_that_leads_elsewhere_is_refused(media: MediaStore) -> None:
    for path in ("../x", "/etc/x", "a//b", "a/../b", "", ".spool/x", "a/.b", "a/b/", "a\0b", "ж"):
        with pytest.raises(ValueError, match="is no path"):
            await media.write(path, b"", "image/jpeg")
        with pytest.raises(ValueError, match="is no path"):
            await media.delete([path])


async def test_a_store_says_that_it_can_be_written_to_and_how_much_fits(media: MediaStore) -> None:
    await media.check()
    free = await media.free_bytes()
    assert free is not None
    assert free > 0


async def test_no_file_is_begun_where_there_is_no_room(media: MediaStore) -> None:
    media.nameless(room=1).close()
    with pytest.raises(NoRoom):
        media.nameless(room=1 << 60)


async def test_only_a_bucket_gives_links(media: MediaStore) -> None:
    stored = await published(media, "results/1.jpg")
    link = await media.link(stored, filename="photo.jpg", seconds=60)

    assert (link is None) == media.name.startswith("folder:")
    assert link is None or "/photos/results/1.jpg?" in link


async def test_a_bucket_is_everybodys_and_a_folder_is_its_own_host(s3: S3, tmp_path: Path) -> None:
    stores: list[MediaStore] = []
    async with AsyncExitStack() as stack:
        for kind, root in (("folder", "a"), ("folder", "a"), ("folder", "b"), ("bucket", "a")):
            settings = of_store(s3, tmp_path / root, kind)
            storage = await stack.enter_async_context(open_storage(settings))
            stores.append(await stack.enter_async_context(open_media(settings, storage)))
    first, same, other, bucket = stores

    assert first.name == first.host == same.name != other.name
    assert (bucket.name, bucket.host) == (f"bucket:{s3.bucket}", "")


async def test_a_bucket_that_is_gone_is_told(s3: S3, tmp_path: Path) -> None:
    settings = of_store(s3, tmp_path, "bucket")
    async with open_storage(settings) as storage:
        lost = BucketStore(storage.of_bucket("no-such-bucket"), tmp_path)
        with pytest.raises(StorageError):
            await lost.check()
