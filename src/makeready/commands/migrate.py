"""Brings the database to the schema and document types of this version, safely from many machines.

Without a configured database it uses the one that `makeready up` runs, or starts it for a moment.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from makeready import photo_policy, photo_providers, posm_templates, render
from makeready.commands.faults import database_told, told_of
from makeready.commands.machine import machine
from makeready.config import Settings
from makeready.log import configure_logging
from makeready.schema import SchemaState, inspect, migrate
from makeready.sealing import Sealer

CONNECT_TIMEOUT_S = 10.0
PHOTOS_SETTING = "PHOTOCHANGER_DATABASE_URL"

_log = structlog.get_logger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 1 when something would be applied",
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Applies what is missing, or says what it would be."""
    configure_logging(settings.log_format, settings.log_level)
    with machine(settings, storage=False) as found:
        url = found.listener_url or ""
        with database_told(found, direct=True):
            if options.check:
                return asyncio.run(_checked(url, found))
            applied = asyncio.run(brought_up(url, found))
    print("\n".join(f"applied {name}" for name in applied) or "the schema is current")
    return 0


async def brought_up(url: str, settings: Settings) -> list[str]:
    """Applies the schema, then the registry and what settings seed: SQL callers can enqueue.

    The database of photos gets the schema too where it is another one. Returns the files applied.
    Raises SchemaError as `migrate` does.
    """
    apart = settings.photos_apart
    applied = await migrate(url)
    async with connected(url) as connection:
        await render.sync_types(connection, render.shipped_types())
        if settings.posm_link_template is not None:
            await posm_templates.link_seed(connection, settings.posm_link_template)
        if apart is None:
            await _seed_photos(connection, settings)
    if apart is not None:
        with told_of(PHOTOS_SETTING):
            applied += [f"{name} (photos)" for name in await migrate(apart)]
            async with connected(apart) as connection:
                await _seed_photos(connection, settings)
    return applied


async def schema_state(url: str) -> SchemaState:
    """How the schema of this database compares with this version's."""
    async with connected(url) as connection:
        return await inspect(connection)


@asynccontextmanager
async def connected(url: str | None) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the user that the URL names, for the few calls of a command."""
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


async def _seed_photos(connection: asyncpg.Connection, settings: Settings) -> None:
    """What settings seed of photos; keys of providers move under the first master key."""
    taken = await photo_policy.seed(connection, settings)
    if taken:
        _log.info("ingest_seeded", settings=taken)
    renewed = await photo_providers.keys_renew(connection, Sealer.of(settings.secrets_key))
    if renewed:
        _log.info("provider_keys_renewed", keys=renewed)


async def _checked(url: str, settings: Settings) -> int:
    found = _report(await schema_state(url))
    apart = settings.photos_apart
    if apart is None:
        return found
    print("\nphotos:")
    with told_of(PHOTOS_SETTING):
        return max(found, _report(await schema_state(apart)))


def _report(state: SchemaState) -> int:
    for name in state.unknown:
        print(f"not of this version: {name}")
    if state.is_newer:
        print("a newer version has been here: its schema is kept")
    elif state.is_current:
        print("the schema is current")
    else:
        print("\n".join(f"missing {name}" for name in state.pending))
    return 0 if state.is_current else 1
