"""PDFs after the printing are checked, finished, merged and pictured in a helper process.

The libraries for it hold the interpreter lock, and PyMuPDF may not be used from two threads. A
thread with a lock would be safe too, but a long document would stop the event loop, and with it
the heartbeat of every job in the process. The helper costs one start (about 0.1 s) and dies with
us. A PDF that kills it is an error of that PDF: HelperLost. Cancellation kills it as well.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from makeready.aside import Helper, packed, unpacked
from makeready.pdf_work.facts import (
    SIZE_LIMIT_BYTES,
    FontFacts,
    InvalidPdf,
    PdfFacts,
    Unfinishable,
    inspect,
    invalid,
    text_of,
    unfinishable,
    verify,
)
from makeready.pdf_work.thumbs import WIDEST_PX
from makeready.print_options import PrintOptions

__all__ = [
    "SIZE_LIMIT_BYTES",
    "FontFacts",
    "InvalidPdf",
    "PdfFacts",
    "Unfinishable",
    "finish_aside",
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
_AFTER_PRINTING = ("pdf_a", "watermark", "metadata", "accessible", "outline")


async def verify_aside(
    pdf: bytes,
    *,
    pages: int | None = None,
    size_limit: int = SIZE_LIMIT_BYTES,
    needs_text: bool = True,
) -> PdfFacts:
    """`verify` in the helper; raises InvalidPdf, HelperLost or, after a minute, TimeoutError."""
    asked = {"pages": pages, "size_limit": size_limit, "needs_text": needs_text}
    head, _ = await _ask({"do": "verify", **asked}, [pdf])
    return _facts(head["facts"])


async def finish_aside(
    pdf: bytes,
    options: PrintOptions,
    *,
    pages: int | None = None,
    needs_text: bool = True,
) -> tuple[bytes, PdfFacts]:
    """The PDF as its options want it, and what it then is; also for both it is one round trip.

    What no option asks for costs nothing: without any it is `verify_aside`, and the bytes stay.
    Raises Unfinishable when the document can't become what is asked for, else as `verify_aside`.
    """
    bounds = {"pages": pages, "needs_text": needs_text}
    if not _is_printed_so(options):
        head, files = await _ask({"do": "finish", **_wishes(options), **bounds}, [pdf])
        return files[0], _facts(head["facts"])
    return pdf, await verify_aside(pdf, pages=pages, needs_text=needs_text)


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


def _is_printed_so(options: PrintOptions) -> bool:
    """Whether nothing is to be done after the printing."""
    plain = PrintOptions()
    return all(getattr(options, name) == getattr(plain, name) for name in _AFTER_PRINTING)


async def _ask(head: dict[str, Any], files: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    answer = await _helper().ask(packed(head, files), timeout_s=ASIDE_TIMEOUT_S)
    head, found = unpacked(answer)
    if "problems" in head:
        is_wish = head["code"] == Unfinishable.code
        raise (unfinishable if is_wish else invalid)(head["problems"])
    return head, found


@functools.cache
def _helper() -> Helper:
    return Helper("from makeready.pdf_work.program import main; main()")


def _wishes(options: PrintOptions) -> dict[str, Any]:
    return {
        "pdf_a": options.pdf_a,
        "watermark": options.watermark.strip(),
        "metadata": asdict(options.metadata),
    }


def _facts(found: dict[str, Any]) -> PdfFacts:
    found["fonts"] = tuple(FontFacts(**font) for font in found["fonts"])
    found["page_size_mm"] = tuple(found["page_size_mm"])
    return PdfFacts(**found)
