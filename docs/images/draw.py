"""Draws the pictures of the README from the samples: `make pictures`."""  # noqa: INP001

from __future__ import annotations

import asyncio
from pathlib import Path

import pymupdf

from makeready.cards import sample as sample_cards
from makeready.cards.order import Order
from makeready.cards.press import Press
from makeready.cards.sheets import impose
from makeready.cards.values import Row
from makeready.config import Settings
from makeready.documents.shipped import document_type, sample
from makeready.documents.typesetting import build_html
from makeready_workers.chromium import ChromiumEngine, open_engine

HERE = Path(__file__).parent
PAGE = pymupdf.Rect(0, 0, 300, 424)
GAP, FOOT = 22, 16
GREY = (0.93, 0.94, 0.95)
DPI = {4: 92, 6: 84}  # by the number of columns: fine enough to read a heading
TITLE = '<p style="text-align: center; font: 9px sans-serif; color: #5c6773">{}</p>'
Shown = tuple[str, str, int]  # document type, language, page from 0

PICTURES: dict[str, tuple[int, list[Shown]]] = {  # columns, pages
    "documents": (
        4,
        [("invoice", "ru", 0), ("letter", "en", 0), ("report", "ru", 0), ("report", "ru", 2)],
    ),
    "hiring": (
        6,
        [
            ("free_report", "en", 0),
            ("budget_reality_check", "en", 0),
            ("vacancy_profile", "en", 1),
            ("hiring_pack", "en", 1),
            ("role_snapshot", "en", 0),
            ("sourcing_pack", "en", 1),
            ("screening_script", "ru", 0),
            ("interview_guide", "ru", 2),
            ("scorecard", "ru", 0),
            ("quality_report", "ru", 0),
            ("offer_template", "ru", 0),
            ("manifest", "ru", 1),
        ],
    ),
}


async def main() -> None:
    """Prints every document that is shown once, and lays its pages out."""
    printed: dict[tuple[str, str], pymupdf.Document] = {}
    async with open_engine(Settings()) as engine:
        for name, lang, _ in (shown for _, pages in PICTURES.values() for shown in pages):
            if (name, lang) not in printed:
                printed[name, lang] = await _print(engine, name, lang)
    for picture, (columns, pages) in PICTURES.items():
        shown = [(printed[name, lang], page, name, lang) for name, lang, page in pages]
        _sheet(shown, columns).save(HERE / f"{picture}.png")
    _cards().save(HERE / "cards.png")


def _cards() -> pymupdf.Pixmap:
    """Both sides of a table card, trimmed, and both sides of the sheet that it is printed on."""
    tables = [
        {"table": {**table, "uuid": "", "url": f"https://menu.example/t/{table['number']}"}}
        for table in sample_cards.tables(8)
    ]
    restaurant = {"restaurant": {"name": "Ёлки"}, "generation": {}, "row": {}}
    rows: list[Row] = [{**table, **restaurant} for table in tables]
    order = Order(pdf=sample_cards.template(), settings=sample_cards.settings(), rows=rows)
    press = Press.open(order)
    if press.settings.sheet is None:
        raise ValueError("the sample is imposed on sheets")
    card = pymupdf.open(stream=press.whole(press.stamp(6)))
    sheet = pymupdf.open(stream=impose(press, range(8), press.settings.sheet))
    for page in card:
        page.set_cropbox(page.trimbox)
    high, gap = 300.0, 24.0
    pages = [(card, 0), (card, 1), (sheet, 0)]
    wide = [high * pdf[at].rect.width / pdf[at].rect.height for pdf, at in pages]
    drawn = pymupdf.open()
    ground = drawn.new_page(width=sum(wide) + gap * (len(pages) + 1), height=high + 2 * gap)
    ground.draw_rect(ground.rect, color=None, fill=GREY)
    x = gap
    for (pdf, at), width in zip(pages, wide, strict=True):
        rect = pymupdf.Rect(x, gap, x + width, gap + high)
        _shadow(ground, rect)
        ground.show_pdf_page(rect, pdf, at)
        x += width + gap
    return ground.get_pixmap(dpi=110)


async def _print(engine: ChromiumEngine, name: str, lang: str) -> pymupdf.Document:
    doc = document_type(name)
    made = build_html(doc, sample(doc, lang), lang)
    result = await engine.render(made.html, made.assets, doc.options, timeout_s=30)
    return pymupdf.open(stream=result.pdf)


def _sheet(pages: list[tuple[pymupdf.Document, int, str, str]], columns: int) -> pymupdf.Pixmap:
    """The pages in rows on a grey ground, each with a shadow and its title."""
    rows = -(-len(pages) // columns)
    wide, tall = PAGE.width + GAP, PAGE.height + GAP + FOOT
    sheet = pymupdf.open()
    ground = sheet.new_page(width=columns * wide + GAP, height=rows * tall + GAP)
    ground.draw_rect(ground.rect, color=None, fill=GREY)
    for place, (pdf, number, name, lang) in enumerate(pages):
        row, column = divmod(place, columns)
        rect = PAGE + (GAP + column * wide, GAP + row * tall) * 2
        _shadow(ground, rect)
        ground.show_pdf_page(rect, pdf, number)
        below = pymupdf.Rect(rect.x0, rect.y1 + 7, rect.x1, rect.y1 + FOOT + 10)
        ground.insert_htmlbox(below, TITLE.format(document_type(name).title(lang)))
    return ground.get_pixmap(dpi=DPI[columns])


def _shadow(ground: pymupdf.Page, rect: pymupdf.Rect) -> None:
    """White paper that lies on the ground."""
    for blur in range(6, 0, -1):
        shadow = rect + pymupdf.Rect(-blur, 3 - blur, blur, 3 + blur)
        ground.draw_rect(shadow, color=None, fill=(0.2, 0.25, 0.3), fill_opacity=0.025)
    ground.draw_rect(rect, color=None, fill=(1, 1, 1))


if __name__ == "__main__":
    asyncio.run(main())
