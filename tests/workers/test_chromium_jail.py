"""What a browser may do on this machine: next to nothing, and never longer than we live."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest
from structlog.testing import capture_logs

from makeready.embedded.chromium import find_chromium
from makeready_workers.chromium.browser import start
from makeready_workers.chromium.flags import NO_NETWORK, command_line
from makeready_workers.chromium.jail import HOME_PREFIX, Home, Jail, ladder, sweep
from makeready_workers.chromium.records import Fault, RenderError
from tests.support.chromium import (
    BOTH,
    ENDLESS,
    SETTINGS,
    group,
    open_files,
    pid_of,
    renderers,
    running_engine,
    show,
)
from tests.support.waiting import until

OWNER = f"""
import asyncio, sys
from makeready.config import Settings
from makeready_workers.chromium import jail, open_engine
from tests.support.chromium import SCRIPTS, LOOSE, pid_of

name, signal = sys.argv[1:]
if signal == "alone":
    wrap = jail.Jail.wrap
    jail.Jail.wrap = lambda self, command: [
        word for word in wrap(self, command) if word not in ("--pdeathsig", "KILL")
    ]

async def main():
    async with open_engine(Settings(), name=name) as engine:
        await engine.render("<p>x", {{}}, LOOSE, timeout_s=15)
        print("pid", pid_of(engine), flush=True)
        await engine.render({ENDLESS!r}, {{}}, SCRIPTS, timeout_s=60)

asyncio.run(main())
"""


class Broken(Jail):
    """A rung on which nothing starts."""

    __slots__ = ()

    def wrap(self, command: object) -> list[str]:
        return ["/bin/sh", "-c", f"echo no {command!r} | cut -c1-2 >&2; exit 1"]


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def announced(output: IO[str]) -> int:
    return next(int(line.split()[1]) for line in output if line.startswith("pid "))


@pytest.mark.parametrize("name", BOTH)
async def test_no_process_of_the_browser_has_our_rights_network_or_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    async with running_engine(name=name) as engine:
        await show(engine, "<p>x", pack="a")
        assert engine.statistics().sandbox
        if name != BOTH[0]:
            assert engine.statistics().network_namespace is False, "its port could not be reached"
        leader = pid_of(engine)
        ours = Path("/proc/self/ns/net").readlink()
        for pid in group(leader):
            assert "0" not in status(pid)["Uid"].split(), "a process of the browser is root"
            assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
            if engine.statistics().network_namespace:
                assert Path(f"/proc/{pid}/ns/net").readlink() != ours
        for pid in renderers(leader):
            assert status(pid)["Seccomp"] == "2", "a renderer without a system call filter"


@pytest.mark.parametrize("name", BOTH)
async def test_no_process_is_started_for_a_network_that_nobody_may_use(name: str) -> None:
    async with running_engine(name=name) as engine:
        await show(engine, "<p>x")
        started = group(pid_of(engine)).values()
        assert any("--type=renderer" in words for words in started)
        assert not any("NetworkService " in words for words in started)


async def test_a_rung_that_does_not_hold_gives_way_to_the_next() -> None:
    broken = Broken(namespace=True, sandbox=True, uid=None)
    good = ladder(no_sandbox=False)[-1]
    browser = await start(find_chromium(SETTINGS), [broken, good])
    try:
        assert browser.jail == good
    finally:
        await browser.close()
    await until(lambda: not group(browser.pid), what="the end of its children")


async def test_no_rung_that_holds_is_an_error_that_costs_no_attempt_and_says_why() -> None:
    with pytest.raises(RenderError, match="no") as caught:
        await start(find_chromium(SETTINGS), [Broken(namespace=True, sandbox=True, uid=None)])
    assert caught.value.code == Fault.BROWSER_LOST
    assert caught.value.retryable
    assert not caught.value.counts


async def test_a_machine_without_room_for_a_browser_costs_no_attempt_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(RenderError, match="no room") as caught:
        await start(find_chromium(SETTINGS), ladder(no_sandbox=False))
    assert caught.value.code == Fault.BROWSER_LOST
    assert not caught.value.counts


def test_the_sandbox_is_given_up_only_when_the_operator_says_so() -> None:
    assert all(rung.sandbox for rung in ladder(no_sandbox=False))
    assert not any(rung.sandbox for rung in ladder(no_sandbox=True))
    for sandbox in (True, False):
        flags = command_line(
            profile=Path("/x"), sandbox=sandbox, whole_browser=False, script_heap_mb=1
        )
        assert ("--no-sandbox" in flags) is not sandbox
        assert set(NO_NETWORK) <= set(flags)


def test_a_plain_user_gets_a_namespace_through_a_user_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = ladder(no_sandbox=False)[0].wrap(["chromium"])
    assert words[words.index("unshare") :][:4] == [
        "unshare",
        "--net",
        "--user",
        "--map-current-user",
    ]
    assert not any(word.startswith("--reuid") for word in words)


async def test_a_browser_without_sandbox_is_logged_as_a_warning() -> None:
    rungs = ladder(no_sandbox=True)
    with capture_logs() as lines:
        browser = await start(find_chromium(SETTINGS), rungs)
        await browser.close()
    assert [line["log_level"] for line in lines if line["event"] == "chromium_sandbox_off"] == [
        "warning"
    ]


def test_homes_of_dead_owners_are_swept_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # no other process sweeps there
    alive = Home(None)
    dead = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
    (dead / "lock").touch()
    strange = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
    assert sweep() == 1
    assert alive.path.exists()
    assert not dead.exists()
    assert strange.exists(), "a folder without a lock is not ours"
    strange.rmdir()
    alive.remove()
    assert not alive.path.exists()


def test_a_home_that_is_being_made_is_not_swept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    locked = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            sweep()  # of another process that starts just now
        locked(descriptor, how)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", late)
    home = Home(None)
    assert home.profile.is_dir()
    home.remove()


@pytest.mark.parametrize("failing", ["os.open", "pathlib.Path.mkdir"])
def test_a_home_that_cannot_be_made_leaves_no_folder_and_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files()
    with monkeypatch.context() as broken:
        broken.setattr(failing, full)
        with pytest.raises(OSError, match="no room"):
            Home(None)
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


def test_a_home_is_locked_while_its_owner_lives() -> None:
    home = Home(None)
    with (home.path / "lock").open() as again, pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    home.remove()


@pytest.mark.parametrize("signal_too", ["with the kernel's signal", "alone"])
@pytest.mark.parametrize("name", BOTH)
async def test_nothing_is_left_when_the_owner_is_killed_in_the_middle_of_a_hang(
    name: str, signal_too: str
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, name, signal_too], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    leader = await asyncio.to_thread(announced, owner.stdout)
    await until(lambda: len(renderers(leader)) > 1, what="the hanging page")
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    await until(lambda: not group(leader), what="the browser's end")
