"""What customers write cannot pass for a piece of a PDF, and no letter is lost to a late font."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pymupdf
import pytest

from makeready.documents.shipped import document_type, font_files, sample
from makeready.documents.typesetting import ASSET_ORIGIN, Asset, build_html
from makeready.pdf import inspect
from makeready.print_options import PrintOptions
from makeready_workers.chromium import ChromiumEngine, Fault
from makeready_workers.chromium import page as page_module
from makeready_workers.chromium.dates import count_pages, fix_dates
from makeready_workers.chromium.page import CALM_LOOKS, Page
from tests.support.chromium import BOTH, fault_of, running_engine, show

LOOK_S = 0.05
SLOW_S = (CALM_LOOKS + 2) * LOOK_S  # longer than any look that is taken instead of an event
SPARE_MM = 6.0  # a line and a half: other builds of Chromium break lines elsewhere
BOTTOM_MM = 297.0 - 18.0
USE = "p { font-family: Own }"
FACE = f"@font-face {{ font-family: Own; src: url({ASSET_ORIGIN}own.ttf) }}"
ASSETS = {
    "own.ttf": Asset(media_type="font/ttf", content=font_files()["IBMPlexSerif-SemiBold.ttf"]),
    "own.css": Asset(media_type="text/css", content=f"{FACE} {USE}".encode()),
    "all.css": Asset(media_type="text/css", content=b"@import url(own.css);"),
    "no.ttf": Asset(media_type="font/ttf", content=b"no font at all"),
}
LATE_FONTS = {
    "linked": f"<link rel=stylesheet href={ASSET_ORIGIN}own.css><p>x",
    "imported": f"<link rel=stylesheet href={ASSET_ORIGIN}all.css><p>x",
    "in the page": f"<style>{FACE} {USE}</style><p>x",
    "only in a margin": f"<style>{FACE} @page {{ @top-left {{ content: 'x'; font-family: Own }} }}"
    "</style>",
    "only on narrow pages": f"<style>{FACE} @media (max-width: 700px) {{ {USE} }}</style><p>x",
    "in a frame": f"<iframe srcdoc='<style>{FACE} {USE}</style><p>x'></iframe>",
    "in a locked frame": f"<iframe sandbox srcdoc='<style>{FACE} {USE}</style><p>x'></iframe>",
}
LOST_FONTS = {
    "broken": f"<style>@font-face {{ font-family: Own; src: url({ASSET_ORIGIN}no.ttf) }}</style>",
    "not installed": "<style>@font-face { font-family: Own; src: local(Nowhere) }</style>",
    "known too late": f"<link rel=stylesheet media='(width < 700px)' href={ASSET_ORIGIN}own.css>",
}


@pytest.fixture(scope="module", params=BOTH)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ChromiumEngine]:
    async with running_engine(name=request.param) as running:
        yield running


def answer_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers whatever a document asks for too late for those who don't wait."""
    notify = Page._notify

    def late(page: Page, method: str, params: Mapping[str, Any]) -> None:
        asyncio.get_running_loop().call_later(SLOW_S, notify, page, method, params)

    monkeypatch.setattr(page_module, "LOOK_S", LOOK_S)
    monkeypatch.setattr(Page, "_notify", late)


@pytest.mark.parametrize(
    "words",
    [
        "/ModDate",
        "/CreationDate (D:20200101000000",
        "/Type /Pages /Count 99",
        "trailer << /Info 1 0 R >> startxref 0 %%EOF",
        "endobj 5 0 obj << /Title (x) >>",
    ],
)
async def test_a_title_that_looks_like_a_pdf_is_printed_like_any_other(
    engine: ChromiumEngine, words: str
) -> None:
    escaped = words.replace("<", "&lt;")
    html = f"<!doctype html><title>{escaped}</title><p>{escaped}</p>"
    first, second = await show(engine, html), await show(engine, html)
    assert first.pages == inspect(first.pdf).pages == 1
    assert inspect(first.pdf).title == words
    assert first.pdf == second.pdf, "both dates are fixed"


