"""Goes end to end through a service as its users do, and opens every PDF again.

First the way of a new user: code, offer, test file, session. Then packs in two languages. With
--base-url it is a service that runs: where it sends no codes, a token is given, or made in the
configured database. Without, it is a fresh system of its own, which is gone afterwards.
Prints `[smoke] OK`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from makeready.commands import INTERRUPTED
from makeready.commands.isolated import on_own_system, token_for
from makeready.commands.machine import running
from makeready.commands.options import option
from makeready.commands.packs import Printed, made_table, print_packs
from makeready.commands.service import Client, new_session, wait_ready
from makeready.commands.walk import has_codes, walk
from makeready.config import Settings
from makeready.log import configure_logging


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("queue", choices=["render"], help="which queue to go through")
    parser.add_argument("--base-url", type=option(_url), metavar="URL", help="a service that runs")
    parser.add_argument("--token", help="bearer token for it (or the variable TOKEN)")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be http://host:port")
    return text.rstrip("/")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """0 when every document came back and is what it should be."""
    configure_logging(settings.log_format, "warning")
    with tempfile.TemporaryDirectory(prefix="makeready-smoke-") as name:
        folder = Path(name)
        if options.base_url:
            made: Printed | None = asyncio.run(_there(settings, options, folder))
        else:
            folder.chmod(0o755)  # the servers of a root process run as another user

            async def work(client: Client) -> Printed:
                return await _through(replace(client, token=None), folder)

            made = on_own_system(settings, folder, work, _say)
    if made is None:
        return INTERRUPTED
    print(f"{made_table(made)}\n[smoke] OK")
    return 0


async def _there(settings: Settings, options: argparse.Namespace, folder: Path) -> Printed:
    async with new_session() as session:
        client = Client(session=session, base_url=options.base_url)
        await wait_ready(client)
        token = options.token or os.environ.get("TOKEN")
        if not token and not await has_codes(client):
            token = await token_for(running(settings), "smoke")
        return await _through(replace(client, token=token), folder)


async def _through(client: Client, folder: Path) -> Printed:
    return await print_packs(await walk(client, _say), folder, _say)


def _say(text: str) -> None:
    print(f"[smoke] {text}", flush=True)
