"""Logs: one JSON object a line, or coloured lines on a terminal, on standard error.

Modules take `structlog.get_logger()` and name events with words of the contract (`render_ok`).
What is bound here (`request_id`, `job_id`) rides on every line of the same task, through context
variables. Secrets and presigned links are masked whatever a caller passes.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars
from structlog.types import EventDict, Processor, WrappedLogger

from makeready.values import Secret

MASK = "***"
QUIET_LOGGERS = ("aiobotocore", "botocore", "asyncio", "uvicorn.access")
"""Libraries whose INFO lines repeat ours; from them only warnings are written."""

_SIGNED_QUERY = re.compile(r"\?[^\s\"']*X-Amz-(?:Signature|Credential)=[^\s\"']*", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):[^\s@/]+(?=@)")
_QUERY_PASSWORD = re.compile(r"(?<=[?&]password=)[^\s&\"']+")


def configure_logging(
    log_format: str = "auto", log_level: str = "info", stream: TextIO | None = None
) -> None:
    """Sets up structlog and the standard library's logging for this process.

    `log_format` is auto, json or pretty; `log_level` debug, info, warning or error.
    """
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log_level.upper()]
    pretty = log_format == "pretty" or (log_format == "auto" and target.isatty())
    shared = _shared_processors(pretty=pretty)
    last = _renderers(pretty=pretty, colours=target.isatty())
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(target, level, shared, last)


@contextmanager
def log_context(**facts: Any) -> Iterator[None]:
    """Binds facts such as `request_id` or `job_id` to every line of this task while it is open."""
    with bound_contextvars(**facts):
        yield


def mask(value: Any) -> Any:
    """A value fit for a log: no secret, no signature of a link, no password, however nested."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        value = _QUERY_PASSWORD.sub(MASK, _SIGNED_QUERY.sub(f"?{MASK}", value))
        return _URL_PASSWORD.sub(rf"\1:{MASK}", value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {key: mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    return value


def _mask_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: mask(value) for key, value in event.items()}


def _shared_processors(*, pretty: bool) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(
        fmt="%H:%M:%S.%f" if pretty else "iso", utc=not pretty, key="ts"
    )
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        stamp,
    ]


def _renderers(*, pretty: bool, colours: bool) -> list[Processor]:
    last: Processor = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    if pretty:
        last = structlog.dev.ConsoleRenderer(
            colors=colours,
            timestamp_key="ts",
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,  # others show local variables
        )
    # A trace is text before it is masked: it may quote a link.
    return [structlog.processors.format_exc_info, _mask_event, last]


def _route_standard_logging(
    target: TextIO, level: int, shared: list[Processor], last: list[Processor]
) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
