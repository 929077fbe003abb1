"""A word across every page, such as DRAFT: one drawing, in a font that travels with the file.

It is marked as no part of the content: programs that read pages aloud leave it out.
"""

from __future__ import annotations

import functools
import io
import math
from importlib.resources import files

import pymupdf
from pikepdf import Dictionary, Name, Page, Pdf

from makeready.pdf_work.facts import unfinishable

_FONT = "IBMPlexSans-SemiBold.ttf"
_CAP_HEIGHT = 698  # thousandths of the size, as the font's own table OS/2 says
_SIZE = 100.0  # points, at which the word is drawn once
_LINE = 0.4  # of the size: from the foot of the drawing to the line
_CAPITALS = 0.35  # of the size: from the line to the middle of a capital letter
_OPACITY = 0.16
_LENGTH, _HEIGHT = 0.8, 0.22  # at most so much of the diagonal, and of the shorter side
_DRAWING, _STATE = Name("/MakereadyMark"), Name("/MakereadyMarkState")


def stamp(document: Pdf, text: str) -> None:
    """Draws the text over every page; raises Unfinishable for letters that the font has not."""
    drawn, length = _drawn(text)
    source = Pdf.open(io.BytesIO(drawn))  # its streams are read when the document is saved
    _complete(source)
    form = document.copy_foreign(source.pages[0].as_form_xobject())
    state = document.make_indirect(
        Dictionary(Type=Name.ExtGState, ca=_OPACITY, CA=_OPACITY, BM=Name.Normal)
    )
    for page in document.pages:
        page.add_resource(form, Name.XObject, name=_DRAWING)
        page.add_resource(state, Name.ExtGState, name=_STATE)
        page.contents_add(b"q", prepend=True)
        page.contents_add(f"Q {_placed(page, length)}".encode())


def _complete(drawing: Pdf) -> None:
    """Adds what ISO 32000-1 (table 122) wants of a font, and what drew the word leaves out."""
    for font in drawing.pages[0].Resources.Font.as_dict().values():
        font.DescendantFonts[0].FontDescriptor.CapHeight = _CAP_HEIGHT


def _placed(page: Page, length: float) -> str:
    left, bottom, right, top = (float(side) for side in page.mediabox)
    width, height = right - left, top - bottom
    size = min(_LENGTH * math.hypot(width, height) / length, _HEIGHT * min(width, height) / _SIZE)
    angle = math.atan2(height, width)
    across, up = size * math.cos(angle), size * math.sin(angle)
    # The middle of the word goes to the middle of the page.
    x, y = length / 2, _SIZE * (_LINE + _CAPITALS)
    at = ((left + right) / 2 - across * x + up * y, (bottom + top) / 2 - up * x - across * y)
    matrix = " ".join(f"{number:.4f}" for number in (across, up, -up, across, *at))
    return (
        "/Artifact <</Type /Pagination /Subtype /Watermark>> BDC "
        f"q {_STATE} gs {matrix} cm {_DRAWING} Do Q EMC"
    )


@functools.lru_cache(maxsize=32)
def _drawn(text: str) -> tuple[bytes, float]:
    """A PDF with the text alone, and how long that is."""
    folder = files("makeready") / "document_types" / "_fonts"
    font = pymupdf.Font(fontbuffer=(folder / _FONT).read_bytes())
    strange = sorted({letter for letter in text if not font.has_glyph(ord(letter))})
    if strange:
        raise unfinishable([f"the watermark's font has no {' '.join(strange)}"])
    length = float(font.text_length(text, _SIZE))
    with pymupdf.open() as document:
        page = document.new_page(width=length, height=_SIZE * 1.5)
        writer = pymupdf.TextWriter(page.rect, color=(0.25, 0.25, 0.25))
        writer.append((0, _SIZE * (1.5 - _LINE)), text, font=font, fontsize=_SIZE)
        writer.write_text(page)
        document.subset_fonts()
        return bytes(document.tobytes(garbage=3, deflate=True, no_new_id=True)), length
