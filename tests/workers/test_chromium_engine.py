"""What both engines print, and how the default one looks after its browsers and pages.

Proves RND-022.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import makeready
from makeready.documents.shipped import document_type, registry, sample
from makeready.documents.typesetting import ASSET_ORIGIN, Asset, build_html
from makeready.embedded.chromium import find_chromium
from makeready.pdf import inspect, text_of, verify
from makeready.print_options import PrintOptions
from makeready_workers.chromium import ChromiumEngine, Fault, RenderError
from tests.support.chromium import (
    BOTH,
    LOOSE,
    SCRIPTS,
    SETTINGS,
    fault_of,
    group,
    is_alive,
    open_files,
    pid_of,
    renderers,
    running_engine,
    show,
    tight,
    without_fonts,
)
from tests.support.waiting import until

FONT = Path(makeready.__file__).parent / "document_types/_fonts/IBMPlexSerif-Italic.ttf"


@pytest.fixture(scope="module", params=BOTH)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ChromiumEngine]:
    async with running_engine(name=request.param) as running:
        yield running


@pytest.mark.parametrize("engine", BOTH[:1], indirect=True)
@pytest.mark.parametrize("lang", ["ru", "en"])
@pytest.mark.parametrize("name", sorted(registry()))
async def test_every_shipped_document_is_printed_whole(
    engine: ChromiumEngine, name: str, lang: str
) -> None:
    doc = document_type(name)
    made = build_html(doc, sample(doc, lang), lang)
    result = await engine.render(made.html, made.assets, doc.options, timeout_s=15, pack=lang)
    facts = verify(result.pdf, pages=result.pages)
    assert facts.pages == {"invoice": 1, "letter": 1, "report": 10}.get(name, facts.pages) <= 10
    assert facts.page_size_mm == pytest.approx((210, 297), abs=0.3)
    assert facts.title
    assert all("Plex" in font.name for font in facts.fonts), facts.fonts
    assert result.warnings == ()
    assert result.timings["total"] >= result.timings["print"] > 0


async def test_russian_and_the_rouble_sign_can_be_read_back(engine: ChromiumEngine) -> None:
    families = ("sans-serif", "serif", "Arial", "'IBM Plex Serif'")
    html = "".join(
        f'<p style="font-family: {name}">Счёт № 5: 42 ₽, «ёлка»</p>' for name in families
    )
    result = await show(engine, html)
    assert text_of(result.pdf).count("Счёт № 5: 42 ₽, «ёлка»") == len(families)


@pytest.mark.parametrize("engine", BOTH[:1], indirect=True)
@pytest.mark.parametrize("second", BOTH)
async def test_two_browsers_print_the_same_bytes(engine: ChromiumEngine, second: str) -> None:
    doc = document_type("report")
    made = build_html(doc, sample(doc, "ru"), "ru")
    digests = set()
    async with running_engine(name=second) as other:
        for printer, pack in ((engine, "a"), (engine, "a"), (other, None), (other, "b")):
            result = await printer.render(
                made.html, made.assets, doc.options, timeout_s=15, pack=pack
            )
            digests.add(hashlib.sha256(result.pdf).digest())
    assert len(digests) == 1


async def test_both_dates_are_those_that_were_asked_for(engine: ChromiumEngine) -> None:
    moment = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    result = await show(engine, "<p>x", options=replace(LOOSE, created_at=moment))
    assert result.pdf.count(b"(D:20261120093000") == 2


async def test_documents_of_a_pack_share_a_page_and_others_do_not_rnd_022(
    engine: ChromiumEngine,
) -> None:
    opened = []
    for pack in ("one", "one", "two", None, "one"):
        await show(engine, f"<p>{pack}", pack=pack)
        opened.append(engine._pages._idle.copy())
    pages = {entry[0]: entry[2] for entry in opened[-1].values()}
    assert pages["one"].documents == 3
    assert pages["two"].documents == 1
    assert pages["one"].context != pages["two"].context


async def test_nothing_of_one_document_is_seen_in_the_next(engine: ChromiumEngine) -> None:
    first = "<title>First</title><style>p { color: red } body::after { content: 'leak' }</style>"
    await show(engine, first + "<p>first<meta http-equiv=refresh content='0.1;url=/x'>", pack="p")
    second = await show(engine, "<p>second", pack="p")
    assert text_of(second.pdf).strip() == "second"
    assert inspect(second.pdf).title == ""


async def test_a_document_that_leaves_itself_is_not_printed_as_an_empty_page(
    engine: ChromiumEngine,
) -> None:
    html = "<p>here<script>location = 'about:blank'</script>"
    options = replace(SCRIPTS, wait_for="!document.body || !document.body.children.length")
    assert await fault_of(engine, html, options=options) == Fault.TEMPLATE_ERROR


async def test_scripts_are_off_unless_asked_for(engine: ChromiumEngine) -> None:
    html = "<p id=a>off<script>a.textContent = 'on'</script>"
    assert "off" in text_of((await show(engine, html)).pdf)
    assert "on" in text_of((await show(engine, html, options=SCRIPTS, pack="p")).pdf)


async def test_a_script_gets_frames_and_is_waited_for(engine: ChromiumEngine) -> None:
    html = """<p id=a>early<script>
        requestAnimationFrame(() => setTimeout(() => { a.textContent = 'late'; window.done = 1 }))
    </script>"""
    result = await show(engine, html, options=replace(SCRIPTS, wait_for="window.done"))
    assert "late" in text_of(result.pdf)


async def test_a_script_that_throws_while_it_is_waited_for_is_the_templates_error(
    engine: ChromiumEngine,
) -> None:
    options = replace(SCRIPTS, wait_for="nothing.at.all")
    assert await fault_of(engine, "<p>x", options=options) == Fault.TEMPLATE_ERROR


async def test_dialogs_do_not_stop_a_document(engine: ChromiumEngine) -> None:
    html = "<p>x<script>alert(1); confirm(2); prompt(3); window.print()</script>"
    assert (await show(engine, html, options=SCRIPTS)).pages == 1


@pytest.mark.parametrize("options", [LOOSE, SCRIPTS], ids=["still", "scripts"])
async def test_frames_show_assets_and_nothing_replaces_the_document(
    engine: ChromiumEngine, options: PrintOptions
) -> None:
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg'><text y='20'>drawn</text></svg>"
    assets = {
        "a.svg": Asset(media_type="image/svg+xml", content=drawing),
        "in.html": Asset(
            media_type="text/html", content=b"<link rel=stylesheet href=a.css>framed"
        ),
        "out.html": Asset(
            media_type="text/html",
            content=b"<script>top.location = '/in.html'</script><a target=_top href=in.html>x</a>",
        ),
        "a.css": Asset(media_type="text/css", content=b"body::after { content: 'styled' }"),
    }
    html = (
        f"<base href='{ASSET_ORIGIN}'><meta http-equiv=refresh content='0; url=in.html'>itself"
        "<object data=a.svg type=image/svg+xml></object><iframe src=in.html></iframe>"
        "<iframe src=out.html></iframe>"
    )
    found = text_of((await engine.render(html, assets, options, timeout_s=10)).pdf)
    for word in ("itself", "drawn", "framed", "styled"):
        assert word in found


async def test_a_plug_in_that_nobody_has_holds_nothing_up(engine: ChromiumEngine) -> None:
    html = (
        f"<base href='{ASSET_ORIGIN}'><link rel=stylesheet href=a.css><p>beside"
        "<object data=film.swf type=application/x-shockwave-flash>the film</object>"
    )
    assets = {
        "a.css": Asset(media_type="text/css", content=b"p { color: red }"),
        "film.swf": Asset(media_type="application/x-shockwave-flash", content=b"FWS"),
    }
    result = await engine.render(html, assets, LOOSE, timeout_s=5)
    assert "beside" in text_of(result.pdf)


async def test_fonts_pictures_and_styles_come_from_the_assets(engine: ChromiumEngine) -> None:
    assets = {
        "my font.ttf": Asset(media_type="font/ttf", content=FONT.read_bytes()),
        "a.css": Asset(
            media_type="text/css",
            content=b"@font-face { font-family: Own; src: url('my%20font.ttf?v=1') }"
            b"p { font-family: Own }",
        ),
        "a.svg": Asset(
            media_type="image/svg+xml",
            content=b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        ),
    }
    html = """<link rel=stylesheet href="https://pack.invalid/a.css">
        <img src="https://pack.invalid/a.svg"><p>x"""
    for pack in ("q", "q"):
        result = await show(engine, html, assets=assets, pack=pack, options=PrintOptions())
        assert [font.name for font in inspect(result.pdf).fonts] == ["IBMPlexSerif-Italic"]


@pytest.mark.parametrize(
    "hole",
    [
        '<img src="https://pack.invalid/none.png">',
        '<img src="http://127.0.0.1/none.png">',
        '<img src="data:image/png;base64,AAAA">',
        '<link rel=stylesheet href="https://pack.invalid/none.css">',
        "<style>@font-face{font-family:N;src:url(https://pack.invalid/n.ttf)}p{font-family:N}</style>",
        '<p style="background: url(https://pack.invalid/none.png)">x',
    ],
)
async def test_a_hole_in_the_page_fails_a_strict_document_and_is_a_warning_otherwise(
    engine: ChromiumEngine, hole: str
) -> None:
    html = f"{hole}<p>x"
    assert await fault_of(engine, html, options=PrintOptions()) == Fault.ASSET_MISSING
    assert (await show(engine, html)).warnings[0].startswith("missing: ")


@pytest.mark.parametrize(
    "options",
    [{"page_ranges": "5-9"}, {"page_ranges": "b"}, {"margin_mm": 100.0, "paper": "A5"}],
)
async def test_options_that_chromium_refuses_are_named_as_such(
    engine: ChromiumEngine, options: dict[str, object]
) -> None:
    wrong = replace(LOOSE, **options)  # type: ignore[arg-type]
    assert await fault_of(engine, "<p>x", options=wrong) == Fault.INVALID_PRINT_OPTIONS


async def test_the_style_sheet_sets_the_page_and_options_do_where_it_is_silent(
    engine: ChromiumEngine,
) -> None:
    a5 = await show(engine, "<style>@page { size: A5 landscape }</style><p>x")
    assert inspect(a5.pdf).page_size_mm == pytest.approx((210, 148), abs=0.5)
    letter = await show(engine, "<p>x", options=replace(LOOSE, paper="Letter", landscape=True))
    assert inspect(letter.pdf).page_size_mm == pytest.approx((279.4, 215.9), abs=0.5)


async def test_tags_are_left_out_unless_asked_for(engine: ChromiumEngine) -> None:
    html = "<html lang=ru><h1>Раздел</h1><p>x"
    plain = await show(engine, html)
    tagged = await show(engine, html, options=replace(LOOSE, accessible=True))
    outlined = await show(engine, html, options=replace(LOOSE, outline=True))
    assert [b"/StructTreeRoot" in result.pdf for result in (plain, tagged, outlined)] == [
        False,
        True,
        True,
    ]
    assert b"/Outlines" in outlined.pdf


async def test_input_above_the_cap_is_refused_before_it_reaches_the_browser() -> None:
    async with running_engine(limits=tight(input_bytes=1000, asset_bytes=1000)) as engine:
        assert await fault_of(engine, "x" * 1001) == Fault.TEMPLATE_ERROR
        assert await fault_of(engine, "ы" * 501) == Fault.TEMPLATE_ERROR
        big = {"a": Asset(media_type="image/png", content=bytes(1001))}
        assert await fault_of(engine, "<p>", assets=big) == Fault.TEMPLATE_ERROR
        assert engine.statistics().browsers_started == 0
        assert (await show(engine, "ы" * 400)).pages == 1


async def test_a_large_document_is_read_in_pieces_and_equals_the_small_way(
    engine: ChromiumEngine,
) -> None:
    html = "<style>p { break-after: page }</style>" + "<p>страница" * 300
    small = await show(engine, html)
    async with running_engine(limits=tight(stream_above_bytes=10)) as other:
        large = await show(other, html)
    assert small.pages == 300
    assert small.pdf == large.pdf


async def test_a_pdf_above_the_cap_is_refused() -> None:
    html = "<p>x" * 2000
    async with running_engine(limits=tight(stream_above_bytes=1, pdf_bytes=1000)) as engine:
        assert await fault_of(engine, html) == Fault.RENDER_OUT_OF_MEMORY


async def test_a_cancelled_document_takes_its_page_along(engine: ChromiumEngine) -> None:
    html = "<p>x<script>window.never = 0</script>"
    options = replace(SCRIPTS, wait_for="window.never")
    before = await _settled_renderers(engine)
    task = asyncio.create_task(show(engine, html, options=options))
    await until(lambda: len(renderers(pid_of(engine))) > len(before), what="the page")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(
        lambda: len(renderers(pid_of(engine))) <= len(before) + 1,  # one may be the next spare
        what="the end of the page",
    )
    assert engine.statistics().active == 0


async def test_a_browser_is_replaced_ahead_of_time_while_documents_go_on() -> None:
    async with running_engine(limits=tight(documents_per_browser=3)) as engine:
        await show(engine, "<p>x", pack="a")
        first = pid_of(engine)
        results = await asyncio.gather(
            *(show(engine, f"<p>{number}", pack=str(number)) for number in range(9))
        )
        assert len(results) == 9
        await until(lambda: not is_alive(first), what="the end of the first browser")
        statistics = engine.statistics()
        assert statistics.browsers_started > 1
        assert statistics.browsers_lost == 0
        assert statistics.documents == 10


async def test_an_idle_browser_is_stopped_and_the_next_document_starts_another() -> None:
    async with running_engine(limits=tight(idle_browser_s=0.0)) as engine:
        await show(engine, "<p>x")
        first = pid_of(engine)
        await until(lambda: not group(first), what="the stop")
        assert (await show(engine, "<p>y")).pages == 1
        assert engine.statistics().browsers_lost == 0


async def test_a_page_is_used_for_a_bounded_number_of_documents() -> None:
    async with running_engine(limits=tight(documents_per_page=2)) as engine:
        for _ in range(5):
            await show(engine, "<p>x", pack="a")
        assert all(page.documents <= 2 for _, _, page in engine._pages._idle.values())


async def test_a_machine_without_fonts_prints_no_empty_pages() -> None:
    binary = without_fonts(find_chromium(SETTINGS))
    async with running_engine(binary=binary, own_fonts=False) as engine:
        with pytest.raises(RenderError, match="install fonts") as caught:
            await show(engine, "<p>Привет")
        assert caught.value.code == Fault.FONTS_MISSING
        assert caught.value.retryable
        assert not caught.value.counts
    async with running_engine(binary=binary) as engine:
        printed = await show(engine, "<p>Привет")
        assert "Привет" in text_of(printed.pdf), "our own fonts are enough"


async def test_closing_leaves_no_process_no_folder_and_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Path] = []
    make = tempfile.mkdtemp

    def noted(*words: str | None, **options: str | None) -> str:
        made.append(Path(make(*words, **options)))
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    files = open_files()
    async with running_engine() as engine:
        await show(engine, "<p>x", pack="a")
        leader = pid_of(engine)
    await until(lambda: not group(leader), what="the end")
    assert made
    assert not [folder for folder in made if folder.exists()]
    await until(lambda: open_files() <= files, what="closed descriptors")


async def _settled_renderers(engine: ChromiumEngine) -> list[int]:
    await show(engine, "<p>x")
    await until(lambda: engine._pages._spare is not None, what="the spare page")
    await until(lambda: len(renderers(pid_of(engine))) >= 1)
    return renderers(pid_of(engine))
