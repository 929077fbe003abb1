"""Files for a print shop, made when they are asked for: of the frozen order, by the same stamper.

GET /posm/generations/{generation_id}/print.pdf        ?tables; Range
GET /posm/generations/{generation_id}/sheet.pdf        ?sheet&cols&rows&start&…&tables; Range

A card in them is, byte for byte in what was drawn, the one that was verified when the generation
was made; where the stamper has changed since then, it is verified again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import Response

from makeready import posm, posm_making, stamping
from makeready.cards.schema import SHEETS_MM
from makeready.cards.settings import read
from makeready.posm_downloads import title_of
from makeready.posm_making import GenerationInput
from makeready.stamping import Order, Sheet
from makeready.storage import ObjectFacts
from makeready_http.auth import current_staff
from makeready_http.downloads import answer_download, not_modified
from makeready_http.operations import (
    TEXT,
    TRUTH,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    read_query,
)
from makeready_http.posm_files import (
    CHOICE,
    DOWNLOADED,
    KNOWN,
    PART,
    UNREADY,
    chosen_tables,
    made_download,
    order_of,
)
from makeready_http.posm_parts import PDF, READ, TAG, asked_generation, told, turn
from makeready_http.services import Services, services_of

Make = Callable[[Order, Sequence[int], Mapping[int, bytes]], Awaitable[bytes]]
_MM: Schema = {**TEXT, "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3})?$"}
_SIZE = r"[0-9]{2,4}(?:\.[0-9]{1,2})?"
_SHEET: Mapping[str, Schema] = {
    "sheet": {
        **TEXT,
        "pattern": f"^(?:{'|'.join(SHEETS_MM)}|{_SIZE}x{_SIZE})$",
        "description": "A format, or width x height in mm.",
    },
    "cols": {**WHOLE, "minimum": 1, "maximum": 100, "description": "Cards beside each other."},
    "rows": {**WHOLE, "minimum": 1, "maximum": 100, "description": "Cards below each other."},
    "start": {
        **WHOLE,
        "minimum": 0,
        "maximum": 9999,
        "description": "Places of the first sheet that are used up already.",
    },
    "bleed": {**_MM, "description": "mm around each card."},
    "gutter": {**_MM, "description": "mm between cards with their bleed."},
    "crop_marks": TRUTH,
    "duplex": {**TEXT, "enum": ["none", "long-edge", "short-edge"]},
    "order": {**TEXT, "enum": ["rows", "stack"]},
    "fold": {**TRUTH, "description": "Table tents: two halves a card, one upside down."},
}
_DEFAULT_SHEET = "SRA3"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which cards are to be printed."""

    title: str
    order: GenerationInput
    indexes: Sequence[int]


async def print_file(request: Request) -> Response:
    """All cards in one PDF, what they share in it once."""
    await current_staff(request, READ)
    async with turn(services_of(request).prints):
        wanted = await _wanted(request)
        return await _made(request, wanted, "print", "", stamping.print_file)


async def sheet_file(request: Request) -> Response:
    """The cards several up on sheets, with crop marks."""
    await current_staff(request, READ)
    asked = read_query(request, _SHEET)
    async with turn(services_of(request).prints):
        wanted = await _wanted(request)
        sheet = _sheet(wanted.order.settings, asked)

        async def make(
            order: Order, indexes: Sequence[int], digests: Mapping[int, bytes]
        ) -> bytes:
            return await stamping.sheets(order, indexes, sheet, digests)

        return await _made(request, wanted, "sheet", repr(asdict(sheet)), make)


async def _wanted(request: Request) -> _Wanted:
    """404, 409 and 410 as for the archive."""
    services, generation = services_of(request), asked_generation(request)
    chosen = chosen_tables(request)
    cards = await posm.manifest(services.pool, generation, tables=chosen)
    order = await order_of(services, generation)
    taken: set[UUID] = {card.uuid for card in cards}
    return _Wanted(
        title=title_of(order),
        order=order,
        indexes=[place for place, card in enumerate(order.cards) if card.uuid in taken],
    )


async def _made(
    request: Request, wanted: _Wanted, kind: str, details: str, make: Make
) -> Response:
    order = wanted.order
    known_by = (order.id, wanted.indexes, details, await stamping.version())
    etag = hashlib.sha256(repr(known_by).encode()).hexdigest()[:32]
    known = not_modified(request, etag)
    if known is not None:
        return known
    began = time.monotonic()
    digests = {
        place: card.sha256 for place, card in enumerate(order.cards) if card.sha256 is not None
    }
    services = services_of(request)
    with told(request):
        body = await make(await _frozen(services, order), wanted.indexes, digests)
    _log.info(
        "posm_print_made",
        generation_id=str(order.id),
        kind=kind,
        cards=len(wanted.indexes),
        size_bytes=len(body),
        ms=round((time.monotonic() - began) * 1000, 1),
    )
    return answer_download(request, made_download(body, f"{wanted.title} {kind}.pdf", PDF, etag))


async def _frozen(services: Services, given: GenerationInput) -> Order:
    """The order with its files."""

    async def fetch(file: ObjectFacts) -> bytes:
        name = (file.sha256 or b"").hex()
        return await services.blobs.get(name, bucket=file.bucket, key=file.key)

    return await posm_making.order_of(given, fetch)


def _sheet(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> Sheet:
    """The sheet of the frozen settings, changed as the request says; else as many as fit."""
    frozen = read(settings)[0]
    sheet = None if frozen is None else frozen.sheet
    if sheet is None:
        width, height = SHEETS_MM[_DEFAULT_SHEET]
        sheet = Sheet(width=width, height=height, is_named=True, cols=0, rows=0)
    given = {name: value for name, value in asked.items() if value is not None}
    size = given.pop("sheet", None)
    if size is not None:
        is_named = size in SHEETS_MM
        width, height = SHEETS_MM[size] if is_named else map(float, size.split("x"))
        # What was meant for another sheet says nothing of this one.
        sheet = replace(
            sheet, width=width, height=height, is_named=is_named, cols=0, rows=0, start=0
        )
    for name in ("bleed", "gutter"):
        if name in given:
            given[name] = float(given[name])
    return replace(sheet, **given)


_ERRORS = (*UNREADY, "validation_failed", "range_not_satisfiable", "storage_unavailable")
_ANSWERS = {
    200: Answer(description="A PDF.", media_type=PDF, headers=DOWNLOADED),
    206: replace(PART, media_type=PDF),
    304: KNOWN,
}
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/print.pdf",
        endpoint=print_file,
        tag=TAG,
        needs=READ,
        summary="makes one PDF of all cards, in which what they share lies once",
        description="Page after page, with the boxes of the template; a thousand cards take"
        " little more than the template and 3 kB each.",
        query=CHOICE,
        answers=_ANSWERS,
        errors=_ERRORS,
    ),
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/sheet.pdf",
        endpoint=sheet_file,
        tag=TAG,
        needs=READ,
        summary="imposes the cards on sheets, with bleed and crop marks",
        description="What is left out is as the settings of the generation say; without"
        " `output.impose` there, SRA3 and as many cards as fit. On another `sheet` than theirs as"
        " many as fit, too, unless `cols` and `rows` are given. 422 `validation_failed`"
        " (`sheet_too_small`, `sheet_start`, `sheet_uneven_pages`) where cards cannot lie so.",
        query={**_SHEET, **CHOICE},
        answers=_ANSWERS,
        errors=_ERRORS,
    ),
)
