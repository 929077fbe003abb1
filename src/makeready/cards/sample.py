"""A template as a designer would send it, with its settings: for the demo, and for a first try.

Two pages of 105 x 148 mm with 3 mm of bleed, all of it in CMYK, the fonts embedded. It is drawn
here, so that no binary file has to be kept; the same version of PyMuPDF draws the same bytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import pymupdf

from makeready.cards.geometry import MM_PER_POINT

Ink = tuple[float, float, float, float]
"""Parts of cyan, magenta, yellow and black."""

TRIM_MM = (105.0, 148.0)
BLEED_MM = 3.0
NIGHT: Ink = (0.92, 0.55, 0.68, 0.62)
DUSK: Ink = (0.70, 0.22, 0.55, 0.18)
FIR: Ink = (0.88, 0.45, 0.72, 0.50)
FAR_FIR: Ink = (0.78, 0.32, 0.62, 0.30)
CREAM: Ink = (0.02, 0.04, 0.12, 0.0)
GOLD: Ink = (0.10, 0.35, 0.80, 0.05)
HILL_MM = 100.0
"""Where the snow begins on the front, and the firs stand."""


@functools.cache
def template() -> bytes:
    """The PDF."""
    with pymupdf.open() as document:
        _front(_page(document))
        _back(_page(document))
        document.subset_fonts()
        document.set_metadata({"title": "Ёлки: карточка стола", "producer": "Makeready"})
        return bytes(document.tobytes(garbage=3, deflate=True, no_new_id=True))


def settings() -> dict[str, Any]:
    """What is put on it: the code and the number on the front, the number again on the back."""
    code = {"id": "qr", "kind": "qr", "value": "{table.url}", "ecc": "M"}
    section = "{table.section}"
    return {
        "schema": 1,
        "fields": [
            {**code, **_box(25.5, 36, 54, 54)},
            _text("number", "Стол {table.number}", (12.5, 116, 80, 16), NIGHT, (14, 34))
            | {"weight": "bold"},
            _text("place", section, (12.5, 132.5, 80, 7), NIGHT, (7, 12)) | {"if": section},
            _text(
                "back",
                "{restaurant.name}, стол {table.number}",
                (22.5, 117, 60, 10),
                CREAM,
                (7, 13),
            )
            | {"pages": [2]},
        ],
        "output": {
            "name": "Стол {table.number|pad:3}.pdf",
            "impose": {"sheet": "SRA3", "cols": 4, "rows": 2, "duplex": "long-edge"},
        },
    }


def tables(count: int) -> list[dict[str, str]]:
    """So many tables of a restaurant, in three rooms."""
    rooms = ["Зал у камина", "Летняя веранда", "Бар"]
    return [
        {"number": str(number), "section": rooms[(number - 1) * len(rooms) // count]}
        for number in range(1, count + 1)
    ]


def _box(x: float, y: float, width: float, height: float) -> dict[str, float]:
    return {"x": x, "y": y, "width": width, "height": height}


def _text(
    name: str,
    value: str,
    box: tuple[float, float, float, float],
    ink: Ink,
    sizes: tuple[float, float],
) -> dict[str, Any]:
    """A field in the middle of its box, between two sizes."""
    return {
        "id": name,
        "kind": "text",
        "value": value,
        **_box(*box),
        "align": "center",
        "valign": "middle",
        "color": {"cmyk": list(ink)},
        "min_size": sizes[0],
        "size": sizes[1],
    }


def _points(mm: float) -> float:
    return mm / MM_PER_POINT


def _at(x: float, y: float) -> pymupdf.Point:
    """A point of the trimmed page."""
    return pymupdf.Point(_points(x + BLEED_MM), _points(y + BLEED_MM))


def _area(x0: float, y0: float, x1: float, y1: float) -> pymupdf.Rect:
    return pymupdf.Rect(_at(x0, y0), _at(x1, y1))


def _page(document: pymupdf.Document) -> pymupdf.Page:
    width, height = (_points(side + 2 * BLEED_MM) for side in TRIM_MM)
    page = document.new_page(width=width, height=height)
    bleed = _points(BLEED_MM)
    page.set_trimbox(pymupdf.Rect(bleed, bleed, width - bleed, height - bleed))
    page.set_bleedbox(page.mediabox)
    return page


def _front(page: pymupdf.Page) -> None:
    right, bottom = TRIM_MM[0] + BLEED_MM, TRIM_MM[1] + BLEED_MM
    _gradient(page, _area(-BLEED_MM, -BLEED_MM, right, HILL_MM + 12))
    shape = page.new_shape()
    for x, y, size in _snow():
        shape.draw_circle(_at(x, y), _points(size))
    shape.finish(fill=CREAM, color=None)
    for base, height, ink in ((HILL_MM + 2, 26, FAR_FIR), (HILL_MM + 6, 19, FIR)):
        for place in range(8):
            x = -4 + place * 16.2 + (6 if ink is FIR else 0)
            _fir(shape, x, base, height * (0.78 + 0.22 * math.cos(2.4 * place + height)))
        shape.finish(fill=ink, color=None)
    hill = [(-4, HILL_MM + 6), (30, HILL_MM - 4), (70, HILL_MM + 12), (right + 1, HILL_MM + 3)]
    shape.draw_bezier(*(_at(x, y) for x, y in hill))
    shape.draw_line(shape.last_point, _at(right + 1, bottom + 1))
    shape.draw_line(shape.last_point, _at(-4, bottom + 1))
    shape.finish(fill=CREAM, color=None, closePath=True)
    shape.draw_rect(_area(24.5, 35, 80.5, 91), radius=0.06)
    shape.finish(fill=(0, 0, 0, 0), color=GOLD, width=1.2)
    shape.commit()
    _line(page, "ЁЛКИ", 24, 26, GOLD, bold=True)
    _line(page, "меню, заказ и счёт: наведите камеру", 32, 10.5, CREAM)


def _back(page: pymupdf.Page) -> None:
    right, bottom = TRIM_MM[0] + BLEED_MM, TRIM_MM[1] + BLEED_MM
    shape = page.new_shape()
    shape.draw_rect(_area(-BLEED_MM, -BLEED_MM, right, bottom))
    shape.finish(fill=NIGHT, color=None)
    for row in range(9):
        for column in range(7):
            _fir(shape, 3 + column * 18 - (row % 2) * 9, 8 + row * 20, 12)
    shape.finish(fill=FIR, color=None)
    shape.draw_rect(_area(18, 44, 87, 104), radius=0.05)
    shape.finish(fill=CREAM, color=GOLD, width=1.2)
    shape.draw_rect(_area(18, 115, 87, 129), radius=0.2)
    shape.finish(fill=FIR, color=GOLD, width=0.8)
    shape.commit()
    for text, y, size, bold in (
        ("Спасибо, что зашли", 58, 15, True),
        ("Код ведёт на меню вашего стола.", 71, 10, False),
        ("Заказ придёт на кухню сразу,", 78, 10, False),
        ("счёт можно разделить на всех.", 85, 10, False),
        ("Wi-Fi: yolki-guest", 96, 10, True),
    ):
        _line(page, text, y, size, NIGHT, bold=bold)


def _snow() -> Iterator[tuple[float, float, float]]:
    """Flakes that keep clear of the words: x, y, radius."""
    golden = (math.sqrt(5) - 1) / 2
    for number in range(90):
        x = (number * golden * 111) % 111 - BLEED_MM
        y = (number * number * golden * 7 + number * 1.3) % HILL_MM - BLEED_MM
        if not 12 < y < 94 or not 14 < x < 91:
            yield x, y, 0.25 + 0.35 * ((number * golden) % 1)


def _fir(shape: pymupdf.Shape, x: float, base: float, height: float) -> None:
    """Three tiers and a trunk, standing at (x, base)."""
    for tier, (low, high) in enumerate(((0.12, 0.52), (0.36, 0.76), (0.60, 1.0))):
        half = height * (0.30 - 0.07 * tier)
        shape.draw_polyline(
            [
                _at(x - half, base - height * low),
                _at(x, base - height * high),
                _at(x + half, base - height * low),
                _at(x - half, base - height * low),
            ]
        )
    shape.draw_rect(_area(x - height * 0.03, base - height * 0.14, x + height * 0.03, base))


def _gradient(page: pymupdf.Page, area: pymupdf.Rect) -> None:
    """The evening sky, from above: a CMYK picture one pixel wide, which viewers smooth."""
    steps = 160
    picture = pymupdf.Pixmap(pymupdf.csCMYK, pymupdf.IRect(0, 0, 1, steps))
    for step in range(steps):
        part = step / (steps - 1)
        inks = [round(255 * (a + (b - a) * part)) for a, b in zip(NIGHT, DUSK, strict=True)]
        picture.set_pixel(0, step, inks)
    xref = page.insert_image(area, pixmap=picture, keep_proportion=False)
    page.parent.xref_set_key(xref, "ColorSpace", "/DeviceCMYK")  # else with a profile of 140 kB
    page.parent.xref_set_key(xref, "Interpolate", "true")


def _line(
    page: pymupdf.Page, text: str, y: float, size: float, ink: Ink, *, bold: bool = False
) -> None:
    """Text in the middle of the page, on a base line."""
    font = pymupdf.Font("notosbo" if bold else "notos")
    width = font.text_length(text, size) * MM_PER_POINT
    writer = pymupdf.TextWriter(page.rect)
    writer.append(_at((TRIM_MM[0] - width) / 2, y), text, font=font, fontsize=size)
    writer.write_text(page, color=ink)
