"""Steps of the start that wait for others: tried until they succeed, while the service answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from makeready.config import ConfigError
from makeready.db import Backoff, is_transient
from makeready.storage_errors import StorageError
from makeready_http.problems import Problem, retry_after

MEND = {  # by step; a log line that only names an error helps nobody at night
    "database": "see that the database runs, DATABASE_URL names it, `makeready migrate` has run",
    "document_types": "`makeready migrate` writes them",
    "storage": "see that S3 runs; check S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET",
    "photos": "see that the database of photos runs (PHOTOCHANGER_DATABASE_URL, else DATABASE_URL)"
    " and `makeready migrate` has run",
}

_log = structlog.get_logger(__name__)


async def until_done(step: Callable[[], Awaitable[None]], name: str) -> None:
    """Repeats a step until it succeeds."""
    backoff = Backoff()
    while True:
        try:
            await step()
            return
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next try may succeed
            is_usual = is_transient(error) or isinstance(error, StorageError)
            log = _log.warning if is_usual else _log.error
            log(
                "start_awaited",
                step=name,
                error=type(error).__name__,
                mend=MEND[name],
            )
        await anyio.sleep(backoff.pause_s())


def not_yet(message: str = "The database has not answered yet.") -> Problem:
    """503: what a route needs has not been reached since the start."""
    return Problem("queue_unavailable", message, headers=retry_after())


class ToldFaults:
    """Settings that cannot be are told by the command, in a line, and not by a trace before it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes all on but the trace."""

        async def told(message: Message) -> None:
            is_failure = message["type"].endswith(".failed")
            if is_failure and isinstance(scope["app"].state.fault, ConfigError):
                message = {**message, "message": ""}
            await send(message)

        await self._app(scope, receive, told if scope["type"] == "lifespan" else send)
