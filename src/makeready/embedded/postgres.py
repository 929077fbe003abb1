"""A PostgreSQL server of our own: made, started and stopped by this process.

`makeready up`, `makeready demo` and the tests use it. It listens on a Unix socket in a private
folder, so that only its own user and root can connect; TCP, if a port is given, asks for a
password (SCRAM). It runs any server from 15 on, the wheel's by preference; root runs it as another
user.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote, urlencode

from makeready.embedded.binaries import find_binaries, reachable_binaries
from makeready.embedded.processes import (
    POLL_S,
    EmbeddedError,
    die_with_parent,
    reachable_folder,
    server_user,
    socket_folder,
    sole_owner,
    tail,
    write_private,
)
from makeready.embedded.server import EmbeddedServer

SUPERUSER = "postgres"
SOCKET_PORT = 5432  # part of the socket's name; the folder is ours alone, so it is always free
START_TIMEOUT_S = 300.0  # a crash recovery may take minutes
LOG_KEEP_BYTES = 16 << 20
STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))  # fast, then immediate shutdown
DEFAULTS: Mapping[str, str] = {
    "jit": "off",  # queue statements are short: compiling them costs more than running them
    "log_min_messages": "warning",
    "max_connections": "100",
}

_CREATE_DATABASE = """
select format('create database %I', :'name')
 where not exists (select from pg_database where datname = :'name') \\gexec
