"""Which browser renders, and with what environment it has to be started.

Order: MAKEREADY_CHROMIUM, the distribution's headless shell, another Chromium or Chrome, and at
last the build that `make setup` unpacks for users who may not install packages.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from makeready.config import Settings
from makeready.embedded.processes import EmbeddedError

FALLBACK = "chromium-153.0.0"
FONTS = "fonts-1"
SHELLS = (
    Path("/usr/lib/chromium/chromium-headless-shell"),
    Path("/usr/lib64/chromium-browser/headless_shell"),
)
BROWSERS = (
    Path("/usr/lib/chromium/chromium"),
    Path("/usr/lib64/chromium-browser/chromium-browser"),
    Path("/opt/google/chrome/chrome"),
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)
ON_PATH = ("chrome-headless-shell", "headless_shell", "chromium", "chromium-browser", "chrome")
INSTALL = "apt-get install --no-install-recommends chromium-headless-shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChromiumBinary:
    """A browser that can be started."""

    path: Path
    """The program itself, never a wrapper script: a wrapper that is killed leaves the browser."""
    env: Mapping[str, str]
    """Variables to add to the environment of the process."""
    source: str
    """`setting`, `system`, `path` or `fallback`."""

    @property
    def is_headless_shell(self) -> bool:
        """False for a whole browser, which must be told to be headless."""
        return self.source == "fallback" or "headless" in self.path.name


def find_chromium(settings: Settings) -> ChromiumBinary:
    """The first browser of the order above; EmbeddedError, with what to install, if none."""
    if settings.chromium is not None:
        if not os.access(settings.chromium, os.X_OK):
            raise EmbeddedError(f"MAKEREADY_CHROMIUM: {settings.chromium} is no program")
        return _binary(settings.chromium.resolve(), "setting")
    for path, source in _candidates():
        if os.access(path, os.X_OK):
            return _binary(path, source)
    raise EmbeddedError(
        f"no Chromium found: run `{INSTALL}` as root, or `make setup`, or set MAKEREADY_CHROMIUM"
    )


def cache_folder() -> Path:
    """Where the fall-back lives, shared by all checkouts of a user; root's is open to all."""
    if os.geteuid() == 0:
        return Path("/var/cache/makeready")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "makeready"


def _candidates() -> Iterator[tuple[Path, str]]:
    for path in (*SHELLS, *BROWSERS):
        yield path, "system"
    for name in ON_PATH:
        found = shutil.which(name)
        if found and not _is_wrapper(Path(found)):
            yield Path(found).resolve(), "path"
    yield cache_folder() / FALLBACK / "chromium", "fallback"


def _is_wrapper(path: Path) -> bool:
    """True for a script, and for a snap, which sees neither our files nor our pipes."""
    if "snap" in path.resolve().parts:
        return True
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _binary(path: Path, source: str) -> ChromiumBinary:
    env: dict[str, str] = {}
    fonts = cache_folder() / FONTS / "fonts.conf"
    if fonts.is_file():
        env["FONTCONFIG_FILE"] = str(fonts)
    if source == "fallback":
        env["LD_LIBRARY_PATH"] = str(path.parent / "lib")
    return ChromiumBinary(path=path, env=env, source=source)
