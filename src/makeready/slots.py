"""Slots and their template media: one typed call for each SQL function that staff needs.

Whether settings fit an operation is known here (`problems`), since kinds and their schemas are
code; a change locks the slot, asks, and writes in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from makeready.db import Executor, one
from makeready.errors import Conflict, unknown
from makeready.media import StoredMedia, kept
from makeready.photo_kinds import operation_of, settings_problems
from makeready.photo_providers import Provider
from makeready.shapes import cut, problem

_TEMPLATE = "template:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One of the fifteen."""

    id: str
    name: str
    provider_id: str
    operation_id: str
    settings_json: Mapping[str, Any]
    fallbacks: Sequence[Mapping[str, Any]]
    """Who is asked next when a provider fails: [{provider_id, operation_id, settings}]."""
    is_enabled: bool
    max_bytes: int
    max_pixels: int
    max_open: int | None
    joins_resent: bool
    last_reset_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str | None
    media: Mapping[str, str]
    """Ids of its template media by setting key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMedia:
    """An image of a slot."""

    id: UUID
    slot_id: str
    setting_key: str
    label: str | None
    stored: StoredMedia
    uploaded_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An image that is served for a while."""

    id: UUID
    expires_at: datetime


_LIST = (
    "select slot as id, title as name, provider as provider_id, operation as operation_id,"
    " settings::text as settings_json, chain_after::text as fallbacks,"
    " takes_photos as is_enabled, most_bytes as max_bytes, most_pixels as max_pixels,"
    " most_open as max_open, joins as joins_resent, reset_at as last_reset_at,"
    " row_version as version, made_at as created_at, changed_at as updated_at,"
    " changed_by as updated_by, media::text as media from makeready.slot_list($1, $2, $3, $4)"
)
_MEDIA = "select * from makeready.slot_template_list($1, $2)"


async def listed(
    db: Executor,
    *,
    provider: str | None = None,
    operation: str | None = None,
    search: str | None = None,
) -> list[Slot]:
    """Slots by id: all, or those of a provider, an operation, with a text in id or name."""
    return [_slot(row) for row in await db.fetch(_LIST, provider, operation, search, None)]


async def read(db: Executor, slot: str) -> Slot:
    """One slot; NotFound."""
    row = await db.fetchrow(_LIST, None, None, None, slot)
    if row is None:
        raise unknown("slot_not_found", slot_id=cut(slot))
    return _slot(row)


async def opened(
    db: Executor, slot: str, *, known: int | None = None, known_time: datetime | None = None
) -> Slot:
    """The slot, locked for a change until the transaction ends.

    `known`, `known_time`: version or time of what was read. NotFound, Conflict (stale_version).
    """
    await db.execute("select makeready.slot_open($1, $2, $3)", slot, known, known_time)
    return await read(db, slot)


async def put(db: Executor, slot: str, changes: Mapping[str, Any]) -> tuple[int, datetime]:
    """Changes what is named of a slot; version and time of that. NotFound, Rejected."""
    row = await one(
        db, "select * from makeready.slot_put($1, $2::text::jsonb)", slot, json.dumps(changes)
    )
    return row["row_version"], row["changed_at"]


def problems(
    wanted: Mapping[str, Any],
    providers: Mapping[str, Provider],
    media: Collection[str],
    *,
    has_public_url: bool,
) -> list[dict[str, str]]:
    """All that is wrong with {provider_id, operation_id, settings_json, fallbacks} of a slot.

    `media`: setting keys of its template media.
    """
    found = []
    for path, step in _steps(wanted):
        where = f"{path}." if path else ""
        known = providers.get(step["provider_id"])
        if known is None:
            names = f"known: {', '.join(providers)}"
            text = f"there is no provider {cut(step['provider_id'])}"
            found.append(problem("unknown", f"{where}provider_id", text, names))
            continue
        found += _of_provider(known, step, where, has_public_url=has_public_url)
        found += _of_operation(known, step, where, media)
    return found


def needed_media(slot: Slot, providers: Mapping[str, Provider]) -> set[str]:
    """Setting keys of the template media without which a slot's operations cannot work."""
    return {
        name
        for _, step in _steps({each: getattr(slot, each) for each in _CHAIN})
        if step["provider_id"] in providers
        for name in _media_of(providers[step["provider_id"]], step["operation_id"])
    }


async def media_listed(db: Executor, slot: str | None = None) -> list[TemplateMedia]:
    """Template media of a slot, or of all. NotFound (slot)."""
    return [_media(row) for row in await db.fetch(_MEDIA, slot, None)]


async def media_read(db: Executor, template: UUID) -> TemplateMedia:
    """One image; NotFound."""
    row = await db.fetchrow(_MEDIA, None, template)
    if row is None:
        raise unknown("template_not_found", template_id=template)
    return _media(row)


