"""Codes alone, for layouts and stickers of one's own: as vectors, or as PNG.

GET /posm/qr/{uuid}                                    ?format=svg|png|pdf|eps&size_mm&…
GET /posm/generations/{generation_id}/qr.zip           the same, ?tables
GET /restaurants/{restaurant_id}/qr.zip                the same

Of a generation they say what its cards say; else what would be printed now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from makeready import posm, restaurants, stamping
from makeready.archive import MEDIA_TYPE, Archive, Entry
from makeready.file_names import file_name, file_names
from makeready.posm_downloads import names_of, title_of
from makeready.stamping import QR_KINDS, Look
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
from makeready_http.posm_files import (
    CHOICE,
    DOWNLOADED,
    KNOWN,
    PART,
    UNREADY,
    chosen_tables,
    made_download,
    nothing_stored,
    order_of,
)
from makeready_http.posm_parts import READ, TAG, asked_generation, told
from makeready_http.problems import Problem, invalid_request
from makeready_http.services import services_of

_LOOK: Mapping[str, Schema] = {
    "format": {**TEXT, "enum": list(QR_KINDS), "default": "svg"},
    "size_mm": {
        **WHOLE,
        "minimum": 5,
        "maximum": 1000,
        "default": 40,
        "description": "Of a side, quiet zone included.",
    },
    "quiet_zone": {
        **WHOLE,
        "minimum": 4,
        "maximum": 40,
        "default": 4,
        "description": "White modules around.",
    },
    "dpi": {**WHOLE, "minimum": 36, "maximum": 2400, "default": 600, "description": "Of a PNG."},
    "ecc": {
        **TEXT,
        "enum": ["L", "M", "Q", "H"],
        "default": "M",
        "description": "How much of it may be lost; more where there is room.",
    },
}
_INLINE: Mapping[str, Schema] = {
    "inline": {**TRUTH, "default": False, "description": "Shown by a browser, not saved."},
}
MOST_DOTS = 12_000  # a side of a PNG
MOST_DOTS_OF_ALL = 3_000_000_000  # of all PNGs of one answer: others wait for the same helper


async def one(request: Request) -> Response:
    """The code of one table, or of any uuid that a table may have some day."""
    await current_staff(request, READ)
    asked = _asked(request, {**_LOOK, **_INLINE})
    table = _uuid(request)
    (link,) = await _links(request, [table])
    kind = asked["format"]
    etag = hashlib.sha256(repr((link, asked, await stamping.version())).encode()).hexdigest()[:32]
    known = not_modified(request, etag)
    if known is not None:
        return known
    (body,) = await _drawn(request, [link], asked)
    name, media_type = f"{table}.{kind}", QR_KINDS[kind]
    made = made_download(body, name, media_type, etag, is_inline=asked["inline"])
    return answer_download(request, made)


async def of_generation(request: Request) -> Response:
    """The codes of a generation's cards, as files in a ZIP."""
    await current_staff(request, READ)
    asked, chosen = _asked(request, _LOOK), chosen_tables(request)
    services, generation = services_of(request), asked_generation(request)
    cards = await posm.manifest(services.pool, generation, tables=chosen)
    found = await posm.read(services.pool, generation)
    order = await order_of(services, generation)
    names = names_of(order)
    stems = [names[card.uuid].removesuffix(".pdf") for card in cards]
    links = [str(card.data["table"]["url"]) for card in cards]
    made_at = found.finished_at or found.created_at
    return await _zipped(
        request, title_of(order), asked, stems=stems, links=links, made_at=made_at
    )


async def of_restaurant(request: Request) -> Response:
    """The codes of all tables that a restaurant has now, as files in a ZIP."""
    await current_staff(request, READ)
    asked = _asked(request, _LOOK)
    restaurant = path_uuid(request, "restaurant_id", "restaurant_not_found")
    pool = services_of(request).pool
    found = await restaurants.read(pool, restaurant)
    tables = await restaurants.tables(pool, restaurant)
    if not tables:
        raise Problem("conflict", "The restaurant has no tables.", details={"reason": "no_tables"})
    links = await _links(request, [table.uuid for table in tables])
    stems = [table.number for table in tables]
    return await _zipped(
        request, found.name, asked, stems=stems, links=links, made_at=found.updated_at
    )


