"""A card on a sheet, or in a print file, is ink for ink the card that was verified."""

from __future__ import annotations

import io
from typing import Any

import pikepdf
import pymupdf
import pytest
from pikepdf import Array, Dictionary, Name

from makeready.cards.geometry import MM_PER_POINT, frame
from makeready.cards.imposing import lay_out
from makeready.cards.press import Press
from makeready.cards.print_file import print_file
from makeready.cards.settings import Sheet
from makeready.cards.sheets import impose
from tests.support.card_templates import heavy, light, order_for, turned

DPI = 96
SHEET = Sheet(width=320, height=450, cols=2, rows=2)


def blended() -> bytes:
    """A6 with bleed: spot colour, overprint, pictures of transparency that blends in CMYK."""
    document = pikepdf.new()
    sides = [105 / MM_PER_POINT, 148 / MM_PER_POINT]
    document.add_blank_page(page_size=(sides[0] + 40, sides[1] + 40))
    page = document.pages[0].obj
    page.TrimBox = Array([20, 20, sides[0] + 20, sides[1] + 20])
    page.BleedBox = Array([10, 10, sides[0] + 30, sides[1] + 30])
    page.Group = Dictionary(S=Name.Transparency, CS=Name.DeviceCMYK, I=False)
    tint = Dictionary(FunctionType=2, Domain=[0, 1], C0=[0, 0, 0, 0], C1=[0, 0.6, 1, 0], N=1)
    spot = Array([Name.Separation, Name("/Pantone 151"), Name.DeviceCMYK, tint])
    page.Resources = Dictionary(
        ColorSpace=Dictionary(Spot=document.make_indirect(spot)),
        ExtGState=Dictionary(
            Multiply=Dictionary(BM=Name.Multiply, ca=0.7),
            Screen=Dictionary(BM=Name.Screen, ca=0.5),
            Over=Dictionary(OP=True, op=True, OPM=1),
        ),
    )
    page.Contents = document.make_stream(
        b"0.6 0 0.2 0 k 0 0 400 500 re f /Spot cs 0.8 scn 30 300 200 150 re f"
        b" /Multiply gs 0 0.5 0.5 0 k 60 250 220 160 re f /Screen gs 0 0 0 0.6 k 90 330 60 60 re f"
        b" /Over gs 0 0 0 1 k 25 25 90 40 re f"
    )
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def inks(pdf: bytes, page: int, box: Any) -> bytes:
    """The CMYK pixels within a box of a page."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.pages[page].cropbox = Array([round(side, 5) for side in box])
        document.save(out)
    with pymupdf.open(stream=out.getvalue(), filetype="pdf") as opened:
        return bytes(opened[page].get_pixmap(dpi=DPI, colorspace=pymupdf.csCMYK).samples)


def are_alike(one: bytes, other: bytes) -> None:
    """The same but for how pictures round where pixels begin a hair beside each other."""
    assert len(one) == len(other)
    far = sum(abs(left - right) > 8 for left, right in zip(one, other, strict=True))
    assert far < len(one) / 10_000


@pytest.mark.parametrize(("template", "pages"), [(light, (1,)), (heavy, (1, 2)), (blended, (1,))])
def test_a_sheet_prints_each_card_ink_for_ink(template: Any, pages: Any) -> None:
    press = Press.open(order_for(template(), 4, pages=pages))
    (facts, *_), shown = press.facts.pages, frame(press.facts.pages[0])
    layout = lay_out(SHEET, shown.width, shown.height)
    made = impose(press, range(4), SHEET)

    for place in (0, 3):
        index, page = divmod(place, len(pages))
        x, y = layout.corner(place)
        edges = x, layout.height - y - shown.height, x + shown.width, layout.height - y
        box = [edge / MM_PER_POINT for edge in edges]
        trim = press.facts.pages[page].trim if len(pages) > 1 else facts.trim
        are_alike(inks(made, 0, box), inks(press.whole(press.stamp(index)), page, trim))


@pytest.mark.parametrize("template", [blended, turned])
def test_a_print_file_prints_each_card_ink_for_ink(template: Any) -> None:
    press = Press.open(order_for(template(), 3))
    made = print_file(press, range(3))

    box = press.facts.pages[0].media
    are_alike(inks(made, 2, box), inks(press.whole(press.stamp(2)), 0, box))
