"""Real worker processes for tests: started, stopped, frozen, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.drill import environment
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0


class WorkerProcess:
    """One worker; its log lines are read from a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, skip: int) -> None:
        self._process = process
        self._log = log
        self._skip = skip  # bytes that a predecessor of the same name has written

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        lines = self._log.read_bytes()[self._skip :].decode().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def events(self) -> list[str]:
        return [line["event"] for line in self.log()]

    async def until_event(self, event: str, *, timeout_s: float = 10) -> None:
        await until(
            lambda: event in self.events(),
            timeout_s=timeout_s,
            what=f"{event} in {self._log}:\n{self._log.read_text('utf-8')}",
        )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, *, timeout_s: float = 10) -> int:
        """The exit code."""
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None


@asynccontextmanager
async def worker_process(
    dsn: str,
    folder: Path,
    name: str = "one",
    *,
    command: tuple[str, ...] = ("tests.support.drill",),
    **settings: Any,
) -> AsyncIterator[WorkerProcess]:
    """Starts a worker and waits until it claims; kills what is left of it at the end."""
    log = folder / f"worker-{name}.log"
    values = {"database_url": dsn, "instance": name, "log_format": "json", "log_level": "debug"}
    inherited = {key: text for key, text in os.environ.items() if "MAKEREADY" not in key}
    with log.open("ab") as stream:
        skip = stream.tell()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-m",
            *command,
            cwd=ROOT,
            env=inherited | environment(values | settings),
            stderr=stream,
        )
    worker = WorkerProcess(process, log, skip)
    try:
        await worker.until_event("worker_start", timeout_s=START_TIMEOUT_S)
        yield worker
    finally:
        if worker.is_alive:
            worker.send(signal.SIGKILL)
            await worker.ended()
