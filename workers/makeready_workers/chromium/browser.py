"""One running Chromium: started through the jail, asked for pages, measured, killed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import anyio
import structlog

from makeready.embedded.chromium import ChromiumBinary
from makeready_workers.chromium import memory
from makeready_workers.chromium.jail import Home, Jail, kill, launch
from makeready_workers.chromium.link import Link, LinkError
from makeready_workers.chromium.page import Page
from makeready_workers.chromium.pipe import Pipe
from makeready_workers.chromium.pyppeteer_link import PyppeteerLink, load_pyppeteer
from makeready_workers.chromium.records import EngineLimits, Fault, RenderError

START_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 0.5

_log = structlog.get_logger(__name__)


class Browser:
    """A browser and the number of pages in it that are at work."""

    def __init__(
        self, link: Link, home: Home, jail: Jail, *, version: str, still_pages: bool
    ) -> None:
        self.link = link
        self.jail = jail
        self.version = version
        self.pid = link.pid
        self.started_at = time.monotonic()
        self.documents = 0
        self.active = 0
        self.retiring = False
        """Takes no more documents; the last one at work closes it."""
        self.private_bytes = 0
        self.killed_at: list[float] = []
        """When the watchdog killed a renderer whose owner has not noticed yet."""
        self._home = home
        self._still_pages = still_pages
        self._closed = False

    @property
    def is_alive(self) -> bool:
        """Whether the link is open and nobody asked it to end."""
        return self.link.is_open and not self._closed

    async def open_page(self, limits: EngineLimits, *, scripts: bool = False) -> Page:
        """A fresh page; raises TimeoutError when the browser is stuck, LinkError if it is gone."""
        async with asyncio.timeout(limits.control_timeout_s):
            return await Page.open(self.link, scripts=scripts, still=self._still_pages)

    async def dispose(self, page: Page, limits: EngineLimits) -> bool:
        """Closes a page and kills its renderer; False means that the browser is stuck or gone."""
        try:
            async with asyncio.timeout(limits.dispose_timeout_s):
                await page.dispose()
        except (LinkError, TimeoutError):
            return False
        return True

    async def wait_for_end(self, limit_s: float) -> None:
        """Returns when the browser process is gone, at the latest after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await asyncio.shield(self.link.exited)

    def measure(self, limits: EngineLimits) -> Sequence[int]:
        """Notes the private memory of the tree; returns the pids above a document's limit."""
        processes = memory.tree(self.pid)
        self.private_bytes = sum(process.private_bytes for process in processes)
        return [
            process.pid
            for process in processes
            if process.is_document and process.resident_bytes > limits.renderer_bytes
        ]

    async def close(self) -> None:
        """Ends the browser and removes its home; does nothing for one that is closed."""
        if self._closed:
            return
        self._closed = True
        with anyio.CancelScope(shield=True):  # bounded, and half a close leaves a browser behind
            with contextlib.suppress(LinkError, TimeoutError):
                # Asked politely it reaps its own children; killed, it leaves them to pid 1, and a
                # container without an init keeps them as zombies.
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self.link.call("Browser.close")
                    await asyncio.shield(self.link.exited)
            await kill(self.link)
            await asyncio.to_thread(self._home.remove)


async def start(binary: ChromiumBinary, rungs: Sequence[Jail], link: type[Link] = Pipe) -> Browser:
    """Starts a browser on the best rung that holds.

    Raises RenderError: BROWSER_LOST when none holds, ENGINE_MISSING without pyppeteer.
    """
    driver = f"pyppeteer {await load_pyppeteer()} " if link is PyppeteerLink else ""
    complaints = []
    for jail in rungs:
        try:
            home = await asyncio.to_thread(Home, jail.uid)
        except OSError as error:  # no room, or no descriptor: of the machine, not of a document
            complaints.append(f"no folder for the browser: {error}")
            continue
        try:
            return await _start_on(binary, jail, home, link, driver)
        except (LinkError, TimeoutError, OSError) as error:
            complaints.append(f"{error} {home.complaint()}".strip())
            await asyncio.to_thread(home.remove)
        except BaseException:
            home.remove()
            raise
    raise RenderError(
        Fault.BROWSER_LOST,
        f"Chromium does not start; {binary.path}: {' / '.join(complaints)[-1000:]}",
        evidence={"complaints": complaints},
    )


async def _start_on(
    binary: ChromiumBinary, jail: Jail, home: Home, kind: type[Link], driver: str
) -> Browser:
    began = time.perf_counter()
    link = await launch(binary, jail, home, kind)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            if isinstance(link, PyppeteerLink):
                await link.connect(home.profile)
            facts = await link.call("Browser.getVersion")
    except BaseException:
        with anyio.CancelScope(shield=True):
            await kill(link)
        raise
    version = f"{driver}chromium {str(facts['product']).rpartition('/')[2]}"
    browser = Browser(link, home, jail, version=version, still_pages=binary.is_headless_shell)
    _log.info(
        "chromium_started",
        pid=browser.pid,
        version=version,
        network_namespace=jail.namespace,
        sandbox=jail.sandbox,
        uid=jail.uid,
        took_ms=round((time.perf_counter() - began) * 1e3),
    )
    return browser
