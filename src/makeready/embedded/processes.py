"""Child processes of the embedded parts: whose they are, how they end, what they may reach.

Blocking by design: the callers start and stop servers before and after an event loop runs.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.005
SOCKET_PATH_LIMIT = 100  # bytes; the kernel's limit is 107 with the terminating zero
ROOT_STATE = Path("/var/lib/makeready")  # root's own, where an unprivileged server can reach it
_PR_SET_PDEATHSIG = 1


class EmbeddedError(Exception):
    """An embedded part cannot start; the text says why and what to do."""


class Locked(EmbeddedError):
    """Another process holds the lock; `holder` is what it wrote about itself."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"locked by {holder}")
        self.holder = holder


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """The unprivileged user that root starts a server as."""

    name: str
    uid: int
    gid: int


def server_user() -> ServerUser | None:
    """None when this process is not root: then servers run as the very user who starts them."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedError("neither the user postgres nor nobody exists, and Postgres refuses root")


def can_reach(path: Path, user: ServerUser | None) -> bool:
    """True when the user may walk down to the path and enter or run it."""
    if user is None:
        return os.access(path, os.X_OK)
    return all(_may_enter(part, user) for part in (path, *path.parents) if part.exists())


def _may_enter(path: Path, user: ServerUser) -> bool:
    facts = path.stat()
    if facts.st_uid == user.uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == user.gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def reachable_folder(wanted: Path, user: ServerUser | None) -> Path:
    """The folder itself, made when missing, or a stand-in under /var/lib that the user can reach.

    Root's home is closed to others, so a checkout there needs the stand-in; a link shows it.
    """
    wanted = wanted.absolute()
    if wanted.is_symlink():
        return wanted.resolve()
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if can_reach(wanted.parent, user):
        make_private(wanted, user)
        return wanted
    digest = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    stand_in = ROOT_STATE / f"{wanted.name}-{digest}"
    stand_in.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    make_private(stand_in, user)
    with suppress(OSError):  # a real folder already stands there: it stays, unused
        wanted.symlink_to(stand_in)
    return stand_in


def make_private(folder: Path, user: ServerUser | None) -> None:
    """Makes a folder with mode 0700 that belongs to the server's user."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(folder, user.uid, user.gid)


def socket_folder(wanted: Path, user: ServerUser | None) -> Path:
    """A private folder for a Unix socket: the wanted one, or a short one when that is too long."""
    if len(os.fsencode(wanted / ".s.PGSQL.65535")) <= SOCKET_PATH_LIMIT:
        make_private(wanted, user)
        return wanted
    short = Path(tempfile.mkdtemp(prefix="mr-", dir="/tmp"))  # TMPDIR may be long
    make_private(short, user)
    return short


def die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """What a child runs before exec so that it gets this signal when its parent dies; Linux only.

    Bound to the thread that starts the child: start from the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: after fork it might deadlock
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return before_exec


def wait_for_exit(pid: int, child: subprocess.Popen[bytes] | None, timeout_s: float) -> bool:
    """True once the process is gone; a child is reaped on the way."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (child.poll() is not None) if child is not None else not is_alive(pid):
            return True
        time.sleep(POLL_S)
    return False


def end(
    pid: int, child: subprocess.Popen[bytes] | None, steps: Sequence[tuple[signal.Signals, float]]
) -> None:
    """Sends each signal in turn and waits its number of seconds; at last kills."""
    for number, patience_s in (*steps, (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            if child is None:
                os.kill(pid, number)
            else:  # says nothing to one that has been reaped: its id may be another's by now
                child.send_signal(number)
        if wait_for_exit(pid, child, patience_s):
            return
    raise EmbeddedError(
        f"process {pid} survived SIGKILL; it hangs in the kernel, look at its disk"
    )


def is_alive(pid: int) -> bool:
    """True while a process with this id runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_of(pid: int) -> str:
    """The command line of a process, empty when there is none: ids are used again."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ")
        except OSError:
            return ""
    words = ["ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that are free now; all are held open until the last one is known.

    Nothing reserves them afterwards: a caller whose server finds one taken asks again.
    """
    held = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@contextmanager
def locked(path: Path, holder: str) -> Iterator[None]:
    """Holds the lock of a file until left or killed; raises Locked when it is taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(descriptor, 512, 0).decode("utf-8", "replace")
            raise Locked(other or "unknown") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def sole_owner(folder: Path, what: str) -> Iterator[None]:
    """Holds the folder's lock: two processes never run one server. EmbeddedError when taken."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "owner.lock", str(os.getpid())))
        except Locked as error:
            raise EmbeddedError(
                f"process {error.holder} already runs {what} in {folder}: "
                "stop it, or set another data folder"
            ) from None
        yield


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)


def copy_whole(sources: Sequence[Path], target: Path) -> None:
    """Copies folders side by side into the target, which appears only once it is complete."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=target.name, dir=target.parent))
    try:
        for source in sources:
            shutil.copytree(source, scratch / source.name, symlinks=True)
        scratch.chmod(0o755)
        with suppress(OSError):  # another process was faster: its copy is as good
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])
