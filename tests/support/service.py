"""The HTTP service for tests: a real server on a free port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx2

from makeready import people, staff, staff_tokens
from makeready.commands.http import Server
from makeready.config import Settings
from makeready.documents import shipped
from makeready_http.photo_services import OpenPhotoWorkers
from tests.support.waiting import until

START_TIMEOUT_S = 30.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: each would read the machine's certificates, which takes 50 ms."""
NO_PASSWORD = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service."""

    url: str
    client: httpx2.AsyncClient
    """Without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with a token."""

    id: UUID
    secret: str = field(repr=False)
    client: httpx2.AsyncClient = field(repr=False)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """GET as this user."""
        return await self.client.get(path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        """POST as this user."""
        return await self.client.post(path, **options)

    async def pack(self, *docs: str, language: str = "ru") -> str:
        """A new pack with the sample data of these documents."""
        answer = await self.post("/packs", json=pack_body(*docs, language=language))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["pack_id"])


def pack_body(*docs: str, language: str = "ru") -> dict[str, Any]:
    """What POST /packs takes."""
    found = {doc: shipped.sample(shipped.document_type(doc), language) for doc in docs}
    return {"language": language, "documents": found}


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    photo_workers: OpenPhotoWorkers | None = None,
    grace_s: float = 2,
) -> AsyncIterator[Service]:
    """Starts the service as `makeready http` does; ends it when the block ends."""
    settings = replace(settings, http_host="127.0.0.1", http_port=0, drain_grace_s=grace_s)
    server = Server(settings, photo_workers=photo_workers)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server._serve(None))
        try:
            await until(lambda: server.started or task.done(), timeout_s=START_TIMEOUT_S)
            assert server.started
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=url, verify=NO_TLS, timeout=15) as client:
                yield Service(url=url, client=client)
        finally:
            server.should_exit = True


@asynccontextmanager
async def person(service: Service, db: asyncpg.Connection, name: str) -> AsyncIterator[Person]:
    """A new user of the service."""
    user = await people.user_create(db, name)
    secret = (await people.token_create(db, user)).reveal()
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(
        base_url=service.url, headers=headers, verify=NO_TLS, timeout=15
    ) as client:
        yield Person(id=user, secret=secret, client=client)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of staff who is signed in."""

    id: UUID
    name: str
    secret: str = field(repr=False)
    client: httpx2.AsyncClient = field(repr=False)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """GET as this member."""
        return await self.client.get(path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        """POST as this member."""
        return await self.client.post(path, **options)


@asynccontextmanager
async def member(
    service: Service, settings: Settings, db: asyncpg.Connection, role: str, *, name: str = ""
) -> AsyncIterator[Member]:
    """A new member of staff, named like the role, with a token as a log-in gives it."""
    name = name or role
    account = await staff.add(db, name, NO_PASSWORD, role)
    secret = await staff_token(settings, db, account)
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(
        base_url=service.url, headers=headers, verify=NO_TLS, timeout=15
    ) as client:
        yield Member(id=account, name=name, secret=secret, client=client)


async def staff_token(settings: Settings, db: asyncpg.Connection, account: UUID) -> str:
    """What a log-in answers, without the password and the time it takes to check one."""
    known = await staff.signed_in(db, account, client="test")
    assert known is not None
    assert settings.jwt_secret is not None
    signed = staff_tokens.issue(
        settings.jwt_secret,
        account=account,
        version=known.version,
        name=known.name,
        role=known.role,
        permissions=known.permissions,
        valid_for=timedelta(minutes=10),
    )
    return signed.reveal()


def error_code(answer: httpx2.Response) -> str:
    """Which error of the table an answer is."""
    return str(answer.json()["error"]["code"])


def fetch(link: str) -> tuple[int, bytes]:
    """What anybody who holds a presigned link gets; blocking."""
    parts = urlsplit(link)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
