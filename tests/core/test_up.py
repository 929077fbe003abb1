"""`makeready up` with its own servers: they come back, belong to one `up`, never outlive it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from makeready.commands import machine
from makeready.config import Settings
from makeready.embedded.processes import EmbeddedError, command_of, free_ports
from tests.support.cluster import scratch_folder
from tests.support.waiting import until_sync

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(150),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A running `makeready up`."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def note(self) -> Path:
        """What tells other commands where the servers are."""
        return self.folder / "var" / machine.NOTE

    @property
    def postgres(self) -> int:
        """Process id of the postmaster."""
        path = self.folder / "var" / "postgres" / "cluster" / "postmaster.pid"
        return int(path.read_text("utf-8").splitlines()[0])

    @property
    def s3(self) -> int:
        """Process id of the object store."""
        path = self.folder / "var" / "s3" / "weed.pid"
        return int(json.loads(path.read_text("utf-8"))["pid"])

    def is_ready(self) -> bool:
        """Database, schema and registry are there, says the service."""
        return self.get("/health/ready") == 200

    def get(self, path: str) -> int:
        """The status of the answer; 0 without one."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def events(self, name: str) -> list[dict[str, object]]:
        """The events of this name in the log, in their order."""
        lines = (self.folder / "up.log").read_text("utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in found if one["event"] == name]


def _environ(folder: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("S3_")}
    kept.pop("DATABASE_URL", None)
    return kept | {
        "MAKEREADY_DATA_DIR": str(folder / "var"),
        "MAKEREADY_LOG_FORMAT": "json",
        "DEBUG": "1",  # /health/s3 asks the store
    }


@pytest.fixture
def start() -> Iterator[Callable[[], Up]]:
    folder = scratch_folder()
    made: list[Up] = []

    def one() -> Up:
        port = free_ports(1)[0]
        with (folder / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "makeready", "up", "--port", str(port)],
                cwd=ROOT,
                env=_environ(folder),
                stderr=log,
            )
        up = Up(process=process, port=port, folder=folder)
        made.append(up)
        until_sync(up.is_ready, timeout_s=READY_S, what="readiness")
        return up

    yield one
    for up in made:
        up.process.terminate()
        try:
            up.process.wait(20)
        except subprocess.TimeoutExpired:
            up.process.kill()
            up.process.wait()
    for pid in _left(folder):  # of a test that failed
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def test_up_starts_its_own_servers_again_and_says_which_had_ended(
    start: Callable[[], Up],
) -> None:
    up = start()
    before = {"postgres": up.postgres, "s3": up.s3}
    note = up.note.read_text("utf-8")
    assert up.get("/health/s3") == 200
    assert up.get("/health/sms") == 200  # with DEBUG and the secret of the data folder

    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until_sync(
        lambda: len(up.events("server_restarted")) == 2, timeout_s=READY_S, what="two restarts"
    )

    assert {one["server"]: one["how"] for one in up.events("server_ended")} == {
        "postgres": "SIGKILL",
        "s3": "SIGKILL",
    }
    assert all(Path(str(one["server_log"])).is_file() for one in up.events("server_ended"))
    until_sync(up.is_ready, timeout_s=READY_S, what="readiness after the restart")
    until_sync(lambda: up.get("/health/s3") == 200, what="the object store")
    assert up.postgres != before["postgres"]
    assert up.s3 != before["s3"]
    assert up.note.read_text("utf-8") == note, "the addresses have changed"

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(30) == 0
    assert not up.note.exists()
    assert _left(up.folder) == []


def test_a_second_up_on_the_same_data_folder_is_refused_and_harms_nothing(
    start: Callable[[], Up],
) -> None:
    up = start()
    words = [sys.executable, "-m", "makeready", "up", "--port", "0"]
    second = subprocess.run(
        words,
        cwd=ROOT,
        env=_environ(up.folder),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )

    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert f"process {up.process.pid}, http://127.0.0.1:{up.port}" in second.stderr
    assert "MAKEREADY_DATA_DIR" in second.stderr
    assert json.loads(up.note.read_text("utf-8"))["pid"] == up.process.pid
    assert up.is_ready()


def test_a_second_signal_ends_the_servers_too_and_leaves_no_note(
    start: Callable[[], Up],
) -> None:
    up = start()
    assert len(_left(up.folder)) >= 2
    # The child that is to drain never does: without a second signal it would take half a minute.
    worker = _child(up.process.pid, "makeready work")
    os.kill(worker, signal.SIGSTOP)

    up.process.send_signal(signal.SIGINT)
    until_sync(lambda: up.events("stopping"), what="the first signal's word")
    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(15) == 130
    assert not up.note.exists()
    until_sync(lambda: _left(up.folder) == [], timeout_s=5, what="the end of every server")


def test_the_note_is_removed_by_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url="postgresql:///db")
    with machine.noted(settings) as path:
        other = json.dumps({"pid": os.getppid(), "settings": {}})
        path.write_text(other, encoding="utf-8")

    assert path.read_text("utf-8") == other


def test_a_data_folder_belongs_to_one_up_and_is_free_again_afterwards(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with machine.sole_up(settings, "http://127.0.0.1:8000"):
        second = machine.sole_up(settings, "http://127.0.0.1:8001")
        with pytest.raises(EmbeddedError, match=rf"process {os.getpid()}, http://127.0.0.1:8000"):
            second.__enter__()
    with machine.sole_up(settings, "http://127.0.0.1:8001"):
        pass


def _left(folder: Path) -> list[int]:
    """Process ids of servers that use the folder, wherever a stand-in of it lies."""
    places = [str(folder), *(str(part.resolve()) for part in (folder / "var").glob("*"))]
    return [pid for pid in _pids() if any(place in command_of(pid) for place in places)]


def _child(parent: int, words: str) -> int:
    for pid in _pids():
        with suppress(OSError):  # it has ended meanwhile
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            if words in command_of(pid) and int(fields[1]) == parent:
                return pid
    raise AssertionError(f"{parent} has no child {words}")


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]
