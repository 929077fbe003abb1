"""What a command needs of this machine: the configured database and S3, or our own.

`makeready up` leaves a note in the data folder while it lives, so that `makeready psql` and the
like find its servers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from makeready.config import Secret, Settings
from makeready.embedded.objectstore import EmbeddedObjectStore
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.embedded.processes import is_alive, write_private

DATABASE = "makeready"
NOTE = "up.json"


@contextmanager
def machine(
    settings: Settings, *, storage: bool = True, die_with_parent: bool = False
) -> Iterator[Settings]:
    """Settings with a database and S3 that answer: configured, found running, or started here.

    What it starts it also stops. With `storage=False` it leaves S3 alone.
    """
    settings = running(settings)
    with ExitStack() as stack:
        folder = settings.data_dir
        if settings.database_url is None:
            folder.mkdir(parents=True, exist_ok=True)
            server = EmbeddedPostgres(folder / "postgres", die_with_parent=die_with_parent)
            stack.enter_context(server)
            settings = replace(settings, database_url=server.ensure_database(DATABASE))
        if storage and settings.s3_endpoint is None:
            folder.mkdir(parents=True, exist_ok=True)
            store = EmbeddedObjectStore(folder / "s3", bucket=settings.s3_bucket)
            stack.enter_context(store)
            settings = replace(
                settings,
                s3_endpoint=store.endpoint,
                s3_access_key=store.access_key,
                s3_secret_key=Secret(store.secret_key),
                s3_region=store.region,
            )
        yield settings


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
        settings = replace(settings, database_url=found.database_url)
    if settings.s3_endpoint is None:
        settings = replace(
            settings,
            s3_endpoint=found.s3_endpoint,
            s3_access_key=found.s3_access_key,
            s3_secret_key=found.s3_secret_key,
            s3_region=found.s3_region,
        )
    return settings


@contextmanager
def noted(settings: Settings) -> Iterator[Path]:
    """Leaves the note while this process runs; mode 0600, it holds the keys."""
    path = settings.data_dir / NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, json.dumps({"pid": os.getpid(), "settings": settings.to_env()}))
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()
