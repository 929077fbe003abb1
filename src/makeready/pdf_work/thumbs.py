"""Small pictures of PDFs, for lists of files.

Blocking; processes that have an event loop ask `makeready.pdf`.
"""

from __future__ import annotations

import pymupdf

from makeready.pdf_work.facts import invalid, opened

WIDEST_PX = 2000
_TALLEST = 4  # times the width: of a receipt one sees the beginning
_QUALITY = 80


def thumbnail(pdf: bytes, *, px: int) -> bytes:
    """JPEG of the first page, `px` wide; raises InvalidPdf, ValueError for a width out of range.

    Of a page that is longer than four times its width the beginning is shown.
    """
    if not 16 <= px <= WIDEST_PX:
        raise ValueError(f"px must be from 16 to {WIDEST_PX}")
    with opened(pdf) as document:
        if not len(document):
            raise invalid(["no page"])
        page = document[0]
        shown = pymupdf.Rect(page.rect)
        shown.y1 = min(shown.y1, shown.y0 + shown.width * _TALLEST)
        zoom = px / max(shown.width, 1)
        picture = page.get_pixmap(
            matrix=pymupdf.Matrix(zoom, zoom), clip=shown, colorspace=pymupdf.csRGB, alpha=False
        )
        return bytes(picture.tobytes("jpeg", jpg_quality=_QUALITY))
