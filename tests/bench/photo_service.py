"""The HTTP service with its four photo workers, and a provider: a process each."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
from anyio import to_thread
from PIL import Image

from makeready.commands.migrate import brought_up
from makeready.config import Secret, Settings
from makeready.embedded.processes import free_ports
from tests.bench.bench import Bench

DRIVE_PROVIDER = Path(__file__).with_name("drive_provider.py")
DRIVE_BARE = Path(__file__).with_name("drive_bare.py")
PASSWORD = "booth-of-the-benchmark"
SLOT = "slot-001"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_BYTES_PER_PIXEL = 0.75  # of noise, at this quality


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoService:
    """A service that takes photos."""

    url: str
    pid: int


def jpeg(size: int) -> bytes:
    """A photo of about so many bytes; noise, which no encoder makes small."""
    side = math.isqrt(int(size / _BYTES_PER_PIXEL))
    out = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


@asynccontextmanager
async def photo_service(
    bench: Bench,
    picture: bytes,
    *,
    provider_s: float,
    sigma: float = 0.0,
    window_s: float = 48.0,
    refuses_late: bool = True,
) -> AsyncIterator[PhotoService]:
    """Runs as long as the block; slot-001 asks the provider."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        file = folder / "picture.jpg"
        file.write_bytes(picture)
        (port,) = free_ports(1)
        settings = Settings(
            database_url=await bench.cluster.fresh("bench_photos"),
            data_dir=folder,
            media_root=folder / "media",
            http_port=port,
            ingest_password=Secret(PASSWORD),
            sync_response_s=window_s,
            ingest_statement_timeout_ms=1000,
            testing=True,
            log_format="json",
            log_level="warning",
            s3_endpoint="http://127.0.0.1:9",  # photos lie in a folder
            drain_grace_s=1.0,
        )
        await brought_up(settings.database_url or "", settings)
        async with _provider(file, folder, provider_s, sigma) as provider:
            await _set_up(settings, provider, refuses_late=refuses_late)
            env = os.environ | settings.to_env()
            async with _process(["-m", "makeready", "http"], folder, env=env) as process:
                url = f"http://127.0.0.1:{port}"
                await _alive(url, process, folder)
                yield PhotoService(url=url, pid=process.pid)


@asynccontextmanager
async def bare_service(
    bench: Bench, picture: bytes, *, provider_s: float
) -> AsyncIterator[PhotoService]:
    """The least that could be called one, with the same provider; see `drive_bare.py`."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        file = folder / "picture.jpg"
        file.write_bytes(picture)
        database = await bench.cluster.fresh("bench_bare", with_makeready=False)
        async with _provider(file, folder, provider_s, 0.0) as provider:
            words = [str(DRIVE_BARE), str(folder), database, provider]
            async with _process(words, folder, stdout=subprocess.PIPE) as process:
                port = int(await _told(process))
                yield PhotoService(url=f"http://127.0.0.1:{port}", pid=process.pid)


@asynccontextmanager
async def _provider(
    picture: Path, folder: Path, median_s: float, sigma: float
) -> AsyncIterator[str]:
    """Where it takes photos."""
    words = [str(DRIVE_PROVIDER), str(picture), str(median_s), str(sigma)]
    async with _process(words, folder, stdout=subprocess.PIPE) as process:
        yield f"http://127.0.0.1:{json.loads(await _told(process))['port']}/photos"


async def _told(process: subprocess.Popen[str]) -> str:
    """The first line that a process says."""
    return await to_thread.run_sync(process.stdout.readline)  # type: ignore[union-attr]


async def _set_up(settings: Settings, provider: str, *, refuses_late: bool) -> None:
    """As the owner of the database: the benchmark is its own operator."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        options = {
            "url": provider,
            "body": {"kind": "raw"},
            "answer": {"kind": "image"},
            "allows_private": True,
        }
        await connection.execute(
            "update makeready.providers set options = options || $1::text::jsonb"
            " where id = 'webhook'",
            json.dumps(options),
        )
        await connection.execute(
            "update makeready.slots set provider_id = 'webhook', operation_id = 'send'"
            " where id = $1",
            SLOT,
        )
        await connection.execute(
            "update makeready.ingest_policy set refuses_late = $1", refuses_late
        )
    finally:
        await connection.close()


@asynccontextmanager
async def _process(
    words: list[str],
    folder: Path,
    *,
    env: dict[str, str] | None = None,
    stdout: int | None = None,
) -> AsyncIterator[subprocess.Popen[str]]:
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=stdout if stdout is not None else log,
            stderr=log,
            env=env,
            text=True,
        )
        try:
            yield process
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.terminate()
            try:
                await to_thread.run_sync(process.wait, STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
            if process.stdout is not None:
                process.stdout.close()


async def _alive(url: str, process: subprocess.Popen[str], folder: Path) -> None:
    """Returns once photos are taken."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_TIMEOUT_S):
        while process.poll() is None:
            try:
                async with session.get(f"{url}/health/live") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    log = (folder / "log.txt").read_text("utf-8", "replace")
    raise RuntimeError(f"the service did not start: {log[-2000:]}")
