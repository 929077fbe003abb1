"""A media store that is a folder of this machine, or one that several machines share.

An upload has no name until it is let in: whatever ends before that leaves nothing to sweep. Where
the file system has no files without names, one with a name that is deleted at the end serves.
A folder is known by an id in its file `store-id`: machines may be renamed, folders moved.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import IO

import anyio

from makeready.media import PIECE_BYTES, Listed, NoRoom, StoredMedia
from makeready.threads import in_thread

ID_FILE = "store-id"
SPOOL = ".spool"
"""Below it lies what has no name yet, or is being written; never listed."""
LISTED_AT_ONCE = 500
STRAY_S = 24 * 3600.0
"""No upload takes as long."""
_LASTING = ("templates/",)
"""What nobody can send again: it is on the disk before it counts as stored."""

_GOOD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", re.ASCII)
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


class FolderStore:
    """Made by `open_folder`; safe to use from many tasks, processes and machines."""

    def __init__(self, root: Path, identity: str) -> None:
        self._root = root
        self._spool = root / SPOOL
        self._name = f"folder:{identity}"

    @property
    def name(self) -> str:
        """The folder's id."""
        return self._name

    @property
    def host(self) -> str:
        """The same: jobs go to processes that reach this very folder."""
        return self._name

    def nameless(self, room: int = 0) -> IO[bytes]:
        """See `MediaStore`."""
        return nameless(self._spool, room)

    def spool(self) -> AbstractAsyncContextManager[IO[bytes]]:
        """See `MediaStore`."""
        return spooled(self._spool)

    async def publish(
        self, spooled: IO[bytes], path: str, *, media_type: str, size_bytes: int, sha256: bytes
    ) -> StoredMedia:
        """See `MediaStore`."""
        await in_thread(self._publish, spooled, path)
        return StoredMedia(
            store=self._name,
            path=path,
            media_type=media_type,
            size_bytes=size_bytes,
            sha256=sha256,
        )

    async def write(self, path: str, content: bytes, media_type: str) -> StoredMedia:
        """See `MediaStore`."""
        digest = await in_thread(self._write, path, content)
        return StoredMedia(
            store=self._name,
            path=path,
            media_type=media_type,
            size_bytes=len(content),
            sha256=digest,
        )

    async def read(self, stored: StoredMedia) -> bytes:
        """See `MediaStore`."""
        return await in_thread(self._read, stored)

    async def stream(
        self, stored: StoredMedia, first: int = 0, last: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `MediaStore`."""
        left = (stored.size_bytes if last is None else last + 1) - first
        size = min(left, PIECE_BYTES)
        file, piece = await in_thread(self._begun, stored, first, size, untaken=_close_first)
        with file:
            while left > 0:
                if not piece:
                    raise FileNotFoundError(errno.ENOENT, "the file is shorter", stored.path)
                left -= len(piece)
                yield piece
                if left > 0:
                    piece = await in_thread(file.read, min(left, PIECE_BYTES))

    @asynccontextmanager
    async def local(self, stored: StoredMedia) -> AsyncIterator[IO[bytes]]:
        """See `MediaStore`."""
        file = await in_thread(self._open, stored, untaken=_close)
        try:
            yield file
        finally:
            file.close()

    async def delete(self, paths: Sequence[str]) -> None:
        """See `MediaStore`."""
        await in_thread(self._delete, paths)

    async def listing(self, prefix: str) -> AsyncIterator[Listed]:
        """See `MediaStore`."""
        found = self._listed(prefix)

        def some() -> list[Listed]:
            return [each for each, _ in zip(found, range(LISTED_AT_ONCE), strict=False)]

        while page := await in_thread(some):
            for each in page:
                yield each

    async def link(
        self,
        stored: StoredMedia,  # noqa: ARG002
        *,
        filename: str,  # noqa: ARG002
        seconds: int,  # noqa: ARG002
        is_inline: bool = False,  # noqa: ARG002
    ) -> str | None:
        """None: nobody but the service reaches the folder."""
        return None

    async def free_bytes(self) -> int | None:
        """See `MediaStore`; what the super-user alone may fill up does not count."""
        return await in_thread(free_bytes, self._root)

    async def check(self) -> None:
        """See `MediaStore`."""

        def write() -> None:
            with nameless(self._spool) as file:
                file.write(b"?")
                file.flush()

        await in_thread(write)

    def _path(self, path: str) -> Path:
        return self._root / checked_path(path)

    def _publish(self, spooled: IO[bytes], path: str) -> None:
        spooled.flush()
        if path.startswith(_LASTING):
            os.fsync(spooled.fileno())
        where = self._path(path)
        for is_last in (False, False, True):
            self._make_way(where)
            try:
                self._name_it(spooled, where)
                break
            except FileNotFoundError:  # somebody has deleted its folder: it was empty till now
                if is_last:
                    raise
        if path.startswith(_LASTING):
            _sync_folder(where.parent)

    def _make_way(self, where: Path) -> None:
        """Makes the folders of a file; never that of the store, which would be an empty one."""
        if not where.parent.exists():
            for folder in reversed(where.relative_to(self._root).parents[:-1]):
                (self._root / folder).mkdir(exist_ok=True)

    def _name_it(self, spooled: IO[bytes], where: Path) -> None:
        try:
            _link(spooled, where)
        except FileExistsError:
            aside = self._spool / f"{secrets.token_hex(8)}.part"
            _link(spooled, aside)
            aside.replace(where)

    def _write(self, path: str, content: bytes) -> bytes:
        with nameless(self._spool) as file:
            file.write(content)
            self._publish(file, path)
        return sha256_of(content).digest()

    def _read(self, stored: StoredMedia) -> bytes:
        with self._open(stored) as file:
            return file.read()

    def _open(self, stored: StoredMedia) -> IO[bytes]:
        if stored.store != self._name:
            raise FileNotFoundError(errno.ENOENT, f"it lies in {stored.store}", stored.path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self._path(stored.path), flags), "rb")

    def _begun(self, stored: StoredMedia, first: int, size: int) -> tuple[IO[bytes], bytes]:
        """The file and its first piece: most photos are no longer than that."""
        file = self._open(stored)
        try:
            file.seek(first)
            return file, file.read(max(0, size))
        except BaseException:
            file.close()
            raise

    def _delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            where = self._path(path)
            where.unlink(missing_ok=True)
            # The folders of the first level stay; others may be filled again at this moment.
            for folder in list(where.relative_to(self._root).parents)[:-2]:
                with contextlib.suppress(OSError):
                    (self._root / folder).rmdir()

    def _listed(self, prefix: str) -> Iterator[Listed]:
        """Of a folder; what is deleted meanwhile is not told, nor what is not ours."""
        start = self._path(prefix.rstrip("/"))
        for folder, folders, names in os.walk(start):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for name in sorted(names):
                with contextlib.suppress(FileNotFoundError):
                    facts = (Path(folder) / name).lstat()
                    yield Listed(
                        path=(Path(folder) / name).relative_to(self._root).as_posix(),
                        size_bytes=facts.st_size,
                        modified_at=datetime.fromtimestamp(facts.st_mtime, UTC),
                    )


def checked_path(path: str) -> str:
    """The path; raises ValueError for one that leads elsewhere, or to something hidden."""
    if not _GOOD.fullmatch(path):
        raise ValueError(f"{path[:80]!r} is no path in a media store")
    return path


async def open_folder(root: Path) -> FolderStore:
    """The folder as a store: made if it is not there; raises OSError when it cannot be used."""
    return await in_thread(_opened, root)


async def made_spool(folder: Path) -> Path:
    """The folder for uploads, made if it is not there."""
    await in_thread(_make_spool, folder)
    return folder


@asynccontextmanager
async def spooled(folder: Path) -> AsyncIterator[IO[bytes]]:
    """See `MediaStore.spool`."""
    file = await in_thread(nameless, folder, untaken=_close)
    try:
        yield file
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(file.close)  # what nobody has named takes its time to be freed


def _close(file: IO[bytes]) -> None:
    file.close()


def _close_first(found: tuple[IO[bytes], bytes]) -> None:
    found[0].close()


def nameless(folder: Path, room: int = 0) -> IO[bytes]:
    """A new file without a name, on the disk of the folder; gone as soon as it is closed."""
    if room and free_bytes(folder) < room:
        raise NoRoom(errno.ENOSPC, "there is no room", str(folder))
    with contextlib.suppress(AttributeError):  # macOS has no such thing
        try:
            fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o640)
            return os.fdopen(fd, "w+b")
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
    return io.BufferedRandom(_Part(folder / f"{secrets.token_hex(8)}.part", "x+"))


class _Part(io.FileIO):
    """A file that loses its name when it is closed, if it still has that one."""

    def close(self) -> None:
        if not self.closed:
            Path(str(self.name)).unlink(missing_ok=True)
        super().close()


def free_bytes(folder: Path) -> int:
    """Room on the folder's disk."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def _link(file: IO[bytes], path: Path) -> None:
    """Gives a file of `nameless` a name; raises FileExistsError."""
    if not isinstance(file.name, int):
        try:
            os.link(file.name, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            Path(file.name).replace(path)
        return
    # With a folder's descriptor Python calls linkat, which alone follows the link in /proc.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(root: Path) -> FolderStore:
    root = root.absolute()
    _make_spool(root / SPOOL)
    probe = root / SPOOL / f"{secrets.token_hex(8)}.part"
    with nameless(root / SPOOL) as file:
        _link(file, probe)  # whoever cannot write here shall hear of it now
    probe.unlink()
    return FolderStore(root, _identity(root))


def _make_spool(folder: Path) -> None:
    """Makes it, and deletes what processes have left there that were killed.

    They can only where the file system knows no files without names.
    """
    for each in (folder.parent, folder):
        each.mkdir(parents=True, exist_ok=True, mode=0o750)
    for stray in folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - stray.stat().st_mtime > STRAY_S:
                stray.unlink()


def _identity(root: Path) -> str:
    """The folder's id; of several processes that make one at the same moment the first wins."""
    file = root / ID_FILE
    if not file.exists():
        with nameless(root / SPOOL) as made:
            made.write(secrets.token_hex(8).encode() + b"\n")
            made.flush()
            with contextlib.suppress(FileExistsError):
                _link(made, file)
    text = file.read_text().strip()
    if not _ID.fullmatch(text):
        raise OSError(errno.EINVAL, "is no id of a media store; restore or delete it", str(file))
    return text
