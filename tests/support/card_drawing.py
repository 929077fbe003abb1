"""Fields, what a painter draws of them as a PDF of its own, and what is seen there.

The page is in millimetres, with nothing below.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import pymupdf
import pytest
import zxingcpp
from PIL import Image, ImageDraw

from makeready.cards.drawing import Drawn, Painter
from makeready.cards.geometry import MM_PER_POINT
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.settings import CardSettings, Field, ImageField, QrField, TextField
from makeready.cards.values import Row
from tests.support.card_templates import rows

DPI = 254
"""Ten pixels a millimetre."""


def asset(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def qr(**given: Any) -> QrField:
    usual = {"id": "qr", "pages": (1,), "x": 20, "y": 30, "width": 50, "height": 40}
    return QrField(**{**usual, "value": "{table.url}", **given})


def label(**given: Any) -> TextField:
    usual = {"id": "label", "pages": (1,), "x": 10, "y": 90, "width": 80, "height": 12}
    return TextField(**{**usual, "value": "Стол № {table.number}", "size": 20, **given})


def picture(**given: Any) -> ImageField:
    usual = {"id": "image", "pages": (1,), "x": 10, "y": 110, "width": 30, "height": 20}
    return ImageField(**{**usual, **given})


def painter(
    *fields: Field,
    count: int = 1,
    has_cmyk: bool = False,
    pages: int = 1,
    assets: Sequence[bytes] = (),
    data: Sequence[Row] | None = None,
) -> Painter:
    return Painter(
        CardSettings(fields=fields),
        rows(count) if data is None else data,
        has_cmyk=has_cmyk,
        pages=pages,
        assets={asset(each): each for each in assets},
    )


def drawn(*fields: Field, **given: Any) -> tuple[bytes, Drawn]:
    """The first card."""
    artist = painter(*fields, **given)
    card = artist.draw(0)
    return paper(artist, card), card


def refused(*fields: Field, **given: Any) -> Problem:
    with pytest.raises(CardsRefused) as caught:
        painter(*fields, **given)
    (problem,) = caught.value.problems
    return problem


def table(**given: Any) -> Row:
    return {**rows(1)[0], "table": {**rows(1)[0]["table"], **given}}


def png(size: tuple[int, int] = (60, 40), colour: Any = (200, 30, 30)) -> bytes:
    return saved(Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour), "PNG")


def saved(image: Image.Image, kind: str, **given: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **given)
    return target.getvalue()


def logo(width: int, height: int) -> bytes:
    """As unlike white as can be, so that a reader sees nothing below."""
    image = Image.new("RGB", (width, height), (150, 20, 20))
    ImageDraw.Draw(image).rectangle(
        (width // 4, height // 4, width // 2, height // 2), fill="black"
    )
    return saved(image, "PNG")


def paper(painter: Painter, drawn: Drawn, width: float = 105, height: float = 148) -> bytes:
    """The pages that were drawn on, each as large as said, in mm."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    groups: dict[str, list[str]] = {}
    for resource in painter.resources:
        first = len(objects) + 1
        names = [f"{first + number} 0 R" for number in range(len(resource.parts))]
        groups.setdefault(resource.category, []).append(f"/{resource.name} {names[0]}")
        objects += [_object(part.head.format(*names), part.data) for part in resource.parts]
    named = " ".join(f"/{group} << {' '.join(each)} >>" for group, each in groups.items())
    unit = 1 / MM_PER_POINT
    kids = []
    for page in painter.pages:
        matrix = f"{unit} 0 0 {-unit} 0 {height * unit} cm\n".encode()
        objects.append(_object("<< >>", matrix + drawn.operators[page]))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width * unit} {height * unit}]"
            f" /Contents {len(objects)} 0 R /Resources << {named} >> >>".encode()
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(kids)}] >>".encode()
    return _file(objects)


def seen(pdf: bytes, page: int = 0, dpi: int = 150) -> pymupdf.Pixmap:
    """The page in RGB."""
    with pymupdf.open(stream=pdf) as document:
        picture: pymupdf.Pixmap = document[page].get_pixmap(dpi=dpi)
        return picture


def read(pdf: bytes, page: int = 0) -> str:
    """The page's text."""
    with pymupdf.open(stream=pdf) as document:
        return str(document[page].get_text())


def codes(pdf: bytes) -> list[zxingcpp.Barcode]:
    view = seen(pdf, dpi=DPI)
    image = Image.frombytes("RGB", (view.width, view.height), view.samples).convert("L")
    return list(zxingcpp.read_barcodes(image))


def pixel(view: pymupdf.Pixmap, x: float, y: float) -> tuple[int, int, int]:
    """The colour at a place in mm."""
    red, green, blue = view.pixel(round(x * 10), round(y * 10))
    return red, green, blue


def inked(view: pymupdf.Pixmap) -> tuple[float, float, float, float]:
    """The box of all that is not white, in mm."""
    image = Image.frombytes("RGB", (view.width, view.height), view.samples).convert("L")
    box = image.point(lambda value: 255 if value < 200 else 0).getbbox()
    assert box is not None
    return box[0] / 10, box[1] / 10, box[2] / 10, box[3] / 10


def _object(head: str, data: bytes | None) -> bytes:
    if data is None:
        return head.encode()
    length = f"<< /Length {len(data)}".encode()
    return head.encode().replace(b"<<", length, 1) + b"\nstream\n" + data + b"\nendstream"


def _file(objects: list[bytes]) -> bytes:
    made = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n" % (len(objects) + 1)
    return bytes(made + b"%d\n%%%%EOF\n" % start)
