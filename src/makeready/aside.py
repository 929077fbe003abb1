"""A helper process for blocking work that holds the interpreter lock; one question at a time.

The helper is a fresh interpreter, not a fork: it inherits no connection, no secret and no pipe of
a browser. It ends when its standard input does, also after a SIGKILL of ours, at the latest when
its time for one question is over. An asker who is cancelled or out of time kills it, and the next
question starts another. The event loop only ever sends the signal: what has to wait for the end
waits in the thread that was asking.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import anyio
import anyio.to_thread

from makeready.errors import MakereadyError

MEMORY_LIMIT_BYTES = 2 * 1024 * 1024 * 1024
MESSAGE_LIMIT_BYTES = 1024 * 1024 * 1024
ANSWER_LIMIT_S = 120
_LENGTH = struct.Struct(">Q")
_STOP_TIMEOUT_S = 2.0
_KEPT = ("PATH", "PYTHONPATH")  # all that the helper sees of our environment


class HelperLost(MakereadyError):
    """The helper process ended in the middle of a question."""

    code = "helper_lost"


class _Turn:
    """One question; `is_over` once nobody waits for its answer."""

    is_over = False


class Helper:
    """One process, started by the first question; `program` is Python that calls `serve`."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._turns = threading.Lock()
        """Held while a question is asked, until a helper that it spoiled is gone."""
        self._guard = threading.Lock()
        """Held for an instant, so that a signal hits the helper of its own question or nobody."""
        self._process: subprocess.Popen[bytes] | None = None
        self._current: _Turn | None = None
        self._askers = anyio.CapacityLimiter(1)
        """Others wait in the loop: in threads they would take those of everybody else."""
        atexit.register(self.stop)

    async def ask(self, question: bytes, *, timeout_s: float, may_start: bool = True) -> bytes:
        """The answer; HelperLost when there is none, TimeoutError after `timeout_s` of its turn.

        The time of the questions before it, each of which has its own bound, does not count.
        `may_start`: any helper can answer; else only the one that was asked before, HelperLost
        when that is gone.
        """
        mine = _Turn()
        try:
            return await anyio.to_thread.run_sync(
                self._ask,
                mine,
                question,
                timeout_s,
                may_start,
                abandon_on_cancel=True,
                limiter=self._askers,
            )
        finally:
            self._end_turn(mine)

    def stop(self) -> None:
        """Ends the helper and waits for that; the next question starts another."""
        with self._guard:
            process, self._process = self._process, None
        if process is not None:
            _end(process)

    async def close(self) -> None:
        """Ends the helper for good, without keeping the loop waiting."""
        atexit.unregister(self.stop)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)

    def _ask(self, mine: _Turn, question: bytes, timeout_s: float, may_start: bool) -> bytes:
        with self._turns:
            alarm = threading.Timer(timeout_s, self._end_turn, [mine])
            alarm.daemon = True
            alarm.start()
            is_sound = False
            try:
                process = self._running(mine, may_start=may_start)
                if process.stdin is None or process.stdout is None:
                    raise HelperLost
                _send(process.stdin, question)
                answer = _receive(process.stdout)
                is_sound = True
            except (EOFError, OSError, ValueError) as error:
                if mine.is_over:
                    raise TimeoutError from error
                raise HelperLost from error
            finally:
                alarm.cancel()
                with self._guard:
                    self._current = None
                if mine.is_over or not is_sound:
                    self.stop()
            return answer

    def _running(self, mine: _Turn, *, may_start: bool) -> subprocess.Popen[bytes]:
        """The helper, from now on with `mine`; TimeoutError when nobody waits for that now."""
        process = self._process
        if process is None or process.poll() is not None:
            if not may_start:
                raise HelperLost
            self.stop()
            process = subprocess.Popen(
                [sys.executable, "-c", self._program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                start_new_session=True,  # Ctrl-C on the terminal is ours to answer
            )
        with self._guard:
            self._process = process
            if mine.is_over:  # its time ran out while the helper started
                raise TimeoutError
            self._current = mine
        return process

    def _end_turn(self, mine: _Turn) -> None:
        """Nobody waits for this answer: a helper that is still at it gets the signal."""
        with self._guard:
            mine.is_over = True
            if self._current is mine and self._process is not None:
                self._process.kill()


def packed(head: Mapping[str, Any], files: Sequence[bytes] = ()) -> bytes:
    """A message: a line of JSON, then the files it speaks of, one after the other.

    The line gives their lengths. Nothing is pickled, for the files may be hostile.
    """
    line = json.dumps({**head, "lengths": [len(file) for file in files]})
    return b"".join([line.encode(), b"\n", *files])


def unpacked(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Its line and its files; raises ValueError when they do not fit together."""
    line, _, rest = message.partition(b"\n")
    head, files, at = json.loads(line), [], 0
    for length in head.pop("lengths"):
        files.append(rest[at : at + length])
        at += length
    if at != len(rest):
        raise ValueError(f"a message of {len(rest)} bytes that speaks of {at}")
    return head, files


def serve(answer: Callable[[bytes], bytes]) -> None:
    """The helper's own loop: answers questions until its standard input ends."""
    _bound_memory()
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints, in whatever language, must not mix with answers
    while True:
        try:
            question = _receive(questions)
        except EOFError:
            return
        # The kernel's own clock: it works while a library holds the interpreter lock, also when
        # whoever asked is dead.
        signal.alarm(ANSWER_LIMIT_S)
        _send(answers, answer(question))
        signal.alarm(0)


def _bound_memory() -> None:
    try:
        import resource  # noqa: PLC0415 (not on every system)

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    except (ImportError, OSError, ValueError):
        return


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > MESSAGE_LIMIT_BYTES:
        raise EOFError
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel, reaped later
        process.wait(_STOP_TIMEOUT_S)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            _close(stream)


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except (OSError, ValueError):
        return
