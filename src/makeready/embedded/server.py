"""What every embedded server has in common: one process, watched, started again, ended at once."""

from __future__ import annotations

import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from makeready.embedded.processes import EmbeddedError, end, is_alive


class EmbeddedServer(ABC):
    """One server process; its methods block, and only `halt` may be called beside another."""

    name: ClassVar[str]
    """What a log calls it."""
    at_once: ClassVar[Sequence[tuple[signal.Signals, float]]]
    """Signals, each with the seconds it gets, that end the server without any grace."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None  # of a server that was ready, ours or taken over
        self._held = ExitStack()
        self._launching = threading.Lock()
        self._halted = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._pid

    @property
    @abstractmethod
    def log(self) -> Path:
        """The file that the server writes its log to."""

    @abstractmethod
    def start(self) -> str:
        """Starts the server, waits until it is ready, returns its address."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the server; keeps whatever it has acknowledged. Harmless when stopped."""

    @property
    def lost(self) -> str | None:
        """How the server ended, when it ended by itself; None while it runs or is stopped."""
        if self._pid is None:
            return None
        if self._child is None:  # taken over: its exit status is not ours to see
            return None if is_alive(self._pid) else "gone"
        code = self._child.poll()
        if code is None:
            return None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def revive(self) -> None:
        """Starts a lost server again, at the address it had. Raises EmbeddedError as `start`."""
        self._forget()
        self.start()

    def halt(self) -> None:
        """Ends the server at once and for good, also one that another thread is starting."""
        with self._launching:
            self._halted = True
            child = self._child
            pid = child.pid if child is not None else self._pid
        if pid is not None:
            with suppress(EmbeddedError):  # nothing is left to try
                end(pid, child, self.at_once)

    def _launch_child(self, popen: Callable[[], subprocess.Popen[bytes]]) -> None:
        with self._launching:
            if self._halted:
                raise EmbeddedError(f"{self.name} was told to stop")
            self._child = popen()

    def _end(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        pid = self._child.pid if self._child is not None else self._pid
        if pid is not None:
            try:
                end(pid, self._child, steps)
            except BaseException:  # a second Ctrl-C while the first one's grace runs
                end(pid, self._child, self.at_once)
                raise
        self._forget()

    def _forget(self) -> None:
        self._child = self._pid = None
        self._held.close()
