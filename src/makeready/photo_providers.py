"""Providers and their keys: one typed call for each SQL function that staff needs.

A key is sealed here before it reaches the database, and no call returns one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from makeready.db import Executor, one
from makeready.errors import unknown
from makeready.photo_kinds import KINDS, Kind, options_problems
from makeready.sealing import Sealer, SealingError, about_key
from makeready.values import Secret

KEY_LENGTH_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What may be known of a key."""

    id: UUID
    label: str
    created_at: datetime
    updated_at: datetime
    updated_by: str | None
    rests_until: datetime | None
    """It was refused, or its quota is used up; None: it is used."""
    rests_why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider."""

    id: str
    kind: str
    name: str
    options: Mapping[str, Any]
    max_parallel: int | None
    """Photos that may be with it at a time; None: only the workers limit."""
    is_enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str | None
    keys: Sequence[KeyFacts]
    slots: Sequence[str]
    """That ask it, first or after another one."""

    @property
    def speaks(self) -> Kind:
        """Its kind."""
        return KINDS[self.kind]

    @property
    def takes_key(self) -> bool:
        """Whether there is anything that a key would open."""
        return self.kind != "local"

    @property
    def is_configured(self) -> bool:
        """Whether it has what its kind needs: options, and a key."""
        has_key = bool(self.keys) or not self.speaks.wants_key(self.options)
        return has_key and not options_problems(self.kind, self.options)


_LIST = (
    "select provider as id, driver as kind, label_text as name, provider_options::text as options,"
    " at_a_time as max_parallel, is_asked as is_enabled, row_version as version,"
    " made_at as created_at, changed_at as updated_at, changed_by as updated_by,"
    " key_facts::text as keys, slots_of_it as slots from makeready.provider_list($1)"
)


async def everyone(db: Executor) -> dict[str, Provider]:
    """All providers by id."""
    rows = await db.fetch(_LIST, None)
    return {row["id"]: _provider(row) for row in rows}


async def read(db: Executor, provider: str) -> Provider:
    """One provider; NotFound."""
    row = await db.fetchrow(_LIST, provider)
    if row is None:
        raise unknown("provider_not_found", provider_id=provider)
    return _provider(row)


async def put(
    db: Executor, provider: str, changes: Mapping[str, Any], *, known: int | None = None
) -> bool:
    """Changes what is named: {name, options, max_parallel, is_enabled}, with kind also a new one.

    True when it was made. NotFound, Conflict (stale_version, kind), Rejected.
    """
    row = await one(
        db,
        "select verdict from makeready.provider_put($1, $2::text::jsonb, $3)",
        provider,
        json.dumps(changes),
        known,
    )
    return bool(row["verdict"] == "created")


async def delete(db: Executor, provider: str, *, known: int | None = None) -> None:
    """Deletes one that staff has made. NotFound, Conflict (stale_version, in_use, shipped)."""
    await db.execute("select makeready.provider_delete($1, $2)", provider, known)


async def key_put(
    db: Executor, sealer: Sealer, provider: str, key: Secret, *, label: str = ""
) -> UUID:
    """Gives a provider one more key. NotFound, Rejected (too many); SealingError."""
    new = uuid4()
    nonce, sealed = sealer.seal(key.reveal(), about_key(provider, new))
    await db.execute(
        "select makeready.provider_key_put($1, $2, $3, $4, $5)",
        provider,
        new,
        nonce,
        sealed,
        label,
    )
    return new


async def keys_drop(db: Executor, provider: str, keys: Sequence[UUID] | None = None) -> int:
    """Takes keys away, all without a list; how many there were. NotFound."""
    found: int = await db.fetchval(
        "select makeready.provider_keys_drop($1, $2)",
        provider,
        None if keys is None else list(keys),
    )
    return found


async def keys_shut(db: Executor, sealer: Sealer) -> list[str]:
    """Providers with a key that none of the master keys opens."""
    shut = set()
    for row in await db.fetch("select * from makeready.provider_keys_sealed()"):
        about = about_key(row["provider"], row["key_id"])
        try:
            sealer.open(row["seal_nonce"], row["seal_text"], about)
        except SealingError:
            shut.add(row["provider"])
    return sorted(shut)


async def keys_renew(db: Executor, sealer: Sealer) -> int:
    """Seals keys anew that lie under another master key than the first; how many there were."""
    count = 0
    for row in await db.fetch("select * from makeready.provider_keys_sealed()"):
        about = about_key(row["provider"], row["key_id"])
        found = sealer.renewed(row["seal_nonce"], row["seal_text"], about)
        if found is not None:
            call = "select makeready.provider_key_reseal($1, $2, $3, $4)"
            count += bool(await db.fetchval(call, row["key_id"], row["row_version"], *found))
    return count


def _provider(row: asyncpg.Record) -> Provider:
    keys = [_key(each) for each in json.loads(row["keys"])]
    return Provider(**{**row, "options": json.loads(row["options"]), "keys": keys})


def _key(found: Mapping[str, Any]) -> KeyFacts:
    rests = found["rests_until"]
    return KeyFacts(
        id=UUID(found["id"]),
        label=found["label"],
        created_at=datetime.fromisoformat(found["created_at"]),
        updated_at=datetime.fromisoformat(found["updated_at"]),
        updated_by=found["updated_by"],
        rests_until=None if rests is None else datetime.fromisoformat(rests),
        rests_why=found["rests_why"],
    )
