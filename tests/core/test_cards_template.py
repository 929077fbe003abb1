"""What a designer's PDF is, and every reason why one is not taken."""

from __future__ import annotations

import zlib
from typing import Any

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name, Pdf

from makeready.cards import inspection
from makeready.cards.inspection import inspect
from makeready.cards.markers import marked
from makeready.cards.template import PageFacts
from tests.support.card_templates import heavy, light, turned
from tests.support.card_zoo import Change, plain, refused, widget


def page(**kept: Any) -> PageFacts:
    return inspect(plain(**kept)).pages[0]


def test_a_light_template_is_described() -> None:
    facts = inspect(light())
    (seen,) = facts.pages
    assert (facts.byte_count, facts.has_cmyk, facts.warnings) == (len(light()), False, ())
    assert seen.trim == seen.crop == seen.media == pytest.approx((0, 0, 297.64, 419.53), abs=0.01)
    assert [is_embedded for _, is_embedded in facts.fonts] == [True]
    assert len(facts.sha256) == 64


def test_a_heavy_template_keeps_bleed_and_is_of_four_inks() -> None:
    facts = inspect(heavy())
    assert facts.has_cmyk
    assert [seen.number for seen in facts.pages] == [1, 2]
    front = facts.pages[0]
    assert front.trim[0] - front.bleed[0] == pytest.approx(3 / 25.4 * 72, abs=0.01)
    assert front.crop == front.media


def test_a_turned_template_is_read_as_it_lies() -> None:
    (seen,) = inspect(turned()).pages
    assert (seen.rotate, seen.crop[0], seen.media[0]) == (90, 20, 0)


@pytest.mark.parametrize(
    ("pdf", "code", "facts"),
    [
        (b"", "template_empty", {}),
        (b"<html><body>Hello</body></html>", "template_not_pdf", {"kind": "HTML"}),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "template_not_pdf", {"kind": "PNG"}),
        (b"MZ" + bytes(2000) + b"%PDF-1.7", "template_not_pdf", {"kind": ""}),
    ],
)
def test_psm_007_what_is_no_pdf_is_named(pdf: bytes, code: str, facts: dict[str, Any]) -> None:
    (problem,) = refused(pdf)
    assert (problem.code, problem.facts) == (code, facts)


def test_psm_007_html_that_calls_itself_a_pdf_is_found_out() -> None:
    """MuPDF opens it as a document, whatever kind of file it is told to expect."""
    (problem,) = refused(b"<html><!-- %PDF-1.7 --><body>Hello</body></html>")
    assert problem.code in {"template_not_pdf", "template_damaged"}


@pytest.mark.parametrize(
    "kept", [slice(None, -300), slice(None, -1000), slice(None, 16_000), slice(300, None)]
)
def test_psm_007_a_file_that_is_cut_off_is_damaged(kept: slice) -> None:
    """MuPDF mends it without a word, and may find no pages, or pages without their art."""
    pdf = light()[kept]
    (problem,) = refused(pdf if pdf.startswith(b"%PDF-") else b"%PDF-1.7\n" + pdf)
    assert problem.code == "template_damaged"


@pytest.mark.parametrize(
    "content",
    [
        b"0 0 9 9 re f /Missing Do",
        b"0 0 9 9 re f nonsense 1 2 cm",
        b"BI /W 99 /H 99 /BPC 8 /CS /G ID abc",
        b"BT (never closed",
    ],
)
def test_psm_007_art_that_cannot_be_drawn_to_its_end_is_damaged(content: bytes) -> None:
    (problem,) = refused(plain(content))
    assert problem.code == "template_damaged"
    assert problem.facts["reason"]


def test_a_stream_without_a_byte_is_not_cut_off() -> None:
    assert inspect(plain(b"")).pages


