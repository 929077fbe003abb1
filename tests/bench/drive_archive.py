"""Sends one archive out of a store whose first byte takes 20 ms; prints its time and memory.

Called as `drive_archive.py CARDS BYTES`: a process of its own, since memory is that of a process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from makeready.archive import Archive, Entry, Span
from makeready.read_ahead import deliver

LATENCY_S = 0.02
CHUNK_BYTES = 256 << 10


async def main(cards: int, byte_count: int) -> dict[str, float]:
    """Seconds of one archive, and by how many MB the process has grown."""
    body = memoryview(bytes(range(256)) * (byte_count // 256 + 1))[:byte_count]
    crc = zlib.crc32(body)
    entries = [
        Entry(name=f"Ёлки/Стол {n:04}.pdf", byte_count=byte_count, crc32=crc, source=f"cards/{n}")
        for n in range(cards)
    ]
    sent = 0

    async def read(span: Span) -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(LATENCY_S)
        for first in range(span.first, span.last + 1, CHUNK_BYTES):
            yield bytes(body[first : min(first + CHUNK_BYTES, span.last + 1)])

    async def take(some: bytes) -> None:
        nonlocal sent
        sent += len(some)

    before = _memory("VmRSS")
    began = time.perf_counter()
    archive = Archive(entries, datetime(2026, 3, 1, tzinfo=UTC))
    await deliver(archive.pieces(), read, take)
    seconds = time.perf_counter() - began
    if sent != archive.byte_count:
        raise RuntimeError(f"{sent} of {archive.byte_count} bytes were sent")
    return {"seconds": seconds, "grown_mb": _memory("VmHWM") - before, "mb": sent / 1e6}


def _memory(what: str) -> float:
    """Of this process as Linux tells it, in MB: now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{what}:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(main(int(sys.argv[1]), int(sys.argv[2])))))
