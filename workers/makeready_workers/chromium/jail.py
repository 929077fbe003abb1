"""Starts one Chromium so that it can reach nothing and cannot outlive us.

The ladder, from best to worst; each start takes the first rung that holds:

    1. own network namespace, unprivileged uid, Chromium's sandbox
    2. unprivileged uid and Chromium's sandbox; the flags alone keep it off the network
       (containers that forbid `unshare`)
    3. without Chromium's sandbox: only when the operator says so (MAKEREADY_CHROMIUM_NO_SANDBOX)

A browser that is driven through a port, as pyppeteer does, starts on the second: nobody could
reach the port in a network of its own.

A browser leads its own session, so killing its process group kills all of it. It dies with us
three times over: the pipe to it closes, the kernel sends SIGKILL (`--pdeathsig`), and its home is
removed by whoever comes next (`sweep`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from makeready.embedded.chromium import ChromiumBinary
from makeready_workers.chromium.flags import command_line
from makeready_workers.chromium.link import Link
from makeready_workers.chromium.pipe import Pipe

NOBODY = 65534  # the uid and gid that root drops to
HOME_PREFIX = "makeready-chromium-"
EXIT_TIMEOUT_S = 2.0
SCRIPT_HEAP_MB = 512
_STDERR_TAIL_BYTES = 2000

# The shell becomes the browser: no wrapper stays behind, so the pid that we know is the browser's.
# `ulimit -c 0`: no core dump holds a customer's text.
# The first moves the two pipes to where Chromium looks for them. The second is for a browser that
# is spoken to by websocket, and would not notice our end: a child reads from the pipe that we
# hold, and kills the whole group when it closes.
_MOVE_PIPES = 'ulimit -c 0; exec 3<&0 4>&1 </dev/null >/dev/null; exec "$@"'
_KEEP_PIPE = (
    "ulimit -c 0; exec 3<&0 </dev/null >/dev/null; "
    '{ read _ <&3; kill -9 0; } & exec 3<&-; exec "$@"'
)

_log = structlog.get_logger(__name__)
_L = TypeVar("_L", bound=Link)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """How a browser is started: one rung of the ladder."""

    namespace: bool
    """Whether the browser has a network namespace of its own, without any device."""
    sandbox: bool
    uid: int | None
    """The uid that root drops to; None when we are not root or must stay."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command line with the programs before it that take rights away."""
        steps: list[str] = []
        if self.namespace:
            steps += ["unshare", "--net"]
            if os.geteuid() != 0:
                steps += ["--user", "--map-current-user"]
            steps.append("--")
        if shutil.which("setpriv"):
            steps += ["setpriv", "--pdeathsig", "KILL"]
            if self.uid is not None:
                steps += [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
            steps.append("--")
        return [*steps, *command]


def ladder(*, no_sandbox: bool, by_port: bool = False) -> list[Jail]:
    """The rungs to try, best first; a browser that listens on a port has to share our network."""
    root = os.geteuid() == 0
    uid = NOBODY if root and shutil.which("setpriv") else None
    namespaces = (True, False) if shutil.which("unshare") and not by_port else (False,)
    return [Jail(namespace=own, sandbox=not no_sandbox, uid=uid) for own in namespaces]


class Home:
    """A browser's own folder among the temporary files; locked while we live, removed with it."""

    def __init__(self, uid: int | None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
        self.profile = self.path / "profile"
        self.stderr = self.path / "stderr"
        lock = self.path / "new"
        try:
            self._lock = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            self.path.rmdir()  # without a lock nobody would ever sweep it
            raise
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            lock.rename(self.path / "lock")  # held before another's sweep can find it
            self.profile.mkdir(mode=0o700)
            if uid is not None:
                self.path.chmod(0o711)
                os.chown(self.profile, uid, uid)
        except OSError:
            self.remove()
            raise

    def complaint(self) -> str:
        """The end of what the browser wrote to standard error."""
        try:
            return self.stderr.read_bytes()[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""

    def remove(self) -> None:
        """Deletes the folder; blocking."""
        os.close(self._lock)
        shutil.rmtree(self.path, ignore_errors=True)


def sweep() -> int:
    """Removes the homes of browsers whose owner died without a word; blocking; says how many."""
    removed = 0
    for path in Path(tempfile.gettempdir()).glob(HOME_PREFIX + "*"):
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
                continue
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a live owner holds it
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
            finally:
                os.close(lock)
    return removed


async def launch(binary: ChromiumBinary, jail: Jail, home: Home, link: type[_L]) -> _L:
    """Starts the browser and returns its link at once; the first call tells whether it lives.

    The browser sees the variables of `binary` and nothing of ours: no DSN, no key.
    """
    by_pipe = issubclass(link, Pipe)
    flags = command_line(
        profile=home.profile,
        sandbox=jail.sandbox,
        whole_browser=not binary.is_headless_shell,
        script_heap_mb=SCRIPT_HEAP_MB,
        by_pipe=by_pipe,
    )
    if not jail.sandbox:
        _log.warning("chromium_sandbox_off", setting="MAKEREADY_CHROMIUM_NO_SANDBOX")
    shell = ["/bin/sh", "-c", _MOVE_PIPES if by_pipe else _KEEP_PIPE, "makeready-chromium"]
    with home.stderr.open("wb") as stderr:
        _, made = await asyncio.get_running_loop().subprocess_exec(
            link,
            *jail.wrap([*shell, str(binary.path), *flags]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            cwd="/",
            env=_environment(home, binary.env),
        )
    return made


async def kill(link: Link) -> None:
    """Ends the browser with all its processes; waits for its exit for at most `EXIT_TIMEOUT_S`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(link.pid, signal.SIGKILL)  # also when only a straggler of it is left
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EXIT_TIMEOUT_S):
            await asyncio.shield(link.exited)
    link.close()


def _environment(home: Home, extra: Mapping[str, str]) -> dict[str, str]:
    return {
        "HOME": str(home.profile),
        "LANG": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": str(home.profile),
        "TZ": "UTC",
        "XDG_CACHE_HOME": str(home.profile),
        "XDG_CONFIG_HOME": str(home.profile),
        **extra,
    }
