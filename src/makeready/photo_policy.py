"""Settings of photos that change while the system runs, and what processes seed of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from makeready import passwords
from makeready.config import Settings
from makeready.db import Executor, one
from makeready.errors import Rejected
from makeready.photo_settings import PASSWORD_MAX, PASSWORD_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is in force for photos that come now."""

    sync_response_s: float
    max_in_flight: int | None
    result_retention_hours: int
    refuses_late: bool
    """Photos that would most likely not be ready in time are refused at once."""
    is_durable: bool
    """Admission and end of a photo wait for the disk."""
    replay_s: int
    keep_days: int
    min_free_bytes: int
    version: int
    updated_at: datetime
    updated_by: str | None
    has_password: bool
    password_at: datetime | None
    password_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting of a process that counts no more: its row says something else."""

    setting: str
    given: str
    in_force: str


_READ = (
    "select sync_s as sync_response_s, most_open as max_in_flight,"
    " hours_kept as result_retention_hours, refuses as refuses_late, durable as is_durable,"
    " replay_seconds as replay_s, days_kept as keep_days, free_floor as min_free_bytes,"
    " row_version as version, changed_at as updated_at, changed_by as updated_by, has_password,"
    " password_at, password_by from makeready.ingest_settings()"
)


async def read(db: Executor) -> Policy:
    """What is in force."""
    return Policy(**await one(db, _READ))


async def put(db: Executor, changes: dict[str, Any], *, known: int | None = None) -> int:
    """Changes what is named of `Policy`; its version. Conflict (stale_version), Rejected."""
    return int(
        await db.fetchval(
            "select makeready.ingest_settings_put($1::text::jsonb, $2)", json.dumps(changes), known
        )
    )


def hashed(password: str) -> str:
    """The hash of a new password of slots; blocks. Rejected unless it has 8 to 128 characters."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise Rejected(
            f"the password of slots has {PASSWORD_MIN} to {PASSWORD_MAX} characters",
            details={"path": "dslr_password.value"},
        )
    return passwords.rehashed(password)


async def set_password(db: Executor, digest: str) -> int:
    """The password of slots from the next request on; its version."""
    return int(await db.fetchval("select makeready.ingest_password_set($1)", digest))


async def seed(db: Executor, settings: Settings) -> list[str]:
    """Takes over what a process is configured with, each setting once; the names of those."""
    password = settings.ingest_password
    found: list[str] = await db.fetchval(
        "select makeready.ingest_seed($1, $2, $3, $4, $5)",
        None if password is None else hashed(password.reveal()),
        settings.sync_response_s,
        settings.ingest_max_in_flight,
        settings.result_retention_hours,
        settings.testing,
    )
    return found


async def differences(db: Executor, settings: Settings) -> list[Difference]:
    """What a process is configured with and another value is in force for; no secret in it."""
    policy = await read(db)
    pairs = {
        "MAKEREADY_SYNC_RESPONSE_S": (settings.sync_response_s, policy.sync_response_s),
        "MAKEREADY_INGEST_MAX_IN_FLIGHT": (settings.ingest_max_in_flight, policy.max_in_flight),
        "MAKEREADY_RESULT_RETENTION_HOURS": (
            settings.result_retention_hours,
            policy.result_retention_hours,
        ),
    }
    found = [
        Difference(setting=name, given=f"{given:g}", in_force=_shown(there))
        for name, (given, there) in pairs.items()
        if given is not None and given != there
    ]
    if settings.ingest_password is not None:
        digest = await db.fetchval("select makeready.ingest_password_hash()")
        if not passwords.is_right(settings.ingest_password.reveal(), digest):
            who = f"another, of {policy.password_by}" if policy.has_password else "none"
            name = "MAKEREADY_INGEST_PASSWORD"
            found.append(Difference(setting=name, given="a password", in_force=who))
    return found


def _shown(value: float | None) -> str:
    return "no limit" if value is None else f"{value:g}"
