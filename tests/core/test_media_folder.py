"""A folder as a media store: nothing is left of what ends, whatever the file system can do."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from makeready import media_folder
from makeready.media_folder import FolderStore, open_folder
from tests.support.stored_media import LARGE, PHOTO, left_in, listed, published


@pytest.fixture
async def folder(tmp_path: Path) -> FolderStore:
    return await open_folder(tmp_path / "media")


async def test_a_folder_that_vanishes_is_not_made_anew(
    folder: FolderStore, tmp_path: Path
) -> None:
    root = tmp_path / "media"
    root.rename(tmp_path / "elsewhere")
    for use in (
        folder.write("results/1.jpg", PHOTO, "image/jpeg"),
        folder.check(),
        anext(aiter(folder.listing("results/"))),
    ):
        with pytest.raises((FileNotFoundError, StopAsyncIteration)):
            await use
    assert not root.exists()
    (tmp_path / "elsewhere").rename(root)
    await folder.write("results/1.jpg", PHOTO, "image/jpeg")


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
