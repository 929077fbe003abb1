"""What a designer's program leaves in a PDF unseen: scripts, inks, fonts, form fields, notes."""

from __future__ import annotations

import io
from typing import Any

import pikepdf
import pymupdf
import pytest
from pikepdf import Array, Dictionary, Name, Pdf, String

from makeready.cards.inspection import inspect
from tests.support.card_zoo import Change, changed, code_at, plain, refused, stamped, widget


def script(text: str = "app.alert(1)") -> Dictionary:
    return Dictionary(S=Name.JavaScript, JS=text)


def with_everything_active(document: Pdf, page: Any) -> None:
    document.Root.OpenAction = script()
    document.Root.Names = Dictionary(
        JavaScript=Dictionary(Names=Array([String("a"), script()])),
        EmbeddedFiles=Dictionary(Names=Array()),
    )
    page.AA = Dictionary(O=Dictionary(S=Name.Launch, F="calc.exe"))
    field = widget(document, page, "total", (0, 0, 50, 20))
    field.AA = Dictionary(C=script())
    document.Root.AcroForm.XFA = document.make_stream(b"<xdp/>")
    bookmark = document.make_indirect(Dictionary(Title="1", A=Dictionary(S=Name.ImportData)))
    document.Root.Outlines = document.make_indirect(Dictionary(First=bookmark, Last=bookmark))


def test_active_content_is_a_note() -> None:
    facts = changed(with_everything_active)
    assert facts.warnings == ("template_active_content",)
    assert facts.active == ("embedded_files", "import_data", "javascript", "launch", "xfa")


def test_a_view_to_open_with_and_a_link_are_not_active() -> None:
    def harmless(document: Pdf, page: Any) -> None:
        document.Root.OpenAction = Array([page, Name.Fit])
        link = Dictionary(
            Type=Name.Annot,
            Subtype=Name.Link,
            Rect=Array([0, 0, 9, 9]),
            A=Dictionary(S=Name.URI, URI="https://example.ru"),
        )
        page.Annots = Array([document.make_indirect(link)])

    facts = changed(harmless)
    assert (facts.active, facts.warnings, facts.pages[0].annotations) == ((), (), ())


def test_psm_007_a_form_that_draws_itself_is_refused() -> None:
    def dynamic(document: Pdf, page: Any) -> None:
        with_everything_active(document, page)
        document.Root.NeedsRendering = True

    (problem,) = refused(plain(change=dynamic))
    assert (problem.code, problem.facts["case"]) == ("template_active_content", "refused")


@pytest.mark.parametrize(
    ("space", "is_odd"),
    [
        (Name.DeviceRGB, True),
        (Array([Name.CalRGB, Dictionary(WhitePoint=Array([1, 1, 1]))]), True),
        (Name.DeviceCMYK, False),
        (None, False),
    ],
)
def test_transparency_blended_in_rgb_is_a_warning(space: Any, is_odd: bool) -> None:
    group = Dictionary(S=Name.Transparency, **({"CS": space} if space is not None else {}))
    facts = inspect(plain(page={"/Group": group}))
    assert facts.pages[0].blends_rgb is is_odd
    assert ("template_rgb_group" in facts.warnings) is is_odd


def test_a_font_that_is_not_embedded_is_a_warning() -> None:
    font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)
    resources = Dictionary(Font=Dictionary(F1=font))
    facts = inspect(plain(b"BT /F1 12 Tf (x) Tj ET", page={"/Resources": resources}))
    assert facts.fonts == (("Helvetica", False),)
    assert facts.warnings == ("fonts_not_embedded",)


def in_form(content: bytes, **keys: Any) -> Change:
    def change(document: Pdf, page: Any) -> None:
        form = document.make_stream(
            content, Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]), **keys
        )
        page.Resources = Dictionary(XObject=Dictionary(Fm0=form))

    return change


def intent(profile_inks: int | None, condition: str = "") -> Change:
    def change(document: Pdf, page: Any) -> None:  # noqa: ARG001
        said = Dictionary(S=Name.GTS_PDFX, OutputConditionIdentifier=condition)
        if profile_inks:
            said.DestOutputProfile = document.make_stream(b"icc", N=profile_inks)
        document.Root.OutputIntents = Array([said])

    return change


def space(value: Any) -> Change:
    def change(document: Pdf, page: Any) -> None:  # noqa: ARG001
        page.Resources = Dictionary(ColorSpace=Dictionary(CS0=value))

    return change


FUNCTION = Dictionary(FunctionType=2, Domain=Array([0, 1]), N=1, C1=Array([0, 1, 1, 0]))
SPOT = Array([Name.Separation, Name("/PANTONE 186 C"), Name.DeviceCMYK, FUNCTION])


