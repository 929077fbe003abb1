from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from makeready.config import Settings
from makeready.embedded import chromium, chromium_fallback
from makeready.embedded.chromium import FALLBACK, FONTS, find_chromium
from makeready.embedded.chromium_fallback import Package, check, download
from makeready.embedded.processes import EmbeddedError


def _program(path: Path, text: bytes = b"\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any browser."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(chromium, "SHELLS", (tmp_path / "lib" / "chromium-headless-shell",))
    monkeypatch.setattr(chromium, "BROWSERS", (tmp_path / "lib" / "chromium",))
    monkeypatch.setattr(chromium, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_without_a_browser_the_message_says_what_to_install(bare: Path) -> None:
    assert bare.is_dir()
    with pytest.raises(EmbeddedError, match=r"apt-get install .*chromium-headless-shell"):
        find_chromium(Settings())


def test_each_source_wins_over_the_next(bare: Path) -> None:
    settings = Settings(chromium=bare / "own")
    steps = [
        (_program(bare / "cache" / FALLBACK / "chromium"), "fallback", Settings()),
        (_program(bare / "bin" / "chromium"), "path", Settings()),
        (_program(bare / "lib" / "chromium"), "system", Settings()),
        (_program(bare / "lib" / "chromium-headless-shell"), "system", Settings()),
        (_program(bare / "own"), "setting", settings),
    ]
    for path in (step[0] for step in steps):
        path.chmod(0o644)

    for path, source, chosen in steps:
        path.chmod(0o755)
        found = find_chromium(chosen)
        assert (found.path, found.source) == (path, source)


def test_a_setting_that_names_no_program_is_an_error(bare: Path) -> None:
    with pytest.raises(EmbeddedError, match="MAKEREADY_CHROMIUM"):
        find_chromium(Settings(chromium=bare / "nothing"))


def test_wrapper_scripts_and_snaps_on_the_path_are_passed_over(bare: Path) -> None:
    _program(bare / "bin" / "chromium", b"#!/bin/sh\nexec something\n")
    _program(bare / "snap" / "chromium")
    (bare / "bin" / "chrome").symlink_to(bare / "snap" / "chromium")

    with pytest.raises(EmbeddedError):
        find_chromium(Settings())


def test_the_fallback_brings_its_libraries_and_fonts(bare: Path) -> None:
    program = _program(bare / "cache" / FALLBACK / "chromium")
    fonts = _program(bare / "cache" / FONTS / "fonts.conf")
    found = find_chromium(Settings())

    assert found.is_headless_shell
    assert found.env == {
        "FONTCONFIG_FILE": str(fonts),
        "LD_LIBRARY_PATH": str(program.parent / "lib"),
    }


def test_root_keeps_the_fallback_where_the_browsers_user_can_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chromium.cache_folder() == Path("/var/cache/makeready")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert chromium.cache_folder() == Path("/somewhere/makeready")


def _npm(folder: Path, tarball: bytes) -> None:
    """A program `npm` whose `pack` leaves this tarball."""
    (folder / "data").write_bytes(tarball)
    script = (
        '#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\n'
        f'cp "{folder}/data" "$2/it.tgz"\n'
    )
    _program(folder / "npm", script.encode())
    _program(folder / "node")


def _tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            archive.addfile(facts, io.BytesIO(data))
    return buffer.getvalue()


def _pin(data: bytes) -> Package:
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    return Package(name="it", version="1.0.0", sha512=digest)


def test_fonts_are_unpacked_whole_with_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tarball = _tarball(
        {
            "package/ttf/DejaVuSans.ttf": b"D",
            "package/standard_fonts/LiberationSans-Regular.ttf": b"L",
            "package/standard_fonts/Foxit.pfb": b"F",
            "package/../../evil.ttf": b"E",
        }
    )
    _npm(tmp_path, tarball)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(chromium_fallback, "DEJAVU", _pin(tarball))
    monkeypatch.setattr(chromium_fallback, "LIBERATION", _pin(tarball))
    folder = chromium_fallback.install_fonts(tmp_path / "cache")

    assert sorted(path.name for path in folder.iterdir()) == [
        "DejaVuSans.ttf",
        "LiberationSans-Regular.ttf",
        "fonts.conf",
    ]
    assert f"<dir>{folder}</dir>" in (folder / "fonts.conf").read_text("utf-8")
    assert not list(tmp_path.rglob("evil.ttf"))


def test_a_package_with_other_bytes_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _npm(tmp_path, b"other bytes")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(EmbeddedError, match="not the package that was pinned"):
        chromium_fallback.install_fonts(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_npm_says_is_told_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "npm", b"#!/bin/sh\necho no such place >&2\nexit 1\n")
    _program(tmp_path / "node")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = tmp_path / "work"
    folder.mkdir()

    with pytest.raises(EmbeddedError, match="no such place"):
        download(_pin(b""), folder)


def test_pinned_bytes_pass() -> None:
    check(_pin(b"bytes"), b"bytes")


@pytest.mark.parametrize(
    ("environ", "code", "said"),
    [
        ({}, 0, ""),
        ({"MAKEREADY_TASKS": "x"}, 1, "MAKEREADY_TASKS must be a whole number from 1 to 64"),
    ],
)
def test_setup_fetches_nothing_where_all_is_there_or_the_settings_are_wrong(
    environ: dict[str, str], code: int, said: str
) -> None:
    words = [sys.executable, "-m", "makeready.embedded.chromium_fallback"]
    done = subprocess.run(
        words, env=os.environ | environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == (f"[setup] {said}\n" if said else "")
