"""What a generation is for: its cards, one by one or all in an archive. Thin over stored objects.

GET /posm/generations/{generation_id}/archive          ?tables; Range
GET /posm/generations/{generation_id}/tables/{uuid}    ?format=pdf|png&page&dpi&inline; Range
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from makeready import posm, posm_making, stamping
from makeready.archive import MEDIA_TYPE, Piece, Span
from makeready.posm import StoredCard
from makeready.posm_downloads import archive_of, names_of, title_of
from makeready.posm_making import GenerationInput
from makeready.read_ahead import READ_BYTES, Read
from makeready.storage import Storage
from makeready.storage_errors import ObjectMissing, StorageUnavailable
from makeready_http.answers import NO_STORE
from makeready_http.auth import current_staff
from makeready_http.downloads import Download, answer_download, not_modified
from makeready_http.inputs import path_uuid
from makeready_http.operations import (
    TEXT,
    TRUTH,
    WHOLE,
    Answer,
    Schema,
    admin_operation,
    read_query,
)
from makeready_http.posm_parts import PDF, PNG, READ, TAG, asked_generation, told, turn
from makeready_http.problems import Problem, invalid_request, not_found
from makeready_http.services import Services, services_of

PRESIGN = "presign"
SHOWN_MISSING = 100

CHOICE: Mapping[str, Schema] = {
    "tables": {
        **TEXT,
        "maxLength": 40_000,
        "description": "Uuids of tables with commas between them; left out: all.",
    },
}
"""For routes that also print some tables again."""
_CARD: Mapping[str, Schema] = {
    "format": {**TEXT, "enum": ["pdf", "png"], "default": "pdf"},
    "page": {**WHOLE, "minimum": 1, "maximum": 200, "default": 1, "description": "Of a PNG."},
    "dpi": {**WHOLE, "minimum": 36, "maximum": 300, "default": 150, "description": "Of a PNG."},
    "inline": {**TRUTH, "default": False, "description": "Shown by a browser, not saved."},
}

_log = structlog.get_logger(__name__)


async def archive(request: Request) -> Response:
    """All cards, or some of them, as a ZIP that is made while it is sent."""
    await current_staff(request, READ)
    chosen = chosen_tables(request)
    services, generation = services_of(request), asked_generation(request)
    cards = await posm.manifest(services.pool, generation, tables=chosen)
    found = await posm.read(services.pool, generation)
    order = await order_of(services, generation)
    made = archive_of(order, cards, found.finished_at or found.created_at)
    known = not_modified(request, made.etag)
    if known is not None:
        return known
    await _refuse_missing(services.storage, cards)
    told_to = {"generation_id": str(generation), "cards": len(cards)}
    _log.info("posm_archive_sent", **told_to, size_bytes=made.byte_count)
    return answer_download(
        request,
        Download(
            filename=f"{title_of(order)}.zip",
            media_type=MEDIA_TYPE,
            byte_count=made.byte_count,
            etag=made.etag,
            pieces=made.pieces,
            read=_reader(services.storage, cards),
        ),
    )


async def card(request: Request) -> Response:
    """The card of one table, as it was made and verified; or a picture of it."""
    await current_staff(request, READ)
    asked = read_query(request, _CARD)
    services, generation = services_of(request), asked_generation(request)
    table = path_uuid(request, "uuid", "table_not_found")
    (stored,) = await posm.manifest(services.pool, generation, tables=[table])
    picture = asked["format"] == "png"
    etag = stored.sha256.hex() + (f"-{asked['page']}-{asked['dpi']}" if picture else "")
    known = not_modified(request, etag)
    if known is not None:
        return known
    await _refuse_missing(services.storage, [stored])
    name = names_of(await order_of(services, generation))[table]
    if picture:
        return await _picture(request, stored, name, etag, asked)
    if services.settings.posm_delivery == PRESIGN:
        return await _redirect(services, stored, name)

    if stored.byte_count <= READ_BYTES:
        body = await _proven(services.storage, stored)
        made = made_download(body, name, PDF, etag, is_inline=asked["inline"])
        return answer_download(request, made)

    def pieces(first: int, last: int) -> Iterator[Piece]:
        is_whole = last - first + 1 == stored.byte_count
        crc32 = stored.crc32 if is_whole else None
        yield Span(key=stored.key, first=first, last=last, crc32=crc32)

    return answer_download(
        request,
        Download(
            filename=name,
            media_type=PDF,
            byte_count=stored.byte_count,
            etag=etag,
            pieces=pieces,
            read=_reader(services.storage, [stored]),
            is_inline=asked["inline"],
        ),
    )


async def _proven(storage: Storage, stored: StoredCard) -> bytes:
    """The card as it was verified; StorageUnavailable for other bytes."""
    body = await storage.of_bucket(stored.bucket).get(stored.key)
    if hashlib.sha256(body).digest() != stored.sha256:
        raise StorageUnavailable(f"get {stored.key}: these are other bytes than were stored")
    return body


async def _redirect(services: Services, stored: StoredCard, name: str) -> Response:
    """To a link that works for some minutes: the bytes do not pass through here."""
    link = await services.storage.presign(
        stored.key,
        bucket=stored.bucket,
        valid_s=services.settings.presign_ttl_s,
        filename=name,
    )
    return RedirectResponse(link, status_code=307, headers=NO_STORE)


async def _picture(
    request: Request, stored: StoredCard, name: str, etag: str, asked: Mapping[str, Any]
) -> Response:
    services = services_of(request)
    async with turn(services.previews):
        pdf = await _proven(services.storage, stored)
        with told(request):
            image = await stamping.page_image(pdf, page=asked["page"], dpi=asked["dpi"])
    return answer_download(
        request,
        made_download(
            image, f"{name.removesuffix('.pdf')}.png", PNG, etag, is_inline=asked["inline"]
        ),
    )


def made_download(
    body: bytes, filename: str, media_type: str, etag: str, *, is_inline: bool = False
) -> Download:
    """Bytes that are here already, as something to download."""

    def pieces(first: int, last: int) -> Iterator[Piece]:
        yield body[first : last + 1]

    return Download(
        filename=filename,
        media_type=media_type,
        byte_count=len(body),
        etag=etag,
        pieces=pieces,
        read=nothing_stored,
        is_inline=is_inline,
    )


def chosen_tables(request: Request) -> list[UUID] | None:
    """The tables that are asked for; None: all."""
    text = read_query(request, CHOICE)["tables"]
    if not text:
        return None
    try:
        return list(dict.fromkeys(UUID(each.strip()) for each in text.split(",")))
    except ValueError:
        said = "tables takes uuids with commas between them."
        raise invalid_request(said, field="tables", reason="format") from None


async def order_of(services: Services, generation: UUID) -> GenerationInput:
    """What the generation was made of; 404."""
    found = await posm_making.input_of(services.pool, generation)
    if found is None:
        raise not_found("generation_not_found", "generation_id", generation)
    return found


def _reader(storage: Storage, cards: Sequence[StoredCard]) -> Read:
    buckets = {card.key: card.bucket for card in cards}

    async def read(span: Span) -> AsyncGenerator[bytes, None]:
        source = storage.of_bucket(buckets[span.key])
        async with aclosing(source.stream(span.key, first=span.first, last=span.last)) as chunks:
            async for chunk in chunks:
                yield chunk

    return read


async def nothing_stored(span: Span) -> AsyncGenerator[bytes, None]:
    """For downloads of which nothing is stored."""
    if span.byte_count:
        raise ObjectMissing(f"get {span.key}: nothing is stored")
    yield b""


async def _refuse_missing(storage: Storage, cards: Sequence[StoredCard]) -> None:
    """409 unless each card lies in storage with its size: half an archive helps nobody.

    A listing names a thousand objects at once; each by itself would take a second.
    """
    missing: list[StoredCard] = []
    ordered = sorted(cards, key=_place)
    for (bucket, prefix), group in groupby(ordered, key=_place):
        wanted = list(group)
        sizes = await _sizes(storage.of_bucket(bucket), prefix, wanted)
        missing += [card for card in wanted if sizes.get(card.key) != card.byte_count]
    if missing:
        named = [{"uuid": str(card.uuid), "label": card.label} for card in missing]
        raise Problem(
            "conflict",
            f"{len(missing)} cards are not in storage any more; make them again.",
            details={
                "reason": "objects_missing",
                "missing": len(missing),
                "tables": named[:SHOWN_MISSING],
            },
        )


def _place(card: StoredCard) -> tuple[str, str]:
    return card.bucket, card.key.rpartition("/")[0] + "/"


async def _sizes(storage: Storage, prefix: str, wanted: Sequence[StoredCard]) -> dict[str, int]:
    """By key, of what there is; nothing where even the bucket is gone."""
    try:
        if len(wanted) == 1:
            return {wanted[0].key: (await storage.head(wanted[0].key)).byte_count}
        return {facts.key: facts.byte_count async for facts in storage.listing(prefix)}
    except ObjectMissing:
        return {}


DOWNLOADED = ("ETag", "Accept-Ranges", "Content-Disposition")
UNREADY = ("generation_not_found", "table_not_found", "conflict", "generation_deleted")
PART = Answer(
    description="The bytes that `Range` names.", media_type=MEDIA_TYPE, headers=DOWNLOADED
)
KNOWN = Answer(description="`If-None-Match` names it.")
_FILE = Answer(description="", media_type=PDF, other_types=(PNG,), headers=DOWNLOADED)
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/archive",
        endpoint=archive,
        tag=TAG,
        needs=READ,
        summary="sends the cards of a generation as a ZIP that can be resumed",
        description="Made of the stored cards while it is sent; nothing is generated. Its length"
        " is known before the first byte, and equal requests get equal bytes: `Range` and"
        " `If-Range` go on where a download broke off, also after weeks. One that is not done is"
        " 409 `conflict` (`not_done`), and so is one whose cards are not all in storage"
        " (`objects_missing`). With the cards comes `manifest.csv`.",
        query=CHOICE,
        answers={
            200: Answer(description="A ZIP.", media_type=MEDIA_TYPE, headers=DOWNLOADED),
            206: PART,
            304: KNOWN,
        },
        errors=(*UNREADY, "range_not_satisfiable", "storage_unavailable"),
    ),
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/tables/{uuid}",
        endpoint=card,
        tag=TAG,
        needs=READ,
        summary="sends the card of one table",
        description="As PDF, or one page of it as PNG. With MAKEREADY_POSM_DELIVERY=presign the"
        " PDF comes by a redirect to object storage.",
        query=_CARD,
        answers={
            200: replace(_FILE, description="The card."),
            206: replace(_FILE, description=PART.description),
            304: KNOWN,
            307: Answer(
                description="To a link that works for some minutes.", headers=("Location",)
            ),
        },
        errors=(
            *UNREADY,
            "range_not_satisfiable",
            "validation_failed",
            "storage_unavailable",
        ),
    ),
)
