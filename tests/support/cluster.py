"""One PostgreSQL server for a whole run of the tests, in memory where there is room.

MAKEREADY_TEST_PG chooses it: `embedded` (the wheel's, the default), `system` (the newest installed
one), a folder of programs or `testcontainers` (a container; MAKEREADY_TEST_IMAGE names the image).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from makeready.embedded.binaries import system_binaries
from makeready.embedded.postgres import EmbeddedPostgres
from makeready.schema import migrate

T = TypeVar("T")
KIND = os.environ.get("MAKEREADY_TEST_PG", "embedded")
IMAGE = os.environ.get("MAKEREADY_TEST_IMAGE", "postgres:18")
MOVING_CLOCK = Path(__file__).with_name("moving_clock.sql")
ENGINE = "unix:///var/run/docker.sock"
ENGINE_PORT = 2375
ENGINE_TIMEOUT_S = 5
TEMPLATE = "makeready_template"
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 1 << 30
FAST = {
    "jit": "off",  # as the connections of our processes have it
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running server with a template database that has the schema."""

    admin_dsn: str
    """Superuser's URL of a database that no test uses."""

    def dsn(self, database: str) -> str:
        """Superuser's URL of another database of the cluster."""
        return urlunsplit(urlsplit(self.admin_dsn)._replace(path=f"/{database}"))


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Starts the server that MAKEREADY_TEST_PG names and makes the template database."""
    with ExitStack() as stack:
        if KIND == "testcontainers":
            admin_dsn = stack.enter_context(_container())
        else:
            admin_dsn = stack.enter_context(_local_server())
        cluster = Cluster(admin_dsn=admin_dsn)
        run_apart(_make_template(cluster))
        yield cluster


def scratch_folder() -> Path:
    """A folder of this run: in memory when there is a gigabyte left, else in the temp folder."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED
    folder = Path(tempfile.mkdtemp(prefix="makeready-", dir=MEMORY if roomy else None))
    folder.chmod(0o755)  # the server may run as another user
    return folder


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on an event loop of its own, from a fixture that is not async."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


@contextmanager
def _local_server() -> Iterator[str]:
    binaries = None
    if KIND.startswith("/"):
        binaries = Path(KIND)
    elif KIND == "system":
        binaries = system_binaries()
        if binaries is None:
            pytest.skip("MAKEREADY_TEST_PG=system: no PostgreSQL is installed")
    elif KIND != "embedded":
        kinds = "embedded, system, testcontainers, a folder"
        pytest.exit(f"MAKEREADY_TEST_PG={KIND} is none of {kinds}", 2)
    folder = scratch_folder()
    server = EmbeddedPostgres(
        folder / "pg", settings=FAST, binaries=binaries, die_with_parent=True
    )
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _container() -> Iterator[str]:
    docker = pytest.importorskip("docker")
    postgres = pytest.importorskip("testcontainers.community.postgres")
    away = "MAKEREADY_TEST_PG=testcontainers: no container engine answers"
    try:
        _knock(os.environ.get("DOCKER_HOST") or ENGINE)
        client = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        client.ping()
        client.close()
    except (OSError, ValueError, docker.errors.DockerException) as error:
        pytest.skip(f"{away} ({error})")
    words = " ".join(f"-c {name}={value}" for name, value in FAST.items())
    data = "/var/lib/postgresql/data"
    container = (
        postgres.PostgresContainer(IMAGE, driver=None)
        .with_command(f"postgres {words}")
        .with_env("PGDATA", data)
        .with_tmpfs_mount(data)
    )
    with container:
        yield container.get_connection_url()


def _knock(address: str) -> None:
    """Raises OSError unless somebody listens: the client would leave a socket open then."""
    place = urlsplit(address)
    if place.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(ENGINE_TIMEOUT_S)
            probe.connect(place.path)
    elif place.hostname:
        port = place.port or ENGINE_PORT
        socket.create_connection((place.hostname, port), ENGINE_TIMEOUT_S).close()


async def _let_the_clock_move(dsn: str) -> None:
    template = await asyncpg.connect(dsn)
    try:
        await template.execute(MOVING_CLOCK.read_text("utf-8"))
    finally:
        await template.close()


async def _make_template(cluster: Cluster) -> None:
    admin = await asyncpg.connect(cluster.admin_dsn)
    try:
        await admin.execute(f"create database {TEMPLATE}")
        await migrate(cluster.dsn(TEMPLATE))
        await _let_the_clock_move(cluster.dsn(TEMPLATE))
        await admin.execute(f"alter database {TEMPLATE} is_template true")
    finally:
        await admin.close()
