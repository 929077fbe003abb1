"""Programs that are measured: Makeready's own processes and those of its peers, driven alike.

Each is a program of its own that is told what to do by one JSON argument and answers with one
JSON object on the last line of its output. The connection comes from the PG* variables, so all of
them use the same socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.bench.cluster import connection_variables

Facts = dict[str, Any]
ACT_TIMEOUT_S = 900.0
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LINE_LIMIT_BYTES = 16 << 20


class DriveError(Exception):
    """A program did not do what it was told; the text ends with what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """How one of the systems is run."""

    name: str
    command: tuple[str, ...]
    folder: Path
    database: str
    """The database it uses."""
    version: str = ""

    async def act(self, dsn: str, act: str, **asked: Any) -> Facts:
        """Runs the program for one act and returns its answer."""
        process = await self._start(dsn, {"act": act, **asked})
        try:
            async with asyncio.timeout(ACT_TIMEOUT_S):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            raise
        if process.returncode != 0:
            text = err.decode(errors="replace")[-2000:]
            raise DriveError(f"{self.name} failed at {act} ({process.returncode}): {text}")
        answer: Facts = json.loads(out.decode().splitlines()[-1])
        return answer

    @asynccontextmanager
    async def running(self, dsn: str, act: str, **asked: Any) -> AsyncIterator[Running]:
        """Runs the program in the background; it stops when its standard input closes."""
        with tempfile.TemporaryFile() as errors:
            process = await self._start(dsn, {"act": act, **asked}, errors=errors)
            running = Running(self.name, process, errors)
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    await running.line()
                yield running
            finally:
                await running.stop()

    async def _start(
        self, dsn: str, asked: Mapping[str, Any], *, errors: IO[bytes] | None = None
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.command,
            json.dumps(asked),
            cwd=self.folder,
            env=os.environ | connection_variables(dsn),
            stdin=asyncio.subprocess.PIPE if errors else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors or asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
        )


class Running:
    """A program in the background that writes one JSON object a line."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self._name = name
        self._process = process
        self._errors = errors

    @property
    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:]

    async def line(self) -> Facts:
        """The next line; DriveError when there is none any more."""
        assert self._process.stdout is not None
        text = await self._process.stdout.readline()
        if not text:
            code = await self._process.wait()
            raise DriveError(f"{self._name} ended with {code}: {self.last_words}")
        facts: Facts = json.loads(text)
        return facts

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Closes its standard input and waits; by force after 10 s."""
        if self._process.returncode is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


def ours() -> Driver:
    """Makeready itself, from this checkout."""
    return Driver(
        name="Makeready",
        command=(sys.executable, "-m", "tests.bench.drive_makeready"),
        folder=Path(__file__).resolve().parents[2],
        database="bench_makeready",
    )
