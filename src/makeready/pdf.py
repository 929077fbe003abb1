"""PDFs after the printing: checked, merged, pictured; in a helper process, never on an event loop.

The libraries for it hold the interpreter lock, and PyMuPDF may not be used from two threads. A
thread with a lock would be safe too, but a long document would stop the event loop, and with it
the heartbeat of every job in the process. The helper costs one start (about 0.1 s) and dies with
us. A PDF that kills it is an error of that PDF: HelperLost. Cancellation kills it as well.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from makeready.aside import Helper
from makeready.pdf_facts import (
    SIZE_LIMIT_BYTES,
    FontFacts,
    InvalidPdf,
    PdfFacts,
    inspect,
    invalid,
    text_of,
    verify,
)
from makeready.pdf_program import packed, unpacked
from makeready.pdf_thumbs import WIDEST_PX

__all__ = [
    "SIZE_LIMIT_BYTES",
    "FontFacts",
    "InvalidPdf",
    "PdfFacts",
    "inspect",
    "merge_aside",
    "text_of",
    "thumbnail_aside",
    "verify",
    "verify_aside",
]

ASIDE_TIMEOUT_S = 60.0
MERGED_PARTS = 1000
THUMBNAIL_PX = 320


async def verify_aside(
    pdf: bytes, *, pages: int | None = None, size_limit: int = SIZE_LIMIT_BYTES
) -> PdfFacts:
    """`verify` in the helper; raises InvalidPdf, HelperLost or, after a minute, TimeoutError."""
    head, _ = await _ask({"do": "verify", "pages": pages, "size_limit": size_limit}, [pdf])
    return _facts(head["facts"])


async def merge_aside(
    parts: Sequence[tuple[str, bytes]], *, title: str = "", size_limit: int = SIZE_LIMIT_BYTES
) -> bytes:
    """One PDF of (title, PDF) in this order, verified; a bookmark a document, links and tags kept.

    Equal parts give equal bytes. Raises InvalidPdf, also for parts too many or too large together,
    else as `verify_aside`.
    """
    size = sum(len(pdf) for _, pdf in parts)
    if not 0 < len(parts) <= MERGED_PARTS:
        raise invalid([f"{len(parts)} documents to merge, from 1 to {MERGED_PARTS} are allowed"])
    if size > size_limit:
        raise invalid([f"{size} bytes to merge, {size_limit} are allowed"])
    asked = {"do": "merge", "titles": [name for name, _ in parts], "title": title}
    _, files = await _ask({**asked, "size_limit": size_limit}, [pdf for _, pdf in parts])
    return files[0]


async def thumbnail_aside(pdf: bytes, px: int = THUMBNAIL_PX) -> bytes:
    """JPEG of the first page, `px` wide; raises as `verify_aside`, ValueError for a bad width."""
    if not 16 <= px <= WIDEST_PX:
        raise ValueError(f"px must be from 16 to {WIDEST_PX}")
    _, files = await _ask({"do": "thumbnail", "px": px}, [pdf])
    return files[0]


async def _ask(head: dict[str, Any], files: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    answer = await _helper().ask(packed(head, files), timeout_s=ASIDE_TIMEOUT_S)
    head, found = unpacked(answer)
    if "problems" in head:
        raise invalid(head["problems"])
    return head, found


@functools.cache
def _helper() -> Helper:
    return Helper("from makeready.pdf_program import main; main()")


def _facts(found: dict[str, Any]) -> PdfFacts:
    found["fonts"] = tuple(FontFacts(**font) for font in found["fonts"])
    found["page_size_mm"] = tuple(found["page_size_mm"])
    return PdfFacts(**found)
