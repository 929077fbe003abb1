"""Runs everything on this machine until Ctrl-C: one command for a laptop or a small server.

Postgres and S3 are our own, under the data directory, unless DATABASE_URL and S3_ENDPOINT name
others. Then come the schema, the HTTP service and a worker process. Whatever ends by itself is
started again; a data folder belongs to one `up` at a time.
The first Ctrl-C (or SIGTERM) lets running jobs end, the second exits at once.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import NoReturn

import structlog

from makeready import values
from makeready.commands.faults import check_storage, database_told
from makeready.commands.keeper import keep_servers
from makeready.commands.machine import (
    Equipment,
    equipped,
    forget_note,
    noted,
    sole_up,
    with_own_secrets,
)
from makeready.commands.migrate import brought_up
from makeready.commands.options import option, setting
from makeready.commands.service import Client, ServiceError, check_port, new_session, wait_ready
from makeready.commands.supervisor import Child, Supervisor
from makeready.config import Settings
from makeready.embedded.processes import EmbeddedError, free_ports
from makeready.log import configure_logging

WORKERS_MAX = 1000
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SERVERS_MAX = 2  # each has a thread to start in: a recovery of Postgres must not hold S3 up

_log = structlog.get_logger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--port", type=setting("http_port"), help="port of the HTTP service (MAKEREADY_HTTP_PORT)"
    )
    parser.add_argument(
        "--workers",
        type=option(values.integer(1, WORKERS_MAX)),
        default=1,
        metavar="N",
        help="worker processes to run (1)",
    )
    parser.add_argument(
        "--dev",
        action="store_true",
        help="with DEBUG, which shows one-time codes to everybody; on a loopback address only",
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Runs until told to stop."""
    configure_logging(settings.log_format, settings.log_level)
    signal.signal(signal.SIGTERM, _leave)  # until the loop listens: servers are stopped on the way
    port = settings.http_port if options.port is None else options.port
    settings = replace(settings, http_port=port or free_ports(1)[0])
    if options.dev:
        settings = replace(settings, debug=_may_debug(settings))
    with sole_up(settings, service_url(settings)):
        settings = with_own_secrets(settings)
        check_port(settings.http_host, settings.http_port)
        if settings.s3_endpoint is not None:
            asyncio.run(check_storage(settings))
        with ThreadPoolExecutor(SERVERS_MAX) as starters, equipped(settings) as found:
            _migrate(found.settings)
            with noted(found.settings):
                try:
                    asyncio.run(_serve(found, starters, options.workers))
                finally:  # the loop has put its handler away; the servers still have to stop
                    signal.signal(signal.SIGTERM, _leave)
    return 0


def _may_debug(settings: Settings) -> bool:
    if settings.http_host not in LOOPBACK:
        raise EmbeddedError(
            f"--dev shows one-time codes to everybody who reaches {settings.http_host}: listen on "
            "127.0.0.1 (MAKEREADY_HTTP_HOST), or leave it out"
        )
    return True


def service_url(settings: Settings) -> str:
    """Where this machine reaches the HTTP service."""
    host = settings.http_host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 – compared, not listened on
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


def _migrate(settings: Settings) -> None:
    with database_told(settings, direct=True):
        applied = asyncio.run(brought_up(settings.listener_url or "", settings))
    if applied:
        _log.info("schema_migrated", files=len(applied))


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


async def _serve(found: Equipment, starters: ThreadPoolExecutor, workers: int) -> None:
    settings = found.settings
    names = ["work"] if workers == 1 else [f"work-{number}" for number in range(1, workers + 1)]
    children = [
        Child(name="http", words=("http",)),
        *(Child(name=name, words=("work",)) for name in names),
    ]

    def at_exit() -> None:
        found.halt()
        forget_note(settings)

    supervisor = Supervisor(children, settings, at_exit=at_exit)
    await supervisor.run(
        company=[
            supervisor.obey_signals,
            partial(_greet, service_url(settings)),
            partial(keep_servers, found.servers, starters),
        ]
    )


async def _greet(url: str) -> None:
    async with new_session() as session:
        try:
            await wait_ready(Client(session=session, base_url=url))
        except ServiceError as error:
            _log.error("not_ready", error=str(error))
        else:
            _log.info("ready", url=url, stop="Ctrl-C")
