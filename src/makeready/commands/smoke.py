"""Goes end to end through a service as its users do, opens every PDF and reads every code again.

render: the way of a new user, by code, offer, test file, session; then packs in two languages.
posm: as an operator: a restaurant, a template, a generation of cards, all downloads.
ingest: as a photo booth: photos, and requests that must be refused.
With --base-url it is a service that runs: a token is given (TOKEN), or made in the configured
database where no code can be had; the password of booths is INGEST_PASSWORD, and the slot is left
as it is. Without, it is a fresh system of its own, which is gone afterwards. Prints `[smoke] OK`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from makeready.commands import INTERRUPTED
from makeready.commands.isolated import as_staff, as_user, on_own_system
from makeready.commands.machine import running
from makeready.commands.options import base_url
from makeready.commands.packs import made_table, print_packs
from makeready.commands.photos import SLOT, make_photos, photos_table, set_up_frame
from makeready.commands.service import Client, ServiceError, new_session, wait_ready
from makeready.commands.table_cards import cards_table, make_cards
from makeready.commands.walk import has_codes, walk
from makeready.config import Settings
from makeready.log import configure_logging


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "queue", choices=["render", "posm", "ingest"], help="which queue to go through"
    )
    parser.add_argument("--base-url", type=base_url, metavar="URL", help="a service that runs")
    parser.add_argument("--token", help="bearer token for it (or the variable TOKEN)")
    parser.add_argument("--slot", default=SLOT, help="ingest: the slot to post to (%(default)s)")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """0 when everything came back and is what it should be."""
    configure_logging(settings.log_format, "warning")
    through = _way(options)
    with tempfile.TemporaryDirectory(prefix="makeready-smoke-") as name:
        folder = Path(name)
        if options.base_url:
            table: str | None = asyncio.run(_there(settings, options, folder, through))
        else:
            folder.chmod(0o755)  # the servers of a root process run as another user

            async def work(client: Client, own: Settings) -> str:
                return await through(client, own, folder)

            table = on_own_system(settings, folder, work, _say)
    if table is None:
        return INTERRUPTED
    print(f"{table}\n[smoke] OK")
    return 0


async def _there(
    settings: Settings, options: argparse.Namespace, folder: Path, through: _Way
) -> str:
    async with new_session() as session:
        token = options.token or os.environ.get("TOKEN")
        client = Client(session=session, base_url=options.base_url, token=token)
        await wait_ready(client)
        return await through(client, running(settings), folder)


async def _render(client: Client, settings: Settings, folder: Path) -> str:
    if not client.token and not await has_codes(client):
        client = await as_user(client, settings, "smoke")
    return made_table(await print_packs(await walk(client, _say), folder, _say))


async def _posm(client: Client, settings: Settings, folder: Path) -> str:
    if not client.token:
        client = await as_staff(client, settings, "smoke")
    return cards_table(await make_cards(client, folder, _say))


async def _ingest(client: Client, settings: Settings, folder: Path, slot: str | None) -> str:
    """Posts to the slot, whatever it does; without one to a slot that is set up for it."""
    if settings.ingest_password is None:
        raise ServiceError("set INGEST_PASSWORD to the password of the booths")
    if slot is None:
        await set_up_frame(await as_staff(client, settings, "smoke"), _say)
    password = settings.ingest_password.reveal()
    return photos_table(await make_photos(client, password, folder, _say, slot=slot or SLOT))


def _say(text: str) -> None:
    print(f"[smoke] {text}", flush=True)


_Way = Callable[[Client, Settings, Path], Awaitable[str]]


def _way(options: argparse.Namespace) -> _Way:
    if options.queue == "ingest":
        return partial(_ingest, slot=options.slot if options.base_url else None)
    return {"render": _render, "posm": _posm}[str(options.queue)]
