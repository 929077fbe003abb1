"""Documents that hang, crash or eat the memory, and browsers that die: the neighbours go on."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.legacy.protocol import WebSocketCommonProtocol

from makeready_workers.chromium import ChromiumEngine, Fault, RenderError
from makeready_workers.chromium import supervisor as supervisor_module
from makeready_workers.chromium.loading import FRAMES_AT_MOST
from makeready_workers.chromium.records import MIB
from tests.support.chromium import (
    BOTH,
    ENDLESS,
    LOOSE,
    SCRIPTS,
    fault_of,
    group,
    pid_of,
    renderers,
    running_engine,
    show,
    tight,
)
from tests.support.waiting import until

PATIENCE_S = 0.7
LOOK_S = 0.2  # for the picture of a page that can't show itself any more
SOON_S = 8.0  # of the 10 s and more that a document, or a call, would have had
GREEDY = 300 * MIB

# A document, whether its scripts run, and what may become of it within PATIENCE_S.
ZOO: dict[str, tuple[str, bool, set[Fault | None]]] = {
    "loop": (ENDLESS, True, {Fault.RENDER_TIMEOUT}),
    "microtasks": (
        "<script>(function f() { Promise.resolve().then(f) })()</script>",
        True,
        {Fault.RENDER_TIMEOUT},
    ),
    "late loop": (
        "<p>x<script>onload = () => setTimeout(() => { while (1); })</script>",
        True,
        {Fault.RENDER_TIMEOUT},
    ),
    "back-tracking": (
        "<script>/^(a+)+$/.test('a'.repeat(40) + 'b')</script>",
        True,
        {Fault.RENDER_TIMEOUT},
    ),
    "elements": (
        "<body><script>for (;;) document.body.append(...Array(999).fill('x'))</script>",
        True,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY, Fault.RENDER_CRASHED},
    ),
    "heap": (
        "<script>const a = []; for (;;) a.push(Array(9999).fill(a.length))</script>",
        True,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY, Fault.RENDER_CRASHED},
    ),
    "buffers": (
        "<script>const a = []; for (;;) a.push(new Uint8Array(9e6).fill(1))</script>",
        True,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY, Fault.RENDER_CRASHED},
    ),
    "pages": (
        "<style>p { break-after: page }</style>" + "<p>x" * 30_000,
        False,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY},
    ),
    "nesting": ("<div>" * 200_000, False, {Fault.RENDER_TIMEOUT, Fault.RENDER_CRASHED, None}),
    "height": ('<div style="height: 1e9px">', False, {Fault.RENDER_TIMEOUT, None}),
    "rows": (
        "<table>" + "<tr><td>позиция<td>1 234,50<td>шт.<td>42 ₽" * 60_000,
        False,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY},
    ),
    "crash": (
        "<p>x<script>location = 'chrome://crash'</script><iframe src='chrome://kill'></iframe>",
        True,
        {Fault.RENDER_TIMEOUT, Fault.TEMPLATE_ERROR, Fault.RENDER_CRASHED, None},
    ),
    "dialogs": (
        "<p>x<script>for (;;) { alert(1); confirm(2); prompt(3) }</script>",
        True,
        {Fault.RENDER_TIMEOUT},
    ),
    "frames": (
        """<body><script>
        for (let at = document;;) {
          at.body.append(document.createElement('iframe'));
          at = at.body.lastChild.contentDocument || document;
        }</script>""",
        True,
        {Fault.TEMPLATE_ERROR, Fault.RENDER_TIMEOUT},
    ),
    "chatter": (
        "<p>x<script>for (;;) console.log('я'.repeat(1e5))</script>",
        True,
        {Fault.RENDER_TIMEOUT},
    ),
    "requests": (
        "<p>x<script>for (;;) new Image().src = 'https://pack.invalid/' + Math.random()</script>",
        True,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY},
    ),
    "filters": (
        '<svg width=9000 height=9000><filter id=f><feGaussianBlur stdDeviation=900 /></filter>'
        '<rect width=9000 height=9000 filter="url(#f)"/></svg>' * 9,
        False,
        {Fault.RENDER_TIMEOUT, Fault.RENDER_OUT_OF_MEMORY, None},
    ),
}  # fmt: skip

CLOSED = """<style>@font-face { font-family: a; src: url(data:font/ttf;base64,AAAA) }</style>
<p>x<script>
  FontFace.prototype.load = () => new Promise(() => {});
  const frame = document.body.appendChild(document.createElement('iframe'));
  setTimeout(() => frame.contentWindow.close.call(window), 100)</script>"""


@pytest.fixture(scope="module", params=BOTH)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ChromiumEngine]:
    # Nothing else may replace the browser: it must be the same one in the end.
    limits = tight(
        renderer_bytes=GREEDY,
        documents_per_browser=10**6,
        browser_bytes=1 << 40,
        screenshot_timeout_s=LOOK_S,
    )
    async with running_engine(name=request.param, limits=limits) as running:
        await show(running, "<p>warm", pack="neighbour")
        yield running


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What the event loop itself complains of."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, facts: found.append(facts["message"]))
    yield found
    loop.set_exception_handler(None)


async def attempt(engine: ChromiumEngine, html: str, *, scripts: bool) -> Fault | None:
    try:
        await show(
            engine, html, options=SCRIPTS if scripts else LOOSE, timeout_s=PATIENCE_S, pack="zoo"
        )
    except RenderError as error:
        return error.code
    return None


@pytest.mark.parametrize("animal", ZOO)
async def test_a_hostile_document_ends_alone(engine: ChromiumEngine, animal: str) -> None:
    html, scripts, ends = ZOO[animal]
    browser, before = pid_of(engine), engine.statistics().browsers_lost
    guilty = asyncio.create_task(attempt(engine, html, scripts=scripts))
    printed = 0
    while not guilty.done():
        await show(engine, "<p>neighbour", pack="neighbour")
        printed += 1
    assert await guilty in ends
    assert printed >= 1
    assert (await show(engine, "<p>next", pack="zoo")).pages == 1
    assert (pid_of(engine), engine.statistics().browsers_lost) == (browser, before)


async def test_a_document_has_a_bounded_number_of_frames(engine: ChromiumEngine) -> None:
    most = "<p>x" + "<iframe srcdoc=y></iframe>" * FRAMES_AT_MOST
    for _ in range(2):  # on one page
        assert (await show(engine, most, pack="frames")).pages > 1
    with pytest.raises(RenderError, match="more than 100 frames") as caught:
        await show(engine, most + "<iframe></iframe>", pack="frames")
    assert caught.value.code == Fault.TEMPLATE_ERROR


async def test_a_page_that_prints_and_closes_itself_is_printed(engine: ChromiumEngine) -> None:
    html = "<p>x<script>close(); onload = () => { print(); window.close() }</script>"
    assert (await show(engine, html, options=SCRIPTS)).pages == 1


async def test_a_page_that_is_closed_all_the_same_fails_before_its_deadline(
    engine: ChromiumEngine,
) -> None:
    began = time.monotonic()
    assert await fault_of(engine, CLOSED, options=SCRIPTS) == Fault.TEMPLATE_ERROR
    assert time.monotonic() - began < SCRIPTS.load_timeout_s


async def test_the_renderer_of_a_hanging_page_is_gone_soon_after_its_deadline(
    engine: ChromiumEngine,
) -> None:
    before = set(renderers(pid_of(engine)))
    assert await attempt(engine, ENDLESS, scripts=True) == Fault.RENDER_TIMEOUT
    await until(
        lambda: len(set(renderers(pid_of(engine))) - before) <= 1,  # one may be the next spare
        what="the end of the hanging renderer",
    )


async def test_a_greedy_document_is_killed_by_its_memory_and_told_so(
    engine: ChromiumEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "WATCH_STEP_S", 0.02)
    html = """<script>
        const a = [];
        setInterval(() => a.push(new Uint8Array(2e7).fill(1)), 5);
    </script>"""
    options = replace(SCRIPTS, wait_for="window.never")
    neighbour = show(engine, "<p>x<script>setTimeout(() => window.done = 1, 400)</script>",
                     options=replace(SCRIPTS, wait_for="window.done"))  # fmt: skip
    greedy = fault_of(engine, html, options=options, timeout_s=10.0)
    code, result = await asyncio.gather(greedy, neighbour)
    assert code == Fault.RENDER_OUT_OF_MEMORY
    assert result.pages == 1
    assert engine.statistics().renderers_killed >= 1


async def test_a_document_of_too_many_pages_is_told_so() -> None:
    html = "<style>p { break-after: page }</style>" + "<p>страница" * 30_000
    async with running_engine(limits=tight(renderer_bytes=200 * MIB)) as engine:
        assert await fault_of(engine, html) == Fault.RENDER_OUT_OF_MEMORY
        # Chromium 153 ends with a renderer that is killed while it prints, 156 does not. Then the
        # next document finds it gone, which costs that document no attempt.
        try:
            again = await show(engine, "<p>next")
        except RenderError as error:
            if error.code is not Fault.BROWSER_LOST or error.counts:
                raise
            again = await show(engine, "<p>next")
        assert again.pages == 1


async def test_a_killed_renderer_fails_its_own_document_at_once(engine: ChromiumEngine) -> None:
    await until(lambda: engine._pages._spare is not None, what="the spare page")
    before = set(renderers(pid_of(engine)))
    options = replace(SCRIPTS, wait_for="window.never")
    task = asyncio.create_task(fault_of(engine, "<p>x<script></script>", options=options))
    (victim,) = await until(lambda: set(renderers(pid_of(engine))) - before, what="the renderer")
    await asyncio.sleep(0.2)  # past the creation of the page, into the wait
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    assert await task == Fault.RENDER_CRASHED
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("name", BOTH)
async def test_a_killed_browser_costs_no_attempt_and_the_next_document_gets_another(
    name: str, complaints: list[str]
) -> None:
    async with running_engine(name=name) as engine:
        await show(engine, "<p>x", pack="a")
        first = pid_of(engine)
        options = replace(SCRIPTS, wait_for="window.never")
        tasks = [
            asyncio.create_task(show(engine, "<p>x", options=options, timeout_s=10.0))
            for _ in range(3)
        ]
        await until(lambda: len(renderers(first)) >= 4, what="three pages at work")
        began = time.monotonic()
        os.killpg(first, signal.SIGKILL)
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - began < SOON_S
        for error in errors:
            assert isinstance(error, RenderError)
            assert error.code == Fault.BROWSER_LOST
            assert error.retryable
            assert not error.counts
        assert (await show(engine, "<p>again", pack="a")).pages == 1
        assert pid_of(engine) != first
        assert engine.statistics().browsers_lost == 1
        await until(lambda: not group(first), what="the end of the killed browser")
    gc.collect()
    assert complaints == [], "an error that nobody looked at"


@pytest.mark.parametrize("name", BOTH)
async def test_a_browser_that_is_told_to_end_costs_no_attempt_either(name: str) -> None:
    async with running_engine(name=name) as engine:
        await show(engine, "<p>x", pack="a")
        first = pid_of(engine)
        options = replace(SCRIPTS, wait_for="window.never")
        tasks = [
            asyncio.create_task(fault_of(engine, html, options=options))
            for html in ("<p>x", ENDLESS)
        ]
        await until(lambda: len(renderers(first)) >= 3, what="two pages at work")
        os.kill(first, signal.SIGTERM)
        assert await asyncio.gather(*tasks) == [Fault.BROWSER_LOST] * 2
        assert (await show(engine, "<p>again", pack="a")).pages == 1


@pytest.mark.parametrize("error", [ConnectionClosedError(None, None), BrokenPipeError()])
async def test_a_send_that_finds_the_websocket_closed_first_is_a_lost_browser_too(
    complaints: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def closed(*_: object) -> None:
        raise error

    before = asyncio.all_tasks()
    async with running_engine(name="pyppeteer") as engine:
        await show(engine, "<p>x")
        with monkeypatch.context() as socket:
            socket.setattr(WebSocketCommonProtocol, "send", closed)
            assert await fault_of(engine, "<p>y") == Fault.BROWSER_LOST
        assert (await show(engine, "<p>z")).pages == 1
    await until(lambda: asyncio.all_tasks() <= before, what="the end of every send")
    gc.collect()
    assert complaints == [], "an error that nobody looked at"


@pytest.mark.parametrize("name", BOTH)
async def test_a_stopped_browser_is_noticed_and_replaced(
    name: str,
) -> None:
    limits = tight(dispose_timeout_s=0.3, control_timeout_s=1.0, screenshot_timeout_s=0.1)
    async with running_engine(name=name, limits=limits) as engine:
        await show(engine, "<p>x", pack="a")
        first = pid_of(engine)
        os.kill(first, signal.SIGSTOP)
        assert await fault_of(engine, "<p>y", pack="a", timeout_s=0.3) == Fault.RENDER_TIMEOUT
        await until(lambda: engine.statistics().browser_pid != first, what="the retirement")
        assert (await show(engine, "<p>z", pack="a")).pages == 1
        await until(lambda: not group(first), timeout_s=5.0, what="the end of the stopped one")
