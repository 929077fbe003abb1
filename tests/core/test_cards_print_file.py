"""All cards in one file: every one is there, reads right, and shares what it can."""

from __future__ import annotations

import io
from typing import Any

import pikepdf
import pymupdf
import pytest
import zxingcpp
from pikepdf import Array, Dictionary, Name

from makeready.cards.press import Card, Order, Press
from makeready.cards.print_file import print_file
from makeready.cards.problems import CardsRefused, Problem
from tests.support.card_templates import heavy, light, order_for, rows, settings_for, turned

BOXES = ("/MediaBox", "/CropBox", "/TrimBox", "/BleedBox", "/Rotate", "/UserUnit")


def read(page: Any) -> list[str]:
    picture = page.get_pixmap(dpi=150, colorspace=pymupdf.csGRAY)
    pixels = memoryview(picture.samples).cast("B", (picture.height, picture.width))
    return [code.text for code in zxingcpp.read_barcodes(pixels)]


@pytest.mark.parametrize(("template", "pages"), [(light, (1,)), (heavy, (1, 2)), (turned, (1,))])
def test_every_card_is_in_it_with_its_code_and_label(template: Any, pages: Any) -> None:
    press = Press.open(order_for(template(), 6, pages=pages))
    made = print_file(press, range(6))

    with pymupdf.open(stream=made, filetype="pdf") as document:
        assert not document.is_repaired
        assert document.page_count == 6 * len(pages)
        for place, page in enumerate(document):
            table = press.rows[place // len(pages)]["table"]
            assert read(page) == [table["url"]]
            assert f"Стол № {table['number']}" in page.get_text()
    with pikepdf.open(io.BytesIO(made)) as document:
        assert document.check_pdf_syntax() == []


def test_a_page_looks_as_that_of_the_single_card() -> None:
    press = Press.open(order_for(heavy(), 3, pages=(1, 2)))
    with (
        pymupdf.open(stream=print_file(press, [2]), filetype="pdf") as printed,
        pymupdf.open(stream=press.whole(press.stamp(2)), filetype="pdf") as single,
    ):
        for one, other in zip(printed, single, strict=True):
            inks = [page.get_pixmap(dpi=72, colorspace=pymupdf.csCMYK) for page in (one, other)]
            assert inks[0].samples == inks[1].samples


def test_boxes_inks_and_layers_of_the_template_are_kept() -> None:
    with pikepdf.open(io.BytesIO(heavy())) as document:
        page = document.pages[0].obj
        page.Rotate = 90
        layer = document.make_indirect(Dictionary(Type=Name.OCG, Name="Лак"))
        document.Root.OCProperties = Dictionary(
            OCGs=Array([layer]), D=Dictionary(Order=Array([layer]))
        )
        document.Root.OutputIntents = Array(
            [
                Dictionary(
                    Type=Name.OutputIntent, S=Name.GTS_PDFX, OutputConditionIdentifier="FOGRA39"
                )
            ]
        )
        out = io.BytesIO()
        document.save(out)
    order = Order(pdf=out.getvalue(), settings=settings_for(pages=(2,)), rows=rows(2))
    made = print_file(Press.open(order), range(2))

    with (
        pikepdf.open(io.BytesIO(out.getvalue())) as template,
        pikepdf.open(io.BytesIO(made)) as printed,
    ):
        for place, made_page in enumerate(printed.pages):
            was = template.pages[place % 2].obj
            for name in BOXES:
                assert str(made_page.obj.get(name)) == str(was.get(name)), name
        assert str(printed.Root.OCProperties.OCGs[0].Name) == "Лак"
        assert str(printed.Root.OutputIntents[0].OutputConditionIdentifier) == "FOGRA39"
        assert set(printed.Root.keys()) <= {
            "/Type", "/Pages", "/OCProperties", "/OutputIntents", "/Metadata", "/Lang",
        }  # fmt: skip


@pytest.mark.parametrize(("template", "pages"), [(light, (1,)), (heavy, (1, 2))])
def test_a_card_adds_less_than_three_kilobytes(template: Any, pages: Any) -> None:
    press = Press.open(order_for(template(), 300, pages=pages))
    made = print_file(press, range(300))

    assert (len(made) - len(template())) / 300 < 3_000
    assert made == print_file(press, range(300))


def test_a_template_for_old_printers_stays_one() -> None:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(light())) as document:
        document.save(
            out, force_version="1.4", object_stream_mode=pikepdf.ObjectStreamMode.disable
        )
    made = print_file(Press.open(order_for(out.getvalue(), 50)), range(50))

    assert made.startswith(b"%PDF-1.4")
    assert b"/ObjStm" not in made
    assert (len(made) - len(out.getvalue())) / 50 < 3_000


def test_notes_of_the_template_are_printed_once_a_page() -> None:
    with pymupdf.open(stream=light(), filetype="pdf") as document:
        page = document[0]
        page.add_rect_annot(pymupdf.Rect(250, 380, 280, 410)).update(fill_color=(0, 0, 0))
        noted = bytes(document.tobytes())
    made = print_file(Press.open(order_for(noted, 3)), range(3))

    with pymupdf.open(stream=made, filetype="pdf") as document:
        for page in document:
            picture = page.get_pixmap(dpi=72, colorspace=pymupdf.csGRAY)
            assert picture.pixel(265, 395)[0] < 30
            assert list(page.annots()) == []


def test_chosen_cards_come_in_the_order_that_was_asked_for() -> None:
    press = Press.open(order_for(light(), 5))
    seen: list[int] = []
    made = print_file(press, [4, 0], seen=lambda card: seen.append(card.index))

    with pymupdf.open(stream=made, filetype="pdf") as document:
        assert [read(page)[0] for page in document] == [
            press.rows[index]["table"]["url"] for index in (4, 0)
        ]
    assert seen == [4, 0]


def test_a_card_that_the_caller_refuses_is_not_printed() -> None:
    press = Press.open(order_for(light(), 2))

    def refuse(card: Card) -> None:
        if card.index == 1:
            raise CardsRefused([Problem(code="card_damaged")])

    with pytest.raises(CardsRefused):
        print_file(press, [0, 1], seen=refuse)
    with pytest.raises(ValueError, match="no card"):
        print_file(press, [])
