r"""The same document gives the same bytes: both dates of a PDF are overwritten in place.

Chromium writes the moment of printing into an uncompressed Info dictionary as fourteen digits.
Overwriting them changes no offset, so the cross-reference table stays true. A title can't fake a
date: Chromium writes `(` in it as `\(`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_KEYS = (b"/CreationDate", b"/ModDate")
_DATE = re.compile(rb" ?\(D:(\d{14})")
_TREE = b"/Type /Pages"
_COUNT = re.compile(rb"[^>]*?/Count (\d+)")


def fix_dates(pdf: bytes, moment: datetime | None = None) -> bytes:
    """The PDF with `moment` (default: `EPOCH`) as both dates.

    Raises ValueError unless it has one of each.
    """
    digits = (moment or EPOCH).astimezone(UTC).strftime("%Y%m%d%H%M%S").encode()
    patched = bytearray(pdf)
    for key in _KEYS:
        match = _DATE.match(pdf, pdf.find(key) + len(key))
        if match is None or pdf.count(key) != 1:
            raise ValueError(f"the PDF has no single {key.decode()}")
        patched[match.start(1) : match.end(1)] = digits
    return bytes(patched)


def count_pages(pdf: bytes) -> int:
    """Pages as the root of Chromium's page tree states them; 0 when there is no such tree."""
    pages, at = 0, pdf.find(_TREE)
    while at >= 0:
        match = _COUNT.match(pdf, at + len(_TREE))
        pages = max(pages, int(match.group(1)) if match else 0)
        at = pdf.find(_TREE, at + 1)
    return pages
