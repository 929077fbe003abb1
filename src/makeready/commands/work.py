"""Runs a worker process: four tasks that claim jobs of the named queues, until SIGTERM or SIGINT.

The first signal lets running jobs end within MAKEREADY_DRAIN_GRACE_S, then gives them back to the
queue; the second exits at once. Start as many processes as you like, on as many machines.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

import uvloop

from makeready.commands.machine import configured, running
from makeready.commands.options import option, setting
from makeready.config import Settings
from makeready.log import configure_logging
from makeready.storage import open_storage


def handlers() -> list[str]:
    """Queues with a handler: the modules of `makeready_workers` that offer `open_handler`.

    Their text is looked at, so that `--help` imports no browser engine.
    """
    spec = importlib.util.find_spec("makeready_workers")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    return sorted(
        path.stem
        for folder in folders
        for path in folder.glob("[a-z]*.py")
        if "def open_handler(" in path.read_text("utf-8")
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "queues",
        nargs="*",
        metavar="QUEUE",
        type=option(_queue),
        help=f"queues to work on; without any, all: {', '.join(handlers())}",
    )
    parser.add_argument(
        "--tasks", type=setting("tasks"), help="jobs to run at a time (MAKEREADY_TASKS)"
    )


def _queue(name: str) -> str:
    """A queue's name; `choices` would refuse the empty list that `*` stands for."""
    if name not in handlers():
        raise ValueError(f"no queue with a handler; there is: {', '.join(handlers())}")
    return name


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Works until told to stop."""
    settings = configured(running(settings))
    if options.tasks is not None:
        settings = replace(settings, tasks=options.tasks)
    configure_logging(settings.log_format, settings.log_level)
    uvloop.run(_work(settings, options.queues or handlers()))
    return 0


async def _work(settings: Settings, queues: list[str]) -> None:
    from makeready_workers.process import work  # noqa: PLC0415 – only this command needs it

    openers = {
        name: importlib.import_module(f"makeready_workers.{name}").open_handler for name in queues
    }
    async with open_storage(settings) as storage:
        await work(settings, openers, storage=storage)
