"""Shows the queues on a system of its own: two hiring packs, cards for tables, photos of a booth.

It starts Postgres, S3, the HTTP service and a worker on free ports, under var/demo; works through
HTTP as any client would; opens every PDF again and reads
every code; and takes the system away. The documents and the logs stay.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from makeready.commands import INTERRUPTED
from makeready.commands.isolated import as_staff, as_user, on_own_system, remove_whole
from makeready.commands.machine import data_folder
from makeready.commands.packs import Printed, made_table, print_packs
from makeready.commands.photos import PhotosMade, make_photos, photos_table, set_up_frame
from makeready.commands.service import Client
from makeready.commands.table_cards import CardsMade, cards_table, make_cards
from makeready.config import Settings
from makeready.embedded.processes import EmbeddedError, Locked, locked
from makeready.log import configure_logging


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--keep", action="store_true", help="keep the system's data as well")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the documents and a table of them; 0 when all of them are what they should be."""
    configure_logging(settings.log_format, "warning")
    started = time.perf_counter()
    folder = data_folder(settings) / "demo"
    try:
        with locked(folder.with_suffix(".lock"), str(os.getpid())):
            return _shown(settings, folder, started, keep=options.keep)
    except Locked as error:
        raise EmbeddedError(f"process {error.holder} shows the demo there: {folder}") from None


def _shown(settings: Settings, folder: Path, started: float, *, keep: bool) -> int:
    remove_whole(folder / "system")
    remove_whole(folder)
    folder.mkdir(parents=True)

    def say(text: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write("\r\033[K")
        print(f"[{time.perf_counter() - started:5.1f} s] {text}", flush=True)

    async def work(client: Client, own: Settings) -> tuple[Printed, CardsMade, PhotosMade]:
        printed = await print_packs(await as_user(client, own, "demo"), folder, say)
        staff = await as_staff(client, own, "demo")
        cards = await make_cards(staff, folder, say)
        await set_up_frame(staff, say)
        password = own.ingest_password.reveal() if own.ingest_password else ""
        return printed, cards, await make_photos(client, password, folder, say)

    made = on_own_system(settings, folder, work, say, keep=keep)
    if made is None:
        return INTERRUPTED
    _report(*made, folder, time.perf_counter() - started)
    return 0


def _report(
    packs: Printed, cards: CardsMade, photos: PhotosMade, folder: Path, seconds: float
) -> None:
    print(f"\n{made_table(packs)}\n\n{cards_table(cards)}\n\n{photos_table(photos)}")
    print(f"They lie in {folder}, with the logs http.log and work.log. {seconds:.1f} s in all.")
