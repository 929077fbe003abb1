"""Settings of one process: read once from the environment and `.env`, frozen, handed on.

Every setting has a canonical name, `MAKEREADY_` and the field's name in capitals; some have an
alias that other tools use as well. What operators change while the system runs (limits, retries,
retention) is not here: it lives in SQL.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from makeready import values
from makeready.photo_settings import PhotoSettings
from makeready.values import Secret
from makeready.variables import PREFIX, Variable, setting

__all__ = ["ConfigError", "Secret", "Settings", "Variable", "load_settings", "variables"]

RESERVED_PREFIXES = ("MAKEREADY_TEST_", "MAKEREADY_BENCH_")  # read by the tests and the benchmarks
DOTENV = Path(".env")

_LOG_FORMATS = ("auto", "json", "pretty")
_SMS_PROVIDERS = ("mock",)
_LOG_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """Settings are unknown or unreadable; the text names all of them and what would be right."""


def _default_instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(PhotoSettings):
    """All settings of a process."""

    database_url: str | None = setting(
        None,
        values.database_url,
        "PostgreSQL 15 to 18. Unset: `makeready up` runs its own under the data directory.",
        "DATABASE_URL",
    )
    database_direct_url: str | None = setting(
        None,
        values.database_url,
        "The same database without a connection pooler, for LISTEN and the session lock. "
        "Unset: the database URL.",
        "DATABASE_DIRECT_URL",
    )
    database_roles: bool = setting(
        True,
        values.boolean,
        "Connections take the role of their process (makeready_http, makeready_worker). False "
        "when the database user already has only those rights.",
    )
    data_dir: Path = setting(
        Path("var"),
        values.folder,
        "Folder of what a machine keeps by itself: the data of embedded Postgres and S3, logs.",
    )
    s3_endpoint: str | None = setting(
        None,
        values.endpoint,
        "S3 as the processes reach it. Unset: `makeready up` runs its own.",
        "S3_ENDPOINT",
    )
    s3_presign_endpoint: str | None = setting(
        None,
        values.endpoint,
        "S3 as the users reach it: presigned links carry this host. Unset: the S3 endpoint.",
        "S3_PRESIGN_ENDPOINT",
    )
    s3_bucket: str = setting("makeready", str, "Bucket; made at start when missing.", "S3_BUCKET")
    s3_region: str = setting("us-east-1", str, "Region that requests are signed for.", "S3_REGION")
    s3_access_key: str | None = setting(None, str, "Access key of S3.", "S3_ACCESS_KEY")
    s3_secret_key: Secret | None = setting(None, Secret, "Secret key of S3.", "S3_SECRET_KEY")
    s3_use_ssl: bool = setting(
        False, values.boolean, "Scheme of an S3 endpoint given as host:port.", "S3_USE_SSL"
    )
    http_host: str = setting("127.0.0.1", str, "Address that `makeready http` listens on.")
    http_port: int = setting(
        8000, values.integer(0, 65535), "Port of `makeready http`; 0 takes a free one."
    )
    metrics_token: Secret | None = setting(
        None, Secret, "What Prometheus sends to read /metrics. Unset: this machine alone may read."
    )
    tasks: int = setting(4, values.integer(1, 64), "Worker tasks of a process.")
    instance: str = setting(
        _default_instance,
        str,
        "Name of this process among all workers of a database. Unset: host name and process id.",
    )
    listen: bool = setting(
        True,
        values.boolean,
        "Listen for notifications. False behind a transaction pooler: work starts at a poll.",
    )
    drain_grace_s: float = setting(
        30.0,
        values.seconds(0, 3600),
        "Seconds that running jobs get to end after the first SIGTERM or SIGINT.",
    )
    chromium: Path | None = setting(
        None,
        values.folder,
        "Browser to render with. Unset: headless shell, then Chromium, then the fall-back.",
    )
    chromium_no_sandbox: bool = setting(
        False,
        values.boolean,
        "Start the browser without its sandbox. Only for containers that forbid user namespaces.",
    )
    render_timeout_s: float = setting(
        120.0,
        values.seconds(1, 3600),
        "Seconds that the browser gets for one document; fewer when its attempt ends before.",
        "RENDER_TIMEOUT_SEC",
    )
    jwt_secret: Secret | None = setting(
        None,
        values.signing_secret,
        "Signs the tokens of staff and keys one-time codes: 32 random bytes or more, the same in "
        "all processes. Unset: nobody signs in by password or code; `makeready up` makes its own.",
        "JWT_SECRET",
    )
    jwt_ttl_s: int = setting(
        3600,
        values.integer(300, 7200),
        "Seconds that a log-in of staff lasts.",
        "JWT_ACCESS_TTL_SECONDS",
    )
    sms_provider: str = setting(
        "mock",
        values.choice(*_SMS_PROVIDERS),
        "Sends one-time codes. `mock`, the only one so far, sends nothing and works with DEBUG "
        "only: without it nobody signs in by telephone.",
        "SMS_PROVIDER",
    )
    trusted_proxies: str = setting(
        "127.0.0.1",
        str,
        "Addresses whose `X-Forwarded-For` tells who asks, with commas; `*` for all. Throttles "
        "count by that address.",
        "FORWARDED_ALLOW_IPS",
    )
    log_format: str = setting(
        "auto", values.choice(*_LOG_FORMATS), "`auto` is pretty on a terminal, else JSON."
    )
    log_level: str = setting(
        "info", values.choice(*_LOG_LEVELS), "Least severe level that is written."
    )
    debug: bool = setting(
        False,
        values.boolean,
        "For development: `/debug/…` shows one-time codes, `/health/s3` asks the store. "
        "Never where strangers reach the service.",
        "DEBUG",
    )
    alert_webhook_url: Secret | None = setting(
        None,
        values.secret_url,
        "Where alerts are posted to as JSON, by the workers of `deliver`. Unset: they are only "
        "recorded.",
        "ALERT_WEBHOOK_URL",
    )
    posm_link_template: str | None = setting(
        None,
        values.link_template,
        "The link of every table that has none of its own, with `{uuid}` in it. It is taken over "
        "once, by `migrate` or `up`; from then on the policy in the database counts "
        "(`posm_policy_set`).",
    )
    webhook_private: bool = setting(
        False,
        values.boolean,
        "Users' webhooks may be http and in one's own network. Only for development.",
    )
    presign_ttl_s: int = setting(
        600,
        values.integer(1, 604800),
        "Seconds that a presigned link stays valid.",
        "S3_PRESIGN_TTL_S",
    )
    posm_delivery: str = setting(
        "proxy",
        values.choice("proxy", "presign"),
        "How a single card is sent: through the service, or by a redirect to a presigned link.",
    )
    config_source: str = setting(
        "db",
        values.choice("db", "file"),
        "Where document types come from: `file` prints only what is shipped, whatever staff have "
        "published.",
        "CONFIG_SOURCE",
    )
    docs_force_all_free: bool = setting(
        False, values.boolean, "Every document is shown as free.", "DOCS_FORCE_ALL_FREE"
    )
    paid_docs_visible: bool = setting(
        True, values.boolean, "Whether users see paid documents in lists.", "PAID_DOCS_VISIBLE"
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Reads settings from a mapping and nothing else; an empty value counts as unset.

        Raises ConfigError that lists every unknown or unreadable setting.
        """
        problems = [_unknown(name) for name in sorted(environ) if _is_unknown(name)]
        found: dict[str, Any] = {}
        for variable in variables():
            name, text = _first_set(environ, variable)
            if text:
                try:
                    found[variable.field] = variable.parse(text)
                except ValueError as error:
                    problems.append(f"{name} {error}")  # never the value: it may be a secret
        if not problems:
            settings = cls(**found)
            problems = settings.contradictions()
        if problems:
            raise ConfigError("; ".join(problems))
        return settings

    def to_env(self) -> dict[str, str]:
        """The environment that gives a child process these settings, secrets included.

        What is unset is empty under all its names: the child's own surroundings may set it. The
        instance is left out: each process has a name of its own.
        """
        found: dict[str, str] = {}
        for variable in variables():
            value = getattr(self, variable.field)
            if value is None:
                found |= dict.fromkeys((variable.name, *variable.aliases), "")
            elif variable.field != "instance":
                found[variable.name] = values.as_text(value)
        return found

    @property
    def photos_url(self) -> str | None:
        """The database of photos."""
        return self.ingest_database_url or self.database_url

    @property
    def photos_apart(self) -> str | None:
        """The database of photos, when it is another one than that of everything else."""
        url = self.ingest_database_url
        return None if url in {self.database_url, self.database_direct_url} else url

    @property
    def media_folder(self) -> Path:
        """The folder of photos, and of uploads while they come in."""
        return self.media_root or self.data_dir / "media"

    @property
    def listener_url(self) -> str | None:
        """Where the one LISTEN connection of a process goes."""
        return self.database_direct_url or self.database_url

    @property
    def s3_url(self) -> str | None:
        """The S3 endpoint with its scheme."""
        return self._with_scheme(self.s3_endpoint)

    @property
    def s3_presign_url(self) -> str | None:
        """The endpoint that presigned links carry, with its scheme."""
        return self._with_scheme(self.s3_presign_endpoint) or self.s3_url

    def _with_scheme(self, endpoint: str | None) -> str | None:
        if endpoint is None or "://" in endpoint:
            return endpoint
        return f"{'https' if self.s3_use_ssl else 'http'}://{endpoint}"


