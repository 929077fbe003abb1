"""Nothing that the art leaves behind reaches the stamp, and nothing of the art is lost."""

from __future__ import annotations

import functools
import io
from typing import Any

import pikepdf
import pymupdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pikepdf import Array, Dictionary, Name, Pdf
from pymupdf import mupdf

from makeready.cards import compile as compiling
from makeready.cards.isolation import leaks_of
from tests.support.card_zoo import Change, code_at, plain, stamped

PLACE = (20.0, 30.0)
CODE = code_at(*PLACE)
BOX_PT = pymupdf.Rect(20, 30, 53, 63) * (72 / 25.4)
HIDDEN = "hidden"
LEAKS: dict[str, bytes] = {
    "a scale": b"0.5 0 0 0.5 30 30 cm",
    "a saved state with a scale": b"q q 0.5 0 0 0.5 30 30 cm q",
    "a clip": b"0 0 9 9 re W n",
    "a text object": b"BT 3 0 0 3 50 50 Tm",
    "a hidden layer": b"/OC /Layer BDC",
    "transparency": b"/Faint gs",
    "a mode of blending": b"/Darker gs",
    "overprint": b"/Over gs 1 0 0 0 k",
    "a path": b"0 0 m 300 0 l 300 400 l",
    "a path for a clip": b"0 0 9 9 re W",
    "nothing": b"",
    "a comment": b"q % the end",
    "a layer in a saved state": b"q /OC /Layer BDC q BT",
}
UNSEEN = {"nothing", "a comment", "a text object", "a path", "a path for a clip", "overprint"}
"""By MuPDF, as it shows a page on a screen."""
TINT = Dictionary(FunctionType=2, Domain=Array([0, 1]), N=1, C1=Array([0, 0.2, 0.8, 0]))


def with_states(document: Pdf, page: Any) -> None:
    layer = document.make_indirect(Dictionary(Type=Name.OCG, Name=HIDDEN))
    document.Root.OCProperties = Dictionary(
        OCGs=Array([layer]), D=Dictionary(OFF=Array([layer]), Order=Array([layer]))
    )
    page.Resources = Dictionary(
        Properties=Dictionary(Layer=layer),
        ColorSpace=Dictionary(Gold=Array([Name.Separation, Name.Gold, Name.DeviceCMYK, TINT])),
        ExtGState=Dictionary(
            Faint=Dictionary(ca=0.2, CA=0.2),
            Darker=Dictionary(BM=Name.Multiply),
            Over=Dictionary(OP=True, op=True, OPM=1),
        ),
    )


def drawn(pdf: bytes, number: int = 0, **how: Any) -> pymupdf.Pixmap:
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        assert not document.is_repaired
        image: pymupdf.Pixmap = document[number].get_pixmap(dpi=100, **how)
        return image


def code_of(pdf: bytes) -> bytes:
    """The inks of the code's place."""
    return bytes(drawn(pdf, clip=BOX_PT, colorspace=pymupdf.csCMYK).samples)


def art(leak: bytes) -> bytes:
    return plain(b"1 0.2 0 0 k 0 0 400 500 re f\n" + leak, change=with_states)


@functools.cache
def clean() -> bytes:
    """The code on art that leaves nothing open."""
    return code_of(stamped(art(b""), CODE))


def naive(document: Pdf, page: Any, blank: Any) -> None:
    page.Resources.XObject = Dictionary(Card=blank)
    page.Contents = Array([page.Contents, document.make_stream(b"\n/Card Do")])


@pytest.mark.parametrize("leak", LEAKS)
def test_psm_026_what_the_art_leaves_open_does_not_reach_the_code(leak: str) -> None:
    assert code_of(stamped(art(LEAKS[leak]), CODE)) == clean()


PIECES = [
    *(b"q", b"q", b"Q", b"Q", b"BT", b"ET", b"/OC /Layer BDC", b"/T BMC", b"EMC", b"/Over gs"),
    *(b"/Faint gs", b"/Darker gs", b"0.5 0 0 0.5 9 9 cm", b"0 0 9 9 re W n", b"0 0 m 9 9 l n"),
]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12))
def test_psm_026_however_it_is_entangled(pieces: list[bytes]) -> None:
    assert code_of(stamped(art(b"\n".join(pieces)), CODE)) == clean()


