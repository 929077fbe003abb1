"""Photo booths for the benchmark: each has a connection of its own and waits for each answer.

A booth is a bare socket with a request that is made once: what it costs itself is small beside
what it measures.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BOUNDARY = "----makeready-bench"
ANSWER_TIMEOUT_S = 120.0
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a booth got."""

    status: int
    seconds: float
    """From the first byte sent to the last one received."""
    timing: dict[str, float] = field(default_factory=dict)
    """Milliseconds by part, as `Server-Timing` says."""


def request(url: str, slot: str, password: str, photo: bytes) -> bytes:
    """A whole request for one photo."""
    parts = []
    for name, value in (("time", "1764756000"), ("id", "CY04_1."), ("password", password)):
        parts.append(
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
            f'name="{name}"\r\n\r\n{value}\r\n'.encode()
        )
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="fileToUpload"; '
        'filename="IMG_0001.JPG"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    body = b"".join([*parts, head.encode(), photo, f"\r\n--{BOUNDARY}--\r\n".encode()])
    line = (
        f"POST /ingest/{slot} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return line.encode() + body


class Booth:
    """One keep-alive connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = (parts.hostname or "", parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, whole: bytes) -> Answer:
        """Sends a request and reads its answer to the end."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._place, limit=8 << 20)
        reader, writer = self._streams
        began = time.perf_counter()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(whole)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head)
            }
            left = int(headers.get("content-length", "0"))
            while left:
                left -= len(await reader.readexactly(min(left, READ_BYTES)))
        seconds = time.perf_counter() - began
        if headers.get("connection") == "close":
            await self.close()
        return Answer(
            status=int(head[0].split()[1]),
            seconds=seconds,
            timing=_timing(headers.get("server-timing", "")),
        )

    async def close(self) -> None:
        """Hangs up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def queue_up(
    url: str, whole: bytes, *, booths: int, photos: int, pause_s: float = 0.0
) -> list[Answer]:
    """So many booths post so many photos in all, each one after the other.

    `pause_s`: the mean of what a booth waits before each photo; without it all of them post at the
    same moment, again and again.
    """
    left = iter(range(photos))
    found: list[Answer] = []
    chance = random.Random(7)

    async def work() -> None:
        booth = Booth(url)
        try:
            for _ in left:
                await asyncio.sleep(chance.uniform(0, 2 * pause_s))
                found.append(await booth.post(whole))
        finally:
            await booth.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(booths):
            tasks.create_task(work())
    return found


async def arrive(url: str, whole: bytes, moments: Sequence[float]) -> list[Answer]:
    """A booth a moment (seconds from now), whoever else still waits: an open crowd."""
    began = asyncio.get_running_loop().time()

    async def come(at: float) -> Answer:
        await asyncio.sleep(began + at - asyncio.get_running_loop().time())
        booth = Booth(url)
        try:
            return await booth.post(whole)
        finally:
            await booth.close()

    return list(await asyncio.gather(*(come(at) for at in moments)))


def _timing(header: str) -> dict[str, float]:
    pairs = (entry.strip().partition(";dur=") for entry in header.split(",") if entry)
    return {name: float(value) for name, _, value in pairs if value}