def test_psm_007_art_that_is_cut_off_is_damaged_beside_a_stream_without_a_byte() -> None:
    def cut(document: Pdf, page: Any) -> None:
        packed = zlib.compress(b"".join(b"%d 0 9 9 re f\n" % x for x in range(500)))
        ended = document.make_stream(packed[: len(packed) // 2], Filter=Name.FlateDecode)
        page.Contents = Array([page.Contents, ended])

    (problem,) = refused(plain(b"", change=cut))
    assert problem.code == "template_damaged"
    assert "premature end" in problem.facts["reason"]


def test_psm_007_a_picture_that_ends_too_soon_is_damaged() -> None:
    def cut(document: Pdf, page: Any) -> None:
        whole = heavy()
        start = whole.index(b"\xff\xd8\xff")
        picture = document.make_stream(
            whole[start : start + 200_000],
            Type=Name.XObject,
            Subtype=Name.Image,
            Width=1311,
            Height=1819,
            BitsPerComponent=8,
            ColorSpace=Name.DeviceCMYK,
            Filter=Name.DCTDecode,
        )
        page.Resources = Dictionary(XObject=Dictionary(Photo=picture))

    (problem,) = refused(plain(b"200 0 0 200 0 0 cm /Photo Do", change=cut))
    assert problem.code == "template_damaged"


def test_psm_007_a_password_is_asked_for_or_forbids_changes() -> None:
    locked = plain(encryption=pikepdf.Encryption(user="secret", owner="secret"))
    assert [problem.code for problem in refused(locked)] == ["template_encrypted"]
    no = pikepdf.Permissions(modify_other=False)
    forbidden = plain(encryption=pikepdf.Encryption(user="", owner="secret", allow=no))
    assert [problem.code for problem in refused(forbidden)] == ["template_restricted"]
    open_to_all = plain(encryption=pikepdf.Encryption(user="", owner="secret"))
    assert inspect(open_to_all).pages


def test_psm_007_a_file_without_pages_is_told_so() -> None:
    assert [problem.code for problem in refused(plain(pages=0))] == ["template_no_pages"]


def test_psm_007_size_and_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "PAGES_LIMIT", 2)
    (problem,) = refused(plain(pages=3))
    assert (problem.code, problem.facts) == ("template_too_big", {"pages": 3, "limit": 2})
    monkeypatch.setattr(inspection, "SIZE_LIMIT_BYTES", 500)
    (problem,) = refused(light())
    assert problem.facts == {"bytes": len(light()), "limit": 500}


@pytest.mark.parametrize(
    ("keys", "box", "reason"),
    [
        ({"/MediaBox": [0, 0, 0, 0]}, "MediaBox", "empty"),
        ({"/MediaBox": [0, 0, 400_000, 400]}, "MediaBox", "huge"),
        ({"/TrimBox": [10, 10, 900, 300]}, "TrimBox", "outside"),
        ({"/TrimBox": [50, 50, 50, 300]}, "TrimBox", "empty"),
        ({"/CropBox": [900, 900, 950, 950]}, "CropBox", "outside"),
        ({"/BleedBox": [-90, -90, -50, -50]}, "BleedBox", "outside"),
        ({"/Rotate": 45}, "Rotate", "no_right_angle"),
        ({"/UserUnit": 0}, "UserUnit", "not_numbers"),
    ],
)
def test_psm_007_a_box_that_cannot_be_right_is_named(
    keys: dict[str, Any], box: str, reason: str
) -> None:
    found = refused(plain(page=keys))
    assert [problem.code for problem in found] == ["template_bad_box"]
    assert found[0].facts == {"page": 1, "box": box, "reason": reason}


@pytest.mark.parametrize("box", [[0, 0, 200], ["a", 0, 200, 300]])
def test_psm_007_a_page_without_a_size_is_told(box: list[Any]) -> None:
    (problem,) = refused(plain(page={"/MediaBox": box}))
    assert problem.facts == {"box": "MediaBox", "reason": "not_numbers"}


def test_psm_007_boxes_of_all_pages_are_told_at_once() -> None:
    found = refused(plain(page={"/Rotate": 45, "/UserUnit": -1}, pages=2))
    assert [(each.facts["page"], each.facts["box"]) for each in found] == [
        *((1, "Rotate"), (1, "UserUnit")),
        *((2, "Rotate"), (2, "UserUnit")),
    ]


def test_boxes_are_inherited_put_in_order_and_cut_to_the_page() -> None:
    above = {"/CropBox": [250, 400, -30, -30], "/Rotate": -270}
    seen = page(above=above, page={"/TrimBox": [240, 10, 20, 390]})
    assert seen.crop == seen.bleed == pytest.approx((0, 0, 250, 400))
    assert seen.trim == pytest.approx((20, 10, 240, 390))
    assert (seen.rotate, seen.user_unit) == (90, 1)


def test_a_trim_box_that_is_rounded_is_taken_as_it_is_meant() -> None:
    seen = page(media=(0, 0, 200, 300), page={"/TrimBox": [0, 0, 200.2, 300]})
    assert seen.trim == (0, 0, 200, 300)


def test_a_cropped_page_has_its_trim_where_the_crop_is() -> None:
    seen = page(page={"/CropBox": [10, 20, 150, 200]})
    assert seen.trim == seen.bleed == (10, 20, 150, 200)


def signature(document: Pdf, page: Any) -> None:
    field = widget(document, page, "Signature1", (0, 0, 50, 20))
    field.FT = Name.Sig


def certified(document: Pdf, page: Any) -> None:  # noqa: ARG001
    document.Root.Perms = Dictionary(DocMDP=Dictionary())


@pytest.mark.parametrize("change", [signature, certified])
def test_psm_007_a_signed_file_is_not_broken(change: Change) -> None:
    assert [problem.code for problem in refused(plain(change=change))] == ["template_signed"]


@pytest.mark.parametrize(
    ("name", "as_field", "as_note"),
    [
        ("{table.url}", "{table.url}", "{table.url}"),
        ("Стол № {table.number}", "Стол № {table.number}", "Стол № {table.number}"),
        ("table.number", "{table.number}", "{table.number}"),
        ("row.city_2", "{row.city}", "{row.city}"),
        ("QR-код 2", "", ""),
        ("QR 2", "{table.url}", ""),
        ("Стол", "{table.number}", ""),
        ("mytable.number", "", ""),
        ("{}", "", ""),
    ],
)
def test_what_marks_a_place(name: str, as_field: str, as_note: str) -> None:
    assert (marked(name), marked(name, is_note=True)) == (as_field, as_note)


def test_mupdf_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    refused(light()[:-1000])
    refused(plain(b"/Missing Do"))
    assert capfd.readouterr() == ("", "")
