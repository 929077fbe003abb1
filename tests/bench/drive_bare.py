"""The least that could be called a photo service: what an answer costs on this machine anyway.

Called as `drive_bare.py FOLDER DATABASE_URL PROVIDER_URL`: reads the body, hashes and stores it
under a name, asks the database nothing three times, sends the photo to the provider, stores what
comes and sends it. No form, no password, no limit, no queue, no log, no time-out. Prints the port
and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvicorn

TASKS = 4


def stored(folder: Path, name: str, content: bytes) -> Path:
    """Hashes content and writes it into a nameless file that gets a name."""
    hashlib.sha256(content).digest()
    file = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o640)
    try:
        os.write(file, content)
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=parent)
        os.close(parent)
    finally:
        os.close(file)
    return folder / name


class Bare:
    """An ASGI application."""

    def __init__(self, folder: Path, database: str, provider: str) -> None:
        self._folder, self._database, self._provider = folder, database, provider
        self._numbers = iter(range(1 << 60))

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = bytearray()
        message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        number = next(self._numbers)
        payload = await asyncio.to_thread(stored, self._folder, f"{number}.in", bytes(body))
        await self._pool.fetchval("select 1")
        await self._pool.fetchval("select 1")
        began = time.perf_counter()
        async with self._http.post(self._provider, data=bytes(body)) as answer:
            image = await answer.read()
        provider_ms = (time.perf_counter() - began) * 1000
        result = await asyncio.to_thread(stored, self._folder, f"{number}.out", image)
        await self._pool.fetchval("select 1")
        image = await asyncio.to_thread(result.read_bytes)
        headers = [
            (b"content-length", str(len(image)).encode()),
            (b"server-timing", f"provider;dur={provider_ms:.2f}".encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": image})
        for file in (payload, result):
            await asyncio.to_thread(file.unlink)

    async def _live(self, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await receive()
        async with (
            asyncpg.create_pool(self._database, min_size=TASKS, max_size=TASKS) as self._pool,
            aiohttp.ClientSession() as self._http,
        ):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


class Told(uvicorn.Server):
    """Tells its port, and ends with its input."""

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets=sockets)
        sys.stdout.write(f"{self.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=self._until_over, daemon=True).start()

    def _until_over(self) -> None:
        sys.stdin.read()
        self.should_exit = True


if __name__ == "__main__":
    app = Bare(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    Told(uvicorn.Config(app, port=0, log_level="warning", access_log=False, ws="none")).run()
