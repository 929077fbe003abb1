"""The link of the default engine: two pipes, and nothing else.

Chromium started with `--remote-debugging-pipe` reads commands from descriptor 3 and writes answers
to descriptor 4, JSON closed by a zero byte. There is no port, so no other process can drive the
browser, and a browser whose owner died reads the end of the file and exits by itself.

An answer that is too large fails its own call and is thrown away as it streams in; the neighbours'
answers stay readable.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, cast

from makeready_workers.chromium.link import (
    RECEIVE_LIMIT_BYTES,
    SEND_LIMIT_BYTES,
    CallRefused,
    Link,
    MessageTooLarge,
)

_COMMANDS, _ANSWERS = 0, 1  # the launcher moves these to 3 and 4 (jail.py)
_CALL_ID = re.compile(rb'^\{"id":\s*(\d+)')


class Pipe(Link):
    """A browser that is spoken to by two pipes."""

    def __init__(self) -> None:
        super().__init__()
        self._receive_limit = RECEIVE_LIMIT_BYTES
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._discarding = False

    # What asyncio calls.

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Some of an answer, or several of them."""
        if fd != _ANSWERS:
            return
        *whole, rest = data.split(b"\0")
        for piece in whole:
            self._collect(piece)
            self._close_message()
        if rest:
            self._collect(rest)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Either pipe is closed: the browser is gone or about to go."""
        self._end("the browser closed its pipe")

    # In the order of use.

    def _write(
        self, call_id: int, method: str, params: Mapping[str, Any], session: str | None
    ) -> None:
        message: dict[str, Any] = {"id": call_id, "method": method}
        if params:
            message["params"] = params
        if session is not None:
            message["sessionId"] = session
        # Plain UTF-8: escaping would make Russian text three times as long on the wire.
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace"
        )
        if len(line) > SEND_LIMIT_BYTES:
            raise MessageTooLarge(f"{method}: {len(line)} bytes, {SEND_LIMIT_BYTES} are allowed")
        process = cast("asyncio.SubprocessTransport", self._process)
        stdin = cast("asyncio.WriteTransport", process.get_pipe_transport(_COMMANDS))
        stdin.write(line + b"\0")

    def _collect(self, piece: bytes) -> None:
        if self._discarding:
            return
        self._parts.append(piece)
        self._part_bytes += len(piece)
        if self._part_bytes > self._receive_limit:
            self._refuse_message()

    def _refuse_message(self) -> None:
        head = b"".join(self._parts[:2])[:64]
        self._discarding = True
        self._parts.clear()
        found = _CALL_ID.match(head)
        if found:
            text = f"the answer is above {self._receive_limit} bytes"
            self._answered(int(found.group(1)), MessageTooLarge(text))

    def _close_message(self) -> None:
        message = b"".join(self._parts)
        discarded, self._discarding = self._discarding, False
        self._parts.clear()
        self._part_bytes = 0
        if not discarded and message:
            self._dispatch(json.loads(message))

    def _dispatch(self, message: Mapping[str, Any]) -> None:
        if "id" not in message:
            session, name = message.get("sessionId"), message["method"]
            params = message.get("params", {})
            self._happened(session, name, params)
            if name == "Target.detachedFromTarget":
                self._closed(params["sessionId"])
            return
        call_id = message["id"]
        if "error" not in message:
            self._answered(call_id, message.get("result", {}))
            return
        error = message["error"]
        text = " ".join(str(part) for part in (error.get("message"), error.get("data")) if part)
        _, method, _ = self._calls.get(call_id, (None, "", None))
        self._answered(call_id, CallRefused(method, int(error.get("code", 0)), text))
