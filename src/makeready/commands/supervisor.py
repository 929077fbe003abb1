"""Keeps child processes running: restarts with growing pauses, hands signals on, sees them end.

The first SIGINT or SIGTERM tells all children to drain; the second kills them and ends at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import structlog

from makeready.commands import INTERRUPTED
from makeready.config import Settings
from makeready.embedded.processes import die_with_parent

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
SETTLED_S = 30.0  # a child that lived this long starts over with the shortest pause
GRACE_MARGIN_S = 20.0  # above the drain grace: children have a last resort of their own

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One process to keep running."""

    name: str
    words: tuple[str, ...]
    """Words behind `makeready`."""
    log: Path | None = None
    """Where its output goes; None: where ours goes."""


class Pauses:
    """How long to wait before the next start of one thing: longer each time, until it settles."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def after(self, lived_s: float) -> float:
        """The pause, in seconds, for what has lived so long."""
        pause_s = FIRST_PAUSE_S if lived_s > SETTLED_S else self._next_s
        self._next_s = min(pause_s * 2, LONGEST_PAUSE_S)
        return pause_s


class Supervisor:
    """Runs the children while `run` runs."""

    def __init__(
        self,
        children: Sequence[Child],
        settings: Settings,
        *,
        at_exit: Callable[[], None] | None = None,
    ) -> None:
        """`at_exit` is called when a second signal ends all at once; it may block for seconds."""
        self._children = tuple(children)
        self._at_exit = at_exit
        self._environ = os.environ | settings.to_env()
        # A child that is started again has its predecessor's name: it takes its jobs over at once.
        self._place = settings.instance
        self._grace_s = settings.drain_grace_s
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._all_ended = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of those that run now."""
        return {name: one.pid for name, one in self._processes.items()}

    def stop(self) -> None:
        """Tells all children to drain, and starts none again; once is enough."""
        if self._stopping.is_set():  # a second SIGTERM would make them exit at once
            return
        self._stopping.set()
        if not self._processes:
            self._all_ended.set()
        self._signal_all(signal.SIGTERM)

    def kill(self) -> None:
        """Ends all children at once; what they worked on is taken back from them."""
        self._stopping.set()
        self._signal_all(signal.SIGKILL)

    async def run(
        self,
        beside: Callable[[], Awaitable[None]] | None = None,
        *,
        company: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        """Keeps the children running until `stop`; when `beside` is done it stops them itself.

        What `beside` raises is raised once the children have ended. `company` runs as long as the
        children do, and is cancelled when the last one has ended.
        """
        async with anyio.create_task_group() as group:
            for one in company:
                group.start_soon(one)
            failure = await self._run(beside)
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _run(self, beside: Callable[[], Awaitable[None]] | None) -> Exception | None:
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            for child in self._children:
                group.start_soon(self._keep, child)
            group.start_soon(self._kill_the_late)
            if beside is not None:
                with anyio.CancelScope() as scope:
                    group.start_soon(self._cancel_when_stopped, scope)
                    try:
                        await beside()
                    except Exception as error:  # noqa: BLE001 – raised again below
                        failure = error
                self.stop()
        return failure

    async def _cancel_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    async def obey_signals(self) -> None:
        """Turns SIGINT and SIGTERM into `stop`, a second one into an exit; until cancelled."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if self._stopping.is_set():
                    self.kill()
                    if self._at_exit is not None:
                        self._at_exit()
                    os._exit(INTERRUPTED)
                _log.info("stopping", signal=number.name, again="exits at once")
                self.stop()

    async def _keep(self, child: Child) -> None:
        pauses = Pauses()
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run_once(child)
            if self._stopping.is_set():
                return
            pause_s = pauses.after(time.monotonic() - started)
            _log.warning("child_ended", child=child.name, code=code, restart_in_s=pause_s)
            with anyio.move_on_after(pause_s):
                await self._stopping.wait()

    async def _run_once(self, child: Child) -> int:
        output = child.log.open("ab") if child.log else None
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "makeready", *child.words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environ | {"MAKEREADY_INSTANCE": f"{self._place}-{child.name}"},
                start_new_session=True,  # Ctrl-C reaches us alone; we tell the children
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        finally:
            if output:
                output.close()
        self._processes[child.name] = process
        if self._stopping.is_set():  # told to stop while it was being started
            process.terminate()
        try:
            return await process.wait()
        finally:
            if process.returncode is None:  # cancelled
                process.kill()
                with anyio.CancelScope(shield=True):
                    await process.wait()
            del self._processes[child.name]
            if self._stopping.is_set() and not self._processes:
                self._all_ended.set()

    async def _kill_the_late(self) -> None:
        await self._stopping.wait()
        with anyio.move_on_after(self._grace_s + GRACE_MARGIN_S):
            await self._all_ended.wait()
        if self._processes:
            _log.error("children_killed", children=sorted(self._processes))
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)
