"""What print options promise, and every way a document can fail, by both engines alike."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pymupdf
import pytest

from makeready.embedded.chromium import find_chromium
from makeready.pdf import inspect, text_of
from makeready.print_options import PrintOptions
from makeready_workers.chromium import ChromiumEngine, Fault, RenderError, open_engine
from makeready_workers.chromium.records import MIB
from tests.support.chromium import (
    BOTH,
    ENDLESS,
    LOOSE,
    SCRIPTS,
    SETTINGS,
    fault_of,
    pid_of,
    renderers,
    running_engine,
    show,
    tight,
    without_fonts,
)
from tests.support.waiting import until

NEVER = replace(SCRIPTS, wait_for="window.never")
CHAPTERS = """<html lang=ru><title>Отчёт</title><style>
    @page { size: A5; @top-left { content: 'Отчёт' }
            @bottom-right { content: 'с. ' counter(page) ' из ' counter(pages) } }
    @page wide { size: A4 landscape }
    h1 { break-before: page } h1:first-of-type { break-before: avoid } .wide { page: wide }
    </style><h1>Первая</h1><p>один<h1>Вторая</h1><p>два<h1 class=wide>Третья</h1>"""


@pytest.fixture(scope="module", params=BOTH)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ChromiumEngine]:
    async with running_engine(name=request.param) as running:
        yield running


def texts(pdf: bytes) -> list[str]:
    document = pymupdf.open(stream=pdf)
    return [document[number].get_text() for number in range(document.page_count)]


async def test_heads_feet_and_mixed_sizes_come_from_the_style_sheet(
    engine: ChromiumEngine,
) -> None:
    result = await show(engine, CHAPTERS)
    pages = texts(result.pdf)
    assert len(pages) == result.pages == 3
    for number, text in enumerate(pages, start=1):
        assert "Отчёт" in text
        assert f"с. {number} из 3" in text
    document = pymupdf.open(stream=result.pdf)
    sizes = [document[number].rect for number in range(3)]
    assert [size.width > size.height for size in sizes] == [False, False, True]


async def test_page_ranges_and_scale_are_kept(engine: ChromiumEngine) -> None:
    some = await show(engine, CHAPTERS, options=replace(LOOSE, page_ranges="2-3"))
    assert [("Вторая" in text, "Первая" in text) for text in texts(some.pdf)] == [
        (True, False),
        (False, False),
    ]
    row = "<style>@page { size: A4; margin: 0 }</style>" + "<p>строка" * 40
    whole, half = (
        await show(engine, row),
        await show(engine, row, options=replace(LOOSE, scale=0.5)),
    )
    assert (whole.pages, half.pages) == (2, 1)


async def test_an_outline_has_the_headings_and_tags_have_the_language(
    engine: ChromiumEngine,
) -> None:
    outlined = await show(engine, CHAPTERS, options=replace(LOOSE, outline=True))
    assert [entry[1] for entry in pymupdf.open(stream=outlined.pdf).get_toc()] == [
        "Первая",
        "Вторая",
        "Третья",
    ]
    tagged = await show(engine, CHAPTERS, options=replace(LOOSE, accessible=True))
    assert b"/StructTreeRoot" in tagged.pdf
    assert b"/Lang (ru)" in tagged.pdf
    assert inspect(tagged.pdf).title == "Отчёт"


async def test_printing_waits_for_what_the_template_says(engine: ChromiumEngine) -> None:
    html = """<p id=a>early<script>
        setTimeout(() => { a.textContent = 'late'; window.done = true }, 300)</script>"""
    early = await show(engine, html, options=SCRIPTS)
    late = await show(engine, html, options=replace(SCRIPTS, wait_for="window.done"))
    assert (text_of(early.pdf).strip(), text_of(late.pdf).strip()) == ("early", "late")


# One way into each fault; `name` is the engine's.


async def broken_template(name: str) -> Fault:
    async with running_engine(name=name) as engine:
        return await fault_of(engine, "<p>x", options=replace(SCRIPTS, wait_for="nothing.at.all"))


async def missing_asset(name: str) -> Fault:
    async with running_engine(name=name) as engine:
        html = "<p>x<img src=https://pack.invalid/none.png>"
        return await fault_of(engine, html, options=PrintOptions())


async def bad_options(name: str) -> Fault:
    async with running_engine(name=name) as engine:
        wrong = [{"page_ranges": "5-9"}, {"page_ranges": "3-1"}, {"margin_mm": 100.0}]
        found = {
            await fault_of(engine, "<p>x", options=replace(LOOSE, paper="A5", **each))  # type: ignore[arg-type]
            for each in wrong
        }
    (fault,) = found
    return fault


async def too_slow(name: str) -> Fault:
    async with running_engine(name=name, limits=tight(screenshot_timeout_s=0.1)) as engine:
        return await fault_of(engine, ENDLESS, options=SCRIPTS, timeout_s=0.5)


async def too_greedy(name: str) -> Fault:
    html = "<script>const a = []; for (;;) a.push(new Uint8Array(9e6).fill(1))</script>"
    async with running_engine(name=name, limits=tight(renderer_bytes=250 * MIB)) as engine:
        return await fault_of(engine, html, options=SCRIPTS)


async def crashed(name: str) -> Fault:
    async with running_engine(name=name) as engine:
        await show(engine, "<p>x", pack="a")
        await until(lambda: engine._pages._spare is not None, what="the spare page")
        before = set(renderers(pid_of(engine)))
        html = "<p>x<script>console.log('here')</script>"
        task = asyncio.create_task(fault_of(engine, html, options=NEVER))
        (victim,) = await until(lambda: set(renderers(pid_of(engine))) - before, what="a renderer")
        os.kill(victim, signal.SIGKILL)
        return await task


async def lost_browser(name: str) -> Fault:
    async with running_engine(name=name) as engine:
        await show(engine, "<p>x")
        task = asyncio.create_task(fault_of(engine, "<p>x", options=NEVER))
        await until(lambda: engine.statistics().active == 1, what="the document")
        os.killpg(pid_of(engine), signal.SIGKILL)
        return await task


async def no_letters(name: str) -> Fault:
    async with running_engine(
        name=name, binary=without_fonts(find_chromium(SETTINGS)), own_fonts=False
    ) as engine:
        assert await fault_of(engine, "<p>x") == Fault.FONTS_MISSING, "no empty page is printed"
        return await fault_of(engine, "<p>not remembered as an answer for ever")


async def no_engine(name: str) -> Fault:
    with pytest.raises(RenderError, match="no engine") as caught:
        async with open_engine(SETTINGS, name=f"{name}-of-tomorrow"):
            pass
    return caught.value.code


PROVOKED: dict[Fault, Callable[[str], Awaitable[Fault]]] = {
    Fault.TEMPLATE_ERROR: broken_template,
    Fault.ASSET_MISSING: missing_asset,
    Fault.INVALID_PRINT_OPTIONS: bad_options,
    Fault.RENDER_TIMEOUT: too_slow,
    Fault.RENDER_OUT_OF_MEMORY: too_greedy,
    Fault.RENDER_CRASHED: crashed,
    Fault.BROWSER_LOST: lost_browser,
    Fault.FONTS_MISSING: no_letters,
    Fault.ENGINE_MISSING: no_engine,
}


def test_every_fault_is_provoked() -> None:
    # The store is the handler's: tests/workers/test_render.py.
    assert set(Fault) - set(PROVOKED) == {Fault.STORAGE_ERROR}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("fault", PROVOKED)
async def test_a_document_fails_by_the_same_name_in_both_engines(fault: Fault, name: str) -> None:
    assert await PROVOKED[fault](name) == fault