"""


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class EmbeddedPostgres(EmbeddedServer):
    """One server in one folder; not thread-safe, blocking, to be started from the main thread.

    `die_with_parent` makes it shut down when this process is killed; without it the server goes on
    and the next start takes it over.
    """

    name = "postgres"
    at_once = ((signal.SIGQUIT, 6.0),)  # after 5 s it kills its own children

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        die_with_parent: bool = False,
    ) -> None:
        super().__init__()
        self._wanted = data_dir.absolute()
        self._port = port
        self._settings = {**DEFAULTS, **(settings or {})}
        self._user = server_user()
        self._binaries = reachable_binaries(find_binaries(binaries), self._user)
        self._die_with_parent = die_with_parent
        self._folder = self._wanted
        self._sockets: Path | None = None

    @property
    def binaries(self) -> Path:
        """The folder its programs are run from."""
        return self._binaries

    def dsn(self, database: str = "postgres", *, password: bool = True) -> str:
        """The superuser's URL of a database; by socket unless the server has a TCP port."""
        if self._port is None:
            query = urlencode({"host": str(self._sockets), "port": SOCKET_PORT})
            return f"postgresql://{SUPERUSER}@/{quote(database)}?{query}"
        word = f":{self._password()}" if password else ""
        return f"postgresql://{SUPERUSER}{word}@127.0.0.1:{self._port}/{quote(database)}"

    def start(self) -> str:
        """Makes the cluster if there is none, starts the server, returns the superuser's URL.

        Raises EmbeddedError with the end of the server's log when it does not come up.
        """
        if self._pid is not None:
            return self.dsn()
        self._folder = reachable_folder(self._wanted, self._user)
        with ExitStack() as undo:
            undo.enter_context(sole_owner(self._folder, "Postgres"))
            if self._sockets is None:  # a server that starts again is where its users look for it
                self._sockets = socket_folder(self._folder / "run", self._user)
            if not self._cluster.is_dir():
                self._init()
            self._check_version()
            self._pid = self._left_running() or self._launch()
            self._held = undo.pop_all()
        return self.dsn()

    def stop(self) -> None:
        """Fast shutdown: ends all sessions, keeps everything committed. Harmless when stopped."""
        self._end(STOP_STEPS)

    def kill(self) -> None:
        """SIGKILL, as a crash would do; the next start recovers."""
        self._end(())

    def ensure_database(self, name: str) -> str:
        """Makes the database if it is missing and returns its URL."""
        psql: list[str | Path] = [
            self._binaries / "psql",
            "-Xq",
            "-v",
            "ON_ERROR_STOP=1",
            "-v",
            f"name={name}",
        ]
        self._run([*psql, self.dsn()], stdin=_CREATE_DATABASE)
        return self.dsn(name)

    @property
    def _cluster(self) -> Path:
        return self._folder / "cluster"

    @property
    def log(self) -> Path:
        """What the server has to say beside its answers."""
        return self._folder / "postgres.log"

    def _password(self) -> str:
        return (self._folder / "superuser.password").read_text("utf-8")

    def _init(self) -> None:
        """Runs initdb beside the final place: a cluster that exists is complete."""
        scratch = self._folder / "cluster.new"
        shutil.rmtree(scratch, ignore_errors=True)
        word = self._folder / "superuser.password"
        write_private(word, secrets.token_urlsafe(24))
        if self._user is not None:
            os.chown(word, self._user.uid, self._user.gid)
        locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
        quick = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        self._run(
            [
                *(self._binaries / "initdb", "-D", scratch, "-U", SUPERUSER, "-E", "UTF8"),
                *(f"--locale={locale}", "--auth-local=trust", "--auth-host=scram-sha-256"),
                *(f"--pwfile={word}", "--no-instructions", *quick),
            ]
        )
        scratch.rename(self._cluster)

    def _check_version(self) -> None:
        made_by = (self._cluster / "PG_VERSION").read_text("utf-8").strip()
        found = re.search(r"\d+", self._run([self._binaries / "postgres", "--version"]))
        if found is None or found[0] != made_by:
            raise EmbeddedError(
                f"{self._cluster} was made by PostgreSQL {made_by}, {self._binaries} is another: "
                f"dump it with {made_by} and load it into a new folder, or install {made_by}"
            )

    def _left_running(self) -> int | None:
        """A server that outlived the process which started it; this one takes it over."""
        lines = self._pid_file()
        if len(lines) < 8 or not lines[7].startswith("ready"):
            return None
        folder = Path(lines[4].strip())
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(folder / f".s.PGSQL.{lines[3].strip()}"))
            except OSError:  # the file is left from a crash; the id may be another process's now
                return None
        self._sockets = folder
        return int(lines[0])

    def _launch(self) -> int:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            self._launch_child(self._spawn)
            try:
                pid = self._ready_pid(deadline)
            except BaseException:  # Ctrl-C as well: nothing is left behind
                self._end(STOP_STEPS)
                raise
            if pid is not None:
                return pid
            self._child = None
            # Back ends of a killed server hold its memory for a moment longer.
            if "shared memory block" not in tail(self.log, 4) or time.monotonic() > deadline:
                raise EmbeddedError(f"Postgres did not start; {self.log} ends:\n{tail(self.log)}")
            time.sleep(0.1)

    def _ready_pid(self, deadline: float) -> int | None:
        """The child's id once it takes connections; None when it has ended."""
        child = self._child
        while child is not None and child.poll() is None:
            lines = self._pid_file()
            if len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].startswith("ready"):
                return child.pid
            if time.monotonic() > deadline:
                raise EmbeddedError(f"Postgres was not ready in {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)
        return None

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": str(self._port or SOCKET_PORT),
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        words = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        if self.log.exists() and self.log.stat().st_size > LOG_KEEP_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        hook = die_with_parent(signal.SIGINT) if self._die_with_parent else None
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self._binaries / "postgres", "-D", self._cluster, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal must not stop it before its users
                preexec_fn=hook,  # noqa: PLW1509 – it calls prctl and nothing else
                **self._identity(),
            )

    def _run(self, words: list[str | Path], stdin: str | None = None) -> str:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **self._identity(),
        )
        if done.returncode != 0:
            name = Path(words[0]).name
            raise EmbeddedError(f"{name} failed ({done.returncode}): {done.stderr.strip()}")
        return done.stdout

    def _identity(self) -> _Identity:
        if self._user is None:
            return {}
        return {"user": self._user.uid, "group": self._user.gid, "extra_groups": []}

    def _pid_file(self) -> list[str]:
        with suppress(OSError):
            return (self._cluster / "postmaster.pid").read_text("utf-8").splitlines()
        return []
