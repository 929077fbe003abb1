"""What is done after the printing: metadata, a watermark, PDF/A; and what cannot become that.

The rules of PDF/A are checked here one by one as the standard states them; no validator is at
hand that could be run with the tests.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pikepdf
import pymupdf
import pytest
from pikepdf import Array, Dictionary, Name, String

from makeready.pdf import (
    InvalidPdf,
    Unfinishable,
    finish_aside,
    inspect,
    merge_aside,
    text_of,
)
from makeready.pdf_work.srgb import srgb_profile
from makeready.print_options import Metadata, PrintOptions
from tests.support.pdfs import made, without_glyphs

DC = "{http://purl.org/dc/elements/1.1/}"
PDFAID = "{http://www.aiim.org/pdfa/ns/id/}"
ARCHIVAL = PrintOptions(pdf_a="2b")


def changed(change: Callable[[Any], None], text: str = "Hello") -> bytes:
    """A good PDF after `change` has had it as pikepdf's."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(made(text))) as document:
        change(document)
        document.save(out, static_id=True)
    return out.getvalue()


def packet(data: bytes) -> ET.Element:
    """The facts that the file states as XMP."""
    with pikepdf.open(io.BytesIO(data)) as document:
        assert Name.Filter not in document.Root.Metadata, "readable without unpacking"
        root = ET.fromstring(document.Root.Metadata.read_bytes())  # noqa: S314 -- made by us
    return root[0][0]


async def test_without_a_wish_the_bytes_stay_as_they_were_printed() -> None:
    data = made()
    same, facts = await finish_aside(data, PrintOptions(), pages=1)
    assert same is data
    assert facts == inspect(data)


async def test_metadata_is_said_twice_and_the_same() -> None:
    said = Metadata(
        author="Анна & Co",
        subject="Заказ <17>",
        keywords=("счёт", "ноябрь"),
        custom=(("Contract", "4/2026 ₽"),),
    )
    data, facts = await finish_aside(made(), PrintOptions(metadata=said))
    assert facts.title == "A title", "what the metadata leaves out stays"
    with pikepdf.open(io.BytesIO(data)) as document:
        assert document.docinfo.Author == "Анна & Co"
        assert document.docinfo.Keywords == "счёт, ноябрь"
        assert document.docinfo.Contract == "4/2026 ₽"
        assert document.Root.ViewerPreferences.DisplayDocTitle
    assert packet(data).findtext(f"{DC}creator/*/*") == "Анна & Co"
    assert packet(data).findtext(f"{DC}description/*/*") == "Заказ <17>"
    assert packet(data).findtext(f"{DC}title/*/*") == "A title"
    assert packet(data).find(f"{PDFAID}part") is None
    named, facts = await finish_aside(made(), PrintOptions(metadata=Metadata(title="Имя\x01")))
    assert facts.title == "Имя"
    assert (
        named == (await finish_aside(made(), PrintOptions(metadata=Metadata(title="Имя\x01"))))[0]
    )


@pytest.mark.parametrize("level", ["2b", "3b"])
async def test_pdf_a_has_what_the_format_asks_for(level: str) -> None:
    text = "Итого сорок два ₽, forty-two"
    data, facts = await finish_aside(made(text, pages=2), PrintOptions(pdf_a=level), pages=2)
    assert data == (await finish_aside(made(text, pages=2), PrintOptions(pdf_a=level)))[0]
    assert facts.text_chars == 2 * len(text.replace(" ", ""))
    assert text_of(data).split("\n")[0] == text
    assert data.startswith(b"%PDF-1.7\n%"), "a comment of four bytes above 127 follows"
    assert all(byte > 127 for byte in data.splitlines()[1][1:5])
    said = packet(data)
    assert (said.findtext(f"{PDFAID}part"), said.findtext(f"{PDFAID}conformance")) == (
        level[0],
        "B",
    )
    with pikepdf.open(io.BytesIO(data)) as document:
        assert not document.is_encrypted
        assert len(document.trailer.ID) == 2
        intent = document.Root.OutputIntents[0]
        assert intent.S == Name.GTS_PDFA1
        assert intent.DestOutputProfile.N == 3
        assert intent.DestOutputProfile.read_bytes() == srgb_profile()
        fonts = [font for page in document.pages for font in page.resources.Font.values()]
        for font in fonts:
            described = font.DescendantFonts[0]
            assert Name.FontFile2 in described.FontDescriptor
            assert Name.CIDToGIDMap in described
            assert Name.CIDSet not in described.FontDescriptor


