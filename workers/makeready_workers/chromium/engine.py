"""The default engine: HTML to PDF by headless Chromium. One a process, shared by its tasks.

A document costs a page for its own time and nothing else: when it hangs, crashes or eats the
memory, its page is thrown away with its renderer, and its neighbours go on printing. When the
browser itself dies, every document in it fails with BROWSER_LOST, which costs no attempt, and the
next document starts a new one.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup

from makeready.config import Settings
from makeready.documents import Asset
from makeready.embedded.chromium import ChromiumBinary, find_chromium
from makeready.pdf import text_of
from makeready.print_options import PrintOptions
from makeready_workers.chromium.browser import Browser, start
from makeready_workers.chromium.dates import count_pages, fix_dates
from makeready_workers.chromium.fonts import furnish
from makeready_workers.chromium.jail import Home, ladder, sweep
from makeready_workers.chromium.page import Page, Printed
from makeready_workers.chromium.pages import Pages
from makeready_workers.chromium.pipe import BrowserGone, MessageTooLarge, PipeError
from makeready_workers.chromium.records import (
    EngineLimits,
    EngineStatistics,
    Fault,
    RenderError,
    RenderResult,
)
from makeready_workers.chromium.supervisor import Supervisor, explains_crash

SWEEP_STEP_S = 5.0
PROBE_TEXT = "Аа₽"
PROBE_TIMEOUT_S = 10.0

_log = structlog.get_logger(__name__)


class ChromiumEngine:
    """Prints documents; made by `open_engine`."""

    def __init__(self, supervisor: Supervisor, pages: Pages, limits: EngineLimits) -> None:
        self._supervisor = supervisor
        self._pages = pages
        self._limits = limits
        self._seats = asyncio.Semaphore(limits.parallel)
        self._active = 0
        self._documents = 0
        self._failures: Counter[str] = Counter()

    async def render(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        *,
        timeout_s: float,
        pack: str | None = None,
    ) -> RenderResult:
        """Prints one document within `timeout_s` seconds; raises RenderError.

        Documents of the same `pack` may share a page, one after the other. Cancellation closes the
        page.
        """
        try:
            self._check_size(html, assets)
            async with self._seats:
                self._active += 1
                try:
                    result = await self._render(html, assets, options, timeout_s, pack)
                finally:
                    self._active -= 1
        except RenderError as error:
            self._failures[error.code] += 1
            raise
        self._documents += 1
        return result

    async def probe(self) -> str:
        """Prints some letters, reads them back, returns the engine's version; or RenderError."""
        result = await self.render(
            f"<!doctype html><meta charset=utf-8><p>{PROBE_TEXT}</p>",
            {},
            PrintOptions(),
            timeout_s=PROBE_TIMEOUT_S,
        )
        found = await asyncio.to_thread(text_of, result.pdf)
        if PROBE_TEXT not in found:
            raise RenderError(
                Fault.FONTS_MISSING,
                f"printed {PROBE_TEXT!r} and read back {found.strip()!r}: install fonts "
                "with Cyrillic letters and the rouble sign, such as DejaVu",
            )
        return result.engine_version

    def statistics(self) -> EngineStatistics:
        """Facts of this moment."""
        browser = self._supervisor.current
        return EngineStatistics(
            engine_version=browser.version if browser else None,
            browser_pid=browser.pid if browser else None,
            browser_started_s_ago=time.monotonic() - browser.started_at if browser else None,
            sandbox=browser.jail.sandbox if browser else None,
            network_namespace=browser.jail.namespace if browser else None,
            active=self._active,
            idle_pages=len(self._pages),
            documents=self._documents,
            failures=dict(self._failures),
            browsers_started=self._supervisor.started,
            browsers_lost=self._supervisor.lost,
            renderers_killed=self._supervisor.renderers_killed,
            private_bytes=browser.private_bytes if browser else 0,
        )

    def _check_size(self, html: str, assets: Mapping[str, Asset]) -> None:
        if len(html) > self._limits.input_bytes or (
            len(html) * 4 > self._limits.input_bytes
            and len(html.encode(errors="replace")) > self._limits.input_bytes
        ):
            raise RenderError(
                Fault.TEMPLATE_ERROR,
                f"the HTML is above {self._limits.input_bytes} bytes: give images as assets, or "
                "split the document",
            )
        for name, asset in assets.items():
            if len(asset.content) > self._limits.asset_bytes:
                raise RenderError(
                    Fault.TEMPLATE_ERROR,
                    f"the asset {name} is above {self._limits.asset_bytes} bytes",
                )

    async def _render(
        self,
        html: str,
        assets: Mapping[str, Asset],
        options: PrintOptions,
        timeout_s: float,
        pack: str | None,
    ) -> RenderResult:
        began = time.perf_counter()
        browser = await self._supervisor.acquire()
        page: Page | None = None
        stuck, printed = False, None
        try:
            page = await self._pages.take(browser, pack, scripts=options.scripts)
            waited = time.perf_counter()
            async with asyncio.timeout(timeout_s - (waited - began)):
                printed = await page.print(html, assets, options, self._limits)
        except TimeoutError as error:
            stuck = page is None
            raise _late(page, timeout_s) from error
        except RenderError as error:  # also a print that fails because its helper was killed
            if error.code == Fault.RENDER_CRASHED and explains_crash(browser):
                raise _too_greedy() from error
            raise
        except PipeError as error:
            raise _broken(browser, error) from error
        finally:
            self._leave(browser, page, pack if printed is not None else None, stuck=stuck)
        return _result(printed, browser.version, options, began, waited)

    def _leave(
        self, browser: Browser, page: Page | None, pack: str | None, *, stuck: bool
    ) -> None:
        """Gives page and browser back without waiting, also in a task that is being cancelled."""
        kept = page is not None and pack is not None and self._pages.keep(browser, page, pack)
        self._supervisor.release(browser, stuck=stuck)
        if page is not None and not kept:
            self._supervisor.dispose(browser, page)
        self._pages.make_spare(browser)


