"""What an upload of 2 GB costs: memory, speed, and whoever else is on the same loop.

Each way has a process of its own and the same client: a bare socket that sends a form by
`sendfile`, the file sparse, so that neither disk nor client is what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from tests.bench.bench import Bench, Row
from tests.bench.booths import BOUNDARY
from tests.bench.photo_service import jpeg
from tests.bench.report import Line, at_least, at_most, median, quantile

UPLOAD = "photo-upload"
ROOT = Path(__file__).resolve().parents[3]
FULL_BYTES, QUICK_BYTES = (2 << 30) - 1, 64 << 20
WARM_UP_BYTES = 8 << 20
PROBE_S = 0.002
TIMEOUT_S = 300.0
_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="password"\r\n\r\nsecret\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="fileToUpload"; '
    'filename="IMG_0001.JPG"\r\nContent-Type: image/jpeg\r\n\r\n'
).encode()
_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One upload."""

    seconds: float
    grown_mib: float
    """Most that the process had more than before."""
    probes: list[float]
    """Milliseconds that others on the loop waited meanwhile."""


async def upload(bench: Bench) -> Sequence[Line]:
    """Ours beside `request.form()` and a copy, taking turns."""
    if bench.is_slow:
        return []
    size = bench.scaled(FULL_BYTES, QUICK_BYTES)
    found: dict[str, list[Taken]] = {"ours": [], "form": []}
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        file = folder / "large.jpg"
        file.write_bytes(jpeg(20_000))
        os.truncate(file, size)
        for _ in range(bench.rounds):
            for way, taken in found.items():
                async with _serving(way, folder / way) as (port, pid):
                    await to_thread.run_sync(_send, port, file, WARM_UP_BYTES)
                    taken.append(await _taken(port, pid, file, size))
    return _lines(bench, found, size)


def _lines(bench: Bench, found: dict[str, list[Taken]], size: int) -> list[Line]:
    rates = {
        way: median([size / 1e6 / one.seconds for one in each]) for way, each in found.items()
    }
    lines: list[Line] = []
    for way, label in (("ours", "2 GB"), ("form", "2 GB by request.form() and a copy")):
        each = found[way]
        grown = median([one.grown_mib for one in each])
        waited = median([quantile(one.probes, 0.99) for one in each])
        lines += [
            bench.figure(UPLOAD, label, rates[way], "MB/s"),
            bench.figure(UPLOAD, f"{label}: memory grown", grown, "MiB"),
            bench.figure(UPLOAD, f"{label}: health meanwhile, p99", waited, "ms"),
        ]
        if way == "ours":
            lines += [
                at_most(UPLOAD, bench.device, "≤ 4 MiB more", grown, 4, unit="MiB"),
                at_most(UPLOAD, bench.device, "health p99 ≤ 2 ms", waited, 2),
            ]
    goal = "≥ 2 × request.form()"
    lines.append(
        at_least(UPLOAD, bench.device, goal, rates["ours"], 2 * rates["form"], unit="MB/s")
    )
    return lines


@asynccontextmanager
async def _serving(way: str, folder: Path) -> AsyncIterator[tuple[int, int]]:
    """A process that takes uploads in this way; its port and its id."""
    folder.mkdir(exist_ok=True)
    env = os.environ | {"TMPDIR": str(folder)}  # the same disk for both
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.drive_upload", way, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        text=True,
    )
    try:
        told = await to_thread.run_sync(process.stdout.readline)  # type: ignore[union-attr]
        await _probed(int(told))
        yield int(told), process.pid
    finally:
        with process:
            process.terminate()


async def _taken(port: int, pid: int, file: Path, size: int) -> Taken:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew
    before = _memory(pid, "VmRSS")
    probes: list[float] = []
    probing = asyncio.create_task(_probe(port, probes))
    try:
        seconds = await to_thread.run_sync(_send, port, file, size)
    finally:
        probing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probing
    return Taken(seconds=seconds, grown_mib=_memory(pid, "VmHWM") - before, probes=probes)


def _send(port: int, file: Path, size: int) -> float:
    """Seconds from the first byte to the end of the answer."""
    length = len(_HEAD) + size + len(_TAIL)
    head = (
        f"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as wire, file.open("rb") as body:
        began = time.perf_counter()
        wire.sendall(head.encode() + _HEAD)
        wire.sendfile(body, 0, size)
        wire.sendall(_TAIL)
        answer = wire.recv(4096)
        seconds = time.perf_counter() - began
    if not re.match(rb"HTTP/1\.1 200 ", answer):
        raise RuntimeError(f"the upload was answered {answer[:300]!r}")
    return seconds


async def _probed(port: int) -> None:
    await _probe(port, [], times=5)


async def _probe(port: int, found: list[float], times: int = 10**9) -> None:
    """Asks for health again and again on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(times):
            began = time.perf_counter()
            writer.write(b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n")
            await reader.readuntil(b"\r\n\r\nok")
            found.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PROBE_S)
    finally:
        writer.close()


def _memory(pid: int, what: str) -> float:
    """Of a process as Linux tells it, in MiB: now (VmRSS) or at most (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{what}:")]
    return int(line.split()[1]) / 1024


ROWS = (Row(name=UPLOAD, about="one upload of 2 GB", measure=upload),)
