"""Fixtures of all tests: a database per test, a clock that moves, an S3 bucket per test.

- `cluster`: one server a run
- `dsn`: superuser's URL of the test's own database, cloned from the template
- `db`: one connection to it
- `core`: that connection, as one that calls the functions of the core
- `connect`: `await connect(role=None)`: more connections, closed at the end
- `clock`: `await clock.advance(seconds)` moves `makeready.now()`
- `s3`: a bucket of the test on an S3 server of the run
- `settings`: Settings of the test's database, and of its bucket if the test also asks for `s3`
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

from makeready.config import Secret, Settings
from makeready.embedded.objectstore import EmbeddedObjectStore
from tests.support.clock import Clock
from tests.support.cluster import KIND, Cluster, running_cluster
from tests.support.core import Core
from tests.support.database import Connect, cloned
from tests.support.objectstore import S3, running_store
from tests.support.order import spread

LISTEN = os.environ.get("MAKEREADY_TEST_LISTEN", "1") != "0"
END_OF_ONE = "-----END CERTIFICATE-----\n"
_NUMBERS = itertools.count(1)


def pytest_report_header() -> str:
    return f"makeready: PostgreSQL {KIND}, LISTEN {'on' if LISTEN else 'off'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = spread(items)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A test that sets up logs writes them to its own captured stream: none may do so after it."""
    root = logging.getLogger()
    handlers, level, config = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**config)


@pytest.fixture(scope="session", autouse=True)
def _one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For clients of plain S3: each would read all of the machine's, which takes 50 ms."""
    whole = files("botocore").joinpath("cacert.pem").read_text("utf-8")
    bundle = tmp_path_factory.mktemp("certificates") / "one.pem"
    bundle.write_text(whole[: whole.index(END_OF_ONE) + len(END_OF_ONE)], "utf-8")
    bundle.parent.chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_CA_BUNDLE", str(bundle))
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
async def admin(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(cluster.admin_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def dsn(cluster: Cluster, admin: asyncpg.Connection) -> AsyncIterator[str]:
    async with cloned(cluster, admin) as made:
        yield made


@pytest.fixture
def clock(admin: asyncpg.Connection, dsn: str) -> Clock:
    return Clock(admin, urlsplit(dsn).path.strip("/"))


@pytest.fixture
async def connect(dsn: str, clock: Clock) -> AsyncIterator[Connect]:
    opened: list[asyncpg.Connection] = []

    async def open_one(role: str | None = None, **options: Any) -> asyncpg.Connection:
        facts = {"role": role} if role else {}
        facts |= options.pop("server_settings", {})
        connection: asyncpg.Connection = await asyncpg.connect(
            dsn, server_settings=facts, **options
        )
        opened.append(connection)
        clock.follow(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.terminate()  # a test may leave one blocked in the middle of a statement


@pytest.fixture
async def db(connect: Connect) -> asyncpg.Connection:
    return await connect()


@pytest.fixture
def core(db: asyncpg.Connection) -> Core:
    return Core(db)


@pytest.fixture(scope="session")
def object_store() -> Iterator[EmbeddedObjectStore]:
    with running_store() as store:
        yield store


@pytest.fixture
def s3(object_store: EmbeddedObjectStore) -> Iterator[S3]:
    facts = S3(
        endpoint=object_store.endpoint,
        access_key=object_store.access_key,
        secret_key=object_store.secret_key,
        bucket=f"test-{next(_NUMBERS)}",
        region=object_store.region,
    )
    assert facts.call("PUT", f"/{facts.bucket}") == 200
    yield facts
    facts.call("DELETE", f"/{facts.bucket}")


@pytest.fixture
def settings(request: pytest.FixtureRequest, dsn: str, tmp_path: Path) -> Settings:
    base = Settings(
        database_url=dsn,
        data_dir=tmp_path,
        http_port=0,
        listen=LISTEN,
        log_format="json",
        jwt_secret=Secret("a secret of the tests, 32 bytes or more"),
        testing=True,
    )
    if "s3" not in request.fixturenames:
        return base
    facts: S3 = request.getfixturevalue("s3")
    return dataclasses.replace(
        base,
        s3_endpoint=facts.endpoint,
        s3_bucket=facts.bucket,
        s3_region=facts.region,
        s3_access_key=facts.access_key,
        s3_secret_key=Secret(facts.secret_key),
    )
