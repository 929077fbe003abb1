"""Opens a printed PDF again before anyone is told that it is ready.

`inspect` and `verify` block and hold the interpreter lock all the while: PyMuPDF releases it
nowhere and may not be used from two threads. So `verify_aside` asks one helper process: a thread
with a lock would be safe too, but a long document would stop the event loop, and with it the
heartbeat of every job in the process. The helper costs one start (about 0.1 s) and dies with us.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pymupdf

from makeready.aside import Helper, serve
from makeready.errors import MakereadyError

SIZE_LIMIT_BYTES = 128 * 1024 * 1024
ASIDE_TIMEOUT_S = 60.0
_POINTS_PER_MM = 72 / 25.4
_NOT_EMBEDDED = "n/a"  # what PyMuPDF says for a font without a file
_PROCEDURAL = "Type3"  # drawn by the page itself, needs no file


class InvalidPdf(MakereadyError):
    """The PDF that was printed must not be shown to anyone; `details["problems"]` says why."""

    code = "render_invalid_pdf"


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
    fonts: tuple[FontFacts, ...]


def inspect(pdf: bytes) -> PdfFacts:
    """Reads a PDF; raises InvalidPdf when it can't be opened. Blocking, see the module."""
    with _opened(pdf) as document:
        text = "".join(page.get_text() for page in document)
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
            lost_chars=sum(map(_is_lost, text)),
            fonts=tuple(_fonts(document)),
        )


def verify(
    pdf: bytes, *, pages: int | None = None, size_limit: int = SIZE_LIMIT_BYTES
) -> PdfFacts:
    """Checks what every finished PDF must be; raises InvalidPdf that lists all problems.

    `pages`: what the engine counted, when it is known. Blocking, see the module.
    """
    if len(pdf) > size_limit:
        raise _invalid([f"{len(pdf)} bytes, {size_limit} are allowed"])
    facts = inspect(pdf)
    problems = []
    if facts.pages < 1:
        problems.append("no page")
    if pages is not None and pages != facts.pages:
        problems.append(f"{facts.pages} pages, the engine counted {pages}")
    if not facts.text_chars:
        problems.append("no text")
    if facts.lost_chars:
        problems.append(f"{facts.lost_chars} characters without a letter in their font")
    loose = sorted({font.name for font in facts.fonts if not font.embedded})
    if loose:
        problems.append(f"fonts not embedded: {', '.join(loose)}")
    if problems:
        raise _invalid(problems)
    return facts


def text_of(pdf: bytes) -> str:
    """All text of a PDF in reading order of the file. Blocking, see the module."""
    with _opened(pdf) as document:
        return "\n".join(page.get_text() for page in document)


async def verify_aside(
    pdf: bytes, *, pages: int | None = None, size_limit: int = SIZE_LIMIT_BYTES
) -> PdfFacts:
    """`verify` in the helper process; raises InvalidPdf or, after `ASIDE_TIMEOUT_S`, TimeoutError.

    Raises HelperLost when the PDF kills the helper. Cancellation kills it as well.
    """
    head = json.dumps({"pages": pages, "size_limit": size_limit}).encode()
    answer = await _helper().ask(head + b"\n" + pdf, timeout_s=ASIDE_TIMEOUT_S)
    found = json.loads(answer)
    if "problems" in found:
        raise _invalid(found["problems"])
    facts = found["facts"]
    facts["fonts"] = tuple(FontFacts(**font) for font in facts["fonts"])
    facts["page_size_mm"] = tuple(facts["page_size_mm"])
    return PdfFacts(**facts)


def serve_checks() -> None:
    """What the helper process runs; JSON comes back, for the file may be hostile."""
    serve(_check)


@functools.cache
def _helper() -> Helper:
    return Helper("from makeready.pdf import serve_checks; serve_checks()")


def _check(question: bytes) -> bytes:
    head, _, pdf = question.partition(b"\n")
    try:
        answer = {"facts": asdict(verify(pdf, **json.loads(head)))}
    except InvalidPdf as error:
        answer = {"problems": error.details["problems"]}
    return json.dumps(answer).encode()


def _opened(pdf: bytes) -> Any:
    if not pdf.startswith(b"%PDF-"):
        raise _invalid(["it does not begin with %PDF-"])
    try:
        document = pymupdf.open(stream=pdf, filetype="pdf")
    except (RuntimeError, ValueError) as error:
        raise _invalid([f"it does not open: {error}"]) from error
    if document.is_repaired:
        raise _invalid(["its structure is broken"])
    return document


def _fonts(document: Any) -> Iterator[FontFacts]:
    seen = set()
    for number in range(len(document)):
        for reference, extension, kind, name, *_ in document.get_page_fonts(number):
            if reference not in seen:
                seen.add(reference)
                embedded = extension != _NOT_EMBEDDED or kind == _PROCEDURAL
                yield FontFacts(name=name.partition("+")[2] or name, embedded=embedded)


def _is_lost(letter: str) -> bool:
    return letter in "\N{REPLACEMENT CHARACTER}\0"


def _invalid(problems: list[str]) -> InvalidPdf:
    return InvalidPdf(
        f"the PDF is not fit to show: {'; '.join(problems)}", details={"problems": problems}
    )
