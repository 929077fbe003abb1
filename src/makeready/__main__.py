"""The command line: `makeready COMMAND`; each command is a module of `makeready.commands`.

A command's module offers `configure(parser)` and `run(settings, options) -> int`, and is imported
only when it is the one asked for.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import asyncpg

from makeready import __version__
from makeready.commands import INTERRUPTED
from makeready.commands.faults import database_complaint
from makeready.config import ConfigError, load_settings
from makeready.embedded.processes import EmbeddedError
from makeready.errors import MakereadyError
from makeready.faults import DatabaseAway, alone

COMMANDS = {
    "up": "run everything on this machine: database, object storage, HTTP service, workers",
    "http": "run the HTTP service",
    "work": "run a worker process",
    "migrate": "bring the database to the schema of this version",
    "doctor": "check everything a run needs, and say how to mend it",
    "psql": "open psql on the database, with the operator's shortcuts",
    "openapi": "print the description of the HTTP service for other programs",
    "staff": "look after the accounts of staff: add, password, role, disable, enable, list",
    "posm": "make table cards from files, without a server",
    "photo": "post a photo to a slot as a booth does, and say where the time went",
    "rerun": "repeat a render or a generation here, and look at what comes of it",
    "token": "print a bearer token for the HTTP service",
    "demo": "print packs, make table cards, process photos on a system of its own",
    "smoke": "go end to end through a service that runs, or a fresh one",
    "bench": "measure, beside other job systems",
}


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 0 well, 1 not, 2 wrongly called."""
    given = list(sys.argv[1:] if words is None else words)
    name = given[0] if given and given[0] in COMMANDS else None
    if name is None:
        _overview().parse_args(given or ["--help"])
        return 2
    module = importlib.import_module(f"makeready.commands.{name}")
    parser = argparse.ArgumentParser(
        prog=f"makeready {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    options = parser.parse_args(given[1:])
    try:
        code: int = module.run(load_settings(), options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        text = _told(alone(error))
        if text is None:
            raise
        return _complain(name, text)
    return code


def _told(error: Exception) -> str | None:
    """The line that tells an error of the surroundings; None for a defect of ours."""
    if isinstance(error, (ConfigError, EmbeddedError, MakereadyError)):
        return str(error)
    if isinstance(error, (DatabaseAway, asyncpg.PostgresError, asyncpg.InterfaceError)):
        return database_complaint(error)
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    return None


def _overview() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    table = "\n".join(f"  {name:<{width}}{about}" for name, about in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="makeready",
        usage="makeready [-h] [--version] COMMAND ...",
        description="Jobs on nothing but PostgreSQL that end in documents.",
        epilog=f"commands:\n{table}\n\n`makeready COMMAND --help` says more of each. Settings come"
        "\nfrom the environment and from .env; docs/configuration.md lists them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"makeready {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="one of those below")
    return parser


def _complain(name: str, text: str) -> int:
    sys.stderr.write(f"makeready {name}: {text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
