"""PDF/A-2b and -3b: what the format forbids is found, what it asks for is written.

`prepare` mends what loses nothing (a flag, a hint to viewers) and refuses the rest; the file
itself is never redrawn, so its text stays as it was printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pikepdf import Array, Dictionary, Name, Pdf, Stream, String

from makeready.pdf_work.facts import unfinishable
from makeready.pdf_work.srgb import NAME, srgb_profile

_ACTIONS = {
    *("/Launch", "/Sound", "/Movie", "/ResetForm", "/ImportData", "/Hide", "/SetOCGState"),
    *("/Rendition", "/Trans", "/GoTo3DView", "/JavaScript"),
}
_NAMED_ACTIONS = {"/NextPage", "/PrevPage", "/FirstPage", "/LastPage"}
_NOTES = {"/3D", "/Sound", "/Screen", "/Movie"}
_WITHOUT_PICTURE = {"/Link", "/Popup"}
_PRINT, _HIDING = 4, 1 | 2 | 32 | 256  # flags; the others hide it on paper or on the screen
_FONT_FILES = (Name.FontFile, Name.FontFile2, Name.FontFile3)
_FONTS = {"/Type1", "/MMType1", "/TrueType", "/CIDFontType0", "/CIDFontType2"}
_SIDES = (3.0, 14_400.0)
_CLAIM = re.compile(
    rb"pdfaid:part(?:>|=\")([123]).{1,200}?pdfaid:conformance(?:>|=\")B", re.DOTALL
)
_PROBLEMS = 20
_TELLING = {  # a dictionary without any of these can hold nothing that the format forbids
    *("/AA", "/S", "/Rect", "/BaseFont", "/TR", "/TR2", "/HTP", "/ColorSpace"),
    *("/Filter", "/F", "/Interpolate", "/Alternates", "/OPI", "/PS", "/Ref"),
}


def claimed_level(document: Pdf) -> str | None:
    """`2b` or `3b` when the PDF says of itself that it is; else None."""
    metadata = document.Root.get(Name.Metadata)
    claim = _CLAIM.search(metadata.read_bytes()) if isinstance(metadata, Stream) else None
    return f"{claim.group(1).decode()}b" if claim else None


def prepare(document: Pdf, level: str) -> None:
    """Makes the body of a PDF fit; raises Unfinishable with what cannot be."""
    problems = list(dict.fromkeys(_problems(document, level)))
    if problems:
        raise unfinishable([f"no PDF/A-{level}: {what}" for what in problems[:_PROBLEMS]])
    profile = document.make_stream(srgb_profile(), N=3)
    intent = Dictionary(
        Type=Name.OutputIntent,
        S=Name.GTS_PDFA1,
        OutputConditionIdentifier=String(NAME),
        Info=String(NAME),
        RegistryName=String("http://www.color.org"),
        DestOutputProfile=profile,
    )
    document.Root.OutputIntents = Array([document.make_indirect(intent)])


def _problems(document: Pdf, level: str) -> Iterator[str]:
    names = document.Root.get(Name.Names, Dictionary())
    if Name.JavaScript in names:
        yield "the document holds scripts"
    if Name.EmbeddedFiles in names and level == "2b":
        yield "files are attached, which only 3b allows"
    if Name.OCProperties in document.Root:
        yield "it has layers"
    form = document.Root.get(Name.AcroForm, Dictionary())
    if Name.XFA in form or form.get(Name.NeedAppearances):
        yield "it has a form that viewers draw"
    for page in document.pages:
        left, bottom, right, top = (float(side) for side in page.mediabox)
        if not all(_SIDES[0] <= side <= _SIDES[1] for side in (right - left, top - bottom)):
            yield f"a page of {right - left:g} × {top - bottom:g} points"
    for each in document.objects:
        yield from _look(each)


def _look(root: Any) -> Iterator[str]:
    """Looks at one object and what lies directly in it."""
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Array):
            parts = list(value)
            if any(part == Name.DeviceCMYK for part in parts if isinstance(part, Name)):
                yield "colours of four inks"
        elif isinstance(value, Dictionary | Stream):
            entries = dict(value.items())
            if not _TELLING.isdisjoint(entries):
                yield from _look_at(value)
            parts = list(entries.values())
        else:
            continue
        waiting += [p for p in parts if isinstance(p, Array | Dictionary) and not p.is_indirect]


def _look_at(value: Any) -> Iterator[str]:
    kind, subtype = str(value.get(Name.Type, "")), str(value.get(Name.Subtype, ""))
    if Name.AA in value and kind != "/StructElem":
        yield "something happens when it is opened"
    if kind in {"", "/Action"} and Name.S in value:
        yield from _action(value)
    if kind == "/Annot" or (Name.Rect in value and subtype):
        yield from _annotation(value, subtype)
    if subtype in _FONTS and (kind == "/Font" or Name.BaseFont in value):
        yield from _font(value, subtype)
    if kind == "/ExtGState" or Name.TR in value or Name.TR2 in value:
        yield from _state(value)
    if value.get(Name.ColorSpace) == Name.DeviceCMYK:
        yield "colours of four inks"
    if isinstance(value, Stream):
        yield from _stream(value, subtype)


def _action(value: Any) -> Iterator[str]:
    kind = str(value.S)
    if kind in _ACTIONS or (kind == "/Named" and str(value.get(Name.N)) not in _NAMED_ACTIONS):
        yield f"an action {kind[1:]}"


def _annotation(value: Any, subtype: str) -> Iterator[str]:
    if subtype in _NOTES:
        yield f"a note of the kind {subtype[1:]}"
    elif subtype not in _WITHOUT_PICTURE and Name.AP not in value:
        yield f"a note of the kind {subtype[1:]} that viewers draw"
    flags = int(value.get(Name.F, 0))
    if flags & _HIDING:
        yield "a hidden note"
    elif subtype != "/Popup":
        value.F = flags | _PRINT


def _font(value: Any, subtype: str) -> Iterator[str]:
    described = value.get(Name.FontDescriptor, Dictionary())
    if not any(name in described for name in _FONT_FILES):
        yield f"the font {str(value.get(Name.BaseFont, '?'))[1:]} is not embedded"
    if subtype == "/CIDFontType2" and Name.CIDToGIDMap not in value:
        value.CIDToGIDMap = Name.Identity  # what its absence means
    for name in (Name.CIDSet, Name.CharSet):
        if name in described:
            del described[name]  # a hint, which must be complete if it is there


def _state(value: Any) -> Iterator[str]:
    is_mask = value.get(Name.S) in {Name.Luminosity, Name.Alpha}
    if not is_mask and (Name.TR in value or value.get(Name.TR2, Name.Default) != Name.Default):
        yield "a transfer function"
    if Name.HTP in value:
        yield "a halftone phase"


def _stream(value: Any, subtype: str) -> Iterator[str]:
    filters = value.get(Name.Filter, Array())
    names = {str(each) for each in filters} if isinstance(filters, Array) else {str(filters)}
    if Name.F in value:
        yield "a part that lies in another file"
    if names & {"/LZWDecode", "/Crypt"}:
        yield "a compression that the format forbids"
    if subtype == "/Image":
        if value.get(Name.Interpolate):
            value.Interpolate = False  # asks viewers to smooth it, no more
        for name in (Name.Alternates, Name.OPI):
            if name in value:
                del value[name]
    if subtype == "/PS" or Name.PS in value or (subtype == "/Form" and Name.Ref in value):
        yield "a part in another language or file"