@asynccontextmanager
async def open_engine(
    settings: Settings,
    *,
    limits: EngineLimits | None = None,
    binary: ChromiumBinary | None = None,
    own_fonts: bool = True,
) -> AsyncGenerator[ChromiumEngine, None]:
    """Opens the engine; the browser starts with the first document and is gone when this returns.

    Raises what `find_chromium` raises when there is no Chromium.
    """
    bounds = limits or EngineLimits()
    chromium = binary or find_chromium(settings)
    rungs = ladder(no_sandbox=settings.chromium_no_sandbox)
    swept = await asyncio.to_thread(sweep)
    if swept:
        _log.info("chromium_swept", homes=swept)
    async with _home(rungs[0].uid) as home, _tasks() as tasks:
        if own_fonts:
            fonts = await asyncio.to_thread(furnish, home.path, rungs[0].uid, chromium.env)
            chromium = replace(chromium, env={**chromium.env, **fonts})
        supervisor = Supervisor(functools.partial(start, chromium, rungs), bounds, tasks)
        pages = Pages(bounds, tasks)
        tasks.start_soon(supervisor.watch)
        tasks.start_soon(_sweep_pages, pages)
        try:
            yield ChromiumEngine(supervisor, pages, bounds)
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await supervisor.close()


@asynccontextmanager
async def _home(uid: int | None) -> AsyncGenerator[Home, None]:
    home = await asyncio.to_thread(Home, uid)
    try:
        yield home
    finally:
        home.remove()


@asynccontextmanager
async def _tasks() -> AsyncGenerator[TaskGroup, None]:
    """A task group whose lone error arrives as itself: callers of the engine expect no groups."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None


async def _sweep_pages(pages: Pages) -> None:
    while True:
        await asyncio.sleep(SWEEP_STEP_S)
        pages.sweep()


def _result(
    printed: Printed, version: str, options: PrintOptions, began: float, waited: float
) -> RenderResult:
    try:
        pdf = fix_dates(printed.pdf, options.created_at)
        pages = count_pages(pdf)
    except ValueError as error:
        raise RenderError(Fault.RENDER_CRASHED, str(error)) from error
    timings = {
        "wait": (waited - began) * 1e3,
        **printed.timings,
        "total": (time.perf_counter() - began) * 1e3,
    }
    return RenderResult(
        pdf=pdf,
        pages=pages,
        warnings=printed.warnings,
        timings=timings,
        engine_version=version,
    )


def _late(page: Page | None, timeout_s: float) -> RenderError:
    if page is None:
        return RenderError(Fault.BROWSER_LOST, "the browser did not open a page in time")
    return RenderError(
        Fault.RENDER_TIMEOUT, f"the document was not printed within {timeout_s:g} seconds"
    )


def _broken(browser: Browser, error: PipeError) -> RenderError:
    if isinstance(error, MessageTooLarge):
        return RenderError(Fault.RENDER_OUT_OF_MEMORY, str(error))
    if isinstance(error, BrowserGone) or not browser.is_alive:
        return RenderError(Fault.BROWSER_LOST, str(error))
    if explains_crash(browser):
        return _too_greedy()
    return RenderError(Fault.RENDER_CRASHED, str(error))


def _too_greedy() -> RenderError:
    return RenderError(
        Fault.RENDER_OUT_OF_MEMORY,
        "the document needs more memory than it may have: split it, or print fewer rows",
    )
