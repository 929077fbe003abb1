"""Fixtures of the HTTP tests: the service over a real socket, two users, a worker without browser.

dsn             as everywhere, but this release has already entered its document types
service         the running service, of the test's own database and bucket
anna            a user; owns what the test makes
boris           another user
staff           `await staff("operator")`: a member of staff with this role, signed in
administrator   one with the role admin
operator        one with the role operator
viewer          one with the role viewer
press           a worker's view of the database: claims and publishes
cardroom        the same of table cards, whose links then lead somewhere
studio          workers of photos that do what the test says
open_slots      the slots have their password, and booths wait for 20 s
intake          the receiver of photos alone; proves that every request leaves nothing behind
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from makeready import render
from makeready.config import Settings
from makeready.storage import Storage, open_storage
from tests.support.booth import Studio, opened
from tests.support.cluster import Cluster
from tests.support.database import cloned, template
from tests.support.generating import Cardroom
from tests.support.intake import Intake, taking_in
from tests.support.objectstore import S3
from tests.support.rendering import Press
from tests.support.service import Member, Person, Service, member, person, serving
from tests.support.waiting import until

MakeMember = Callable[..., Awaitable[Member]]


@pytest.fixture(scope="session")
async def http_template(cluster: Cluster, admin: asyncpg.Connection) -> str:
    async def fill(connection: asyncpg.Connection) -> None:
        await render.sync_types(connection, render.shipped_types())

    return await template(cluster, admin, "http", fill)


@pytest.fixture
async def dsn(
    cluster: Cluster, admin: asyncpg.Connection, http_template: str
) -> AsyncIterator[str]:
    async with cloned(cluster, admin, http_template) as made:
        yield made


@pytest.fixture
async def service(s3: S3, settings: Settings) -> AsyncIterator[Service]:
    assert settings.s3_bucket == s3.bucket
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def anna(service: Service, db: asyncpg.Connection) -> AsyncIterator[Person]:
    async with person(service, db, "Анна") as user:
        yield user


@pytest.fixture
async def boris(service: Service, db: asyncpg.Connection) -> AsyncIterator[Person]:
    async with person(service, db, "Борис") as user:
        yield user


@pytest.fixture
async def staff(
    service: Service, settings: Settings, db: asyncpg.Connection
) -> AsyncIterator[MakeMember]:
    async with AsyncExitStack() as stack:

        async def signed_in(role: str, *, name: str = "") -> Member:
            return await stack.enter_async_context(member(service, settings, db, role, name=name))

        yield signed_in


@pytest.fixture
async def administrator(staff: MakeMember) -> Member:
    return await staff("admin")


@pytest.fixture
async def operator(staff: MakeMember) -> Member:
    return await staff("operator")


@pytest.fixture
async def viewer(staff: MakeMember) -> Member:
    return await staff("viewer")


@pytest.fixture
async def cardroom(db: asyncpg.Connection) -> Cardroom:
    return await Cardroom(db).open()


@pytest.fixture
def press(db: asyncpg.Connection) -> Press:
    return Press(db)


@pytest.fixture
async def storage(settings: Settings, s3: S3) -> AsyncIterator[Storage]:
    assert settings.s3_bucket == s3.bucket
    async with open_storage(settings) as opened:
        yield opened
        await opened.delete([facts.key async for facts in opened.listing()])


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
async def open_slots(db: asyncpg.Connection) -> None:
    await opened(db)


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Intake]:
    async with taking_in(tmp_path / "media") as running:
        yield running
        assert running.left() == []
        await until(lambda: running.open_files() == 0, what="the end of all uploads")
