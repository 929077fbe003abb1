"""The link of the second engine: pyppeteer's connection, over a websocket on loopback.

What pyppeteer leaves open is closed here. It is given a browser that our jail has started, so its
own launcher, which blocks the event loop and takes the signals, plays no part. A call that was
cancelled would break its reader, so nobody ever awaits its futures. A lost connection is told to
all who wait. Its websocket is bounded, and compresses nothing that never leaves the machine.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from makeready_workers.chromium.link import (
    RECEIVE_LIMIT_BYTES,
    SEND_LIMIT_BYTES,
    BrowserGone,
    CallRefused,
    Link,
    MessageTooLarge,
    SessionGone,
)
from makeready_workers.chromium.records import Fault, RenderError

INSTALL = "pip install 'makeready[pyppeteer]'"
LOOK_S = 0.01  # while the browser starts
_CLOSED = "the browser closed its websocket"
_MEASURED_LENGTH = 1024 * 1024  # shorter texts fit, however they are escaped


async def load_pyppeteer() -> str:
    """Imports pyppeteer and returns its version; RenderError (ENGINE_MISSING) when it is absent.

    In a thread: it takes a third of a second. Its loggers are silenced: they would write whole
    documents, and what they complain of is told by the link.
    """
    try:
        await asyncio.to_thread(importlib.import_module, "pyppeteer.connection")
        for name in ("pyppeteer", "websockets"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return metadata.version("pyppeteer")
    except (ImportError, metadata.PackageNotFoundError) as error:
        raise RenderError(
            Fault.ENGINE_MISSING, f"the engine pyppeteer is not installed here: {INSTALL}"
        ) from error


class PyppeteerLink(Link):
    """A browser that pyppeteer speaks to."""

    streams_always = True

    def __init__(self) -> None:
        super().__init__()
        self._connection: Any = None
        self._sessions: dict[str, Any] = {}

    async def connect(self, profile: Path) -> None:
        """Waits for the browser's port and opens the websocket; the caller holds the deadline."""
        url = await self._endpoint(profile / "DevToolsActivePort")
        self._connection = _connection(url, self._task_ended)
        self._connection.setClosedCallback(lambda: self._end(_CLOSED))
        self._connection._recv_fut.add_done_callback(self._lost)  # noqa: SLF001 (its only sign)
        while self.is_open and not self._connection._connected:  # noqa: ASYNC110, SLF001 (as above)
            await asyncio.sleep(LOOK_S)
        if not self.is_open:
            raise BrowserGone("the browser refused its websocket")

    def drop_session(self, session: str, reason: str) -> None:
        """As every link; pyppeteer's own object goes when the target does."""
        super().drop_session(session, reason)
        self._sessions.pop(session, None)

    def close(self) -> None:
        """Ends the reader too."""
        super().close()
        if self._connection is not None:
            self._connection._recv_fut.cancel()  # noqa: SLF001 (it has no close that can't hang)

    async def _endpoint(self, file: Path) -> str:
        """Where the browser listens: it writes the port that it was given, and a secret path."""
        while self.is_open:
            try:
                port, path = file.read_text().split()  # noqa: ASYNC240 (two short lines)
            except (OSError, ValueError):  # not there yet, or not whole
                await asyncio.sleep(LOOK_S)
            else:
                return f"ws://127.0.0.1:{port}{path}"
        raise BrowserGone(self._ended or "the browser is gone")

    def _write(
        self, call_id: int, method: str, params: Mapping[str, Any], session: str | None
    ) -> None:
        if _is_too_large(params):
            raise MessageTooLarge(f"{method}: above {SEND_LIMIT_BYTES} bytes")
        owner = self._connection if session is None else self._sessions.get(session)
        if owner is None:
            raise SessionGone("the page was closed") if session else BrowserGone(_CLOSED)
        try:
            if method == "Target.attachToTarget":
                sending = asyncio.ensure_future(self._attach(params["targetId"]))
            else:
                sending = owner.send(method, dict(params))
        except Exception as error:  # its own classes, for a connection or a page that is closed
            raise SessionGone(str(error)) from error
        sending.add_done_callback(functools.partial(self._done, call_id, method))

    async def _attach(self, target: str) -> dict[str, Any]:
        session = await self._connection.createSession({"targetId": target, "type": "page"})
        name = session._sessionId  # noqa: SLF001 (it has no other)
        # Its emitter wants a handler an event; this one hands over all of them.
        session.emit = functools.partial(self._happened, name)
        fail_calls = session._on_closed  # noqa: SLF001 (nobody else is told)

        def on_closed() -> None:
            self._closed(name)
            fail_calls()

        session._on_closed = on_closed  # noqa: SLF001 (as above)
        self._sessions[name] = session
        return {"sessionId": name}

    def _done(self, call_id: int, method: str, sending: asyncio.Future[Any]) -> None:
        if sending.cancelled():
            self._answered(call_id, BrowserGone("the browser was closed"))
            return
        error = sending.exception()
        if error is not None:  # of a type for everything; the text alone tells
            text = str(error).removeprefix(f"Protocol error ({method}): ")
            self._answered(call_id, CallRefused(method, 0, text))
        elif sending.result() is None:  # its way to say that the connection broke
            self._answered(call_id, BrowserGone(_CLOSED))
        else:
            self._answered(call_id, sending.result())

    def _lost(self, _: asyncio.Task[None]) -> None:
        self._end(_CLOSED)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        """A send that finds the socket closed before the reader does fails, and nobody is told."""
        if not task.cancelled() and task.exception() is not None:
            self._end(_CLOSED)


