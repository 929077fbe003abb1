"""One document, from what it is to show to a PDF that was opened again.

data ─ check, template ─┐
                        ├► HTML ─ equal one stored? ─► adopted
sources ─ unpacked ─────┘         └ no ─► Chromium ─► PDF ─ checked, pictured ─► object storage
"""

from __future__ import annotations

import html as markup
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import asyncpg
import structlog
from anyio import to_thread

from makeready import __version__, pdf, print_options, printing
from makeready.documents import foreign
from makeready.documents.catalogue import Catalogue, TypeUnusable
from makeready.documents.designs import WITHOUT_TEMPLATE
from makeready.documents.typesetting import DocumentType, Html
from makeready.errors import MakereadyError
from makeready.jobs import JobFailed
from makeready.print_options import PrintOptions
from makeready.printing import RenderInput, Reusable
from makeready.storage import ObjectFacts
from makeready.storage_errors import ObjectMissing, StorageError
from makeready_workers.chromium.records import Engine, Fault, RenderError, RenderResult
from makeready_workers.render_html import unpack
from makeready_workers.render_store import Shelf
from makeready_workers.storing import AFTERWORK_S
from makeready_workers.witness import Witness

WARNINGS_KEPT = 20
LETTERS_NAMED = 20
_KEPT_FACTS = ("pages", "page_size_mm", "sha256", "warnings", "engine", "fingerprint")
LETTERS_SOUGHT = 1 << 20  # characters of a document that are looked through for lost letters
# Reads each character once, also of HTML that opens a thousand tags and closes none.
_NOT_SHOWN = re.compile(
    r"<(script|style|title)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document that is ready for the engine."""

    html: Html
    options: PrintOptions
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is published."""

    stored: ObjectFacts
    thumbnail: ObjectFacts | None
    facts: Mapping[str, Any]


class Sources(Protocol):
    """Where the archive of a document's own sources is fetched."""

    async def get(self, bucket: str, key: str) -> bytes:
        """The whole object; raises ObjectMissing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all attempts of a process share."""

    pool: asyncpg.Pool
    catalogue: Catalogue
    engine: Engine
    timeout_s: float
    """Of one document in the browser."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of each engine, as its last document stated it."""


async def make_document(shop: Workshop, shelf: Shelf, witness: Witness) -> Made:
    """Prints a document, or finds what was printed of an equal one."""
    wanted = await printing.input_of(shop.pool, shelf.job.id)
    if wanted is None and "pack_id" in shelf.job.payload:
        raise JobFailed("cancelled", "NO_DOCUMENT", "its pack was deleted")
    if wanted is None:
        raise JobFailed("fatal", "NO_DOCUMENT", "the job renders no document of a pack")
    ready = await prepare(shop, shelf, wanted, witness)
    found = await _equal(shop, shelf, wanted, ready)
    if found is not None:
        facts = {name: found.facts[name] for name in _KEPT_FACTS if name in found.facts}
        facts |= {"type_version": ready.version, "reused": True}
        return Made(stored=found.stored, thumbnail=found.thumbnail, facts=facts)
    timeout_s = max(1.0, min(shop.timeout_s, shelf.lease.seconds_left - AFTERWORK_S))
    printed, body, checked = await print_ready(shop, wanted, ready, timeout_s=timeout_s)
    stored = await shelf.put(f"{wanted.doc_id}.pdf", body, media_type="application/pdf")
    thumbnail = await _pictured(shelf, wanted.doc_id, body)
    return Made(stored=stored, thumbnail=thumbnail, facts=_facts(ready, printed, checked))


async def prepare(
    shop: Workshop, sources: Sources, wanted: RenderInput, witness: Witness
) -> Prepared:
    """The HTML of a document with its assets, and how it is printed, by which engine."""
    witness.facts = {"doc_id": wanted.doc_id, "layout": wanted.layout, "lang": wanted.language}
    ready = await _set(shop.catalogue, sources, wanted)
    name = await printing.engine_of(shop.pool, wanted.layout, ready.options.engine)
    ready = replace(ready, options=replace(ready.options, engine=name))
    witness.html = ready.html.html
    witness.facts |= {"type_version": ready.version, "options": asdict(ready.options)}
    return ready


async def print_ready(
    shop: Workshop, wanted: RenderInput, ready: Prepared, *, timeout_s: float
) -> tuple[RenderResult, bytes, pdf.PdfFacts]:
    """What the engine printed, the PDF as its options want it, and what that is."""
    printed = await shop.engine.render(
        ready.html.html,
        ready.html.assets,
        ready.options,
        timeout_s=timeout_s,
        pack=str(wanted.pack_id),
    )
    shop.versions[str(ready.options.engine)] = printed.engine_version
    body, checked = await _finished(ready, printed)
    return printed, body, checked


async def _set(catalogue: Catalogue, sources: Sources, wanted: RenderInput) -> Prepared:
    if wanted.layout != WITHOUT_TEMPLATE:
        doc = await _type_of(catalogue, wanted)
        html = await foreign.set_document(doc, wanted.data, wanted.language)
        return Prepared(html=html, options=doc.options, version=doc.version)
    if wanted.bucket is None or wanted.key is None:
        raise JobFailed("fatal", "SOURCES_GONE", "its sources are not kept any more")
    try:
        archive = await sources.get(wanted.bucket, wanted.key)
    except ObjectMissing:
        raise JobFailed("fatal", "SOURCES_GONE", "its sources are not in storage") from None
    return Prepared(
        html=await to_thread.run_sync(unpack, archive),
        options=print_options.from_json(wanted.data.get("options", {})),
        version=wanted.type_version,
    )


async def _type_of(catalogue: Catalogue, wanted: RenderInput) -> DocumentType:
    """The version that the render has pinned."""
    try:
        return await catalogue.load(
            wanted.layout, wanted.type_version, may_fall_back=not wanted.is_trial
        )
    except TypeUnusable as error:
        if wanted.is_trial:  # the draft was changed before it was printed
            raise JobFailed("fatal", "DOCUMENT_UNKNOWN", str(error)) from error
        raise


async def _equal(
    shop: Workshop, shelf: Shelf, wanted: RenderInput, ready: Prepared
) -> Reusable | None:
    """What the same user had printed of equal content, if it is still there.

    What scripts make of a document may differ from one time to the next: it is printed.
    """
    version = shop.versions.get(str(ready.options.engine))
    if version is None or not wanted.may_reuse or ready.options.scripts:
        return None
    found = await printing.reusable(shop.pool, shelf.job.id, _fingerprint(ready, version))
    if found is None:
        return None
    try:
        return found if await shelf.has(found.stored) else None
    except StorageError:
        return None  # printing takes a while; then storage may answer again


async def _finished(ready: Prepared, printed: RenderResult) -> tuple[bytes, pdf.PdfFacts]:
    """The PDF as its options want it, opened again.

    A strict document must have text, and a letter for each character of it.
    """
    options = ready.options
    try:
        body, checked = await pdf.finish_aside(
            printed.pdf, options, pages=printed.pages, needs_text=False
        )
    except TimeoutError:
        raise RenderError(Fault.RENDER_TIMEOUT, "checking the PDF took too long") from None
    if not options.strict_assets:
        return body, checked
    if checked.lost_chars:  # it has the same fonts the next time
        letters = _letters(ready.html.html, checked.letters)
        text = f"no font has a letter for {letters or 'a character'}: leave it out, or write it so"
        raise JobFailed("fatal", Fault.FONTS_MISSING, text)
    if not checked.text_chars:
        problems = {"problems": ["no text"]}
        raise JobFailed("retry", pdf.InvalidPdf.code, "the PDF has no text", evidence=problems)
    return body, checked


def _letters(html: str, printed: str) -> str:
    """The characters of the document that its PDF has not, by sign and number."""
    shown = markup.unescape(_NOT_SHOWN.sub(" ", html[:LETTERS_SOUGHT]))
    wanted = {sign for sign in shown if sign.isprintable() and not sign.isascii()}
    lost = sorted(wanted - set(printed))
    named = [f"{sign} (U+{ord(sign):04X})" for sign in lost[:LETTERS_NAMED]]
    return ", ".join(named) + (" and others" if len(lost) > LETTERS_NAMED else "")


async def _pictured(shelf: Shelf, doc_id: str, body: bytes) -> ObjectFacts | None:
    """A stored picture of the first page; a document without one is ready too."""
    try:
        jpeg = await pdf.thumbnail_aside(body)
        return await shelf.try_put(f"{doc_id}.jpg", jpeg, media_type="image/jpeg")
    except (MakereadyError, TimeoutError) as error:
        _log.warning("render_thumbnail_error", doc_id=doc_id, error=type(error).__name__)
        return None


def _fingerprint(ready: Prepared, engine_version: str) -> str:
    """Equal for equal PDFs; what is done to them after the printing changes with our version."""
    return ready.html.fingerprint(ready.options, f"{engine_version} {__version__}")


def _facts(ready: Prepared, printed: RenderResult, checked: pdf.PdfFacts) -> Mapping[str, Any]:
    """What is kept with the artifact, and as the job's result."""
    warnings = list(printed.warnings)[:WARNINGS_KEPT]
    if checked.lost_chars:
        warnings.append(f"missing: letters for {_letters(ready.html.html, checked.letters)}")
    return {
        "pages": checked.pages,
        "page_size_mm": list(checked.page_size_mm),
        "sha256": checked.sha256,
        "warnings": warnings,
        "timings_ms": dict(printed.timings),
        "engine": printed.engine_version,
        "type_version": ready.version,
        "fingerprint": _fingerprint(ready, printed.engine_version),
    }
