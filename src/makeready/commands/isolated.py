"""A whole system of its own for one piece of work: free ports, fresh data, gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from makeready import people
from makeready.commands.faults import database_told
from makeready.commands.machine import Equipment, equipped, with_signing_secret
from makeready.commands.migrate import brought_up, connected
from makeready.commands.packs import Say
from makeready.commands.service import Client, ServiceError, new_session, wait_ready
from makeready.commands.supervisor import Child, Supervisor
from makeready.config import Settings
from makeready.embedded.processes import ROOT_STATE, EmbeddedError, free_ports

DRAIN_GRACE_S = 5.0
T = TypeVar("T")


def on_own_system(
    settings: Settings,
    folder: Path,
    work: Callable[[Client], Awaitable[T]],
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
        debug=True,
    )

    def clean() -> None:
        if not keep:
            remove_whole(own.data_dir)

    try:
        with equipped(with_signing_secret(own), die_with_parent=True) as found:
            say("Postgres and S3 run")
            with database_told(found.settings):
                asyncio.run(brought_up(found.settings.database_url or ""))
            say("the schema is in place")
            return asyncio.run(_supervised(found, folder, work, say, clean))
    finally:
        clean()


async def token_for(settings: Settings, name: str) -> str:
    """A bearer token of a new user, made in the database."""
    if settings.database_url is None:
        raise EmbeddedError("no database to make a token in: set DATABASE_URL, or give a token")
    with database_told(settings):
        async with connected(settings.database_url) as connection:
            user = await people.user_create(connection, name)
            return (await people.token_create(connection, user, purpose=name)).reveal()


def remove_whole(folder: Path) -> None:
    """Removes data, also what lies elsewhere because a server could not reach it here."""
    for part in folder.glob("*"):
        if part.is_symlink() and part.resolve().parent == ROOT_STATE.resolve():
            shutil.rmtree(part.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


async def _supervised(
    found: Equipment,
    folder: Path,
    work: Callable[[Client], Awaitable[T]],
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
            await wait_ready(Client(session=session, base_url=url))
            say(f"the service answers on {url}")
            token = await token_for(settings, "demo")
            results.append(await work(Client(session=session, base_url=url, token=token)))

    supervisor = Supervisor(children, settings, at_exit=at_exit)
    try:
        await supervisor.run(beside, company=[supervisor.obey_signals])
    except ServiceError as error:
        raise ServiceError(f"{error} (logs in {folder})") from None
    return results[0] if results else None
