"""Templates of table cards as designers send them, settings that fit them, and tables."""

from __future__ import annotations

import functools
import io
import random
import uuid
from collections.abc import Sequence
from typing import Any

import pymupdf
from PIL import Image

from makeready.cards.geometry import MM_PER_POINT
from makeready.cards.order import Order
from makeready.cards.values import Row

TRIM_MM = (105.0, 148.0)
BLEED_MM, SLUG_MM = 3.0, 12.0
_CODE = {"x": 26, "y": 46, "width": 53, "height": 53}
_LABEL = {"x": 10, "y": 106, "width": 85, "height": 10}


@functools.cache
def light() -> bytes:
    """One page A6, vectors in gray and RGB, about 40 kB."""
    document = pymupdf.open()
    page = document.new_page(width=_pt(TRIM_MM[0]), height=_pt(TRIM_MM[1]))
    _art(page, left=0, top=0)
    document.set_metadata({"title": "Карточка стола"})
    return bytes(document.tobytes(deflate=True, garbage=3, no_new_id=True))


@functools.cache
def heavy() -> bytes:
    """Two pages of 105 × 148 mm with bleed and slug, CMYK pictures, transparency, about 5 MB."""
    document = pymupdf.open()
    for number in (1, 2):
        _photo_page(document, number)
    document.subset_fonts()
    return bytes(document.tobytes(deflate=True, garbage=3, use_objstms=1, no_new_id=True))


@functools.cache
def turned() -> bytes:
    """Shown turned by 90°, cropped off its corner; its art leaks a `q` and a matrix of 0.5.

    As displayed it is 105 × 148 mm, so the settings of the others fit.
    """
    document = pymupdf.open()
    page = document.new_page(width=_pt(TRIM_MM[1]) + 40, height=_pt(TRIM_MM[0]) + 30)
    _art(page, left=20, top=10)
    height = _pt(TRIM_MM[0]) + 30
    page.set_cropbox(pymupdf.Rect(20, 10, 20 + _pt(TRIM_MM[1]), 10 + _pt(TRIM_MM[0])))
    page.set_rotation(90)
    page.clean_contents()
    (xref,) = page.get_contents()
    leaked = b"\nq 0.5 0 0 0.5 %d %d cm\n" % (30, height / 4)
    document.update_stream(xref, page.read_contents() + leaked)
    return bytes(document.tobytes(deflate=True, garbage=3, no_new_id=True))


def settings_for(*, pages: Sequence[int] = (1,), **qr: Any) -> dict[str, Any]:
    """A code and a label, which fit every template here; `qr` changes the code's field."""
    label = {
        "id": "label",
        "kind": "text",
        "pages": list(pages),
        **_LABEL,
        "value": "Стол № {table.number}",
        "font": "noto-sans",
        "weight": "bold",
        "size": 20,
        "min_size": 9,
        "align": "center",
        "valign": "middle",
    }
    code = {"id": "qr", "kind": "qr", "pages": list(pages), **_CODE, "value": "{table.url}"}
    return {"schema": 1, "fields": [code | qr, label]}


def table_uuid(number: int) -> str:
    """Of the table with this number."""
    return str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))


def rows(count: int, *, first: int = 1) -> list[Row]:
    """The data of so many tables, numbered from `first`; links of 60 characters."""
    return [_row(number) for number in range(first, first + count)]


def order_for(pdf: bytes, count: int = 1, *, pages: Sequence[int] = (1,), **qr: Any) -> Order:
    """A generation of so many cards."""
    return Order(pdf=pdf, settings=settings_for(pages=pages, **qr), rows=rows(count))


def _row(number: int) -> Row:
    name = table_uuid(number)
    return {
        "table": {
            "id": number,
            "uuid": name,
            "number": str(number),
            "name": f"Стол {number}",
            "section": "Зал" if number % 2 else "Летняя веранда",
            "url": f"https://go.example.ru/t/{name}",
            "seats": 2 + number % 5,
        },
        "restaurant": {"id": 7, "name": "Ресторан «Ёлки»", "city": "Қарағанды", "logo": ""},
        "generation": {"version": 1, "date": "2026-03-01", "author": "anna"},
        "row": {},
    }


def _pt(mm: float) -> float:
    return mm / MM_PER_POINT


def _art(page: Any, *, left: float, top: float) -> None:
    """Waves, a frame and words over the upper part of an A6 page."""
    chance = random.Random(6)
    width, height = page.rect.width - 2 * left, page.rect.height - 2 * top
    shape = page.new_shape()
    shape.draw_rect((left, top, left + width, top + height))
    shape.finish(color=None, fill=(0.97, 0.94, 0.86))
    for line in range(100):
        y = top + height * (line + 0.5) / 100
        points = [(left + width * step / 15, y + chance.uniform(-4, 4)) for step in range(16)]
        for start in range(0, 13, 3):
            shape.draw_bezier(*points[start : start + 4])
        shape.finish(color=(0.8, chance.uniform(0.5, 0.8), 0.5), width=0.4)
    shape.commit()
    words = pymupdf.TextWriter(page.rect)
    words.append((left + 24, top + 60), "Меню на столе", font=pymupdf.Font("notos"), fontsize=24)
    words.write_text(page, color=(0.2,))
    page.parent.subset_fonts()


def _photo_page(document: Any, number: int) -> None:
    edge = _pt(SLUG_MM)
    width, height = (_pt(side) for side in TRIM_MM)
    page = document.new_page(width=width + 2 * edge, height=height + 2 * edge)
    trim = pymupdf.Rect(edge, edge, edge + width, edge + height)
    bled = _grown(trim, _pt(BLEED_MM))
    page.insert_image(bled, stream=_photo(number))
    page.set_trimbox(trim)
    page.set_bleedbox(bled)
    page.draw_rect(_grown(trim, -20), color=None, fill=(0.6, 0.1, 0.2, 0), fill_opacity=0.4)
    for x in (trim.x0, trim.x1):
        page.draw_line((x, 4), (x, bled.y0 - 4), color=(1, 1, 1, 1), width=0.25)
    words = pymupdf.TextWriter(page.rect)
    title = "Добро пожаловать" if number == 1 else "Приятного аппетита"
    words.append((edge + 40, edge + 70), title, font=pymupdf.Font("notosbo"), fontsize=18)
    words.write_text(page, color=(0, 0, 0, 1))


def _grown(box: Any, by: float) -> Any:
    return pymupdf.Rect(box.x0 - by, box.y0 - by, box.x1 + by, box.y1 + by)


def _photo(number: int) -> bytes:
    """A picture of 111 × 154 mm at 300 dpi, grainy as photographs are.

    Not progressive, as programs for print write it: such a picture can be read at half its size.
    """
    width, height = (round((side + 2 * BLEED_MM) / 25.4 * 300) for side in TRIM_MM)
    chance = random.Random(number)
    lines = []
    for y in range(height):
        base = 20 + 100 * y // height
        lines.append(chance.randbytes(width * 4).translate(_shade(base)))
    picture = Image.frombytes("CMYK", (width, height), b"".join(lines))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=84, subsampling=0, dpi=(300, 300))
    return file.getvalue()


@functools.cache
def _shade(base: int) -> bytes:
    return bytes(base + (value * 30 >> 8) for value in range(256))  # the file is read inverted