class _Loop:
    """The event loop as pyppeteer sees it: it forgets its tasks, so their ends are told here."""

    def __init__(self, task_ended: Callable[[asyncio.Task[Any]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._task_ended = task_ended
        self.create_future = self._loop.create_future

    def create_task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        task.add_done_callback(self._task_ended)
        return task


def _connection(url: str, task_ended: Callable[[asyncio.Task[Any]], None]) -> Any:
    """A connection of pyppeteer's that is bounded, and free of an argument long deprecated.

    It offers no way to say so. Nothing else runs between the two assignments.
    """
    module: Any = importlib.import_module("pyppeteer.connection")
    usual = module.ws_connect

    def ws_connect(url: str, *, loop: object, **options: Any) -> Any:  # noqa: ARG001 (see above)
        return usual(url, **options | {"max_size": RECEIVE_LIMIT_BYTES, "compression": None})

    module.ws_connect = ws_connect
    try:
        made: Any = module.Connection(url, _Loop(task_ended))
    finally:
        module.ws_connect = usual
    send, transmit = made.send, made._async_send  # noqa: SLF001 (it has no other)

    async def transmit_if_open(message: str, call_id: int) -> None:
        # Nobody sends before the connection is made; after its end this would turn for ever.
        if made._connected:  # noqa: SLF001 (as above)
            await transmit(message, call_id)

    def send_and_look(method: str, params: dict[str, Any] | None = None) -> asyncio.Future[Any]:
        # A page's message is wrapped in one of the connection's, whose answer nobody looks at.
        sending: asyncio.Future[Any] = send(method, params)
        sending.add_done_callback(_look_at)
        return sending

    made.send, made._async_send = send_and_look, transmit_if_open  # noqa: SLF001 (as above)
    return made


def _look_at(ended: asyncio.Future[Any]) -> None:
    """So that nobody complains of an error that is told elsewhere."""
    if not ended.cancelled():
        ended.exception()


def _is_too_large(params: Mapping[str, Any]) -> bool:
    """Whether Chromium would hang up: pyppeteer escapes a page's messages twice."""
    texts = [text for text in params.values() if isinstance(text, str)]
    if sum(map(len, texts)) < _MEASURED_LENGTH:
        return False
    return sum(len(json.dumps(json.dumps(text))) for text in texts) > SEND_LIMIT_BYTES
