"""Which browser takes the next document: lazy start, replacement, recovery, memory watch.

A browser is replaced after so many documents, so much time or so much memory, or as soon as a call
that no document can slow down is late. The new one is started first; the old one takes no more
documents and is killed when its last one ends. A failed start is never remembered as the answer:
after a pause it is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from anyio.abc import TaskGroup

from makeready_workers.chromium.browser import Browser
from makeready_workers.chromium.page import Page
from makeready_workers.chromium.records import EngineLimits, RenderError

WATCH_STEP_S = 0.2
IDLE_WATCH_STEP_S = 2.0
PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
KILL_MEMORY_S = 2.0  # how long a killed renderer explains a crash

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Failures:
    """Starts that failed in a row, and when the next one may be tried."""

    count: int = 0
    not_before: float = 0.0
    last: RenderError | None = None

    def add(self, error: RenderError) -> None:
        self.count += 1
        self.last = error
        pause = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** (self.count - 1))
        self.not_before = time.monotonic() + (pause if self.count > 1 else 0.0)

    def clear(self) -> None:
        self.count, self.not_before = 0, 0.0


class Supervisor:
    """Owns the browsers of one engine; every task of it lives in the engine's task group."""

    def __init__(
        self, start: Callable[[], Awaitable[Browser]], limits: EngineLimits, tasks: TaskGroup
    ) -> None:
        self.current: Browser | None = None
        self.started = 0
        self.lost = 0
        self.renderers_killed = 0
        self._start = start
        self._limits = limits
        self._tasks = tasks
        self._all: set[Browser] = set()
        self._starting = asyncio.Lock()
        self._failures = _Failures()
        self._replacing = False
        self._idle_since = time.monotonic()

    async def acquire(self) -> Browser:
        """A browser for one document, at work until `release`; raises RenderError."""
        browser = self.current
        if browser is None or not browser.is_alive:
            browser = await self._fresh()
        browser.active += 1
        browser.documents += 1
        if self._is_due(browser) and not self._replacing:
            self._replacing = True
            self._tasks.start_soon(self._replace, browser)
        return browser

    def release(self, browser: Browser, *, stuck: bool = False) -> None:
        """The document is over; `stuck` retires the browser at once."""
        browser.active -= 1
        self._idle_since = time.monotonic()
        if stuck or not browser.is_alive:
            self._drop(browser)
        if browser.retiring and browser.active == 0:
            self._tasks.start_soon(self._close, browser)

    def dispose(self, browser: Browser, page: Page) -> None:
        """Closes a page in the background; a browser that can't do it in time is retired."""
        self._tasks.start_soon(self._dispose, browser, page)

    async def watch(self) -> None:
        """Kills renderers above their limit, notices lost browsers, stops idle ones; for ever."""
        while True:
            busy = any(browser.active for browser in self._all)
            await asyncio.sleep(WATCH_STEP_S if busy else IDLE_WATCH_STEP_S)
            for browser in list(self._all):
                self._watch(browser)

    async def close(self) -> None:
        """Ends all browsers, also those at work."""
        self.current = None
        for browser in list(self._all):
            await self._close(browser)

    async def _fresh(self) -> Browser:
        async with self._starting:
            if self.current is not None and self.current.is_alive:
                return self.current
            if self.current is not None:
                self._drop(self.current)
            last = self._failures.last
            if last is not None and time.monotonic() < self._failures.not_before:
                times = self._failures.count
                raise RenderError(last.code, f"Chromium failed to start {times} times: {last}")
            self.current = await self._started()
            return self.current

    async def _started(self) -> Browser:
        try:
            browser = await self._start()
        except RenderError as error:
            self._failures.add(error)
            raise
        self._failures.clear()
        self.started += 1
        self._all.add(browser)
        return browser

    def _is_due(self, browser: Browser) -> bool:
        return (
            browser.documents >= self._limits.documents_per_browser
            or time.monotonic() - browser.started_at >= self._limits.browser_age_s
            or browser.private_bytes > self._limits.browser_bytes
        )

    async def _replace(self, old: Browser) -> None:
        try:
            async with self._starting:
                if self.current is not old:
                    return  # it is gone already: the next document has a successor, or starts it
                self.current = await self._started()
        except RenderError as error:  # the old one goes on; the next document tries again
            _log.warning("chromium_replacement_failed", reason=str(error))
            return
        finally:
            self._replacing = False
        _log.info(
            "chromium_replaced",
            pid=old.pid,
            documents=old.documents,
            private_mb=old.private_bytes >> 20,
        )
        if not old.retiring:
            old.retiring = True
            if old.active == 0:
                await self._close(old)

    def _drop(self, browser: Browser) -> None:
        if browser is self.current:
            self.current = None
        if browser.retiring:
            return
        browser.retiring = True
        self.lost += 1
        _log.warning("chromium_lost", pid=browser.pid, documents=browser.documents)
        if browser.active == 0:
            self._tasks.start_soon(self._close, browser)

    async def _dispose(self, browser: Browser, page: Page) -> None:
        if not await browser.dispose(page, self._limits):
            self._drop(browser)

    async def _close(self, browser: Browser) -> None:
        self._all.discard(browser)
        await browser.close()

    def _watch(self, browser: Browser) -> None:
        if not browser.is_alive:
            if browser is self.current:
                self._drop(browser)
            return
        if browser.active:
            for pid in browser.measure(self._limits):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                    browser.killed_at.append(time.monotonic())
                    self.renderers_killed += 1
                    _log.warning("chromium_renderer_killed", pid=pid, browser=browser.pid)
        elif (
            browser is self.current
            and time.monotonic() - self._idle_since > self._limits.idle_browser_s
        ):
            self.current = None
            browser.retiring = True
            self._tasks.start_soon(self._close, browser)


def explains_crash(browser: Browser) -> bool:
    """Whether the watchdog just killed a renderer of this browser; a kill explains one crash."""
    now = time.monotonic()
    browser.killed_at = [moment for moment in browser.killed_at if now - moment < KILL_MEMORY_S]
    return bool(browser.killed_at) and bool(browser.killed_at.pop(0))
