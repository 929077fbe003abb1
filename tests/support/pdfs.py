"""Small PDFs with letters that travel with them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pymupdf

from makeready.documents.shipped import font_files


def made(
    text: str = "Hello",
    *,
    pages: int = 1,
    embedded: bool = True,
    size: tuple[float, float] = (595, 842),
    outline: Sequence[tuple[int, str, int]] = (),
) -> bytes:
    """A PDF with this text on each page; `outline` is of (level, title, page from 1)."""
    document = pymupdf.open()
    font = pymupdf.Font(fontbuffer=font_files()["IBMPlexSans-Regular.ttf"])
    for _ in range(pages):
        page = document.new_page(width=size[0], height=size[1])
        if embedded:
            writer = pymupdf.TextWriter(page.rect)
            writer.append((72, 72), text, font=font)
            writer.write_text(page)
        else:
            page.insert_text((72, 72), text)
    document.set_metadata({"title": "A title"})
    document.set_toc([list(entry) for entry in outline])
    return bytes(document.tobytes(no_new_id=True))


def without_glyphs(data: bytes, *, meaning: bytes = b"/Span BMC") -> bytes:
    """The first letter of each page becomes the glyph that stands for a missing one."""
    with pymupdf.open(stream=data) as document:
        for page in document:
            drawn = re.sub(
                rb"\[<[\da-f]{4}([\da-f]+)>\]TJ",
                meaning + rb" <0000> Tj EMC <\1> Tj",
                page.read_contents(),
            )
            document.update_stream(page.get_contents()[0], drawn)
        return bytes(document.tobytes())
