"""From an order to cards: the same bytes everywhere, and the template untouched around them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pymupdf
import pytest
import zxingcpp
from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards.discovery import settings_from
from makeready.cards.inspection import inspect
from makeready.cards.order import Order
from makeready.cards.press import STAMPER, Press
from makeready.cards.problems import CardsRefused
from makeready.cards.reading import READING_DPI, read_codes
from tests.support.card_templates import heavy, light, order_for, rows, settings_for, turned
from tests.support.card_zoo import code_at, plain, stamped, widget

TEMPLATES: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "light": (light, (1,)),
    "heavy": (heavy, (1, 2)),
    "turned": (turned, (1,)),
}
BOXES = ("MediaBox", "CropBox", "BleedBox", "TrimBox", "ArtBox")


@pytest.fixture(scope="module", params=TEMPLATES)
def made(request: pytest.FixtureRequest) -> tuple[bytes, Press]:
    maker, pages = TEMPLATES[request.param]
    return maker(), Press.open(order_for(maker(), 30, pages=pages))


def opened(pdf: bytes) -> pymupdf.Document:
    document = pymupdf.open(stream=pdf, filetype="pdf")
    assert not document.is_repaired
    return document


def unsound(pdf: bytes) -> list[str]:
    """What qpdf has against it."""
    with pikepdf.open(io.BytesIO(pdf), attempt_recovery=False) as document:
        return [*document.get_warnings(), *document.check_pdf_syntax()]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("box_mm", [53, 24.6], ids=["usual", "modules of 0.6 mm"])
def test_psm_026_every_card_is_read_as_printed_and_at_half_its_size(
    name: str, box_mm: float
) -> None:
    maker, pages = TEMPLATES[name]
    press = Press.open(order_for(maker(), 4, pages=pages, width=box_mm, height=box_mm))
    for index, row in enumerate(press.rows):
        pdf = press.whole(press.stamp(index))
        for dpi in (READING_DPI, READING_DPI / 2):
            found = [codes for codes in read_codes(pdf, dpi=dpi) if codes]
            assert found == [[row["table"]["url"]]] * len(pages), (index, dpi)


def test_a_card_is_the_common_prefix_and_a_small_tail(made: tuple[bytes, Press]) -> None:
    _, press = made
    for index in (0, 17):
        card = press.stamp(index)
        whole = press.whole(card)
        assert whole == press.prefix + card.tail
        assert len(card.tail) < 5_000 * len(press.pages)
        assert card.byte_count == len(whole)
        assert card.crc32 == zlib.crc32(whole)
        assert card.sha256 == hashlib.sha256(whole).digest()


def test_qpdf_and_mupdf_find_nothing_wrong_with_a_card(made: tuple[bytes, Press]) -> None:
    _, press = made
    whole = press.whole(press.stamp(3))
    assert unsound(whole) == []
    assert whole.count(b"startxref") == 1
    assert b"/ObjStm" not in whole
    pymupdf.TOOLS.reset_mupdf_warnings()
    with opened(whole) as document:
        for number in range(document.page_count):
            document[number].get_pixmap(dpi=20)
    assert pymupdf.TOOLS.mupdf_warnings() == ""


def test_the_table_of_objects_tells_where_each_of_them_lies(made: tuple[bytes, Press]) -> None:
    _, press = made
    whole = press.whole(press.stamp(0))
    start = int(whole[whole.rindex(b"startxref") :].split()[1])
    head, count, *entries = whole[start : whole.rindex(b"trailer")].split(b"\n")
    assert (head, count) == (b"xref", b"0 %d" % (len(entries) - 1))
    for number, entry in enumerate(entries[1:-1], 1):
        assert entry.endswith(b" 00000 n ")
        assert whole[int(entry[:10]) :].startswith(b"%d 0 obj" % number)


def test_psm_026_psm_027_every_card_says_its_own_link_and_number(
    made: tuple[bytes, Press],
) -> None:
    _, press = made
    for index in (0, 29):
        table = press.rows[index]["table"]
        with opened(press.whole(press.stamp(index))) as document:
            for number in press.pages:
                page = document[number - 1]
                image = page.get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)
                pixels = memoryview(image.samples).cast("B", (image.height, image.width))
                found = zxingcpp.read_barcodes(pixels)
                assert [code.text for code in found] == [table["url"]]
                assert f"Стол № {table['number']}" in page.get_text()


def test_psm_028_pages_boxes_and_rotation_are_kept(made: tuple[bytes, Press]) -> None:
    pdf, press = made
    card = press.whole(press.stamp(0))
    with pikepdf.open(io.BytesIO(pdf)) as before, pikepdf.open(io.BytesIO(card)) as after:
        assert len(before.pages) == len(after.pages)
        for old, new in zip(before.pages, after.pages, strict=True):
            for name in (*BOXES, "Rotate", "UserUnit"):
                key = Name(f"/{name}")
                assert str(old.obj.get(key)) == str(new.obj.get(key)), name


def test_psm_028_not_a_pixel_outside_the_fields_changes(made: tuple[bytes, Press]) -> None:
    pdf, press = made
    with opened(pdf) as before, opened(press.whole(press.stamp(0))) as after:
        for number, frame in press.frames.items():
            old, new = (
                each[number - 1].get_pixmap(dpi=100, colorspace=pymupdf.csCMYK)
                for each in (before, after)
            )
            assert old.samples != new.samples
            for field in press.settings.fields:
                x, y = field.x - frame.media[0], field.y - frame.media[1]
                box = (x - 0.3, y - 0.3, x + field.width + 0.3, y + field.height + 0.3)
                place = pymupdf.IRect(*(round(side / 25.4 * 100) for side in box))
                for image in (old, new):
                    image.set_rect(place, (0, 0, 0, 0))
            assert old.samples == new.samples


def test_psm_028_a_page_that_is_not_stamped_is_as_it_was() -> None:
    press = Press.open(order_for(heavy(), pages=(2,)))
    assert press.pages == (2,)
    with opened(heavy()) as before, opened(press.whole(press.stamp(0))) as after:
        assert before[0].read_contents() == after[0].read_contents()
        assert before[1].read_contents() != after[1].read_contents()


SCRIPT = """
import json, pathlib, sys
from makeready.cards.press import Press
from tests.support.card_templates import order_for
out = []
for path, pages in json.loads(sys.argv[1]):
    press = Press.open(order_for(pathlib.Path(path).read_bytes(), 12, pages=pages))
    out += [press.stamp(index).sha256.hex() for index in (0, 11)]
