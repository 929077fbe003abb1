"""Where photos lie: a folder and a bucket behave alike, and neither keeps half of anything."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from makeready import media_folder
from makeready.config import Secret, Settings
from makeready.media import MediaStore, NoRoom, StoredMedia
from makeready.media_bucket import BucketStore
from makeready.media_folder import FolderStore, open_folder
from makeready.media_opening import open_media
from makeready.storage import open_storage
from makeready.storage_errors import StorageError
from tests.support.objectstore import S3

PHOTO = bytes(range(256)) * 40
LARGE = PHOTO * 250  # 2.5 MB: several pieces of a stream


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


@pytest.fixture
async def folder(tmp_path: Path) -> FolderStore:
    return await open_folder(tmp_path / "media")


async def published(media: MediaStore, path: str, content: bytes = PHOTO) -> StoredMedia:
    async with media.spool() as file:
        file.write(content)
        return await media.publish(
            file,
            path,
            media_type="image/jpeg",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).digest(),
        )


async def listed(media: MediaStore, prefix: str) -> list[str]:
    return [each.path async for each in media.listing(prefix)]


def left_in(root: Path) -> list[str]:
    """All files there but the folder's id."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.endswith(media_folder.ID_FILE))


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


async def test_ing_018_a_folder_keeps_nothing_of_an_upload_that_ends(
    folder: FolderStore, tmp_path: Path
) -> None:
    async def begun() -> None:
        async with folder.spool() as file:
            file.write(PHOTO)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await begun()

    assert left_in(tmp_path) == []


async def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    # ING-018: the file has no name, so there is nothing to sweep.
    program = (
        "import pathlib, sys; from makeready.media_folder import nameless\n"
        "file = nameless(pathlib.Path(sys.argv[1])); file.write(b'x' * 100000); file.flush()\n"
        "print('written', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()

    assert left_in(tmp_path) == []


def test_a_full_disk_is_as_it_was_after_an_upload(tmp_path: Path) -> None:
    # A file system of 2 MiB, in a name space of our own.
    script = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"'
    program = (
        "import pathlib, sys; from makeready.media_folder import free_bytes, nameless\n"
        "root = pathlib.Path(sys.argv[1]); before = free_bytes(root)\n"
        "try:\n  with nameless(root) as file: file.write(bytes(5 << 20))\n"
        "except OSError as error: print(error.errno)\n"
        "assert free_bytes(root) == before and not list(root.iterdir())"
    )
    found = subprocess.run(
        ["/usr/bin/env", "unshare", "--map-root-user", "--mount", "sh", "-c", script, "-",
         str(tmp_path), sys.executable, program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in found.stderr or "mount" in found.stderr:
        pytest.skip("this machine does not let us mount")
    assert (found.returncode, found.stdout.strip()) == (0, str(errno.ENOSPC)), found.stderr


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_file_system_without_nameless_files_does_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    opened, linked = os.open, os.link

    def without_nameless(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return opened(path, flags, *rest, **more)

    def link(*arguments: Any, **more: Any) -> None:
        if not has_links:
            raise OSError(errno.EPERM, "not here")
        linked(*arguments, **more)

    monkeypatch.setattr(os, "open", without_nameless)
    monkeypatch.setattr(os, "link", link)
    folder = await open_folder(tmp_path / "media")
    assert (await open_folder(tmp_path / "media")).name == folder.name
    async with folder.spool() as file:
        file.write(b"not kept")
    stored = await published(folder, "payloads/1/IMG.JPG")
    again = await published(folder, "payloads/1/IMG.JPG", b"other")

    assert stored.path == again.path
    assert await folder.read(again) == b"other"
    assert left_in(tmp_path) == ["media/payloads/1/IMG.JPG"]


async def test_what_a_killed_process_has_left_goes_after_a_day(
    folder: FolderStore, tmp_path: Path
) -> None:
    spool = tmp_path / "media" / media_folder.SPOOL
    for name, age_s in (("old.part", 25 * 3600), ("new.part", 3600), ("other", 25 * 3600)):
        (spool / name).write_bytes(b"x")
        os.utime(spool / name, (time.time() - age_s,) * 2)

    assert (await open_folder(tmp_path / "media")).name == folder.name
    assert sorted(each.name for each in spool.iterdir()) == ["new.part", "other"]


async def test_folders_vanish_with_their_last_file(folder: FolderStore, tmp_path: Path) -> None:
    stored = await published(folder, "payloads/1/IMG.JPG")
    await folder.delete([stored.path])

    assert not (tmp_path / "media/payloads/1").exists()
    assert (tmp_path / "media/payloads").is_dir()


async def test_a_folder_that_is_deleted_meanwhile_is_made_again(folder: FolderStore) -> None:
    async def written(number: int) -> None:
        path = f"payloads/1/{number}.jpg"
        await folder.write(path, PHOTO, "image/jpeg")
        await folder.delete([path])

    await asyncio.gather(*(written(number) for number in range(40)))
    assert await listed(folder, "payloads/") == []


async def test_a_link_in_the_place_of_a_file_is_not_followed(
    folder: FolderStore, tmp_path: Path
) -> None:
    stored = await published(folder, "results/1.jpg")
    where = tmp_path / "media/results/1.jpg"
    where.unlink()
    where.symlink_to("/etc/passwd")

    with pytest.raises(OSError, match="symbolic links"):
        await folder.read(stored)


async def test_a_file_that_has_become_shorter_is_no_whole_answer(
    folder: FolderStore, tmp_path: Path
) -> None:
    stored = await published(folder, "results/1.jpg", LARGE)
    os.truncate(tmp_path / "media/results/1.jpg", 1000)

    with pytest.raises(FileNotFoundError):
        async for _ in folder.stream(stored):
            pass


async def test_what_is_being_written_is_not_listed(folder: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "media/payloads/1").mkdir(parents=True)
    (tmp_path / "media/payloads/.hidden").mkdir()
    (tmp_path / "media/payloads/.hidden/x").write_bytes(b"")

    assert await listed(folder, "payloads") == []
    assert await listed(folder, "results") == []


async def test_template_media_is_on_the_disk_before_it_counts(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    await folder.write("payloads/1/IMG.JPG", PHOTO, "image/jpeg")
    assert synced == []
    await folder.write("templates/1.png", PHOTO, "image/png")
    assert len(synced) == 2


async def test_many_processes_agree_on_the_name_of_a_new_folder(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(open_folder(tmp_path / "new") for _ in range(12)))

    assert len({store.name for store in stores}) == 1
    assert left_in(tmp_path) == []


async def test_a_folder_whose_id_is_broken_is_refused(tmp_path: Path) -> None:
    (tmp_path / media_folder.ID_FILE).write_text("what?")
    with pytest.raises(OSError, match="restore or delete it"):
        await open_folder(tmp_path)
