"""Every refusal of the HTTP service: one envelope, one table of codes, one mapping of exceptions.

    {"error": {"code": "pack_not_found", "message": "…", "details": {…}}}

The code decides the status. An error of the SQL functions may state its code in DETAIL; otherwise
its class has one. What is in neither table is a defect: 500, with the request's id and no trace of
how it came about; the trace is in the log under the same id.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import structlog
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from makeready.db import is_transient
from makeready.documents.catalogue import TypeUnusable
from makeready.errors import (
    Busy,
    Closed,
    Conflict,
    Forbidden,
    Gone,
    MakereadyError,
    NotFound,
    Rejected,
)
from makeready.shapes import cut
from makeready.stamping import HelperLost, StampingTimeout
from makeready.storage_errors import StorageError

RETRY_AFTER_S = 2

STATUS_OF: Mapping[str, int] = {
    "invalid_request": 400,
    "invalid_credentials": 401,
    "unauthorized": 401,
    "forbidden": 403,
    "slot_not_found": 404,
    "pack_not_found": 404,
    "document_not_found": 404,
    "file_not_found": 404,
    "job_not_found": 404,
    "template_not_found": 404,
    "restaurant_not_found": 404,
    "generation_not_found": 404,
    "result_not_found": 404,
    "route_not_found": 404,
    "alert_not_found": 404,
    "media_not_found": 404,
    "table_not_found": 404,
    "user_not_found": 404,
    # Beside the codes that all parts of the product share: things that only one of them has.
    "session_not_found": 404,
    "provider_not_found": 404,
    "webhook_not_found": 404,
    "delivery_not_found": 404,
    "method_not_allowed": 405,
    "upload_timeout": 408,
    "already_in_progress": 409,
    "stale_version": 409,
    "conflict": 409,
    "result_expired": 410,
    "media_link_expired": 410,
    "generation_deleted": 410,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "render_failed": 422,
    "validation_failed": 422,
    "idempotency_mismatch": 422,
    "queue_busy": 429,
    "rate_limited": 429,
    "internal_error": 500,
    "queue_unavailable": 503,
    "provider_error": 503,
    "job_cancelled": 503,
    "storage_unavailable": 503,
    "sync_timeout": 504,
}
_CODE_OF: tuple[tuple[type[MakereadyError], str], ...] = (
    (Forbidden, "forbidden"),
    (NotFound, "job_not_found"),
    (Conflict, "conflict"),
    (TypeUnusable, "conflict"),
    (Gone, "result_expired"),
    (Rejected, "validation_failed"),
    (Busy, "queue_busy"),
    (Closed, "queue_unavailable"),
    (StorageError, "storage_unavailable"),
    (HelperLost, "queue_unavailable"),
    (StampingTimeout, "queue_unavailable"),
)
_OF_THE_ROUTER = {
    400: "invalid_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
}
_UNSTORABLE = frozenset({"22021", "22P05"})  # characters that PostgreSQL cannot keep
_TEXT_OF_AWAY = "The database does not answer now."
_TEXT_OF_FULL = "The disk of the database is full."
_TEXT_OF_FILES = "The service cannot read or write its files now."
_TEXT_OF_NO_ROOM = "The service has no room for temporary files."
_log = structlog.get_logger(__name__)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a client is told."""

    code: str
    message: str
    details: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status: a function of the code."""
        return STATUS_OF[self.code]


class Problem(MakereadyError):
    """A refusal that a route raises by itself."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.refusal = Refusal(
            code=code, message=message, details=details, headers=dict(headers or {})
        )


def invalid_request(message: str, *, field: str, reason: str) -> Problem:
    """A part of the request that cannot be read."""
    return Problem("invalid_request", message, details={"field": field, "reason": reason})


def not_found(code: str, name: str, value: object) -> Problem:
    """Unknown, or not yours; `name` is the detail that carries the id."""
    return Problem(code, "Unknown, or not yours.", details={name: cut(str(value))})


def refusal_of(error: BaseException, correlation_id: str) -> Refusal:
    """What to tell the client about any exception that a route let through."""
    if isinstance(error, Problem):
        return error.refusal
    if isinstance(error, HTTPException):
        return _of_the_router(error)
    if isinstance(error, MakereadyError):
        for known, code in _CODE_OF:
            if isinstance(error, known):
                return _of_ours(error, code)
    elif isinstance(error, asyncpg.PostgresError) and error.sqlstate in _UNSTORABLE:
        return invalid_request(
            "A character cannot be stored.", field="body", reason="text"
        ).refusal
    elif isinstance(error, OSError) and error.filename is not None and not _is_full(error):
        # A file: connections have no name, not even those to a socket in a folder.
        return Refusal(code="storage_unavailable", message=_TEXT_OF_FILES, headers=retry_after())
    elif is_transient(error):
        return Refusal(
            code="queue_unavailable", message=_text_of_transient(error), headers=retry_after()
        )
    return Refusal(
        code="internal_error",
        message="Something went wrong here. The log has it under this id.",
        details={"correlation_id": correlation_id},
    )


def _text_of_transient(error: BaseException) -> str:
    if isinstance(error, asyncpg.DiskFullError):
        return _TEXT_OF_FULL
    return _TEXT_OF_NO_ROOM if _is_full(error) else _TEXT_OF_AWAY


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def note_refusal(error: BaseException, refusal: Refusal) -> None:
    """Logs what is a fault of the service, or of what it stands on."""
    if refusal.status == 500:
        _log.error("request_error", code=refusal.code, exc_info=error)
    elif refusal.status > 500:
        _log.warning("request_error", code=refusal.code, error=type(error).__name__)


def answer(refusal: Refusal) -> JSONResponse:
    """The envelope."""
    body: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.details:
        body["details"] = refusal.details
    return JSONResponse({"error": body}, status_code=refusal.status, headers=dict(refusal.headers))


def _of_the_router(error: HTTPException) -> Refusal:
    code = _OF_THE_ROUTER.get(error.status_code, "internal_error")
    return Refusal(code=code, message=f"{error.detail}.", headers=dict(error.headers or {}))


def _of_ours(error: MakereadyError, code: str) -> Refusal:
    details = error.details
    stated = details.pop("code", code)
    code = stated if stated in STATUS_OF else code
    message = getattr(error, "message", None) or str(error)
    wait_s = details.get("retry_after_s")
    must_wait = STATUS_OF[code] in {429, 503}
    if code == "validation_failed":
        return Refusal(code=code, message=message, details=_problems(details, message))
    if code == "storage_unavailable":
        message = "Object storage does not answer now."  # the key is nobody's business
    return Refusal(
        code=code,
        message=message,
        details=details,
        headers=retry_after(wait_s) if must_wait else {},
    )


def _problems(details: Mapping[str, Any], message: str) -> list[Any]:
    """What is wrong with the input, all of it: code, path, message, hint."""
    found = details.get("problems")
    if isinstance(found, list):
        return [{**each, "hint": each.get("hint", "")} for each in found]
    return [{"code": "invalid", "path": "", "message": message, "hint": "", **details}]


def retry_after(seconds: Any = None) -> dict[str, str]:
    """The header, in whole seconds of at least one; what is no number is the default."""
    number = seconds if isinstance(seconds, int | float) else RETRY_AFTER_S
    return {"Retry-After": str(max(1, math.ceil(number)))}
