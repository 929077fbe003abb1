"""How answers are put together: pages, links to files, headers that several routes share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from starlette.responses import JSONResponse, Response

from makeready.library import StoredFile
from makeready.render import PackMade
from makeready_http.operations import TEXT, WHOLE, done
from makeready_http.services import Services

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""For answers that hold a secret, or a link that works for whoever has it."""
LINK = done(url=TEXT, expires_in_sec=WHOLE)
"""The schema of what `link_to` answers."""

_log = structlog.get_logger(__name__)


class Json(JSONResponse):
    """An answer in JSON, in which ids and times become text."""

    def render(self, content: Any) -> bytes:
        """As Starlette's, of what its own would not take too."""
        return json.dumps(
            content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_text
        ).encode()


def listed(
    name: str, items: Sequence[Mapping[str, Any]], limit: int, by: str, **about: str
) -> Response:
    """A page; `next` is what to pass as `after`, and null on the last one."""
    following = str(items[-1][by]) if len(items) == limit else None
    return Json({"ok": True, **about, name: items, "next": following})


def pack_made(made: PackMade, documents: int, facts: Mapping[str, Any]) -> Response:
    """201 for a pack that was made now, or by the same request before."""
    _log.info("pack_created", pack_id=str(made.pack_id), documents=documents)
    return Json(
        {"ok": True, "pack_id": made.pack_id, **facts},
        status_code=201,
        headers={"Location": f"/packs/{made.pack_id}/documents"} | replayed(made.is_new),
    )


async def link_to(services: Services, file_id: UUID, file: StoredFile) -> Response:
    """A link to the file that works for some minutes, for whoever holds it."""
    valid_s = services.settings.presign_ttl_s
    link = await services.storage.presign(
        file.key, bucket=file.bucket, valid_s=valid_s, filename=file.filename
    )
    _log.info("file_presigned", file_id=str(file_id), expires_in_sec=valid_s)
    return Json({"ok": True, "url": link, "expires_in_sec": valid_s}, headers=NO_STORE)


def replayed(is_new: bool) -> dict[str, str]:
    """The header that says an answer was given before, under the same key."""
    return {} if is_new else {"Idempotency-Replayed": "true"}


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, with Z: how answers tell times."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _as_text(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(type(value).__name__)