@pytest.mark.parametrize(
    ("content", "change", "has_cmyk"),
    [
        (b"0 0 0 1 k 0 0 9 9 re f", None, True),
        (b"0 .5 -0 1.0 K\n0 0 m 9 9 l S", None, True),
        (b"/DeviceCMYK cs 0 0 0 1 sc", None, True),
        (b"0 0 1 rg 0.5 g", None, False),
        (b"1 0 0 0 K", None, True),
        (b"BT (a 1 2 k b) Tj (1 2 3 4 k) Tj ET", None, False),
        (b"/Fm0 Do", in_form(b"0 1 0 0 k"), True),
        (b"/Fm0 Do", in_form(b"0 1 0 rg"), False),
        (b"", space(SPOT), True),
        (b"", space(Array([Name.Indexed, Name.DeviceCMYK, 0, b"abcd"])), True),
        (b"", space(Array([Name.Separation, Name.Black, Name.DeviceRGB, FUNCTION])), False),
        (b"", intent(4), True),
        (b"", intent(3, "FOGRA39"), False),
        (b"", intent(None, "Coated FOGRA39"), True),
        (b"", intent(None, "sRGB IEC61966-2.1"), False),
    ],
)
def test_cmyk_is_found_wherever_it_hides(
    content: bytes, change: Change | None, has_cmyk: bool
) -> None:
    assert inspect(plain(content, change=change)).has_cmyk is has_cmyk


def test_form_fields_are_listed_where_they_lie() -> None:
    def form(document: Pdf, page: Any) -> None:
        widget(document, page, "{table.number}", (10, 20, 110, 60), DA="/Helv 18.5 Tf 0 g")
        widget(document, page, "name", (10, 90, 110, 70), V="Анна")
        note = Dictionary(
            Type=Name.Annot,
            Subtype=Name.Square,
            Rect=Array([5, 5, 95, 95]),
            Contents="{table.url}",
        )
        page.Annots.append(document.make_indirect(note))

    facts = changed(form)
    found = {field.name: (field.kind, field.box, field.size) for field in facts.form_fields}
    assert found == {
        "{table.number}": ("text", (10, 20, 110, 60), 18.5),
        "name": ("text", (10, 70, 110, 90), 11.0),
        "{table.url}": ("square", (5, 5, 95, 95), 11.0),
    }
    assert facts.pages[0].annotations == (("widget", (10, 70, 110, 90)),)


def test_the_name_of_a_form_field_is_that_of_its_parents_too() -> None:
    def form(document: Pdf, page: Any) -> None:
        field = widget(document, page, "number", (10, 20, 110, 60))
        field.Parent = document.make_indirect(Dictionary(T="table", FT=Name.Tx, Kids=[field]))
        document.Root.AcroForm.Fields = Array([field.Parent])

    (field,) = changed(form).form_fields
    assert field.name == "table.number"


def note(kind: str, flags: int, **keys: Any) -> Change:
    def change(document: Pdf, page: Any) -> None:
        made = Dictionary(
            Type=Name.Annot, Subtype=Name(kind), Rect=Array([1, 2, 3, 4]), F=flags, **keys
        )
        page.Annots = Array([document.make_indirect(made)])

    return change


@pytest.mark.parametrize(
    ("change", "is_painted"),
    [
        (note("/FreeText", 4), True),
        (note("/Stamp", 0), True),
        (note("/Stamp", 2), False),
        (note("/Stamp", 32), False),
        (note("/Stamp", 32 | 4), True),
        (note("/Popup", 0), False),
        (note("/Widget", 4), False),
        (note("/Widget", 4, MK=Dictionary(BG=Array([1]))), True),
        (note("/Widget", 4, V="x"), True),
    ],
)
def test_only_what_shows_lies_above_the_page(change: Change, is_painted: bool) -> None:
    assert bool(changed(change).pages[0].annotations) is is_painted


def test_names_that_are_not_utf_8_are_read_and_kept() -> None:
    """As programs of Windows write them in Russian; fonts, inks and layers are named so."""
    name = "Область".encode("cp1251")
    pdf = plain(b"0 g BT /F1 9 Tf ET", compress_streams=False).replace(
        b"/Resources << >>",
        b"/Resources << /Font << /%s << /Type /Font /Subtype /TrueType /BaseFont /%s >> >> >>"
        % (name, name),
    )
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        pdf = document.tobytes()
    assert inspect(pdf).fonts == (("Область", False),)
    with pikepdf.open(io.BytesIO(stamped(pdf, code_at(20, 20)))) as card:
        assert b"".join(b"#%x" % byte for byte in name) in card.pages[0].Resources.unparse()


def test_an_odd_node_among_the_pages_is_refused_in_silence(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def change(document: Pdf, page: Any) -> None:  # noqa: ARG001
        document.Root.Pages.Kids.append(String("no page"))

    assert [problem.code for problem in refused(plain(change=change))] == ["template_damaged"]
    assert capfd.readouterr() == ("", "")
