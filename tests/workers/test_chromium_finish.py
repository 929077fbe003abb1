"""What Chromium printed, after its print options were carried out: nothing is lost on the way."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pikepdf
import pymupdf
import pytest
from pikepdf import Name

from makeready.documents.shipped import document_type, sample
from makeready.documents.typesetting import Asset, build_html
from makeready.pdf import Unfinishable, finish_aside, merge_aside, text_of
from makeready.print_options import PrintOptions
from makeready_workers.chromium import ChromiumEngine
from tests.support.chromium import LOOSE, running_engine, show

LINKED = "<h1>One</h1><a href='#two'>on</a><h2 id=two style='break-before: page'>Two ₽ итого</h2>"
EVERYTHING = """<title>All</title><style>
  div { height: 40px } .a { background: linear-gradient(red, transparent); opacity: .5 }
  .b { box-shadow: 0 0 9px; text-shadow: 1px 1px 3px red } .c { mix-blend-mode: multiply }
  .d { mask-image: linear-gradient(black, transparent); background: lab(50% 40 59) }
</style><div class=a>Привет</div><div class=b>₽</div><div class=c>x</div><div class=d></div>
<svg width=90 height=90><pattern id=p width=9 height=9 patternUnits=userSpaceOnUse>
<circle r=4 /></pattern><rect width=80 height=80 fill='url(#p)' /></svg>
<input value=written><a href='https://example.com/'>away</a><iframe srcdoc=framed></iframe>"""
EDGES = """<style>@page { size: 90mm 60mm; margin: 0 } * { margin: 0 }
  h1, h2 { font: 20px/.8 'IBM Plex Sans' } h2 { break-before: page }
  div { height: calc(60mm - 16px) }</style>
<h1>2020</h1><h2>2020</h2><p>x<h2>Два<br>слова</h2><p>x<h2>Мама <i>мама</i></h2><h2>Тара</h2>
<h2 style='line-height: 2'>Тара</h2><h2>Конец</h2><section style='break-before: page'>
<div>x</div><h1>Край</h1></section><p>x"""


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[ChromiumEngine]:
    async with running_engine() as running:
        yield running


@pytest.mark.parametrize("level", ["2b", "3b"])
@pytest.mark.parametrize("name", ["invoice", "report", "letter"])
async def test_shipped_documents_can_be_archival_and_keep_their_text(
    engine: ChromiumEngine, name: str, level: str
) -> None:
    doc = document_type(name)
    made = build_html(doc, sample(doc, "ru"), "ru")
    printed = await engine.render(made.html, made.assets, doc.options, timeout_s=15)
    archival, facts = await finish_aside(
        printed.pdf, replace(doc.options, pdf_a=level), pages=printed.pages
    )
    assert text_of(archival) == text_of(printed.pdf)
    assert "₽" in text_of(archival) or name == "letter"
    assert not facts.lost_chars


async def test_whatever_a_style_sheet_can_draw_is_archival_and_looks_the_same(
    engine: ChromiumEngine,
) -> None:
    printed = await show(engine, EVERYTHING)
    archival, _ = await finish_aside(printed.pdf, PrintOptions(pdf_a="2b"))
    with pymupdf.open(stream=printed.pdf) as one, pymupdf.open(stream=archival) as other:
        before, after = (bytes(each[0].get_pixmap().samples) for each in (one, other))
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 2


async def test_a_page_longer_than_the_format_allows_is_refused(engine: ChromiumEngine) -> None:
    printed = await show(engine, "<style>@page { size: 90mm 6000mm }</style>x")
    with pytest.raises(Unfinishable, match="a page of 25"):
        await finish_aside(printed.pdf, PrintOptions(pdf_a="2b"))


async def test_tagged_documents_are_packed_smaller_and_stay_tagged(engine: ChromiumEngine) -> None:
    options = PrintOptions(accessible=True, outline=True)
    printed = await show(engine, LINKED * 20, options=options)
    packed, facts = await finish_aside(printed.pdf, options, pages=printed.pages)
    assert len(packed) < 0.9 * len(printed.pdf)
    assert facts.pages == printed.pages
    with pikepdf.open(io.BytesIO(packed)) as document:
        assert Name.StructTreeRoot in document.Root


async def bookmarks(engine: ChromiumEngine, html: str, assets: Mapping[str, Asset]) -> list[str]:
    """What the finished document has."""
    options = replace(LOOSE, outline=True)
    printed = await engine.render(html, assets, options, timeout_s=15)
    finished, _ = await finish_aside(printed.pdf, options, pages=printed.pages)
    with pymupdf.open(stream=finished) as document:
        return [title for _, title, *_ in document.get_toc()]


async def test_a_heading_at_the_edge_of_a_page_is_said_once_in_its_bookmark(
    engine: ChromiumEngine,
) -> None:
    titles = await bookmarks(engine, EDGES, {})
    assert titles == ["2020", "2020", "Дваслова", "Мама мама", *["Тара"] * 2, "Конец", "Край"]
    doc = document_type("report")
    made = build_html(doc, sample(doc, "en"), "en")
    titles = await bookmarks(engine, made.html, made.assets)
    assert titles[:4] == ["Production and orders", "In brief", "Contents", "Revenue"]


async def test_a_heading_that_stands_on_each_page_is_said_once_in_its_bookmark(
    engine: ChromiumEngine,
) -> None:
    row = "<tr><td style='height: 150mm'>x"
    html = f"<h1 style='position: fixed'>Тара</h1><table><thead><tr><th><h2>Сумма</h2>{row * 4}"
    assert await bookmarks(engine, html, {}) == ["Тара", "Сумма"]


async def test_links_bookmarks_and_tags_of_chromium_survive_a_merge(
    engine: ChromiumEngine,
) -> None:
    printed = await show(engine, LINKED, options=PrintOptions(accessible=True, outline=True))
    whole = await merge_aside([("A", printed.pdf), ("B", printed.pdf)])
    with pymupdf.open(stream=whole) as document:
        titles = [(level, title, page) for level, title, page, *_ in document.get_toc()]
        assert titles == [
            (1, "A", 1),
            (2, "One", 1),
            (3, "Two ₽ итого", 2),
            (1, "B", 3),
            (2, "One", 3),
            (3, "Two ₽ итого", 4),
        ]
        assert [page.get_links()[0]["page"] for page in document if page.get_links()] == [1, 3]
    with pikepdf.open(io.BytesIO(whole)) as document:
        parents = pikepdf.NumberTree(document.Root.StructTreeRoot.ParentTree)
        keys = [int(page.obj.StructParents) for page in document.pages]
        assert len(set(keys)) == 4
        assert all(key in parents for key in keys)