async def media_put(
    db: Executor,
    slot: str,
    key: str,
    stored: StoredMedia,
    *,
    label: str | None = None,
    replaces: bool = False,
) -> UUID:
    """Enters a stored image. NotFound, Conflict (exists), Rejected."""
    row = await one(
        db,
        "select template from makeready.slot_template_put($1, $2, $3::text::jsonb, $4, $5)",
        slot,
        key,
        json.dumps(kept(stored)),
        label,
        replaces,
    )
    return UUID(str(row["template"]))


async def media_delete(
    db: Executor, found: TemplateMedia, providers: Mapping[str, Provider], *, force: bool = False
) -> None:
    """Takes an image from its slot, in a transaction. NotFound, Conflict (in_use)."""
    slot = await opened(db, found.slot_id)
    if not force and found.setting_key in needed_media(slot, providers):
        raise Conflict(
            f"{slot.id} needs {found.setting_key}",
            details={
                "reason": "in_use",
                "slot_id": slot.id,
                "setting_key": found.setting_key,
            },
        )
    await db.execute("select makeready.slot_template_delete($1)", found.id)


async def media_register(db: Executor, stored: StoredMedia, photo: UUID | None) -> Registered:
    """Enters a stored image that anybody with its id gets for a while. Rejected, Busy."""
    row = await one(
        db,
        "select * from makeready.media_register($1::text::jsonb, $2)",
        json.dumps(kept(stored)),
        photo,
    )
    return Registered(id=row["media"], expires_at=row["until_time"])


_CHAIN = ("provider_id", "operation_id", "settings_json", "fallbacks")


def _steps(wanted: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All steps of a chain, with their paths."""
    yield "", {**wanted, "settings": wanted["settings_json"]}
    for place, step in enumerate(wanted["fallbacks"]):
        yield f"fallbacks[{place}]", step


def _of_provider(
    known: Provider, step: Mapping[str, Any], where: str, *, has_public_url: bool
) -> list[dict[str, str]]:
    path, kind = f"{where}provider_id", known.speaks
    found = []
    if not known.is_enabled:
        hint = f"PUT /api/providers/{known.id} with is_enabled"
        found.append(problem("disabled", path, f"{known.id} is switched off", hint))
    if not known.is_configured:
        lacks_key = kind.wants_key(known.options) and not known.keys
        what = "has no key" if lacks_key else "lacks options"
        where_set = "settings" if lacks_key else f"providers/{known.id}"
        text = f"{known.id} {what}"
        found.append(problem("not_configured", path, text, f"PUT /api/{where_set}"))
    if not has_public_url and kind.is_sent_link(known.options, step["settings"]):
        text = f"{known.id} fetches photos by a link, and this service has no public address"
        found.append(problem("not_configured", path, text, "set PUBLIC_BASE_URL"))
    return found


def _of_operation(
    known: Provider, step: Mapping[str, Any], where: str, media: Collection[str]
) -> list[dict[str, str]]:
    operation = step["operation_id"]
    if operation_of(known.kind, operation) is None:
        names = f"known: {', '.join(known.speaks.operations)}"
        text = f"{known.id} has no operation {cut(operation)}"
        return [problem("not_allowed", f"{where}operation_id", text, names)]
    base = f"{where}settings" if where else "settings_json"
    found = [
        {**each, "path": f"{base}.{each['path']}".rstrip(".")}
        for each in settings_problems(known.kind, operation, step["settings"])
    ]
    found += [
        problem(
            "missing_template",
            f"{base}.{name}",
            f"{operation} needs template media under {name}",
            "POST /api/template-media/register",
        )
        for name in sorted(_media_of(known, operation) - set(media))
    ]
    return found


def _media_of(known: Provider, operation: str) -> set[str]:
    found = operation_of(known.kind, operation)
    needs = found.needs if found else ()
    return {name.removeprefix(_TEMPLATE) for name in needs if name.startswith(_TEMPLATE)}


def _slot(row: asyncpg.Record) -> Slot:
    parsed = {name: json.loads(row[name]) for name in ("settings_json", "fallbacks", "media")}
    return Slot(**{**row, **parsed})


def _media(row: asyncpg.Record) -> TemplateMedia:
    return TemplateMedia(
        id=row["template"],
        slot_id=row["slot"],
        setting_key=row["key_of_setting"],
        label=row["called"],
        stored=StoredMedia(
            store=row["store_name"],
            path=row["place"],
            media_type=row["media_type"],
            size_bytes=row["byte_count"],
            sha256=bytes(row["hash_sha256"]),
        ),
        uploaded_by=row["made_by"],
        created_at=row["made_at"],
        updated_at=row["changed_at"],
    )
