"""Settings of photos for staff: how long booths wait, their password, the keys of providers.

GET /api/settings
PUT /api/settings    only what is named changes; the answer is what is in force then

No answer holds a password or a key: only whether there is one, since when, and by whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from makeready import photo_policy, photo_providers
from makeready.db import Connection, Executor
from makeready.errors import Rejected
from makeready.photo_providers import KEY_LENGTH_MAX
from makeready.photo_settings import PASSWORD_MAX, PASSWORD_MIN, SYNC_MAX_S, SYNC_MIN_S
from makeready.sealing import Sealer
from makeready.shapes import cut, problem
from makeready.validation import find_problems
from makeready.values import Secret
from makeready_http.answers import NO_STORE, Json
from makeready_http.auth import acting, current_staff
from makeready_http.operations import (
    ANYTHING,
    ID,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Answer,
    admin_operation,
    array,
    nullable,
    read_body,
    record,
)
from makeready_http.services import Services, services_of
from makeready_http.slot_items import KEY, TAG, key_item
from makeready_http.versions import etag, known_version

_KEY_TEXT = {**TEXT, "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": r"^[\x21-\x7e]+$"}
_LABEL = {**TEXT, "maxLength": 100}
_KEYS = record(
    {},
    {
        "value": {**nullable(_KEY_TEXT), "description": "The only key from now on; null: none."},
        "add": array(record({"value": _KEY_TEXT}, {"label": _LABEL}), maxItems=20),
        "remove": array(ID, maxItems=20),
    },
)
_PASSWORD = record({"value": {**TEXT, "minLength": PASSWORD_MIN, "maxLength": PASSWORD_MAX}})
_CHANGE = record(
    {},
    {
        "dslr_password": {
            **ANYTHING,
            "description": '{"value": the password of all slots}, of 8 to 128 characters.',
        },
        "provider_keys": {
            **ANYTHING,
            "description": 'By provider: {"value": key or null} in place of all; beside them'
            ' {"add": [{"value": key, "label": name}]}, {"remove": [id]}.',
        },
        "ingest": record(
            {},
            {
                "sync_response_timeout_sec": {
                    "type": "number",
                    "minimum": SYNC_MIN_S,
                    "maximum": SYNC_MAX_S,
                    "description": "In which a booth is answered; also how long links to its"
                    " photo work. Photos that are there keep theirs.",
                }
            },
        ),
        "media_cache": record(
            {},
            {
                "processed_media_ttl_hours": {
                    **WHOLE,
                    "minimum": 24,
                    "maximum": 168,
                    "description": "Of results from now on.",
                }
            },
        ),
    },
)
_log = structlog.get_logger(__name__)


async def show(request: Request) -> Response:
    """What is in force."""
    await current_staff(request, "settings:read")
    return await _answer(services_of(request).photos.pool)


async def change(request: Request) -> Response:
    """Changes what is named."""
    member = await current_staff(request, "settings:write")
    known = known_version(request)
    body = await read_body(request, _CHANGE)
    services = services_of(request)
    _secrets(body)
    policy, keys = _policy(body, services), body.get("provider_keys", {})
    digest = await _digest(body, services)
    sealer = Sealer.of(services.settings.secrets_key)
    if any(_is_sealing(each) for each in keys.values()) and not sealer.is_able:
        hint = "set MAKEREADY_SECRETS_KEY, the same in all processes"
        text = "this service has nothing to encrypt keys with"
        raise _rejected([problem("not_configured", "provider_keys", text, hint)])
    async with acting(services, member, request, pool=services.photos.pool) as connection:
        await photo_policy.put(connection, policy, known=known)
        if digest is not None:
            await photo_policy.set_password(connection, digest)
        for provider in sorted(keys):
            await _change_keys(connection, sealer, provider, keys[provider])
    _log.info("ingest_settings_changed", what=sorted(body))
    return await _answer(services.photos.pool)


def _policy(body: Mapping[str, Any], services: Services) -> dict[str, Any]:
    """What is named of the policy; 422 for a window that is too short."""
    found = {}
    seconds = body.get("ingest", {}).get("sync_response_timeout_sec")
    problems = window_problems("ingest.sync_response_timeout_sec", seconds, services)
    if problems:
        raise _rejected(problems)
    if seconds is not None:
        found["sync_response_s"] = seconds
    hours = body.get("media_cache", {}).get("processed_media_ttl_hours")
    return found if hours is None else found | {"result_retention_hours": hours}


def window_problems(path: str, seconds: float | None, services: Services) -> list[dict[str, str]]:
    """What is wrong with a window in which one statement might not end."""
    least_s = services.settings.ingest_statement_timeout_ms / 1000
    if seconds is None or seconds > least_s:
        return []
    text = f"a statement may take {least_s:g} s: booths have to wait for longer"
    return [problem("out_of_range", path, text, "QUEUE_STATEMENT_TIMEOUT_MS says how long")]


def _secrets(body: Mapping[str, Any]) -> None:
    """422 with all that is wrong with the secrets of a body; it quotes none of them."""
    parts = (
        [("dslr_password", _PASSWORD, body["dslr_password"])] if "dslr_password" in body else []
    )
    for provider, wanted in body.get("provider_keys", {}).items():
        parts.append((f"provider_keys.{cut(provider)}", _KEYS, wanted))
    problems = [
        {**each, "path": f"{path}.{each['path']}".rstrip("."), "message": "does not fit"}
        for path, schema, value in parts
        for each in find_problems(schema, value)
    ]
    if problems:
        raise _rejected(problems)


async def _digest(body: Mapping[str, Any], services: Services) -> str | None:
    if "dslr_password" not in body:
        return None
    return await to_thread.run_sync(
        photo_policy.hashed, body["dslr_password"]["value"], limiter=services.passwords
    )


def _is_sealing(wanted: Mapping[str, Any]) -> bool:
    return wanted.get("value") is not None or bool(wanted.get("add"))


async def _change_keys(
    connection: Connection, sealer: Sealer, provider: str, wanted: Mapping[str, Any]
) -> None:
    if "value" in wanted:
        await photo_providers.keys_drop(connection, provider)
    elif "remove" in wanted:
        gone = [UUID(each) for each in wanted["remove"]]
        await photo_providers.keys_drop(connection, provider, gone)
    new = [{"value": wanted["value"]}] if wanted.get("value") is not None else []
    for each in [*new, *wanted.get("add", ())]:
        await photo_providers.key_put(
            connection, sealer, provider, Secret(each["value"]), label=each.get("label", "")
        )


async def _answer(db: Executor) -> Response:
    policy = await photo_policy.read(db)
    keyed = (each for each in (await photo_providers.everyone(db)).values() if each.takes_key)
    body = {
        "dslr_password": {
            "is_set": policy.has_password,
            "updated_at": policy.password_at,
            "updated_by": policy.password_by,
        },
        "provider_keys": {
            each.id: {
                "is_configured": bool(each.keys),
                "updated_at": max((key.updated_at for key in each.keys), default=None),
                "updated_by": each.keys[-1].updated_by if each.keys else None,
                "keys": [key_item(key) for key in each.keys],
            }
            for each in keyed
        },
        "ingest": {
            "sync_response_timeout_sec": _number(policy.sync_response_s),
            "ingest_ttl_sec": _number(policy.sync_response_s),
        },
        "media_cache": {
            "processed_media_ttl_hours": policy.result_retention_hours,
            "public_link_ttl_sec": _number(policy.sync_response_s),
        },
    }
    return Json(body, headers=NO_STORE | etag(policy.version))


def _number(seconds: float) -> float:
    """A whole number as such."""
    return int(seconds) if seconds == int(seconds) else seconds


def _rejected(problems: list[dict[str, str]]) -> Rejected:
    return Rejected("the settings do not fit", details={"problems": problems})


_SECONDS = {"type": "number"}
_SETTINGS = record(
    {
        "dslr_password": record(
            {"is_set": TRUTH, "updated_at": nullable(TIME), "updated_by": nullable(TEXT)}
        ),
        "provider_keys": {
            **ANYTHING,
            "description": "By provider: is_configured, updated_at, updated_by, keys.",
            "additionalProperties": record(
                {
                    "is_configured": TRUTH,
                    "updated_at": nullable(TIME),
                    "updated_by": nullable(TEXT),
                    "keys": array(KEY),
                }
            ),
        },
        "ingest": record({"sync_response_timeout_sec": _SECONDS, "ingest_ttl_sec": _SECONDS}),
        "media_cache": record(
            {"processed_media_ttl_hours": WHOLE, "public_link_ttl_sec": _SECONDS}
        ),
    }
)
_IN_FORCE = Answer(description="What is in force.", schema=_SETTINGS, headers=("ETag",))
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/api/settings",
        endpoint=show,
        tag=TAG,
        needs="settings:read",
        summary="shows the settings of photos, and of secrets only whether they are set",
        answers={200: _IN_FORCE},
    ),
    admin_operation(
        method="PUT",
        path="/api/settings",
        endpoint=change,
        tag=TAG,
        needs="settings:write",
        summary="changes what is named of the settings of photos, from the next request on",
        description="The window of `ingest` is also the time that links to photos work; photos"
        " that were let in keep theirs. Another password holds from the next request on.",
        body=_CHANGE,
        answers={200: _IN_FORCE},
        errors=("provider_not_found", "stale_version"),
    ),
)
