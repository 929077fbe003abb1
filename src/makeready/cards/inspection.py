"""A designer's PDF is looked at: with MuPDF, which mends what it opens and says so, and with qpdf.

MuPDF opens nearly everything, an HTML page or half a file too, so each of its verdicts is asked
for. What designers can't see in their program is looked up in the file itself: boxes, notes,
form fields, inks, fonts, scripts.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from typing import Any

import pikepdf
import pymupdf
from pikepdf import Dictionary, Name

from makeready.cards.active import dynamic_form, is_signed, strip
from makeready.cards.boxes import Boxes
from makeready.cards.inks import blends_rgb, survey
from makeready.cards.isolation import leaks_of
from makeready.cards.notes import form_fields, painted_above
from makeready.cards.problems import CardsRefused, Problem
from makeready.cards.spelling import text_of
from makeready.cards.template import PageFacts, TemplateFacts

SIZE_LIMIT_BYTES = 50_000_000
PAGES_LIMIT = 200
_HEAD_BYTES = 1024
_MAY_CHANGE = 8  # of the permissions that an owner may forbid
_LOOK_DPI = 9  # enough for every image to be decoded
_LOST = re.compile(
    r"(?i)\berror: .*|premature end.*|.*truncated.*|ignoring (?:zlib|compression) error.*"
    r"|.*may not be correct.*"
)
"""Warnings after which something is missing on the page."""
_HARMLESS = re.compile(r"(?i)\bicc\b|cmsOpenProfile|appearance stream")
"""A colour profile or the look of a form field is missing: viewers have their own."""
_ENDED = re.compile(r"premature end of data in \w+ filter")
_REASON_CHARS = 200

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)


def inspect(pdf: bytes) -> TemplateFacts:
    """What it is; raises CardsRefused with all that is wrong with it."""
    _refuse(_of_bytes(pdf))
    _refuse(_of_mupdf(pdf))
    try:
        with pikepdf.open(io.BytesIO(pdf)) as document:
            return _facts(pdf, document)
    except (pikepdf.PdfError, RecursionError, RuntimeError) as error:
        raise CardsRefused([_damaged(str(error))]) from error


def _refuse(problems: Iterator[Problem]) -> None:
    found = list(problems)
    if found:
        raise CardsRefused(found)


def _damaged(reason: str) -> Problem:
    return Problem(code="template_damaged", facts={"reason": reason[:_REASON_CHARS]})


def _of_bytes(pdf: bytes) -> Iterator[Problem]:
    if not pdf:
        yield Problem(code="template_empty")
    elif len(pdf) > SIZE_LIMIT_BYTES:
        yield Problem(
            code="template_too_big", facts={"bytes": len(pdf), "limit": SIZE_LIMIT_BYTES}
        )
    elif b"%PDF-" not in pdf[:_HEAD_BYTES]:
        yield Problem(code="template_not_pdf", facts={"kind": _kind(pdf)})


def _kind(data: bytes) -> str:
    """What it seems to be instead, for people."""
    head = data[:_HEAD_BYTES].lstrip().lower()
    known = {
        b"<!doctype html": "HTML",
        b"<html": "HTML",
        b"<svg": "SVG",
        b"<?xml": "XML",
        b"\x89png": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"pk\x03\x04": "ZIP",
        b"%!ps": "PostScript",
    }
    return next((name for start, name in known.items() if head.startswith(start)), "")


def _of_mupdf(pdf: bytes) -> Iterator[Problem]:
    pymupdf.TOOLS.reset_mupdf_warnings()
    try:
        with pymupdf.open(stream=pdf, filetype="pdf") as document:
            yield from _verdicts(document)
    except (RuntimeError, ValueError, pymupdf.mupdf.FzErrorBase) as error:
        yield _damaged(str(error))


def _verdicts(document: pymupdf.Document) -> Iterator[Problem]:
    if not document.is_pdf:
        yield Problem(code="template_not_pdf", facts={"kind": ""})
    elif document.needs_pass:
        yield Problem(code="template_encrypted")
    elif document.is_repaired:
        yield _damaged("repaired")
    elif not document.page_count:
        yield Problem(code="template_no_pages")
    elif document.page_count > PAGES_LIMIT:
        yield Problem(
            code="template_too_big",
            facts={"pages": document.page_count, "limit": PAGES_LIMIT},
        )
    else:
        if not document.permissions & _MAY_CHANGE:
            yield Problem(code="template_restricted")
        yield from _drawn(document)


def _drawn(document: pymupdf.Document) -> Iterator[Problem]:
    """Draws every page, for what MuPDF then has to say."""
    lost = _lost(document)
    if lost and all(_ENDED.search(line) for line in lost):
        lost = _lost_but_for_empty(document.tobytes())
    if lost or document.is_repaired:
        yield _damaged("; ".join(lost))


def _lost(document: pymupdf.Document) -> list[str]:
    smoothness = pymupdf.TOOLS.show_aa_level()["graphics"]
    pymupdf.TOOLS.set_aa_level(0)
    pymupdf.TOOLS.reset_mupdf_warnings()
    try:
        for number in range(document.page_count):
            document[number].get_pixmap(dpi=_LOOK_DPI)
    finally:
        pymupdf.TOOLS.set_aa_level(smoothness)
        pymupdf.TOOLS.store_shrink(100)  # pictures that nobody needs again
    said = pymupdf.TOOLS.mupdf_warnings().splitlines()
    lost = [line for line in said if _LOST.search(line) and not _HARMLESS.search(line)]
    return list(dict.fromkeys(lost))


def _lost_but_for_empty(pdf: bytes) -> list[str]:
    """What is lost when streams without a byte, which qpdf writes, do not count as cut off."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        for thing in document.objects:
            if isinstance(thing, pikepdf.Stream) and not thing.read_raw_bytes():
                thing.write(b"")
        document.save(out, compress_streams=False)
    with pymupdf.open(stream=out.getvalue(), filetype="pdf") as mended:
        return _lost(mended)