@pytest.mark.parametrize("broken", [b"", b"%PDF-1.4\n%%EOF", b"%PDF-1.4\nstartxref\n9\n%%EOF"])
def test_a_file_that_chromium_did_not_write_is_told(broken: bytes) -> None:
    with pytest.raises(ValueError, match="the PDF has"):
        fix_dates(broken)
    with pytest.raises(ValueError, match="the PDF has"):
        count_pages(broken)


@pytest.mark.parametrize("html", LATE_FONTS.values(), ids=LATE_FONTS)
async def test_a_font_is_waited_for_however_late_it_comes(
    engine: ChromiumEngine, monkeypatch: pytest.MonkeyPatch, html: str
) -> None:
    answer_late(monkeypatch)
    for _ in range(2):  # the second finds a page that knows the first one's fonts
        result = await show(engine, html, assets=ASSETS, options=PrintOptions(), pack="late")
        assert [font.name for font in inspect(result.pdf).fonts] == ["IBMPlexSerif-SemiBold"]


async def test_a_style_sheet_is_waited_for_where_a_script_has_taken_the_load_event_along(
    engine: ChromiumEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = f"""<link rel=stylesheet href={ASSET_ORIGIN}own.css><p>x
        <form id=f action={ASSET_ORIGIN}x></form><script>f.submit()</script>"""
    answer_late(monkeypatch)
    options = PrintOptions(scripts=True)
    result = await show(engine, html, assets=ASSETS, options=options)
    assert [font.name for font in inspect(result.pdf).fonts] == ["IBMPlexSerif-SemiBold"]


async def test_a_lost_font_is_found_in_a_locked_frame_within_a_frame(
    engine: ChromiumEngine,
) -> None:
    inner = f"<style>@font-face {{ font-family: Own; src: url({ASSET_ORIGIN}no.ttf) }}</style>"
    html = f"<iframe srcdoc=\"<iframe sandbox srcdoc='{inner}'></iframe>\"></iframe><p>x"
    assert await fault_of(engine, html, assets=ASSETS, options=PrintOptions()) == (
        Fault.ASSET_MISSING
    )


@pytest.mark.parametrize("lost", LOST_FONTS.values(), ids=LOST_FONTS)
async def test_a_lost_font_fails_a_strict_document_and_is_a_warning_otherwise(
    engine: ChromiumEngine, lost: str
) -> None:
    html = f"{lost}<p style='font-family: Own'>x"
    strict = await fault_of(engine, html, assets=ASSETS, options=PrintOptions())
    assert strict == Fault.ASSET_MISSING
    assert (await show(engine, html, assets=ASSETS)).warnings[0].startswith("missing: ")


@pytest.mark.parametrize("lang", ["ru", "en"])
@pytest.mark.parametrize("name", ["invoice", "letter"])
async def test_a_document_of_one_page_stays_one_where_a_line_breaks_elsewhere(
    engine: ChromiumEngine, name: str, lang: str
) -> None:
    doc = document_type(name)
    made = build_html(doc, sample(doc, lang), lang)
    result = await engine.render(made.html, made.assets, doc.options, timeout_s=15)
    page = pymupdf.open(stream=result.pdf)[0]
    ends = [block[3] * 25.4 / 72 for block in page.get_text("blocks")]
    assert max(end for end in ends if end < BOTTOM_MM) < BOTTOM_MM - SPARE_MM


async def test_letters_that_no_font_has_are_counted_though_chromium_tells_what_they_were(
    engine: ChromiumEngine,
) -> None:
    # Several signs in one place: the PDF says in words what it does not show.
    missing = "\N{DEVANAGARI LETTER KA}\N{DEVANAGARI SIGN VIRAMA}\N{DEVANAGARI LETTER SSA}"
    printed = await show(engine, f"<p>office ﬁ e\N{COMBINING ACUTE ACCENT} ₽ {missing}")
    assert inspect(printed.pdf).lost_chars >= 1
    assert missing[0] not in inspect(printed.pdf).letters
    assert not inspect(
        (await show(engine, "<p>office ﬁ e\N{COMBINING ACUTE ACCENT}")).pdf
    ).lost_chars
