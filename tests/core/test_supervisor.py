from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from makeready.commands.supervisor import Child, Supervisor
from makeready.config import Settings
from makeready.embedded.processes import free_ports, is_alive
from tests.support.objectstore import S3
from tests.support.waiting import until, until_sync

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Child]:
    """Children that run a script in the place of `makeready`."""
    package = tmp_path / "makeready"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(
        "import sys; exec(open(sys.argv[1]).read())", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(script: str) -> Child:
        path = tmp_path / "script.py"
        path.write_text(script, encoding="utf-8")
        return Child(name="child", words=(str(path),), log=tmp_path / "log")

    return make


def _lines(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text("utf-8").splitlines() if log.exists() else []


async def test_a_child_that_ends_is_started_again(
    program: Callable[[str], Child], tmp_path: Path
) -> None:
    child = program("import os; print(os.environ['MAKEREADY_INSTANCE'], flush=True)")
    supervisor = Supervisor([child], Settings(drain_grace_s=1, instance="press"))

    async def beside() -> None:
        await until(lambda: len(_lines(tmp_path)) >= 2, what="a second start")

    await supervisor.run(beside)
    assert supervisor.pids == {}
    assert set(_lines(tmp_path)) == {"press-child"}, "the successor has another name"


async def test_stop_lets_children_end_by_themselves(
    program: Callable[[str], Child], tmp_path: Path
) -> None:
    child = program(
        "import signal, sys\n"
        "def end(*_):\n"
        "    print('drained', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('started', flush=True)\n"
        "while True: signal.pause()\n"
    )
    supervisor = Supervisor([child], Settings(drain_grace_s=5))

    async def beside() -> None:
        await until(lambda: _lines(tmp_path), what="the start")
        supervisor.stop()
        supervisor.stop()  # a second request is no second signal

    await supervisor.run(beside)
    assert _lines(tmp_path) == ["started", "drained"]


async def test_a_child_that_will_not_end_is_killed(
    program: Callable[[str], Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makeready.commands.supervisor.GRACE_MARGIN_S", 0.2)
    child = program(
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('started', flush=True)\n"
        "while True: signal.pause()\n"
    )
    supervisor = Supervisor([child], Settings(drain_grace_s=0))

    async def beside() -> None:
        await until(lambda: _lines(tmp_path), what="the start")

    async with asyncio.timeout(10):
        await supervisor.run(beside)
    assert supervisor.pids == {}


async def test_what_goes_wrong_beside_is_raised_after_the_children_ended(
    program: Callable[[str], Child], tmp_path: Path
) -> None:
    child = program("import time; print('started', flush=True); time.sleep(60)")
    supervisor = Supervisor([child], Settings(drain_grace_s=5))

    async def beside() -> None:
        await until(lambda: _lines(tmp_path), what="the start")
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        await supervisor.run(beside)
    assert supervisor.pids == {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(90)
async def test_up_serves_and_one_signal_ends_everything(dsn: str, s3: S3, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    environ = os.environ | {
        "DATABASE_URL": dsn,
        "S3_ENDPOINT": s3.endpoint,
        "S3_BUCKET": s3.bucket,
        "S3_ACCESS_KEY": s3.access_key,
        "S3_SECRET_KEY": s3.secret_key,
        "MAKEREADY_DATA_DIR": str(tmp_path / "var"),
        "MAKEREADY_LOG_FORMAT": "json",
    }
    log = tmp_path / "up.log"
    with log.open("wb") as file:
        up = subprocess.Popen(
            [sys.executable, "-m", "makeready", "up", "--port", str(port)],
            cwd=ROOT,
            env=environ,
            stderr=file,
        )
    try:
        async with aiohttp.ClientSession() as session:
            await until(lambda: _is_ready(session, port), timeout_s=40, what="readiness")
        children = _children(up.pid)
        assert len(children) == 2
        up.send_signal(signal.SIGTERM)
        until_sync(lambda: up.poll() is not None, timeout_s=20, what="the end of up")
    finally:
        up.kill()
        up.wait()
    assert up.returncode == 0, log.read_text("utf-8")
    assert not any(is_alive(pid) for pid in children)
    assert quote(s3.secret_key) not in log.read_text("utf-8")


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/health/ready") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError):
        return False


def _children(parent: int) -> list[int]:
    """Process ids, from the kernel: a small machine has no `ps`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text("utf-8").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(path.parent.name))
    return found