def _of_page_tree(document: pikepdf.Pdf) -> list[Problem]:
    """A page without a sound MediaBox gets one from qpdf, which says so once."""
    if not len(document.pages):
        return [Problem(code="template_no_pages")]
    if not any("MediaBox" in said for said in document.get_warnings()):
        return []
    facts = {"box": "MediaBox", "reason": "not_numbers"}
    return [Problem(code="template_bad_box", facts=facts)]


def _facts(pdf: bytes, document: pikepdf.Pdf) -> TemplateFacts:
    problems = _of_page_tree(document)
    if is_signed(document):
        problems.append(Problem(code="template_signed"))
    if dynamic_form(document):
        facts = {"case": "refused", "kinds": ["xfa"]}
        problems.append(Problem(code="template_active_content", facts=facts))
    pages: list[PageFacts] = []
    for number, page in enumerate(document.pages, 1):
        leaks_of(page.obj)  # qpdf has to be able to read it to its end
        boxes = Boxes(number, page.obj)
        problems += boxes.problems
        pages.append(
            PageFacts(
                number=number,
                media=boxes.media,
                crop=boxes.crop,
                trim=boxes.trim,
                bleed=boxes.bleed,
                rotate=boxes.rotate,
                user_unit=boxes.user_unit,
                annotations=painted_above(page.obj),
                blends_rgb=blends_rgb(page.obj),
            )
        )
    if problems:
        raise CardsRefused(problems)
    seen = survey(document)
    active = strip(document)
    warnings = {
        "template_active_content": bool(active),
        "template_rgb_group": any(page.blends_rgb for page in pages),
        "fonts_not_embedded": not all(is_embedded for _, is_embedded in seen.fonts),
    }
    return TemplateFacts(
        sha256=hashlib.sha256(pdf).hexdigest(),
        byte_count=len(pdf),
        pages=tuple(pages),
        has_cmyk=seen.has_cmyk,
        fonts=seen.fonts,
        form_fields=form_fields(document),
        producer=text_of(_information(document).get(Name.Producer))[:_REASON_CHARS],
        pdf_version=document.pdf_version,
        warnings=tuple(code for code, is_so in warnings.items() if is_so),
        active=active,
    )


def _information(document: pikepdf.Pdf) -> Any:
    found = document.trailer.get(Name.Info)
    return found if isinstance(found, Dictionary) else Dictionary()
