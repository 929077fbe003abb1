"""Which page takes a document: the one its pack used last, else the spare, else a new one.

A pack's documents share a page one after the other: that is eight times as fast as a fresh
renderer and safe as long as no script runs. Different packs never meet: each has a browser context
of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict

from anyio.abc import TaskGroup

from makeready_workers.chromium.browser import Browser
from makeready_workers.chromium.link import LinkError
from makeready_workers.chromium.page import Page
from makeready_workers.chromium.records import EngineLimits


class Pages:
    """The idle pages of one engine."""

    def __init__(self, limits: EngineLimits, tasks: TaskGroup) -> None:
        self._limits = limits
        self._tasks = tasks
        self._idle: OrderedDict[int, tuple[str, Browser, Page]] = OrderedDict()
        self._spare: tuple[Browser, Page] | None = None
        self._making = False

    async def take(self, browser: Browser, pack: str | None, *, scripts: bool) -> Page:
        """A page of `browser` for a document of `pack`; raises LinkError or TimeoutError."""
        if scripts:
            return await browser.open_page(self._limits, scripts=True)
        for key, (owner, home, page) in reversed(self._idle.items()):
            if owner == pack and home is browser and page.reusable:
                del self._idle[key]
                return page
        spare, self._spare = self._spare, None
        if spare is not None and spare[0] is browser and spare[1].reusable:
            return spare[1]
        return await browser.open_page(self._limits)

    def keep(self, browser: Browser, page: Page, pack: str) -> bool:
        """Keeps a page for the next document of its pack; False when it has to be closed."""
        if not page.reusable or page.documents >= self._limits.documents_per_page:
            return False
        if browser.retiring or not browser.is_alive:
            return False
        self._idle[id(page)] = (pack, browser, page)
        if len(self._idle) > self._limits.idle_packs:
            _, (_, home, oldest) = self._idle.popitem(last=False)
            self._tasks.start_soon(home.dispose, oldest, self._limits)
        return True

    def make_spare(self, browser: Browser) -> None:
        """Makes a page ahead, in the background, unless there is one."""
        have = self._spare is not None and self._spare[0] is browser
        if have or self._making or browser.retiring or not browser.is_alive:
            return
        self._making = True
        self._tasks.start_soon(self._make_spare, browser)

    def offer(self, browser: Browser, page: Page) -> None:
        """Takes a page that printed nothing of anybody's as the spare one."""
        if self._spare is None or not self._is_useful(self._spare[0]):
            self._spare = (browser, page)
        else:
            self._tasks.start_soon(browser.dispose, page, self._limits)

    def sweep(self) -> None:
        """Closes the pages whose pack has been silent; forgets those of browsers that ended."""
        if self._spare is not None and not self._is_useful(self._spare[0]):
            self._spare = None
        horizon = time.monotonic() - self._limits.idle_pack_s
        for key, (_, browser, page) in list(self._idle.items()):
            if not self._is_useful(browser):
                del self._idle[key]
            elif page.used_at < horizon or not page.reusable:
                del self._idle[key]
                self._tasks.start_soon(browser.dispose, page, self._limits)

    async def _make_spare(self, browser: Browser) -> None:
        try:
            # A failure here is nobody's yet: the next document meets it and reports it.
            with contextlib.suppress(LinkError, TimeoutError):
                self._spare = (browser, await browser.open_page(self._limits))
        finally:
            self._making = False

    @staticmethod
    def _is_useful(browser: Browser) -> bool:
        return browser.is_alive and not browser.retiring
