"""How answers are put together: pages, links to files, headers that several routes share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from starlette.responses import JSONResponse, Response

from makeready.library import StoredFile
from makeready_http.operations import TEXT, WHOLE, done
from makeready_http.services import Services

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""For answers that hold a secret, or a link that works for whoever has it."""
LINK = done(url=TEXT, expires_in_sec=WHOLE)
"""The schema of what `link_to` answers."""

_log = structlog.get_logger(__name__)


def listed(name: str, items: list[dict[str, Any]], limit: int, key: str) -> Response:
    """A page; `next` is what to pass as `after`, and null on the last one."""
    following = items[-1][key] if len(items) == limit else None
    return JSONResponse({"ok": True, name: items, "next": following})


def listed_rows(name: str, rows: list[Mapping[str, Any]], limit: int, key: str) -> Response:
    """As `listed`, of rows whose keys are the public names."""
    items = [as_json(row) for row in rows]
    following = str(items[-1][key]) if len(items) == limit else None
    return JSONResponse({"ok": True, name: items, "next": following})


def as_json(value: Any) -> Any:
    """A row as JSON has it: ids and times as text."""
    if isinstance(value, Mapping):
        return {name: as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


async def link_to(services: Services, file_id: UUID, file: StoredFile) -> Response:
    """A link to the file that works for some minutes, for whoever holds it."""
    valid_s = services.settings.presign_ttl_s
    link = await services.storage.presign(
        file.key, bucket=file.bucket, valid_s=valid_s, filename=file.filename
    )
    _log.info("file_presigned", file_id=str(file_id), expires_in_sec=valid_s)
    return JSONResponse({"ok": True, "url": link, "expires_in_sec": valid_s}, headers=NO_STORE)


def replayed(is_new: bool) -> dict[str, str]:
    """The header that says an answer was given before, under the same key."""
    return {} if is_new else {"Idempotency-Replayed": "true"}
