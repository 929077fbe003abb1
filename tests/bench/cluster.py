"""The server that everybody is measured on: one cluster on a real disk, the same settings for all.

fsync and full_page_writes are on, wal_sync_method is the same everywhere, and nobody gets a
setting of its own. There are no checkpoints within a short row: their timing would be luck.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from makeready import schema
from makeready.embedded.postgres import EmbeddedPostgres
from tests.bench.device import Device
from tests.bench.report import median

SETTINGS: Mapping[str, str] = {
    "checkpoint_timeout": "30min",
    "fsync": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "max_wal_size": "16GB",
    "shared_buffers": "1GB",
    "shared_preload_libraries": "pg_stat_statements",
    "synchronous_commit": "on",
    "wal_sync_method": "fdatasync",
}
BENCH_SQL = Path(__file__).with_name("sql")
FLUSHES = 100


class Cluster:
    """A server of the benchmark on one device, started by `with`."""

    def __init__(self, folder: Path, device: Device, *, binaries: Path | None = None) -> None:
        self.device = device
        self._server = EmbeddedPostgres(
            folder, settings=SETTINGS, binaries=binaries, die_with_parent=True
        )

    def __enter__(self) -> Self:
        with _environment(self.device.environment()):
            self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def restart(self, *, crash: bool = False) -> None:
        """Stops the server, by SIGKILL for a crash, and starts it again."""
        if crash:
            self._server.kill()
        else:
            self._server.stop()
        with _environment(self.device.environment()):
            self._server.start()

    def dsn(self, database: str = "postgres") -> str:
        """The superuser's URL of a database."""
        return self._server.dsn(database)

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """One more session."""
        return await asyncpg.connect(self.dsn(database), timeout=30)

    async def fresh(self, database: str, *, with_makeready: bool = False) -> str:
        """Makes an empty database, in place of one that is there, and returns its URL."""
        admin = await self.connect()
        try:
            await admin.execute(f"drop database if exists {database} with (force)")
            await admin.execute(f"create database {database}")
            await admin.execute("checkpoint")  # so that the row does not pay for what was before
        finally:
            await admin.close()
        if with_makeready:
            await schema.migrate(self.dsn(database), [BENCH_SQL])
        return self.dsn(database)

    async def has(self, database: str) -> bool:
        """Whether a database is there."""
        admin = await self.connect()
        try:
            query = "select exists (select from pg_database where datname = $1)"
            return bool(await admin.fetchval(query, database))
        finally:
            await admin.close()

    async def version(self) -> str:
        """As the server says it."""
        admin = await self.connect()
        try:
            return str(await admin.fetchval("show server_version"))
        finally:
            await admin.close()

    async def commit_ms(self) -> float:
        """What one small commit takes: shows what the device's flush is worth."""
        admin = await self.connect()
        try:
            took = []
            for _ in range(FLUSHES):
                began = time.perf_counter()
                await admin.execute("select pg_logical_emit_message(true, 'bench', 'x')")
                took.append((time.perf_counter() - began) * 1000)
            return median(took)
        finally:
            await admin.close()


def connection_variables(dsn: str) -> dict[str, str]:
    """The URL of a socket as the PG* variables that every client library reads."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    return {
        "PGHOST": query["host"],
        "PGPORT": query["port"],
        "PGUSER": str(parts.username),
        "PGDATABASE": parts.path.removeprefix("/"),
    }


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    """The server is a child of this process and takes over its environment while it starts."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
