"""The engines of a process behind one door: the default one, and others from when they are asked.

Which engine prints is settled by `makeready.render_engine`, at every job, so an operator's choice
needs no restart. An engine that is not installed fails the document with ENGINE_MISSING and is
tried again with the next one: it may have been installed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from makeready.config import Settings
from makeready.documents.typesetting import Asset
from makeready.embedded.processes import EmbeddedError
from makeready.print_options import ENGINES, PrintOptions
from makeready_workers.chromium.engine import ChromiumEngine, lone_tasks, open_engine
from makeready_workers.chromium.records import (
    EngineLimits,
    EngineStatistics,
    Fault,
    RenderError,
    RenderResult,
)

DEFAULT = ENGINES[0]

_log = structlog.get_logger(__name__)


class Engines:
    """An engine that hands each document to the one that its options name."""

    def __init__(self, settings: Settings, limits: EngineLimits, tasks: TaskGroup) -> None:
        self._settings = settings
        self._limits = limits
        self._tasks = tasks
        self._opened: dict[str, asyncio.Future[ChromiumEngine]] = {}

    async def render(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        *,
        timeout_s: float,
        pack: str | None = None,
    ) -> RenderResult:
        """Prints one document by the engine of its options; raises RenderError."""
        engine = await self.take(options.engine or DEFAULT)
        return await engine.render(html, assets, options, timeout_s=timeout_s, pack=pack)

    def statistics(self) -> EngineStatistics:
        """Of the default engine, which is open from the start."""
        return self._opened[DEFAULT].result().statistics()

    async def take(self, name: str) -> ChromiumEngine:
        """The engine of this name, opened by the first who asks; RenderError (ENGINE_MISSING)."""
        try:
            return await self.open(name)
        except (EmbeddedError, OSError) as error:
            raise RenderError(Fault.ENGINE_MISSING, f"{name}: {error}") from error

    async def open(self, name: str) -> ChromiumEngine:
        """The same; raises what `open_engine` does."""
        engine = self._opened.get(name)
        if engine is None:
            engine = self._opened[name] = asyncio.get_running_loop().create_future()
            self._tasks.start_soon(self._keep, name, engine)
        return await asyncio.shield(engine)

    async def _keep(self, name: str, ready: asyncio.Future[ChromiumEngine]) -> None:
        """Opens and closes an engine in one task, as its task group demands."""
        structlog.contextvars.clear_contextvars()  # it outlives the job that asked for it
        try:
            async with open_engine(self._settings, name=name, limits=self._limits) as engine:
                ready.set_result(engine)
                await anyio.sleep_forever()
        except (EmbeddedError, OSError, RenderError) as error:
            if ready.done():
                raise
            del self._opened[name]
            _log.warning("engine_missing", engine=name, reason=str(error))
            ready.set_exception(error)
            ready.exception()  # looked at: whoever asked may be gone


@asynccontextmanager
async def open_engines(
    settings: Settings, *, limits: EngineLimits | None = None
) -> AsyncGenerator[Engines, None]:
    """Opens the default engine at once; raises what `find_chromium` raises without a Chromium."""
    async with lone_tasks() as tasks:
        engines = Engines(settings, limits or EngineLimits(), tasks)
        try:
            await engines.open(DEFAULT)
            yield engines
        finally:
            tasks.cancel_scope.cancel()
