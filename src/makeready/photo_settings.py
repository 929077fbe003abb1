"""The settings of photos, a part of all settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from makeready import values
from makeready.values import Secret
from makeready.variables import setting

SYNC_MIN_S, SYNC_MAX_S = 45, 60
"""How long booths wait at least, but in tests, and at most."""
PASSWORD_MIN, PASSWORD_MAX = 8, 128
"""Characters of the password of slots; people type it into booths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoSettings:
    """What processes are told about photos."""

    ingest_database_url: str | None = setting(
        None,
        values.database_url,
        "A database of its own for photos. Unset: the database URL.",
        "PHOTOCHANGER_DATABASE_URL",
    )
    ingest_statement_timeout_ms: int = setting(
        5000,
        values.integer(1000, 59_000),
        "Milliseconds that one statement about photos may take; less than a booth waits.",
        "QUEUE_STATEMENT_TIMEOUT_MS",
    )
    ingest_password: Secret | None = setting(
        None,
        values.password(PASSWORD_MIN, PASSWORD_MAX),
        "The password of all photo slots. Its hash is taken over once, by `migrate` or `up`; from "
        "then on staff changes it. `makeready up` makes its own.",
        "INGEST_PASSWORD",
    )
    sync_response_s: float | None = setting(
        None,
        values.seconds(0.1, SYNC_MAX_S),
        "Seconds in which a booth is answered, 45 to 60; 48 unless set. Taken over once.",
        "T_SYNC_RESPONSE_SECONDS",
    )
    ingest_max_in_flight: int | None = setting(
        None,
        values.integer(1, 1000),
        "Photos that may be open at a time; 12 unless set. Taken over once.",
        "QUEUE_MAX_IN_FLIGHT_JOBS",
    )
    result_retention_hours: int | None = setting(
        None,
        values.integer(24, 168),
        "Hours that results of photos are kept; 72 unless set. Taken over once.",
        "RESULT_RETENTION_HOURS",
        "RESULT_RETENTION",
    )
    media_store: str = setting(
        "folder",
        values.choice("folder", "bucket"),
        "Where photos lie: in a folder of this machine (or of all, shared), or in the S3 bucket.",
    )
    media_root: Path | None = setting(
        None,
        values.folder,
        "The folder of photos, and of uploads while they come in. Unset: `media` in the data "
        "directory.",
        "MEDIA_ROOT",
    )
    public_url: str | None = setting(
        None,
        values.url("http", "https"),
        "Where providers reach this service, for those that fetch photos by a link.",
        "PUBLIC_BASE_URL",
    )
    secrets_key: Secret | None = setting(
        None,
        values.master_keys,
        "Encrypts the keys of providers in the database: 32 random bytes in hex or base64. "
        "Several with commas: the first encrypts, all decrypt. `makeready up` makes its own.",
        "PROVIDER_SECRETS_KEY",
    )
    testing: bool = setting(
        False,
        values.boolean,
        "For tests alone: a booth may be answered in less than 45 seconds.",
    )

    def contradictions(self) -> list[str]:
        """What is wrong with values that are right by themselves."""
        found = []
        window_s = self.sync_response_s
        if window_s is not None and window_s < SYNC_MIN_S and not self.testing:
            bounds = f"between {SYNC_MIN_S} and {SYNC_MAX_S}"
            found.append(f"MAKEREADY_SYNC_RESPONSE_S must be {bounds}")
        if window_s is not None and self.ingest_statement_timeout_ms >= window_s * 1000:
            found.append(
                "MAKEREADY_INGEST_STATEMENT_TIMEOUT_MS must be less than a booth waits: "
                f"{window_s:g} s"
            )
        return found
