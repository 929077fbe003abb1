"""Runs everything on this machine until Ctrl-C: one command for a laptop or a small server.

Postgres and S3 are our own, under the data directory, unless DATABASE_URL and S3_ENDPOINT name
others. Then come the schema, the HTTP service and a worker process, restarted when they end.
The first Ctrl-C (or SIGTERM) lets running jobs end, the second exits at once.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import replace
from types import FrameType
from typing import NoReturn

import structlog

from makeready.commands.machine import machine, noted
from makeready.commands.migrate import brought_up
from makeready.commands.service import Client, ServiceError, check_port, new_session, wait_ready
from makeready.commands.supervisor import Child, Supervisor
from makeready.config import Settings
from makeready.embedded.processes import free_ports
from makeready.log import configure_logging

_log = structlog.get_logger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--port", type=int, help="port of the HTTP service (MAKEREADY_HTTP_PORT)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="worker processes to run (1)"
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Runs until told to stop."""
    configure_logging(settings.log_format, settings.log_level)
    signal.signal(signal.SIGTERM, _leave)  # until the loop listens: servers are stopped on the way
    port = settings.http_port if options.port is None else options.port
    settings = replace(settings, http_port=port or free_ports(1)[0])
    check_port(settings.http_host, settings.http_port)
    with machine(settings) as found:
        applied = asyncio.run(brought_up(found.listener_url or ""))
        if applied:
            _log.info("schema_migrated", files=len(applied))
        with noted(found):
            asyncio.run(_serve(found, options.workers))
    return 0


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


async def _serve(settings: Settings, workers: int) -> None:
    names = ["work"] if workers == 1 else [f"work-{number}" for number in range(1, workers + 1)]
    children = [
        Child(name="http", words=("http",)),
        *(Child(name=name, words=("work",)) for name in names),
    ]
    supervisor = Supervisor(children, settings.to_env(), grace_s=settings.drain_grace_s)
    signals = asyncio.create_task(supervisor.obey_signals())
    greeting = asyncio.create_task(_greet(settings))
    try:
        await supervisor.run()
    finally:
        for task in (signals, greeting):
            task.cancel()
        await asyncio.gather(signals, greeting, return_exceptions=True)


async def _greet(settings: Settings) -> None:
    host = "127.0.0.1" if settings.http_host in {"0.0.0.0", "::"} else settings.http_host  # noqa: S104
    url = f"http://{host}:{settings.http_port}"
    async with new_session() as session:
        try:
            await wait_ready(Client(session=session, base_url=url))
        except ServiceError as error:
            _log.error("not_ready", error=str(error))
        else:
            _log.info("ready", url=url, stop="Ctrl-C")
