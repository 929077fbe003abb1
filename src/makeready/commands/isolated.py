"""A whole system of its own for one piece of work: free ports, fresh data, gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import asyncpg

from makeready import passwords, people, staff
from makeready.commands.faults import database_told
from makeready.commands.machine import Equipment, equipped, with_own_secrets
from makeready.commands.migrate import brought_up, connected
from makeready.commands.packs import Say
from makeready.commands.service import Client, ServiceError, new_session, wait_ready
from makeready.commands.supervisor import Child, Supervisor
from makeready.config import Settings
from makeready.embedded.processes import ROOT_STATE, EmbeddedError, free_ports
from makeready.errors import NotFound

DRAIN_GRACE_S = 5.0
LINK_TEMPLATE = "https://menu.example/t/{uuid}"  # of the tables of such a system
T = TypeVar("T")
Work: TypeAlias = Callable[[Client, Settings], Awaitable[T]]
"""Works as whoever signs in on the client; the settings name the database to do that in."""


def on_own_system(
    settings: Settings,
    folder: Path,
    work: Work[T],
    say: Say,
    *,
    keep: bool = False,
) -> T | None:
    """Runs the work against a system under the folder; None when a signal stopped it.

    Configured databases and stores are left alone. Logs stay in the folder; data only with `keep`.
    """
    own = replace(
        settings,
        database_url=None,
        database_direct_url=None,
        s3_endpoint=None,
        s3_presign_endpoint=None,
        data_dir=folder / "system",
        http_host="127.0.0.1",
        http_port=free_ports(1)[0],
        drain_grace_s=DRAIN_GRACE_S,
        log_format="json",
        log_level="info",
        jwt_secret=None,
        ingest_database_url=None,
        ingest_password=None,
        secrets_key=None,
        media_root=None,
        posm_link_template=LINK_TEMPLATE,
        debug=True,
    )

    def clean() -> None:
        if not keep:
            remove_whole(own.data_dir)

    try:
        with equipped(with_own_secrets(own), die_with_parent=True) as found:
            say("Postgres and S3 run")
            with database_told(found.settings):
                asyncio.run(brought_up(found.settings.database_url or "", found.settings))
            say("the schema is in place")
            return asyncio.run(_supervised(found, folder, work, say, clean))
    finally:
        clean()


async def as_user(client: Client, settings: Settings, name: str) -> Client:
    """The client of a new user, made in the database."""
    async with _database(settings) as connection:
        user = await people.user_create(connection, name)
        token = await people.token_create(connection, user, purpose=name)
    return replace(client, token=token.reveal())


async def as_staff(client: Client, settings: Settings, name: str) -> Client:
    """The client of an operator, whose account is made in the database, or gets a new password."""
    password = passwords.generated()
    digest = passwords.hashed(password)
    async with _database(settings) as connection:
        try:
            await staff.set_password(connection, await staff.named(connection, name), digest)
        except NotFound:
            await staff.add(connection, name, digest, "operator")
    told = await client.post("/api/login", {"username": name, "password": password})
    return replace(client, token=told["access_token"])


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    if settings.database_url is None:
        raise EmbeddedError("no database to sign in with: set DATABASE_URL, or give a token")
    with database_told(settings):
        async with connected(settings.database_url) as connection:
            yield connection


def remove_whole(folder: Path) -> None:
    """Removes data, also what lies elsewhere because a server could not reach it here."""
    for part in folder.glob("*"):
        if part.is_symlink() and part.resolve().parent == ROOT_STATE.resolve():
            shutil.rmtree(part.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


async def _supervised(
    found: Equipment,
    folder: Path,
    work: Work[T],
    say: Say,
    clean: Callable[[], None],
) -> T | None:
    settings = found.settings
    children = [
        Child(name=name, words=(name,), log=folder / f"{name}.log") for name in ("http", "work")
    ]
    results: list[T] = []

    def at_exit() -> None:
        found.halt()
        clean()

    async def beside() -> None:
        url = f"http://{settings.http_host}:{settings.http_port}"
        async with new_session() as session:
            client = Client(session=session, base_url=url)
            await wait_ready(client)
            say(f"the service answers on {url}")
            results.append(await work(client, settings))

    supervisor = Supervisor(children, settings, at_exit=at_exit)
    try:
        await supervisor.run(beside, company=[supervisor.obey_signals])
    except ServiceError as error:
        raise ServiceError(f"{error} (logs in {folder})") from None
    return results[0] if results else None
