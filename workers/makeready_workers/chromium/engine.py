"""Engines of headless Chromium: HTML to PDF. One a process, shared by its tasks.

The default one speaks to its browser by pipes, the second one lets pyppeteer do so; all that is
above the link is the same.

A document costs a page for its own time and nothing else: when it hangs, crashes or eats the
memory, its page is thrown away with its renderer, and its neighbours go on printing. When the
browser itself dies, every document in it fails with BROWSER_LOST, which costs no attempt, and the
next document starts a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from makeready.config import Settings
from makeready.documents.typesetting import Asset
from makeready.embedded.chromium import ChromiumBinary, find_chromium
from makeready.print_options import PrintOptions
from makeready_workers.chromium.browser import Browser, start
from makeready_workers.chromium.dates import count_pages, fix_dates
from makeready_workers.chromium.fonts import PROBE, check_letters, furnish
from makeready_workers.chromium.jail import Home, Jail, ladder, sweep
from makeready_workers.chromium.link import BrowserGone, Link, LinkError, MessageTooLarge
from makeready_workers.chromium.page import Page, Printed
from makeready_workers.chromium.pages import Pages
from makeready_workers.chromium.pipe import Pipe
from makeready_workers.chromium.pyppeteer_link import PyppeteerLink, load_pyppeteer
from makeready_workers.chromium.records import (
    EngineLimits,
    EngineStatistics,
    Fault,
    RenderError,
    RenderResult,
)
from makeready_workers.chromium.supervisor import Supervisor, explains_crash

SWEEP_STEP_S = 5.0
PROBE_TIMEOUT_S = 10.0
CLOSING_S = 2.0  # a browser that was told to end closes its pages first
LINKS: Mapping[str, type[Link]] = {"chromium": Pipe, "pyppeteer": PyppeteerLink}
"""The engines by name: those of `print_options.ENGINES`."""

_log = structlog.get_logger(__name__)


class ChromiumEngine:
    """Prints documents; made by `open_engine`."""

    def __init__(self, supervisor: Supervisor, pages: Pages, limits: EngineLimits) -> None:
        self._supervisor = supervisor
        self._pages = pages
        self._limits = limits
        self._room = asyncio.Semaphore(limits.parallel)
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
            async with self._room:
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

    def statistics(self) -> EngineStatistics:
        """Facts of this moment."""
        browser = self._supervisor.current
        return EngineStatistics(
            engine_version=browser.version if browser else None,
            browser_pid=browser.pid if browser else None,
            sandbox=browser.jail.sandbox if browser else None,
            network_namespace=browser.jail.namespace if browser else None,
            active=self._active,
            documents=self._documents,
            failures=dict(self._failures),
            browsers_started=self._supervisor.started,
            browsers_lost=self._supervisor.lost,
            renderers_killed=self._supervisor.renderers_killed,
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
        except (TimeoutError, LinkError, RenderError) as error:
            stuck = page is None and isinstance(error, TimeoutError)
            if isinstance(error, LinkError) and (page is None or page.was_closed):
                await browser.wait_for_end(CLOSING_S)
            failure = _failure(browser, page, error, timeout_s)
            failure.evidence["engine"] = browser.version
            if page is not None:
                await page.testify(failure, self._limits)
            raise failure from error
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


class _Starter:
    """Starts browsers; the first one has to show that it has letters."""

    def __init__(
        self,
        binary: ChromiumBinary,
        rungs: Sequence[Jail],
        link: type[Link],
        pages: Pages,
        limits: EngineLimits,
    ) -> None:
        self._binary = binary
        self._rungs = rungs
        self._link = link
        self._pages = pages
        self._limits = limits
        self._has_letters = False

    async def __call__(self) -> Browser:
        """A browser that can print; raises RenderError."""
        browser = await start(self._binary, self._rungs, self._link)
        if self._has_letters:
            return browser
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                page = await browser.open_page(self._limits)
                printed = await page.print(PROBE, {}, PrintOptions(), self._limits)
                await check_letters(printed.pdf)
        except BaseException as error:
            await browser.close()
            if isinstance(error, (LinkError, TimeoutError)):
                text = f"the browser could not print a line: {error}"
                raise RenderError(Fault.BROWSER_LOST, text) from error
            raise
        self._has_letters = True
        self._pages.offer(browser, page)
        return browser


@asynccontextmanager
async def open_engine(
    settings: Settings,
    *,
    name: str = "chromium",
    limits: EngineLimits | None = None,
    binary: ChromiumBinary | None = None,
    own_fonts: bool = True,
) -> AsyncGenerator[ChromiumEngine, None]:
    """Opens the engine; the browser starts with the first document and is gone when this returns.

    Raises what `find_chromium` raises when there is no Chromium, RenderError (ENGINE_MISSING) when
    no engine has that name or pyppeteer is not installed.
    """
    link = LINKS.get(name)
    if link is None:
        raise RenderError(Fault.ENGINE_MISSING, f"there is no engine {name!r}: {', '.join(LINKS)}")
    if link is PyppeteerLink:
        await load_pyppeteer()
    bounds = limits or EngineLimits()
    chromium = binary or find_chromium(settings)
    rungs = ladder(no_sandbox=settings.chromium_no_sandbox, by_port=link is PyppeteerLink)
    swept = await asyncio.to_thread(sweep)
    if swept:
        _log.info("chromium_swept", homes=swept)
    async with _home(rungs[0].uid) as home, lone_tasks() as tasks:
        if own_fonts:
            fonts = await asyncio.to_thread(furnish, home.path, rungs[0].uid, chromium.env)
            chromium = replace(chromium, env={**chromium.env, **fonts})
        pages = Pages(bounds, tasks)
        starter = _Starter(chromium, rungs, link, pages, bounds)
        supervisor = Supervisor(starter, bounds, tasks)
        tasks.start_soon(supervisor.watch)
        tasks.start_soon(_sweep_pages, pages)
        engine = ChromiumEngine(supervisor, pages, bounds)
        try:
            yield engine
        finally:
            _log.info("engine_closed", engine=name, **_figures(engine.statistics()))
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
async def lone_tasks() -> AsyncGenerator[TaskGroup, None]:
    """A task group whose lone error arrives as itself: callers of engines expect no groups."""
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


def _figures(statistics: EngineStatistics) -> dict[str, Any]:
    """What is worth a line in the log."""
    names = ("documents", "failures", "browsers_started", "browsers_lost", "renderers_killed")
    return {name: getattr(statistics, name) for name in names}


def _failure(
    browser: Browser, page: Page | None, error: Exception, timeout_s: float
) -> RenderError:
    """What a failed document is told."""
    if isinstance(error, TimeoutError) and page is None:
        return RenderError(Fault.BROWSER_LOST, "the browser did not open a page in time")
    if isinstance(error, TimeoutError):
        return RenderError(
            Fault.RENDER_TIMEOUT, f"the document was not printed within {timeout_s:g} seconds"
        )
    if isinstance(error, MessageTooLarge):
        return RenderError(Fault.RENDER_OUT_OF_MEMORY, str(error))
    if isinstance(error, BrowserGone) or not browser.is_alive:
        return RenderError(Fault.BROWSER_LOST, str(error))
    if page is not None and page.was_closed and page.has_scripts:
        return RenderError(Fault.TEMPLATE_ERROR, "a script of the document closed its page")
    # Also a print that fails because its helper was killed.
    is_crash = isinstance(error, LinkError) or getattr(error, "code", "") == Fault.RENDER_CRASHED
    if is_crash and explains_crash(browser):
        return RenderError(
            Fault.RENDER_OUT_OF_MEMORY,
            "the document needs more memory than it may have: split it, or print fewer rows",
        )
    if isinstance(error, RenderError):
        return error
    return RenderError(Fault.RENDER_CRASHED, str(error))
