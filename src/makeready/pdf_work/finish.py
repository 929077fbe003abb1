"""What is done to a printed PDF when its print options ask for it: metadata, watermark, PDF/A.

Equal input gives equal bytes: the dates are those that the PDF has, and its identifier is made of
its content. Blocking; processes that have an event loop ask `makeready.pdf`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import pikepdf
from pikepdf import Dictionary, Name, Pdf, String

from makeready.pdf_work.archive import prepare
from makeready.pdf_work.bookmarks import mend_bookmarks
from makeready.pdf_work.facts import invalid
from makeready.pdf_work.watermark import stamp

_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:([+-]\d\d)'(\d\d)'?|Z)?")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_PLAIN = ("title", "author", "subject")
_TEXTS = {
    "/Title": "dc:title",
    "/Author": "dc:creator",
    "/Subject": "dc:description",
    "/Keywords": "pdf:Keywords",
    "/Producer": "pdf:Producer",
    "/Creator": "xmp:CreatorTool",
}
_DATES = {"/CreationDate": "xmp:CreateDate", "/ModDate": "xmp:ModifyDate"}
_ONE = ('<rdf:Alt><rdf:li xml:lang="x-default">', "</rdf:li></rdf:Alt>")
_LISTED = {
    "dc:title": _ONE,
    "dc:description": _ONE,
    "dc:creator": ("<rdf:Seq><rdf:li>", "</rdf:li></rdf:Seq>"),
}
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:pdf="http://ns.adobe.com/pdf/1.3/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/">
{properties}
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def finish(pdf: bytes, *, metadata: Mapping[str, Any], watermark: str, pdf_a: str | None) -> bytes:
    """The PDF as its options want it; raises InvalidPdf, or Unfinishable with the reasons.

    `metadata` has the fields of `print_options.Metadata`; what is empty stays as printed.
    """
    try:
        with Pdf.open(io.BytesIO(pdf)) as document:
            mend_bookmarks(document)
            if watermark:
                stamp(document, watermark)
            _describe(document, metadata)
            if pdf_a is not None:
                prepare(document, pdf_a)
            write_packet(document, pdf_a)
            return saved(document)
    except pikepdf.PdfError as error:
        raise invalid([f"it cannot be finished: {error}"]) from error


def saved(document: Pdf) -> bytes:
    """The bytes of a document, small, and equal for equal content."""
    out = io.BytesIO()
    document.save(
        out,
        min_version="1.7",
        object_stream_mode=pikepdf.ObjectStreamMode.generate,
        deterministic_id=True,
    )
    return out.getvalue()


def write_packet(document: Pdf, pdf_a: str | None) -> None:
    """Repeats the Info dictionary as XMP, with the level that the PDF has."""
    said = {name: str(value) for name, value in document.docinfo.items()}
    lines = [_property(name, said[key]) for key, name in _TEXTS.items() if said.get(key)]
    for key, name in _DATES.items():
        date = _DATE.match(said.get(key, ""))
        if date:
            lines.append(_property(name, _iso(date)))
    if pdf_a is not None:
        lines.append(_property("pdfaid:part", pdf_a[0]))
        lines.append(_property("pdfaid:conformance", pdf_a[1:].upper()))
    packet = _PACKET.format(properties="\n".join(lines)).encode()
    document.Root.Metadata = document.make_stream(packet, Type=Name.Metadata, Subtype=Name.XML)


def _describe(document: Pdf, metadata: Mapping[str, Any]) -> None:
    facts = document.docinfo
    texts: dict[Any, str] = {Name("/" + name.title()): metadata[name] for name in _PLAIN}
    texts[Name.Keywords] = ", ".join(metadata["keywords"])
    texts |= {Name("/" + name): text for name, text in metadata["custom"]}
    for key, text in texts.items():
        if text:
            facts[key] = String(text)
    for key, value in list(facts.items()):
        if _UNPRINTABLE.search(str(value)):  # XML can't say it, and both must say the same
            facts[key] = String(_UNPRINTABLE.sub("", str(value)))
    if facts.get(Name.Title):
        shown = document.Root.get(Name.ViewerPreferences, Dictionary())
        shown.DisplayDocTitle = True
        document.Root.ViewerPreferences = shown


def _property(name: str, text: str) -> str:
    before, after = _LISTED.get(name, ("", ""))
    return f"<{name}>{before}{escape(text)}{after}</{name}>"


def _iso(date: re.Match[str]) -> str:
    year, month, day, hour, minute, second, hours, minutes = date.groups()
    zone = f"{hours}:{minutes}" if hours else "Z"
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}{zone}"
