"""What a failed document leaves: what it said, what it lacked, how it looked; no secrets."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pymupdf
import pytest

from makeready.pdf import text_of
from makeready.print_options import PrintOptions
from makeready_workers.chromium import ChromiumEngine, Fault, RenderError
from makeready_workers.chromium.evidence import BINDING, MESSAGE_LENGTH, MESSAGES_KEPT
from makeready_workers.chromium.records import SCREENSHOT_BYTES
from tests.support.chromium import BOTH, ENDLESS, LOOSE, SCRIPTS, running_engine, show, tight

NEVER = replace(SCRIPTS, wait_for="window.never")
TIME_S = 1.5  # for a document that never ends to get to where it hangs, on a busy machine too
SECRET = "X-Amz-Signature=0123456789abcdef"


@pytest.fixture(scope="module", params=BOTH)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ChromiumEngine]:
    async with running_engine(name=request.param) as running:
        await show(running, "<p>warm")  # starting takes of a document's time
        yield running


async def failed(engine: ChromiumEngine, html: str, **options: Any) -> RenderError:
    with pytest.raises(RenderError) as caught:
        await show(engine, html, **options)
    json.dumps(caught.value.evidence)
    return caught.value


def red_share(picture: bytes) -> float:
    """How much of a picture is red."""
    shown = pymupdf.Pixmap(picture)
    assert shown.width == 800
    pixels = [shown.pixel(x, y) for x in range(0, 800, 40) for y in range(0, shown.height, 40)]
    return float(sum(red > 200 and green < 60 for red, green, *_ in pixels) / len(pixels))


async def test_what_scripts_say_and_throw_is_kept(engine: ChromiumEngine) -> None:
    html = """<p>x<script>
        console.log('начало', 1, {a: 1}); console.warn('hm');
        setTimeout(() => { null.field }); Promise.reject(new Error('отказ'));
    </script><script>no script</script>"""
    lost = await failed(engine, html, options=NEVER, timeout_s=TIME_S)
    assert lost.code == Fault.RENDER_TIMEOUT
    assert lost.evidence["console"] == ["log: начало 1 [object Object]", "warn: hm"]
    assert any("TypeError" in text for text in lost.evidence["errors"])
    assert any("отказ" in text for text in lost.evidence["errors"])
    assert any("SyntaxError" in text for text in lost.evidence["errors"])
    assert lost.evidence["phase"] == "wait"
    assert lost.evidence["timings_ms"]["wait"] > 0 < lost.evidence["timings_ms"]["load"]
    assert "chromium 1" in lost.evidence["engine"]


async def test_what_is_kept_is_bounded(engine: ChromiumEngine) -> None:
    html = "<p>x<script>for (let i = 0; i < 9999; i++) console.log('я'.repeat(9999), i)</script>"
    lost = await failed(engine, html, options=NEVER, timeout_s=TIME_S)
    assert lost.code == Fault.RENDER_TIMEOUT
    assert len(lost.evidence["console"]) == MESSAGES_KEPT
    assert {len(text) for text in lost.evidence["console"]} == {MESSAGE_LENGTH}
    assert len(json.dumps(lost.evidence, ensure_ascii=False).encode()) < 20_000


async def test_what_a_document_hangs_in_was_told_before(engine: ChromiumEngine) -> None:
    html = "<p>x<script>console.info('last words'); while (true) {}</script>"
    lost = await failed(engine, html, options=SCRIPTS, timeout_s=TIME_S)
    assert lost.evidence["console"] == ["info: last words"]


async def test_no_script_gets_hold_of_the_means_to_tell(engine: ChromiumEngine) -> None:
    html = f"""<iframe id=f></iframe><p id=a>x<script>
        String.prototype.slice = Array.prototype.push = Function.prototype.call = function () {{
            window.seen = [this, ...arguments].some(each => typeof each === 'function');
        }};
        console.log('x');
        a.textContent = [typeof {BINDING}, typeof f.contentWindow.{BINDING}, window.seen].join();
    </script>"""
    shown = await show(engine, html, options=SCRIPTS)
    assert "undefined,undefined," in text_of(shown.pdf)
    assert "true" not in text_of(shown.pdf)


async def test_addresses_are_kept_without_data_users_and_queries(engine: ChromiumEngine) -> None:
    html = f"""<img src="https://user:word@store.invalid/a.png?{SECRET}">
        <img src="data:image/png;base64,{"AAAA" * 99}"><iframe src="http://other.invalid/b"></iframe>
        <p>x"""
    lost = await failed(engine, html, options=PrintOptions())
    assert lost.code == Fault.ASSET_MISSING
    assert lost.evidence["missing"] == ["https://store.invalid/a.png?…", "data:image/png,…"]
    assert lost.evidence["blocked"] == ["http://other.invalid/b"]
    said = str(lost) + json.dumps(lost.evidence)
    assert not [word for word in (SECRET, "AAAA", "word@") if word in said]
    warnings = (await show(engine, html)).warnings
    assert not [word for word in (SECRET, "AAAA", "word@") if word in str(warnings)]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("options", [PrintOptions(), PrintOptions(scripts=True)])
async def test_a_failed_page_is_shown_as_it_looked(name: str, options: PrintOptions) -> None:
    html = """<style>html { background: red }</style><p>x<img src=https://pack.invalid/no.png>
        <script>window.ready = 1</script>"""
    async with running_engine(name=name, limits=tight(screenshot_timeout_s=5.0)) as engine:
        for pack in ("a", "a"):  # also a page that had drawn nothing for documents before
            lost = await failed(engine, html, options=options, pack=pack)
            assert lost.code == Fault.ASSET_MISSING
            assert lost.screenshot is not None
            assert len(lost.screenshot) <= SCREENSHOT_BYTES
            assert red_share(lost.screenshot) > 0.9
            await show(engine, "<p>x", pack=pack)


async def test_a_page_that_cannot_show_itself_is_not_waited_for(engine: ChromiumEngine) -> None:
    began = time.monotonic()
    lost = await failed(engine, ENDLESS, options=SCRIPTS, timeout_s=TIME_S)
    assert lost.code == Fault.RENDER_TIMEOUT
    assert lost.screenshot is None
    assert lost.evidence["phase"] == "load"
    assert time.monotonic() - began < TIME_S + 8.0  # calls that must be quick have ten seconds
    assert (await show(engine, "<p>next")).pages == 1


async def test_each_phase_has_a_deadline_of_its_own(engine: ChromiumEngine) -> None:
    short = replace(SCRIPTS, load_timeout_s=0.3)
    lost = await failed(engine, ENDLESS, options=short)
    assert (lost.code, str(lost)) == (
        Fault.RENDER_TIMEOUT,
        "the document did not load within 0.3 seconds",
    )
    html = "<style>p { break-after: page }</style>" + "<p>x" * 20_000
    lost = await failed(engine, html, options=replace(LOOSE, print_timeout_s=0.2))
    assert (lost.code, lost.evidence["phase"]) == (Fault.RENDER_TIMEOUT, "print")
    assert lost.evidence["timings_ms"]["print"] < 5000


async def test_a_picture_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("makeready_workers.chromium.page.SCREENSHOT_BYTES", 10)
    async with running_engine(limits=tight(screenshot_timeout_s=5.0)) as engine:
        lost = await failed(
            engine, "<img src=https://pack.invalid/no.png>", options=PrintOptions()
        )
    assert lost.screenshot is None