@pytest.mark.parametrize("leak", sorted(set(LEAKS) - UNSEEN))
def test_a_code_that_is_only_appended_is_spoiled(
    leak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above would notice."""
    sound = clean()
    monkeypatch.setattr(compiling, "isolate", naive)
    assert code_of(stamped(art(LEAKS[leak]), CODE)) != sound


def inks_at(pdf: bytes, x: float, y: float) -> list[int]:
    """Cyan, magenta, yellow, black and gold on the plates, where overprint is not ignored."""
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        page = mupdf.fz_load_page(document.this, 0)
        plates = mupdf.fz_clone_separations_for_overprint(mupdf.fz_page_separations(page))
        size = mupdf.FzIrect(0, 0, 290, 410)
        image = mupdf.fz_new_pixmap_with_bbox(mupdf.fz_device_cmyk(), size, plates, 0)
        mupdf.fz_clear_pixmap(image)
        device = mupdf.fz_new_draw_device(mupdf.FzMatrix(), image)
        mupdf.fz_run_page(page, device, mupdf.FzMatrix(), mupdf.FzCookie())
        mupdf.fz_close_device(device)
        count = mupdf.fz_pixmap_components(image)
        start = int(y) * mupdf.fz_pixmap_stride(image) + int(x) * count
        return [mupdf.fz_samples_get(image, start + plate) for plate in range(count)]


def test_under_the_white_box_there_is_no_ink_where_the_art_leaves_overprint_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Screens do not show it: the white would print as nothing, and the art through it."""
    pdf = plain(
        b"1 0.2 0 0 k 0 0 400 500 re f /Gold cs 1 scn 0 0 9 9 re f /Over gs", change=with_states
    )
    corner = (BOX_PT.x0 + 3, BOX_PT.y0 + 3)
    assert inks_at(pdf, *corner) == [255, 51, 0, 0, 0]
    assert inks_at(stamped(pdf, CODE), *corner) == [0, 0, 0, 0, 0]
    monkeypatch.setattr(compiling, "isolate", naive)
    assert inks_at(stamped(pdf, CODE), *corner) == [255, 51, 0, 0, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"Q Q 1 0 0 rg q 0 1 0 rg Q 0 0 300 300 re f Q 0 0 1 rg 9 9 50 50 re f",
        b"q 1 0 0 rg Q Q Q 50 50 200 200 re f",
    ],
)
def test_art_that_restores_too_often_looks_as_it_did(content: bytes) -> None:
    """Viewers overlook a restore without a save; shut in, it would take back too much."""
    pdf = plain(content)
    card = stamped(pdf, b"")
    assert drawn(card).samples == drawn(pdf).samples


@pytest.mark.parametrize(
    ("content", "closing"),
    [
        (b"q q Q", b"Q"),
        (b"q BT /T BMC /T BMC EMC", b"ET EMC Q"),
        (b"BT ET q Q", b""),
        (b"0 0 m 9 9 l", b"n"),
        (b"0 0 9 9 re f", b""),
        (b"EMC EMC ET", b""),
        (b"BT (q Q BT) Tj ET BI /W 1 /H 1 /BPC 8 /CS /G ID q EI", b""),
    ],
)
def test_what_is_open_is_closed(content: bytes, closing: bytes) -> None:
    with pikepdf.open(io.BytesIO(plain(content))) as document:
        assert leaks_of(document.pages[0].obj).closing == closing


def pages_sharing(name: str) -> Change:
    """Two pages, one of whose resources, or all of them, are the same object of the file."""

    def change(document: Pdf, page: Any) -> None:
        form = document.make_stream(
            b"0 0 50 50 re f", Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 50, 50])
        )
        shared = document.make_indirect(Dictionary(Art=form))
        resources = Dictionary(XObject=shared)
        whole = document.make_indirect(resources) if name == "resources" else None
        for each in document.pages:
            each.obj.Resources = whole if whole is not None else Dictionary(XObject=shared)
        assert page.Resources.XObject.Art == form

    return change


@pytest.mark.parametrize("name", ["forms", "resources"])
def test_psm_028_a_page_that_shares_its_resources_does_not_give_its_code_away(name: str) -> None:
    pdf = plain(b"/Art Do", pages=2, change=pages_sharing(name))
    card = stamped(pdf, CODE)
    assert code_of(card) == code_of(stamped(plain(b" "), CODE))
    assert drawn(card, 1).samples == drawn(pdf, 1).samples
    with pikepdf.open(io.BytesIO(card)) as document:
        front, back = (set(page.obj.Resources.XObject.keys()) for page in document.pages)
    assert (front, back) == ({"/Art", "/Card0"}, {"/Art"})


def test_psm_028_resources_are_inherited_and_names_that_are_taken_stay() -> None:
    def change(document: Pdf, page: Any) -> None:
        form = document.make_stream(
            b"0 0 50 50 re f", Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 50, 50])
        )
        document.Root.Pages.Resources = Dictionary(XObject=Dictionary(Card0=form))
        del page.Resources

    pdf = plain(b"/Card0 Do", change=change)
    card = stamped(pdf, CODE)
    assert code_of(card) == code_of(stamped(plain(b" "), CODE))
    clip = pymupdf.Rect(0, 360, 60, 420)
    assert drawn(card, clip=clip).samples == drawn(pdf, clip=clip).samples


def test_a_page_without_content_is_stamped() -> None:
    def empty(document: Pdf, page: Any) -> None:  # noqa: ARG001
        del page.Contents
        del page.Resources

    assert code_of(stamped(plain(change=empty), CODE)) == code_of(stamped(plain(b" "), CODE))
