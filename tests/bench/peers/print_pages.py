"""Prints one HTML file many times, by pyppeteer, Playwright or WeasyPrint; says the times as JSON.

`python print_pages.py pyppeteer|playwright|weasyprint CHROMIUM HTML ROUNDS`. Needs nothing of
Makeready. As in their own manuals: one browser, one page that is used again, backgrounds and the
page size of the style sheet. WeasyPrint has no browser and lays everything out by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

Print = Callable[[str], Awaitable[bytes]]

FLAGS = ["--no-sandbox"]  # root can't have it otherwise; no work is saved by it
WARM_UP = 2


async def by_pyppeteer(chromium: str, work: Callable[[Print], Awaitable[None]]) -> None:
    """Hands `work` a function that prints."""
    from pyppeteer import launch  # noqa: PLC0415

    browser = await launch(
        executablePath=chromium,
        args=FLAGS,
        handleSIGINT=False,
        handleSIGTERM=False,
        handleSIGHUP=False,
    )
    page = await browser.newPage()

    async def show(html: str) -> bytes:
        await page.setContent(html)
        pdf: bytes = await page.pdf(printBackground=True, preferCSSPageSize=True)
        return pdf

    await work(show)
    await browser.close()


async def by_playwright(chromium: str, work: Callable[[Print], Awaitable[None]]) -> None:
    """Hands `work` a function that prints."""
    from playwright.async_api import (  # type: ignore[import-not-found]  # noqa: PLC0415
        async_playwright,
    )

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = await browser.new_page()

        async def show(html: str) -> bytes:
            await page.set_content(html)
            pdf: bytes = await page.pdf(print_background=True, prefer_css_page_size=True)
            return pdf

        await work(show)
        await browser.close()


async def by_weasyprint(_: str, work: Callable[[Print], Awaitable[None]]) -> None:
    """Hands `work` a function that prints."""
    from weasyprint import HTML  # type: ignore[import-not-found]  # noqa: PLC0415

    async def show(html: str) -> bytes:
        pdf: bytes = HTML(string=html).write_pdf()
        return pdf

    await work(show)


PEERS = {"pyppeteer": by_pyppeteer, "playwright": by_playwright, "weasyprint": by_weasyprint}


async def main(peer: str, chromium: str, path: str, rounds: str) -> None:
    """Prints and reports."""
    html = Path(path).read_text("utf-8")
    times: list[float] = []
    size = 0

    async def work(show: Print) -> None:
        nonlocal size
        for _ in range(WARM_UP + int(rounds)):
            began = time.perf_counter()
            size = len(await show(html))
            times.append((time.perf_counter() - began) * 1e3)

    await PEERS[peer](chromium, work)
    sys.stdout.write(json.dumps({"ms": times[WARM_UP:], "bytes": size}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
