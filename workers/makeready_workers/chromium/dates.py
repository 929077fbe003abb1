"""The same document gives the same bytes: both dates of a PDF are overwritten in place.

Chromium writes the moment of printing into an uncompressed Info dictionary as fourteen digits.
Overwriting them changes no offset, so the cross-reference table stays true.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from makeready_workers.chromium.xref import Xref

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_KEYS = (b"/CreationDate", b"/ModDate")
_DATE = re.compile(rb"\(D:(\d{14})")


def fix_dates(pdf: bytes, moment: datetime | None = None) -> bytes:
    """The PDF with `moment` (default: `EPOCH`) as both dates.

    Raises ValueError unless its Info dictionary has both.
    """
    digits = (moment or EPOCH).astimezone(UTC).strftime("%Y%m%d%H%M%S").encode()
    xref = Xref(pdf)
    facts = xref.follow(xref.trailer, b"/Info")
    patched = bytearray(pdf)
    for key in _KEYS:
        date = _DATE.match(pdf, facts[key].start) if key in facts else None
        if date is None:
            raise ValueError(f"the PDF has no {key.decode()}")
        patched[date.start(1) : date.end(1)] = digits
    return bytes(patched)


def count_pages(pdf: bytes) -> int:
    """Pages as the root of the page tree states them; raises ValueError when there is no such."""
    xref = Xref(pdf)
    tree = xref.follow(xref.follow(xref.trailer, b"/Root"), b"/Pages")
    count = tree.get(b"/Count")
    if count is None or not count.token.isdigit():
        raise ValueError("the PDF does not count its pages")
    return int(count.token)
