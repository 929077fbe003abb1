"""Around every request: its id, its two log lines, and the answer to whatever a route let through.

The id is the caller's `X-Request-Id` when that is printable and short, else a new one; it is on
every line that is logged meanwhile and on every answer, also on the refusals of the router.
"""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from makeready.log import log_context
from makeready_http.problems import answer, note_refusal, refusal_of

HEADER = "X-Request-Id"
_UNSTORED = re.compile("/ingest/.*|/api/slots/[^/]*/test-run", re.DOTALL)
"""Answers there, refusals of the router too, are for the one who asked alone."""
_HARMLESS = re.compile(r"[\x21-\x7e]{1,128}")
_QUIET = frozenset({"/health/live", "/health/ready"})

_log = structlog.get_logger(__name__)


class RequestScope:
    """Errors end here, but for one that cut an answer short."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        with log_context(request_id=request_id):
            await self._logged(scope, receive, send, request_id)

    async def _logged(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        log = _log.debug if scope["path"] in _QUIET else _log.info
        facts = {"method": scope["method"], "path": scope["path"]}
        log("request_received", **facts)
        started = time.monotonic()
        status = [0]
        send = _stamped(send, scope, status)
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            refusal = refusal_of(error, request_id)
            note_refusal(error, refusal)
            if status[0]:  # half an answer is out: only a broken connection tells the truth
                raise
            await answer(refusal)(scope, receive, send)
        finally:
            ms = round((time.monotonic() - started) * 1000, 1)
            log("request_finished", **facts, status=status[0], ms=ms)


def _request_id(headers: Headers) -> str:
    stated = headers.get(HEADER, "")
    return stated if _HARMLESS.fullmatch(stated) else str(uuid.uuid4())


def _stamped(send: Send, scope: Scope, status: list[int]) -> Send:
    """Adds what every answer has: the request's id, that of its job, and who may keep it."""
    state = scope["state"]

    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start":
            status[0] = message["status"]
            headers = MutableHeaders(scope=message)
            headers[HEADER] = state["request_id"]
            if "job_id" in state:
                headers["X-Job-Id"] = str(state["job_id"])
            if _UNSTORED.fullmatch(scope["path"]):
                headers["Cache-Control"] = "no-store"
        await send(message)

    return stamped
