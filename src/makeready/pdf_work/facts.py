"""What a PDF is, read back by another program than the one that printed it.

Everything here blocks and holds the interpreter lock all the while: PyMuPDF releases it nowhere
and may not be used from two threads. Processes that have an event loop ask `makeready.pdf`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymupdf

from makeready.errors import MakereadyError

SIZE_LIMIT_BYTES = 128 * 1024 * 1024
_POINTS_PER_MM = 72 / 25.4
_NOT_EMBEDDED = "n/a"  # what PyMuPDF says for a font without a file
_AS_DRAWN = pymupdf.TEXTFLAGS_TEXT | pymupdf.TEXT_IGNORE_ACTUALTEXT
_PROCEDURAL = "Type3"  # drawn by the page itself, needs no file


class InvalidPdf(MakereadyError):
    """The PDF that was printed must not be shown to anyone; `details["problems"]` says why."""

    code = "render_invalid_pdf"


class Unfinishable(MakereadyError):
    """The print options ask for what this document cannot become; `details["problems"]`."""

    code = "invalid_print_options"


@dataclass(frozen=True, slots=True, kw_only=True)
class FontFacts:
    """One font that the PDF uses."""

    name: str
    embedded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfFacts:
    """What a PDF is, as another program reads it."""

    byte_count: int
    sha256: str
    pages: int
    page_size_mm: tuple[float, float]
    """Width and height of the first page."""
    title: str
    text_chars: int
    """Characters that are neither space nor replacement."""
    lost_chars: int
    """Characters that a font has no letter for."""
    letters: str
    """Each character of the text once; empty unless some are lost."""
    fonts: tuple[FontFacts, ...]


def inspect(pdf: bytes) -> PdfFacts:
    """Reads a PDF; raises InvalidPdf when it can't be opened."""
    with opened(pdf) as document:
        # What a file says that its glyphs mean is left out: it says so of those missing, too.
        texts = [page.get_text(flags=_AS_DRAWN) for page in document]
        text = "".join(texts)
        lost = sum(_gaps(document[n]) for n, one in enumerate(texts) if any(map(_is_lost, one)))
        first = document[0].rect if len(document) else pymupdf.Rect()
        return PdfFacts(
            byte_count=len(pdf),
            sha256=hashlib.sha256(pdf).hexdigest(),
            pages=len(document),
            page_size_mm=(
                round(first.width / _POINTS_PER_MM, 1),
                round(first.height / _POINTS_PER_MM, 1),
            ),
            title=str(document.metadata.get("title") or ""),
            text_chars=sum(not letter.isspace() and not _is_lost(letter) for letter in text),
            lost_chars=lost,
            letters="".join(sorted(set(text))) if lost else "",
            fonts=tuple(_fonts(document)),
        )


def verify(
    pdf: bytes,
    *,
    pages: int | None = None,
    size_limit: int = SIZE_LIMIT_BYTES,
    needs_text: bool = True,
) -> PdfFacts:
    """Checks what every finished PDF must be; raises InvalidPdf that lists all problems.

    `pages`: what the engine counted, when it is known. Without `needs_text` it may be all pictures
    and lack letters: the facts say so.
    """
    if len(pdf) > size_limit:
        raise invalid([f"{len(pdf)} bytes, {size_limit} are allowed"])
    facts = inspect(pdf)
    problems = []
    if facts.pages < 1:
        problems.append("no page")
    if pages is not None and pages != facts.pages:
        problems.append(f"{facts.pages} pages, the engine counted {pages}")
    if needs_text and not facts.text_chars:
        problems.append("no text")
    if needs_text and facts.lost_chars:
        problems.append(f"{facts.lost_chars} characters without a letter in their font")
    loose = sorted({font.name for font in facts.fonts if not font.embedded})
    if loose:
        problems.append(f"fonts not embedded: {', '.join(loose)}")
    if problems:
        raise invalid(problems)
    return facts


def text_of(pdf: bytes) -> str:
    """All text of a PDF in reading order of the file."""
    with opened(pdf) as document:
        return "\n".join(page.get_text() for page in document)


def opened(pdf: bytes) -> Any:
    """The document; raises InvalidPdf also for one that had to be repaired."""
    if not pdf.startswith(b"%PDF-"):
        raise invalid(["it does not begin with %PDF-"])
    try:
        document = pymupdf.open(stream=pdf, filetype="pdf")
    except (RuntimeError, ValueError) as error:
        raise invalid([f"it does not open: {error}"]) from error
    if document.is_repaired:
        raise invalid(["its structure is broken"])
    return document


def _fonts(document: Any) -> Iterator[FontFacts]:
    seen = set()
    for number in range(len(document)):
        for reference, extension, kind, name, *_ in document.get_page_fonts(number):
            if reference not in seen:
                seen.add(reference)
                embedded = extension != _NOT_EMBEDDED or kind == _PROCEDURAL
                yield FontFacts(name=name.partition("+")[2] or name, embedded=embedded)


def _gaps(page: Any) -> int:
    """How many glyphs are the one that stands for a missing letter."""
    return sum(
        glyph == 0
        for span in page.get_texttrace()
        if not span["font"].startswith(_PROCEDURAL)
        for _, glyph, *_ in span["chars"]
    )


def _is_lost(letter: str) -> bool:
    return letter in "\N{REPLACEMENT CHARACTER}\0"


def invalid(problems: list[str]) -> InvalidPdf:
    """The error that says all problems."""
    return InvalidPdf(
        f"the PDF is not fit to show: {'; '.join(problems)}", details={"problems": problems}
    )


def unfinishable(problems: list[str]) -> Unfinishable:
    """The error that says all problems."""
    return Unfinishable("; ".join(problems), details={"problems": problems})