print(json.dumps(out))
"""


def test_psm_029_two_processes_make_the_same_bytes(tmp_path: Path) -> None:
    asked = []
    for name, (maker, pages) in TEMPLATES.items():
        (tmp_path / name).write_bytes(maker())
        asked.append([str(tmp_path / name), pages])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(asked)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    one, other = (process.communicate()[0] for process in running)
    assert one == other
    assert len(set(json.loads(one))) == 2 * len(TEMPLATES)


def test_psm_029_a_card_does_not_depend_on_the_cards_before_it() -> None:
    press = Press.open(order_for(light(), 5))
    backwards = [press.stamp(index).tail for index in (4, 3, 2, 1, 0)]
    assert [press.stamp(index).tail for index in range(5)] == backwards[::-1]
    assert len(set(backwards)) == 5


def test_psm_008_another_pdf_is_another_template_and_makes_other_cards() -> None:
    """A generation pins the PDF by its content: the same order is printed the same for ever."""
    assert inspect(light()).sha256 == hashlib.sha256(light()).hexdigest()
    known = inspect(light())
    order = order_for(light())
    assert Press.open(order).stamp(0).sha256 == Press.open(order, known).stamp(0).sha256
    other = Press.open(order_for(turned()), known)
    assert other.facts.sha256 == inspect(turned()).sha256
    assert other.stamp(0).sha256 != Press.open(order).stamp(0).sha256


def test_psm_007_what_is_wrong_is_told_before_a_card_is_made() -> None:
    settings = settings_for(x=100, quiet_zone=1)
    with pytest.raises(CardsRefused) as caught:
        Press.open(Order(pdf=light(), settings=settings, rows=rows(2)))
    assert {"field_outside_page", "qr_quiet_zone"} <= {each.code for each in caught.value.problems}


def test_the_stamper_names_all_that_shows_in_the_bytes() -> None:
    assert [part.split()[0] for part in STAMPER.split(", ")] == [
        *("makeready-cards", "pymupdf", "pymupdf-fonts", "fonttools", "segno", "qpdf", "zlib"),
    ]


@pytest.mark.parametrize(
    "saved",
    [
        {"object_stream_mode": pikepdf.ObjectStreamMode.generate},
        {"linearize": True},
        {"encryption": pikepdf.Encryption(user="", owner="secret")},
        {"force_version": "1.4"},
    ],
    ids=["object streams", "linearized", "encrypted", "1.4"],
)
def test_however_the_source_is_written_a_card_is_plain(saved: dict[str, Any]) -> None:
    pdf = plain(pages=2, **saved)
    card = stamped(pdf, code_at(20, 20))
    assert unsound(card) == []
    assert b"/Encrypt" not in card
    with opened(card) as document, opened(pdf) as source:
        assert document.page_count == 2
        assert document[1].get_pixmap().samples == source[1].get_pixmap().samples


def test_a_source_that_was_saved_on_top_of_itself_is_taken_as_it_is_now() -> None:
    with pymupdf.open(stream=plain(b"1 g 0 0 900 900 re f"), filetype="pdf") as document:
        document.update_stream(document[0].get_contents()[0], b"0 g 0 0 900 900 re f")
        out = io.BytesIO(document.write())
        document[0].set_cropbox(pymupdf.Rect(10, 10, 200, 300))
        document.save(out, incremental=False)
    card = stamped(out.getvalue(), code_at(5, 5))
    assert unsound(card) == []
    with opened(card) as document:
        assert document[0].get_pixmap().pixel(180, 280) == (0, 0, 0)


def test_a_card_does_nothing_when_it_is_opened() -> None:
    def change(document: Pdf, page: Any) -> None:
        document.Root.OpenAction = Dictionary(S=Name.JavaScript, JS="app.alert(1)")
        document.Root.Names = Dictionary(EmbeddedFiles=Dictionary(Names=Array()))
        page.AA = Dictionary(O=Dictionary(S=Name.Launch, F="calc.exe"))
        field = widget(document, page, "total", (0, 0, 50, 20))
        field.A = Dictionary(S=Name.SubmitForm, F="https://example.ru")

    card = stamped(plain(change=change), code_at(20, 20))
    for word in (b"JavaScript", b"Launch", b"SubmitForm", b"EmbeddedFiles", b"/AA"):
        assert word not in card


def test_what_marks_a_place_is_not_printed_and_other_notes_are() -> None:
    def change(document: Pdf, page: Any) -> None:
        widget(document, page, "{table.url}", (10, 10, 110, 110), MK=Dictionary(BG=Array([0])))
        widget(document, page, "name", (10, 200, 110, 220), V="Анна")

    with pikepdf.open(io.BytesIO(stamped(plain(change=change), b""))) as document:
        (kept,) = document.pages[0].Annots
        assert kept.T == "name"
        assert [field.T for field in document.Root.AcroForm.Fields] == ["name"]


def test_a_form_that_only_marks_places_is_gone() -> None:
    def change(document: Pdf, page: Any) -> None:
        field = widget(document, page, "number", (10, 20, 110, 60))
        field.Parent = document.make_indirect(
            Dictionary(T="table", FT=Name.Tx, Kids=Array([field]))
        )
        document.Root.AcroForm.Fields = Array([field.Parent])

    with pikepdf.open(io.BytesIO(stamped(plain(change=change), b""))) as document:
        assert Name.AcroForm not in document.Root
        assert len(document.pages[0].Annots) == 0


def test_a_design_program_finds_the_card_and_not_its_own_copy_of_the_art() -> None:
    """Illustrator would open that copy, which has no code."""

    def change(document: Pdf, page: Any) -> None:
        private = document.make_stream(b"%AI12_CompressedData")
        page.PieceInfo = Dictionary(
            Illustrator=Dictionary(Private=Dictionary(AIPrivateData1=private))
        )
        document.Root.PieceInfo = Dictionary(Other=Dictionary())
        page.Thumb = document.make_stream(b"a small picture")

    card = stamped(plain(change=change), code_at(20, 20))
    assert not any(word in card for word in (b"PieceInfo", b"AI12", b"Thumb", b"small picture"))


def test_a_name_in_the_file_is_not_taken_for_a_blank() -> None:
    """Blanks are told by a name made of the template's checksum."""

    def change(document: Pdf, page: Any) -> None:  # noqa: ARG001
        document.Root.Odd = document.make_indirect(
            Dictionary({f"/Blank{'0' * 16}": 1, "/Card0": "Blank 1"})
        )

    card = stamped(plain(change=change), code_at(20, 20))
    assert unsound(card) == []
    assert b"/Blank0000000000000000 1" in card


def test_a_field_of_the_pdf_becomes_the_code_that_is_printed_in_its_place() -> None:
    def change(document: Pdf, page: Any) -> None:
        box = (60, 150, 230, 320)
        widget(document, page, "{table.url}", box, MK=Dictionary(BG=Array([0.2])))

    pdf = plain(change=change)
    facts = inspect(pdf)
    order = Order(pdf=pdf, settings=settings_from(facts), rows=rows(1))
    press = Press.open(order, facts)
    (code,) = press.stamp(0).drawn.codes
    assert code.box[0] - code.quiet_zone > 60 / 72 * 25.4
    with opened(press.whole(press.stamp(0))) as document:
        assert list(document[0].widgets()) == []
        image = document[0].get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)
    pixels = memoryview(image.samples).cast("B", (image.height, image.width))
    assert [found.text for found in zxingcpp.read_barcodes(pixels)] == [code.symbol.payload]
