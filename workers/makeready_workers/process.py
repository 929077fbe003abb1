"""A whole worker process: connections, handlers, the loop, maintenance, signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack

import anyio
import structlog

from makeready.config import Settings
from makeready.db import Control, pool_opened
from makeready.listening import Listener
from makeready.storage import Storage
from makeready.upkeep import Upkeep
from makeready_workers.handler import Context, OpenHandler
from makeready_workers.loop import Worker

SPARE_CONNECTIONS = 2  # beside one a task: chores
DATABASE_PATIENCE_S = 30.0
LAST_RESORT_S = 15.0  # a handler that cannot be cancelled must not keep a stopping process

_log = structlog.get_logger(__name__)


async def work(
    settings: Settings, openers: Mapping[str, OpenHandler], *, storage: Storage | None = None
) -> None:
    """Works on the named queues until SIGTERM or SIGINT; a second signal exits at once (130).

    Opens a handler a queue, in order, and closes them when the last job has ended. Raises Conflict
    when another live process has this instance name, and what the database says when it is not
    there within 30 s.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            pool_opened(
                settings,
                "makeready_worker",
                size=settings.tasks + SPARE_CONNECTIONS,
                patience_s=DATABASE_PATIENCE_S,
            )
        )
        control = Control(settings, "makeready_worker")
        stack.push_async_callback(control.close)
        context = Context(settings=settings, pool=pool, storage=storage)
        handlers = [
            await stack.enter_async_context(open_handler(context))
            for open_handler in openers.values()
        ]
        listener = Listener(settings, "makeready_worker") if settings.listen else None
        worker = Worker(settings, pool, handlers, control=control, listener=listener)
        upkeep = Upkeep(
            pool,
            Control(settings, "makeready_worker", part="upkeep"),
            storage=storage,
            link_ttl_s=settings.presign_ttl_s,
        )
        async with anyio.create_task_group() as group:
            if listener is not None:
                group.start_soon(listener.run)
            group.start_soon(upkeep.run)
            group.start_soon(_obey_signals, worker, settings.drain_grace_s)
            # What is loaded by now stays: a collector that looks through it stops the loop for
            # 0.1 s.
            gc.freeze()
            await worker.run()
            group.cancel_scope.cancel()


async def _obey_signals(worker: Worker, grace_s: float) -> None:
    is_told = False  # by a signal: a worker that an operator drains still has its grace
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if is_told:
                _log.warning("worker_killed", signal=number.name)
                os._exit(130)  # sockets close, leases are taken back within 3 s
            is_told = True
            worker.stop()
            asyncio.get_running_loop().call_later(grace_s + LAST_RESORT_S, os._exit, 130)
