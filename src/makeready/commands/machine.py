"""What a command needs of this machine: the configured database and S3, or our own.

One `makeready up` at a time may use a data folder. It leaves a note there while it lives, so that
`makeready psql` and the like find its servers.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

import structlog

from makeready import passwords, values
from makeready.config import Secret, Settings
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.embedded.processes import EmbeddedError, Locked, is_alive, locked, write_private
from makeready.embedded.server import EmbeddedServer

DATABASE = "makeready"
NOTE = "up.json"
LOCK = "up.lock"
SIGNING = "jwt_secret"
SEALING = "secrets_key"
BOOTH = "ingest_password"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """Where database and S3 are, and those servers of them that this process has started."""

    settings: Settings
    servers: tuple[EmbeddedServer, ...]

    def halt(self) -> None:
        """Ends the servers at once, without their grace; nothing acknowledged is lost."""
        for server in reversed(self.servers):  # S3 takes no time, Postgres a moment
            server.halt()


@contextmanager
def machine(settings: Settings, *, storage: bool = True) -> Iterator[Settings]:
    """Settings with a database and S3 that answer: configured, found running, or started here.

    What it starts it also stops. With `storage=False` it leaves S3 alone.
    """
    with equipped(settings, storage=storage) as found:
        yield found.settings


@contextmanager
def equipped(
    settings: Settings, *, storage: bool = True, die_with_parent: bool = False
) -> Iterator[Equipment]:
    """As `machine`, for a command that looks after the servers. Blocks while they start."""
    settings = running(settings)
    servers: list[EmbeddedServer] = []
    with ExitStack() as stack:
        if settings.database_url is None:
            folder = data_folder(settings)
            server = EmbeddedPostgres(folder / "postgres", die_with_parent=die_with_parent)
            servers.append(stack.enter_context(server))
            url = server.ensure_database(DATABASE)
            settings = replace(settings, database_url=url, database_direct_url=None)
        if storage and settings.s3_endpoint is None:
            folder = data_folder(settings)
            store = EmbeddedObjectStore(folder / "s3", bucket=settings.s3_bucket)
            servers.append(stack.enter_context(store))
            settings = replace(
                settings,
                s3_endpoint=store.endpoint,
                s3_access_key=store.access_key,
                s3_secret_key=Secret(store.secret_key),
                s3_region=store.region,
            )
        yield Equipment(settings=settings, servers=tuple(servers))


def data_folder(settings: Settings) -> Path:
    """The data folder, made when missing; EmbeddedError when this user cannot write there."""
    folder = settings.data_dir.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "no right to write there"
    except OSError as error:
        reason = "a file is there" if isinstance(error, FileExistsError) else f"{error.strerror}"
    if reason:
        raise EmbeddedError(
            f"{folder} cannot be the data folder ({reason}): "
            "set MAKEREADY_DATA_DIR to a folder that this user may write to"
        )
    return folder


@contextmanager
def sole_up(settings: Settings, url: str) -> Iterator[None]:
    """Holds the data folder for one `makeready up`; EmbeddedError when another one has it."""
    folder = data_folder(settings)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK, f"process {os.getpid()}, {url}"))
        except Locked as error:
            raise EmbeddedError(
                f"`makeready up` already runs with the data folder {folder} ({error.holder}): "
                "stop it, or set another MAKEREADY_DATA_DIR"
            ) from None
        (folder / NOTE).unlink(missing_ok=True)  # of one that was killed: its id may be reused
        yield


def with_own_secrets(settings: Settings) -> Settings:
    """The same with a secret to sign with, a key to seal with and a password for booths.

    The configured ones, or the data folder's own: whoever has the folder has them. They are made
    at the first start and stay. The log says where a new password lies, and never what it is.
    """
    found = replace(
        settings,
        jwt_secret=values.signing_secret(_own(settings, SIGNING, settings.jwt_secret)),
        secrets_key=values.master_keys(_own(settings, SEALING, settings.secrets_key)),
        ingest_password=Secret(_own(settings, BOOTH, settings.ingest_password)),
    )
    return settings if found == settings else found


def _own(settings: Settings, name: str, given: Secret | None) -> str:
    """The text of a secret: the one that was given, or that of its file, made when missing."""
    if given is not None:
        return given.reveal()
    path = data_folder(settings) / name
    if not path.exists():
        is_typed = name == BOOTH  # by hand, into the settings of each booth
        write_private(path, passwords.generated() if is_typed else secrets.token_hex(32))
        _log.info("secret_made", what=name, path=str(path))
    return path.read_text("utf-8").strip()


def configured(settings: Settings) -> Settings:
    """The same settings; EmbeddedError when no database or no S3 is known.

    Without an endpoint the S3 client would take Amazon's, and whatever keys it finds.
    """
    if settings.database_url is None:
        raise EmbeddedError(
            "no database: set DATABASE_URL, or run `makeready up`, which brings its own"
        )
    if settings.s3_endpoint is None:
        raise EmbeddedError(
            "no object storage: set S3_ENDPOINT (Amazon's is https://s3.REGION.amazonaws.com), "
            "or run `makeready up`, which brings its own"
        )
    return settings


def running(settings: Settings) -> Settings:
    """Fills in what a running `makeready up` of the same data folder has started."""
    try:
        note = json.loads((settings.data_dir / NOTE).read_text("utf-8"))
        if not is_alive(int(note["pid"])):
            return settings
    except (OSError, ValueError, KeyError):
        return settings
    found = Settings.from_env(note["settings"])
    if settings.database_url is None:
        settings = replace(
            settings,
            database_url=found.database_url,
            database_direct_url=found.database_direct_url,
        )
    if settings.s3_endpoint is None:
        names = [field.name for field in fields(Settings) if field.name.startswith("s3_")]
        settings = replace(settings, **{name: getattr(found, name) for name in names})
    own = ("jwt_secret", "secrets_key", "ingest_password")
    missing = [name for name in own if getattr(settings, name) is None]
    return replace(settings, **{name: getattr(found, name) for name in missing})


@contextmanager
def noted(settings: Settings) -> Iterator[Path]:
    """Leaves the note while this process runs; mode 0600, it holds the keys."""
    path = data_folder(settings) / NOTE
    write_private(path, json.dumps({"pid": os.getpid(), "settings": settings.to_env()}))
    try:
        yield path
    finally:
        forget_note(settings)


def forget_note(settings: Settings) -> None:
    """Removes the note if it is this process's own."""
    path = settings.data_dir / NOTE
    with suppress(OSError, ValueError, KeyError):
        if json.loads(path.read_text("utf-8"))["pid"] == os.getpid():
            path.unlink()
