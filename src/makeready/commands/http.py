"""Runs the HTTP service until SIGTERM or SIGINT: then it ends the requests it has, and itself.

It starts also while the database is away and answers 503 until it is back. The schema must be
there: `makeready migrate` comes first.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import signal
import socket
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import anyio
import structlog
import uvicorn

from makeready.commands.machine import configured, running
from makeready.commands.options import setting
from makeready.config import ConfigError, Settings
from makeready.log import configure_logging

if TYPE_CHECKING:
    from makeready_http.photo_services import OpenPhotoWorkers

LAST_WORD_S = 2.0  # after the grace, to tell those who still wait

_log = structlog.get_logger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--host", help="address to listen on (MAKEREADY_HTTP_HOST)")
    parser.add_argument(
        "--port", type=setting("http_port"), help="port; 0 takes a free one (MAKEREADY_HTTP_PORT)"
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serves until told to stop."""
    settings = configured(running(settings))
    if options.host is not None:
        settings = replace(settings, http_host=options.host)
    if options.port is not None:
        settings = replace(settings, http_port=options.port)
    configure_logging(settings.log_format, settings.log_level)
    server = Server(settings)
    gc.freeze()  # a full collection held the loop for 30 ms, to look at what stays anyway
    try:
        server.run()
    finally:  # also when it exits by itself
        if isinstance(server.fault, ConfigError):
            raise server.fault
    return 0 if server.started and not server.has_lost_services else 3


class Server(uvicorn.Server):
    """As uvicorn's, but photos are let end by themselves, and a second signal ends it at once."""

    def __init__(
        self, settings: Settings, *, photo_workers: OpenPhotoWorkers | None = None
    ) -> None:
        super().__init__(server_config(settings, photo_workers=photo_workers))
        self._grace_s = settings.drain_grace_s

    @property
    def fault(self) -> Exception | None:
        """Why the services have ended by themselves."""
        app: Any = self.config.app
        found: Exception | None = app.state.fault
        return found

    @property
    def has_lost_services(self) -> bool:
        """What the routes work with has ended before the server: a defect, or bad settings."""
        ended = getattr(self.lifespan, "shutdown_event", None)
        return not self.should_exit and ended is not None and ended.is_set()

    async def on_tick(self, counter: int) -> bool:
        """Whether to end; also without its services, for whoever starts it anew."""
        return await super().on_tick(counter) or self.has_lost_services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal, or another one."""
        if self.should_exit:
            _log.warning("http_killed", signal=signal.Signals(sig).name)
            os._exit(130)  # sockets close: photos of this process end as timeouts
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No new connections; requests under way get the grace, those that wait for photos too."""
        async with anyio.create_task_group() as tasks:
            services = self.lifespan.state.get("services")
            if services is not None:
                tasks.start_soon(services.photos.leave, self._grace_s)
            await super().shutdown(sockets)


def server_config(
    settings: Settings, *, photo_workers: OpenPhotoWorkers | None = None
) -> uvicorn.Config:
    """How the service is served; with other workers for photos if they are given."""
    from makeready_http.app import create_app  # noqa: PLC0415 – only this command needs it
    from makeready_http.protocol import BoundedProtocol  # noqa: PLC0415
    from makeready_workers.ingest import open_photos  # noqa: PLC0415

    return uvicorn.Config(
        create_app(settings, photo_workers=photo_workers or open_photos),
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",  # we have no WebSocket, and the default looks for a library that breaks it
        lifespan="on",
        log_config=None,
        access_log=False,  # the middleware writes a line a request, with its id
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=math.ceil(settings.drain_grace_s + LAST_WORD_S),
    )
