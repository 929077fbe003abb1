"""Keeps our own Postgres and S3 running: notices when one ends by itself and starts it again.

It comes back at the address it had, so that whoever uses it only has to connect again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import anyio
import structlog

from makeready.commands.supervisor import Pauses
from makeready.embedded.processes import EmbeddedError
from makeready.embedded.server import EmbeddedServer

LOOK_S = 0.2

_log = structlog.get_logger(__name__)


async def keep_servers(servers: Iterable[EmbeddedServer], starters: ThreadPoolExecutor) -> None:
    """Until cancelled; then it waits for a start that is under way.

    The starters' threads must live as long as the servers: the kernel ends a server that dies with
    its parent when the very thread that started it ends.
    """
    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(_keep, server, starters)


async def _keep(server: EmbeddedServer, starters: ThreadPoolExecutor) -> None:
    pauses = Pauses()
    since = time.monotonic()
    while True:
        how = await _end_of(server)
        lived_s = time.monotonic() - since
        facts = {"server": server.name, "server_log": str(server.log)}
        _log.error("server_ended", how=how, lived_s=round(lived_s), **facts)
        await anyio.sleep(pauses.after(lived_s))
        while not await _revived(server, starters):  # noqa: ASYNC110 – a retry, no poll
            await anyio.sleep(pauses.after(0))
        since = time.monotonic()


async def _end_of(server: EmbeddedServer) -> str:
    while True:
        how = server.lost
        if how is not None:
            return how
        await anyio.sleep(LOOK_S)


async def _revived(server: EmbeddedServer, starters: ThreadPoolExecutor) -> bool:
    started = time.monotonic()
    try:
        with anyio.CancelScope(shield=True):  # else it would be stopped while it starts
            await asyncio.get_running_loop().run_in_executor(starters, server.revive)
    except (EmbeddedError, OSError) as error:
        _log.error("server_start_failed", server=server.name, error=str(error))
        return False
    ms = round((time.monotonic() - started) * 1e3)
    _log.warning("server_restarted", server=server.name, pid=server.pid, ms=ms)
    return True