def variables() -> tuple[Variable, ...]:
    """All variables that Settings reads, in their order."""
    return tuple(
        Variable(
            field=entry.name,
            parse=entry.metadata["parse"],
            aliases=entry.metadata["aliases"],
            about=entry.metadata["about"],
        )
        for entry in fields(Settings)
    )


def load_settings(dotenv: Path = DOTENV) -> Settings:
    """Settings from the environment and, for what is not set there, from `.env`."""
    found = dotenv_values(dotenv, interpolate=False) if dotenv.is_file() else {}
    for variable in variables():
        if _first_set(os.environ, variable)[1]:  # by whichever of its names
            for name in (variable.name, *variable.aliases):
                found.pop(name, None)
    return Settings.from_env({name: text or "" for name, text in found.items()} | dict(os.environ))


def _first_set(environ: Mapping[str, str], variable: Variable) -> tuple[str, str]:
    for name in (variable.name, *variable.aliases):
        if environ.get(name, "").strip():
            return name, environ[name].strip()
    return variable.name, ""


def _known_names() -> Iterable[str]:
    return (variable.name for variable in variables())


def _is_unknown(name: str) -> bool:
    if not name.startswith(PREFIX) or name.startswith(RESERVED_PREFIXES):
        return False
    return name not in _known_names()


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, list(_known_names()), n=1)
    return f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else "")
