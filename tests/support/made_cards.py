"""A generation with real cards in storage, made without a worker, and what a phone reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pymupdf
import zxingcpp

from makeready import posm, posm_making
from makeready.cards.press import Order, Press
from makeready.cards.verify import Verifier
from makeready.posm import StoredCard
from makeready.posm_making import GenerationInput, MadeCard
from makeready.storage import Storage
from tests.support.card_templates import light
from tests.support.generating import LINK, STAMPER, Cardroom
from tests.support.service import Member
from tests.support.workshop import stored_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A generation that is done, and who looks at it."""

    viewer: Member
    id: UUID
    restaurant: UUID
    cards: list[StoredCard]

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """GET below the generation."""
        return await self.viewer.get(f"/posm/generations/{self.id}/{path}", **options)


async def made_cards(
    cardroom: Cardroom,
    storage: Storage,
    viewer: Member,
    tables: int = 3,
    *,
    pdf: bytes | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Made:
    """Cards of tables that are called Зал/1 and so on."""
    restaurant = await cardroom.restaurant(0, name="Ресторан «Ёлки»")
    await cardroom.put(restaurant, *(f"Зал/{number}" for number in range(1, tables + 1)))
    template = await stored_template(cardroom.db, storage, pdf, settings)
    pressed = await cardroom.press(template, restaurant)
    found = await posm_making.input_of(cardroom.db, pressed.id)
    assert found is not None
    made = await _stamped(storage, found, light() if pdf is None else pdf)
    # Only now: a lease does not wait for a busy machine.
    claimed = await cardroom.one()
    await posm_making.begin(cardroom.db, claimed.lease, STAMPER)
    await posm_making.keep(cardroom.db, claimed.lease, made)
    assert await posm_making.finish(cardroom.db, claimed.lease, {}) == "ok"
    return Made(
        viewer=viewer,
        id=pressed.id,
        restaurant=restaurant,
        cards=await posm.manifest(cardroom.db, pressed.id),
    )


def codes(pdf: bytes, *, dpi: int = 150) -> list[list[str]]:
    """What a phone reads on each page."""
    found = []
    with pymupdf.open(stream=pdf, filetype="pdf") as document:
        for page in document:
            picture = page.get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
            pixels = memoryview(picture.samples).cast("B", (picture.height, picture.width))
            found.append(sorted(code.text for code in zxingcpp.read_barcodes(pixels)))
    return found


def link(table: UUID) -> str:
    """What the code of a table says."""
    return LINK.replace("{uuid}", str(table))


async def _stamped(storage: Storage, found: GenerationInput, pdf: bytes) -> list[MadeCard]:
    rows = [card.row for card in found.cards]
    press = Press.open(Order(pdf=pdf, settings=found.settings, rows=rows))
    verifier, made = Verifier(press), []
    for place, wanted in enumerate(found.cards):
        card = press.stamp(place)
        key = f"posm/{found.id}/{wanted.uuid}-{card.sha256.hex()[:12]}.pdf"
        stored = await storage.put(key, press.whole(card), media_type="application/pdf")
        evidence = verifier.check(card)
        made.append(MadeCard(uuid=wanted.uuid, stored=stored, crc32=card.crc32, evidence=evidence))
    return made