def _asked(request: Request, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    asked = read_query(request, schemas)
    if asked["format"] == "png" and _dots(asked) > MOST_DOTS:
        said = f"A PNG has at most {MOST_DOTS} dots a side: lower dpi or size_mm."
        raise invalid_request(said, field="dpi", reason="too_large")
    return asked


def _dots(asked: Mapping[str, Any]) -> float:
    return float(asked["size_mm"] / 25.4 * asked["dpi"])


def _uuid(request: Request) -> UUID:
    try:
        return UUID(request.path_params["uuid"])
    except ValueError:
        raise invalid_request("That is no uuid.", field="uuid", reason="format") from None


async def _links(request: Request, tables: Sequence[UUID]) -> list[str]:
    """What the codes of tables say now; 409 where nobody has said how links are made."""
    links = await posm.links_of(services_of(request).pool, tables)
    found = [link for link in links if link is not None]
    if len(found) < len(links):
        raise Problem(
            "conflict",
            "A table has no link: set the link template of the policy.",
            details={"reason": "no_link"},
        )
    return found


async def _drawn(request: Request, links: Sequence[str], asked: Mapping[str, Any]) -> list[bytes]:
    if asked["format"] == "png" and _dots(asked) ** 2 * len(links) > MOST_DOTS_OF_ALL:
        said = f"{len(links)} PNG are too much at once: lower dpi or size_mm, or fewer tables."
        raise invalid_request(said, field="dpi", reason="too_large")
    look = Look(size_mm=asked["size_mm"], quiet_zone=asked["quiet_zone"], dpi=asked["dpi"])
    with told(request):
        return await stamping.qr_files(links, asked["format"], look, level=asked["ecc"])


async def _zipped(
    request: Request,
    title: str,
    asked: Mapping[str, Any],
    *,
    stems: Sequence[str],
    links: Sequence[str],
    made_at: datetime,
) -> Response:
    """A folder of codes; equal links and looks make equal bytes."""
    folder = file_name(f"{title} QR")
    names = file_names(f"{stem}.{asked['format']}" for stem in stems)
    files = await _drawn(request, links, asked)
    entries = [Entry.of(f"{folder}/{name}", body) for name, body in zip(names, files, strict=True)]
    made = Archive(entries, made_at)
    known = not_modified(request, made.etag)
    if known is not None:
        return known
    return answer_download(
        request,
        Download(
            filename=f"{folder}.zip",
            media_type=MEDIA_TYPE,
            byte_count=made.byte_count,
            etag=made.etag,
            pieces=made.pieces,
            read=nothing_stored,
        ),
    )


_ZIP = {
    200: Answer(description="A ZIP.", media_type=MEDIA_TYPE, headers=DOWNLOADED),
    206: PART,
    304: KNOWN,
}
_BAD = ("validation_failed", "range_not_satisfiable")
_FILE = Answer(
    description="",
    media_type=QR_KINDS["svg"],
    other_types=tuple(kind for kind in QR_KINDS.values() if kind != QR_KINDS["svg"]),
    headers=DOWNLOADED,
)
OPERATIONS = (
    admin_operation(
        method="GET",
        path="/posm/qr/{uuid}",
        endpoint=one,
        tag=TAG,
        needs=READ,
        summary="draws the code of one table, or of any uuid",
        description="It says the table's own link, or the one that the policy makes of the uuid;"
        " 409 `conflict` (`no_link`) when there is neither. Vectors have black ink alone.",
        query={**_LOOK, **_INLINE},
        answers={
            200: replace(_FILE, description="The file, of the type that `format` names."),
            206: replace(_FILE, description=PART.description),
            304: KNOWN,
        },
        errors=("invalid_request", "conflict", *_BAD),
    ),
    admin_operation(
        method="GET",
        path="/posm/generations/{generation_id}/qr.zip",
        endpoint=of_generation,
        tag=TAG,
        needs=READ,
        summary="sends the codes of a generation's cards as files of their own",
        query={**_LOOK, **CHOICE},
        answers=_ZIP,
        errors=(*UNREADY, *_BAD),
    ),
    admin_operation(
        method="GET",
        path="/restaurants/{restaurant_id}/qr.zip",
        endpoint=of_restaurant,
        tag=TAG,
        needs=READ,
        summary="sends the codes of all tables of a restaurant as files",
        query=_LOOK,
        answers=_ZIP,
        errors=("restaurant_not_found", "conflict", *_BAD),
    ),
)
