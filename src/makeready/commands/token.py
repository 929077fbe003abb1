"""Makes a user and prints a bearer token for the HTTP service.

    curl -H "Authorization: Bearer $(makeready token --user me)" http://127.0.0.1:8000/me/packs

The token is shown this once; the database keeps only its hash.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta
from uuid import UUID

from makeready import people
from makeready.commands.faults import database_told
from makeready.commands.machine import machine
from makeready.commands.migrate import connected
from makeready.commands.options import option
from makeready.config import Settings
from makeready.values import Secret


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="NAME", help="name of a new user")
    who.add_argument("--user-id", type=UUID, metavar="ID", help="a user that exists")
    parser.add_argument("--phone", help="number of the new user (E.164); the same one if known")
    parser.add_argument(
        "--days",
        type=option(_days),
        default=people.TOKEN_VALID,
        help=f"days it is valid ({people.TOKEN_VALID.days})",
    )


def _days(text: str) -> timedelta:
    try:
        return timedelta(days=float(text))
    except (OverflowError, ValueError):
        raise ValueError("must be a number of days") from None


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the token and nothing else."""
    with machine(settings, storage=False) as found, database_told(found):
        made = asyncio.run(_make(found.database_url or "", options))
    print(made.reveal())
    return 0


async def _make(url: str, options: argparse.Namespace) -> Secret:
    async with connected(url) as connection:
        user = options.user_id
        if user is None:
            user = await people.user_create(connection, options.user, phone=options.phone)
        return await people.token_create(
            connection, user, purpose="makeready token", valid_for=options.days
        )
