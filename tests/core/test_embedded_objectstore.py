from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from makeready.embedded import processes
from makeready.embedded.objectstore import EmbeddedObjectStore, find_program
from makeready.embedded.processes import EmbeddedError
from tests.support.objectstore import S3
from tests.support.waiting import until_sync


@pytest.fixture
def store(folder: Path) -> Iterator[EmbeddedObjectStore]:
    made = EmbeddedObjectStore(folder / "s3")
    yield made
    made.kill()


def _client(store: EmbeddedObjectStore) -> S3:
    return S3(
        endpoint=store.endpoint,
        access_key=store.access_key,
        secret_key=store.secret_key,
        bucket=store.bucket,
        region=store.region,
    )


def test_it_stores_at_once_and_keeps_objects_over_a_kill_and_a_change_of_ports(
    store: EmbeddedObjectStore, folder: Path
) -> None:
    store.start()
    assert list((folder / "s3" / "data").rglob("*.dat")), "a volume is up"
    assert _client(store).call("PUT", "/makeready/kept", b"bytes") == 200
    endpoint = store.endpoint
    store.kill()
    assert store.start() == endpoint
    assert _client(store).call("GET", "/makeready/kept") == 200
    store.kill()

    with EmbeddedObjectStore(folder / "s3") as other:
        assert other.endpoint != endpoint
        assert _client(other).call("GET", "/makeready/kept") == 200


def test_credentials_are_made_once_and_only_their_owner_can_read_them(
    store: EmbeddedObjectStore, folder: Path
) -> None:
    store.start()
    path = folder / "s3" / "credentials.json"
    first = path.read_text("utf-8")
    store.kill()
    store.start()

    assert path.read_text("utf-8") == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(store.secret_key) >= 32
    assert json.loads(first)["identities"][0]["credentials"][0]["accessKey"] == store.access_key


def test_a_request_without_signature_or_with_another_key_is_refused(s3: S3) -> None:
    connection = http.client.HTTPConnection(s3.endpoint.removeprefix("http://"), timeout=5)
    connection.request("GET", f"/{s3.bucket}")
    assert connection.getresponse().status == 403
    connection.close()

    forged = S3(
        endpoint=s3.endpoint,
        access_key=s3.access_key,
        secret_key="another",
        bucket=s3.bucket,
        region=s3.region,
    )
    assert forged.call("GET", f"/{s3.bucket}") == 403


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_listens_on_the_loopback_only_and_reports_to_nobody(
    store: EmbeddedObjectStore,
) -> None:
    store.start()
    assert store.pid is not None
    words = Path(f"/proc/{store.pid}/cmdline").read_text("utf-8").split("\0")

    assert "-master.telemetry=false" in words
    assert _listening(store.pid)
    assert all(address in {"0100007F", "0" * 24 + "01000000"} for address in _listening(store.pid))


def _listening(pid: int) -> set[str]:
    """Addresses, in the kernel's hex, that sockets of the process listen on."""
    inodes = {
        link.readlink().name[8:-1]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink() and link.readlink().name.startswith("socket:[")
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text("utf-8").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].split(":")[0])
    return found


def test_a_second_process_is_told_who_runs_the_server(
    store: EmbeddedObjectStore, folder: Path
) -> None:
    store.start()

    with pytest.raises(EmbeddedError, match="already runs S3"):
        EmbeddedObjectStore(folder / "s3").start()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_ends_when_its_parent_is_killed_and_the_next_start_sweeps_up(folder: Path) -> None:
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from makeready.embedded.objectstore import EmbeddedObjectStore\n"
        f"store = EmbeddedObjectStore(Path({str(folder / 's3')!r}))\n"
        "store.start()\n"
        "print(store.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    until_sync(lambda: not processes.is_alive(int(done.stdout)), what="its end")
    EmbeddedObjectStore(folder / "s3")._end_orphan()
    left = json.loads((folder / "s3/weed.pid").read_text("utf-8"))
    assert not [p for port in left["ports"] for p in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


def test_the_id_of_a_server_that_has_ended_may_be_anothers_and_gets_no_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *facts: sent.append(facts))

    processes.end(child.pid, child, [(signal.SIGTERM, 1.0)])
    assert sent == []


def test_a_server_that_cannot_start_shows_the_end_of_its_log(folder: Path) -> None:
    broken = folder / "weed"
    broken.write_text("#!/bin/sh\necho out of luck >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)

    with pytest.raises(EmbeddedError, match="out of luck"):
        EmbeddedObjectStore(folder / "s3", program=broken).start()


def test_without_the_program_the_message_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(EmbeddedError, match="S3_ENDPOINT"):
        find_program()