def test_the_profile_is_one_that_a_reader_understands() -> None:
    profile = srgb_profile()
    assert len(profile) == int.from_bytes(profile[:4], "big") < 1000
    assert profile[12:24] == b"mntrRGB XYZ "
    assert profile[36:40] == b"acsp"

    def paint(document: Any) -> None:
        page = document.pages[0]
        space = Array([Name.ICCBased, document.make_stream(profile, N=3)])
        page.resources.ColorSpace = Dictionary(Ours=space)
        page.Contents = document.make_stream(b"/Ours cs 1 0.5 0.2 sc 0 0 595 842 re f")

    with pymupdf.open(stream=changed(paint)) as document:
        shown = document[0].get_pixmap(dpi=10).pixel(3, 3)
    assert shown == pytest.approx((255, 128, 51), abs=2)


def with_action(kind: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document.Root.OpenAction = Dictionary(S=Name(f"/{kind}"), JS=String("x"))

    return change


def with_note(**fields: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        note = Dictionary(Type=Name.Annot, Rect=[0, 0, 9, 9], **fields)
        document.pages[0].obj.Annots = Array([document.make_indirect(note)])

    return change


def with_file(document: Any) -> None:
    document.attachments["a.txt"] = b"x"


def with_inks(document: Any) -> None:
    ink = Dictionary(
        Type=Name.XObject,
        Subtype=Name.Image,
        Width=1,
        Height=1,
        BitsPerComponent=8,
        ColorSpace=Name.DeviceCMYK,
    )
    document.pages[0].resources.XObject = Dictionary(Ink=document.make_stream(b"\0" * 4, ink))


def with_layers(document: Any) -> None:
    document.Root.OCProperties = Dictionary(OCGs=Array(), D=Dictionary())


def with_transfer(document: Any) -> None:
    document.pages[0].resources.ExtGState = Dictionary(G=Dictionary(TR=Name.Identity))


def with_a_long_page(document: Any) -> None:
    document.pages[0].mediabox = [0, 0, 595, 20_000]


REFUSED = {
    "script": (with_action("JavaScript"), "an action JavaScript"),
    "program": (with_action("Launch"), "an action Launch"),
    "film": (with_note(Subtype=Name.Movie), "a note of the kind Movie"),
    "undrawn note": (with_note(Subtype=Name.Text), "that viewers draw"),
    "hidden link": (with_note(Subtype=Name.Link, F=2), "a hidden note"),
    "attachment": (with_file, "only 3b allows"),
    "inks": (with_inks, "four inks"),
    "layers": (with_layers, "layers"),
    "transfer": (with_transfer, "a transfer function"),
    "size": (with_a_long_page, "a page of 595 × 20000"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_the_format_forbids_is_refused_and_named(
    change: Callable[[Any], None], reason: str
) -> None:
    with pytest.raises(Unfinishable, match="no PDF/A-2b: ") as caught:
        await finish_aside(changed(change), ARCHIVAL)
    assert any(reason in problem for problem in caught.value.details["problems"])
    assert await finish_aside(changed(change), PrintOptions())


async def test_fonts_that_stay_behind_are_refused_in_any_case() -> None:
    for options in (ARCHIVAL, PrintOptions()):
        with pytest.raises((Unfinishable, InvalidPdf), match="Helvetica"):
            await finish_aside(made(embedded=False), options)


async def test_letters_that_are_missing_are_refused_also_where_they_are_else_allowed() -> None:
    data = without_glyphs(made("Привет"))
    assert (await finish_aside(data, PrintOptions(), needs_text=False))[1].lost_chars == 1
    with pytest.raises(Unfinishable, match="1 characters without a letter"):
        await finish_aside(data, ARCHIVAL, needs_text=False)


async def test_what_can_be_mended_is() -> None:
    def change(document: Any) -> None:
        with_note(Subtype=Name.Link, Dest=Array([document.pages[0].obj, Name.Fit]))(document)
        with_inks(document)
        picture = document.pages[0].resources.XObject.Ink
        picture.ColorSpace, picture.Interpolate = Name.DeviceGray, True

    data, _ = await finish_aside(changed(change), ARCHIVAL)
    with pikepdf.open(io.BytesIO(data)) as document:
        assert document.pages[0].obj.Annots[0].F == 4, "printed with the page"
        assert not document.pages[0].resources.XObject.Ink.Interpolate


@pytest.mark.parametrize("word", ["DRAFT", "ЧЕРНОВИК", "Копия № 2"])
async def test_a_watermark_lies_over_every_page_and_is_no_text(word: str) -> None:
    options = PrintOptions(watermark=word)
    data, facts = await finish_aside(made("x", pages=2), options)
    assert data == (await finish_aside(made("x", pages=2), options))[0]
    assert facts.text_chars == 2, "as printed"
    assert all(font.embedded for font in facts.fonts)
    with pymupdf.open(stream=data) as document, pymupdf.open(stream=made("x")) as plain:
        middle = pymupdf.Rect(250, 380, 350, 460)
        for page in document:
            assert word in page.get_text()
            assert page.get_pixmap(clip=middle).color_count() > 2
        assert plain[0].get_pixmap(clip=middle).color_count() == 1
    with pikepdf.open(io.BytesIO(data)) as document:
        assert b"/Artifact" in document.pages[0].obj.Contents[-1].read_bytes()
        drawings = [page.resources.XObject.MakereadyMark.objgen for page in document.pages]
        assert len(set(drawings)) == 1, "drawn once"


async def test_a_watermark_does_not_make_up_for_a_missing_text() -> None:
    with pytest.raises(InvalidPdf, match="no text"):
        await finish_aside(made(" "), PrintOptions(watermark="DRAFT"))
    _, facts = await finish_aside(made(" "), PrintOptions(watermark="DRAFT"), needs_text=False)
    assert facts.text_chars == 0


async def test_a_watermark_that_the_font_cannot_write_is_refused() -> None:
    with pytest.raises(Unfinishable, match="has no 稿"):
        await finish_aside(made(), PrintOptions(watermark="草稿"))


async def test_an_archival_watermark_is_archival() -> None:
    options = PrintOptions(watermark="ЧЕРНОВИК", pdf_a="2b")
    data, _ = await finish_aside(made("Привет"), options)
    with pikepdf.open(io.BytesIO(data)) as document:
        (font,) = document.pages[0].Resources.XObject.MakereadyMark.Resources.Font.values()
        assert font.DescendantFonts[0].FontDescriptor.CapHeight == 698
    again, _ = await finish_aside(data, ARCHIVAL)
    assert packet(again).findtext(f"{PDFAID}part") == "2"


async def test_archival_documents_together_are_archival() -> None:
    first, second = [(await finish_aside(made(word), ARCHIVAL))[0] for word in ("one", "two")]
    whole = await merge_aside([("1", first), ("2", second)], title="Both")
    assert packet(whole).findtext(f"{PDFAID}part") == "2"
    assert packet(whole).findtext(f"{DC}title/*/*") == "Both"
    mixed = await merge_aside([("1", first), ("2", made("three"))])
    with pikepdf.open(io.BytesIO(mixed)) as document:
        assert Name.Metadata not in document.Root
