"""The hiring pack as a browser prints it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pymupdf
import pytest

from makeready import hiring
from makeready.documents.shipped import document_type, sample
from makeready.documents.typesetting import build_html
from makeready.pdf import text_of, verify
from makeready_workers.chromium import ChromiumEngine
from tests.support.chromium import running_engine
from tests.support.hiring import reworded

MARGIN_PT = 18 / 25.4 * 72
PAGE_OF = {"ru": "Страница {} из {}", "en": "Page {} of {}"}
SIGNS = {"ru": "₽", "en": "€"}


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[ChromiumEngine]:
    async with running_engine() as running:
        yield running


async def printed(engine: ChromiumEngine, name: str, data: Any, lang: str) -> bytes:
    doc = document_type(name)
    made = build_html(doc, data, lang)
    result = await engine.render(made.html, made.assets, doc.options, timeout_s=15, pack=lang)
    assert result.warnings == ()
    facts = verify(result.pdf, pages=result.pages)
    assert all("Plex" in font.name for font in facts.fonts), facts.fonts
    return result.pdf


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("lang", ["ru", "en"])
async def test_every_document_is_printed_with_role_money_and_page_numbers(
    engine: ChromiumEngine, lang: str
) -> None:
    for name in hiring.DOCUMENTS:
        doc = document_type(name)
        data = sample(doc, lang)
        pdf = await printed(engine, name, data, lang)
        with pymupdf.open(stream=pdf) as pages:
            texts = [" ".join(page.get_text().split()) for page in pages]
        assert 1 <= len(texts) <= 6, name
        assert data["vacancy"]["company"] in texts[0]
        assert SIGNS[lang] in texts[0]
        for number, text in enumerate(texts, 1):
            assert data["vacancy"]["role"] in text, (name, number)
            assert PAGE_OF[lang].format(number, len(texts)) in text, (name, number)


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_long_lists_and_long_words_stay_on_the_paper(engine: ChromiumEngine) -> None:
    for name in hiring.DOCUMENTS:
        doc = document_type(name)
        data = reworded(
            doc, sample(doc, "ru"), lambda text, limit: f"{text} {'Ы' * 70}"[:limit], 8
        )
        pdf = await printed(engine, name, data, "ru")
        with pymupdf.open(stream=pdf) as pages:
            for page in pages:
                words = page.get_text("words")
                place = (name, page.number)
                assert max(word[2] for word in words) <= page.rect.width + 1, place
                # What is too wide is made smaller as a whole, and the margin with it.
                assert min(word[0] for word in words) >= MARGIN_PT - 2, place


@pytest.mark.parametrize("lang", ["ru", "en"])
async def test_the_role_stays_on_one_page_where_a_line_breaks_elsewhere(
    engine: ChromiumEngine, lang: str
) -> None:
    data = sample(document_type("role_snapshot"), lang)
    with pymupdf.open(stream=await printed(engine, "role_snapshot", data, lang)) as pages:
        assert len(pages) == 1
        ends = [block[3] for block in pages[0].get_text("blocks")]
    foot = max(ends)
    assert max(end for end in ends if end < foot - 20) < foot - 50, "the foot, and two lines"


async def test_the_same_pack_gives_the_same_bytes(engine: ChromiumEngine) -> None:
    data = hiring.pack("Сварщик", "ru")["scorecard"]
    first, second = [await printed(engine, "scorecard", data, "ru") for _ in range(2)]
    assert first == second
    assert "Сварщик" in await asyncio.to_thread(text_of, first)
