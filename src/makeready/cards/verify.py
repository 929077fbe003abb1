"""Every card is looked at before it counts as made, by other programs than those that drew it.

MuPDF draws it, zxing-cpp reads its codes as a phone would. That a code can be read proves little:
codes are read in the wrong place, on a dark ground, without a quiet zone, or partly covered, and
then fail at the table. So each module is looked at too, and where it lies.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import pymupdf
from pymupdf import mupdf

from makeready.cards import sight
from makeready.cards.code_checks import CodePlace, check_raster, place_for, read
from makeready.cards.drawing import PlacedCode
from makeready.cards.expected import Expectations, Expected, turned
from makeready.cards.geometry import Box, Matrix, chained, inverse, moved
from makeready.cards.lattice import area
from makeready.cards.letterforms import Letterforms
from makeready.cards.modules import QUIET_ZONE
from makeready.cards.placing import meet, shape
from makeready.cards.press import Card, Press
from makeready.cards.refusal import CardRefused
from makeready.cards.settings import Field, TextField
from makeready.cards.sight import Raster, Stamps
from makeready.cards.text_checks import check_in_page, check_texts

__all__ = ["VERIFIER", "CardRefused", "Verifier"]

VERIFIER = f"pymupdf {pymupdf.VersionBind}, zxing-cpp {version('zxing-cpp')}"
_CHEAP_S = 0.003
"""Cards that are drawn from their final bytes in this time are always drawn so."""
_SAME_GRAY = 8
"""How far apart two grays of the same thing may be, mixed from other inks."""
_TEXT_GAP = 26
"""Levels of red, green or blue by which a text differs at least from what lies below it."""
_TEXT_ZOOM = _SEARCH_ZOOM = 2.0
_EDGE = 0.5
"""Modules around the quiet zone that are drawn too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """A code's place on a page, and what lies below it."""

    clip: Box
    zoom: float
    below: Raster
    place: CodePlace


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What was seen of one card."""

    codes: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    rasters: dict[tuple[str, int], Raster] = field(default_factory=dict)
    """Of codes whose stamp was drawn alone, by field and page."""


class Verifier:
    """Looks at the cards of one generation."""

    def __init__(self, press: Press) -> None:
        self._press = press
        self._fields: Mapping[str, Field] = {each.id: each for each in press.settings.fields}
        self._expectations = Expectations(press.settings, press.rows, pages=len(press.facts.pages))
        self._sha256, self._crc32 = hashlib.sha256(press.prefix), zlib.crc32(press.prefix)
        self._room = bytearray()
        self._letterforms = Letterforms(press.assets)
        self._covered = _covered(press.settings.fields)
        self._stamps: Stamps | None = None
        self._displayed: dict[int, Matrix] = {}
        self._spots: dict[object, _Spot] = {}
        self._is_cheap = False
        self._is_layered = True
        """Whether a stamp drawn on what lies below it is what the whole page shows."""

    def check(self, card: Card, cold: bool | None = None) -> dict[str, Any]:
        """What was seen of a card, as JSON; raises CardRefused.

        `cold`: whether its pages are drawn from its final bytes alone. Else those of the first
        and the last card are, of each so manieth that the settings say one page in its turn, and
        all where that is cheap.
        """
        try:
            self._check_sums(card)
            return self._look(card, cold)
        except CardRefused as refusal:
            raise refusal.of(self._expectations.label(card.index)) from refusal.__cause__

    def _check_sums(self, card: Card) -> None:
        digest = self._sha256.copy()
        digest.update(card.tail)
        size = len(self._press.prefix) + len(card.tail)
        sums = size, zlib.crc32(card.tail, self._crc32), digest.digest()
        if sums != (card.byte_count, card.crc32, card.sha256):
            raise CardRefused("card_damaged", {"reason": "sums"})

    def _due(self, index: int, cold: bool | None) -> Sequence[int]:
        """The pages that are drawn from this card's final bytes."""
        pages = self._press.pages
        is_end = index in {0, len(self._press.rows) - 1}
        if cold or not self._is_layered or (cold is None and (is_end or self._is_cheap)):
            return pages
        turn, rest = divmod(index, self._press.settings.cold_every)
        return () if rest or cold is False else (pages[turn % len(pages)],)

    def _whole(self, card: Card) -> memoryview:
        """The file, until the next one: room for millions of bytes is not cheap to come by."""
        start, end = len(self._press.prefix), card.byte_count
        if end > len(self._room):
            self._room = bytearray(self._press.prefix) + bytes(2 * len(card.tail))
        self._room[start:end] = card.tail
        return memoryview(self._room)[:end]

    def _look(self, card: Card, cold: bool | None) -> dict[str, Any]:
        document = sight.opened(self._whole(card))
        if sight.pages(document) != len(self._press.facts.pages):
            raise CardRefused("card_damaged", {"case": "pages"})
        stamps = self._stamps or self._begin(document, self._press.whole(card))
        is_first = self._stamps is None
        due = self._press.pages if is_first else self._due(card.index, cold)
        expected = self._expectations.of(card, self._displayed)
        stamps.compare(card.tail)
        seen = self._seen_alone(document, stamps, expected)
        if due:
            cold_pages = {page: expected[page] for page in due}
            self._look_cold(document, cold_pages, seen, is_first=is_first)
        if is_first:
            self._check_marks(document, stamps, expected)
        sight.sound(document)
        self._stamps = stamps
        return _evidence(seen, is_cold=bool(due))

    def _begin(self, document: mupdf.PdfDocument, whole: bytes) -> Stamps:
        """What is kept for all cards, of the first one, which is looked at most closely."""
        press = self._press
        self._spots.clear()
        self._is_layered = True
        sight.check_boxes(document, press.facts.pages)
        self._displayed = {
            number: sight.displayed(document, number, press.settings.origin)
            for number in press.pages
        }
        return Stamps(whole, prefix=len(press.prefix), numbers=press.pages)

    def _seen_alone(
        self, document: mupdf.PdfDocument, stamps: Stamps, expected: Mapping[int, Expected]
    ) -> _Seen:
        """A card's stamp, drawn on what lies below the stamps of all cards."""
        seen = _Seen()
        for number, wanted in expected.items():
            stamp = stamps.drawn(document, number)
            for code in wanted.codes:
                spot = self._spot(code, stamps)
                if self._is_layered:
                    raster = sight.over(spot.below, stamp)
                    try:
                        seen.codes.append(check_raster(code, spot.place, raster))
                    except CardRefused as refusal:
                        is_bare = raster.apart(spot.below) == 0
                        raise _explained(document, code, refusal, is_bare=is_bare) from None
                    seen.rasters[code.field, number] = raster
            for text, letters in check_texts(wanted.texts, sight.characters(stamp)):
                if text.field.id not in self._covered:
                    self._letterforms.check(stamp, text, letters)
                evidence = {"field": text.field.id, "page": number, "text": text.text}
                seen.texts.append(evidence)
        return seen

    def _look_cold(
        self,
        document: mupdf.PdfDocument,
        expected: Mapping[int, Expected],
        seen: _Seen,
        *,
        is_first: bool,
    ) -> None:
        """The whole pages, as whoever opens the file sees them."""
        started = time.process_time()
        codes, is_same = [], True
        for number, wanted in expected.items():
            for code in wanted.codes:
                spot = self._spots[_key(code)]
                raster = sight.view(document, number, spot.clip, spot.zoom)
                codes.append(check_raster(code, spot.place, raster))
                alone = seen.rasters.get((code.field, number))
                if alone and spot.place.lattice.apart(raster.samples, alone.samples) > _SAME_GRAY:
                    if not is_first:
                        raise CardRefused("card_damaged", {"reason": "page", "page": number})
                    is_same = False
            if wanted.texts:
                letters = sight.characters(sight.whole_page(document, number))
                check_in_page(wanted.texts, letters)
        self._is_layered &= is_same
        if not self._is_layered:
            seen.codes = codes
        self._is_cheap = time.process_time() - started < _CHEAP_S

    def _check_marks(
        self, document: mupdf.PdfDocument, stamps: Stamps, expected: Mapping[int, Expected]
    ) -> None:
        """Each text leaves a mark on the page: it is neither below something nor of its colour."""
        for number, wanted in expected.items():
            for text in wanted.texts:
                clip = moved(text.box, inverse(text.to_field))
                shown = sight.view(document, number, clip, _TEXT_ZOOM, is_coloured=True)
                below = stamps.below(number, clip, _TEXT_ZOOM, is_coloured=True)
                if shown.apart(below) < _TEXT_GAP:
                    facts = {"field": text.field.id, "page": number, "text": text.text}
                    raise CardRefused("card_text_invisible", facts)

    def _spot(self, code: PlacedCode, stamps: Stamps) -> _Spot:
        """The same for all cards whose code has the same version."""
        spot = self._spots.get(_key(code))
        if spot is None:
            displayed, turn = self._displayed[code.page], turned(self._fields[code.field])
            clip = moved(area(code, margin=QUIET_ZONE + _EDGE), chained(turn, displayed))
            zoom = sight.zoom_for((code.box[2] - code.box[0]) / code.symbol.size)
            below = stamps.below(code.page, clip, zoom)
            spot = self._spots[_key(code)] = _Spot(
                clip=clip, zoom=zoom, below=below, place=place_for(code, turn, displayed, below)
            )
        return spot


def _covered(fields: Sequence[Field]) -> set[str]:
    """Texts that lie on pictures or codes: of these, the stamp alone shows more than letters."""
    others = [shape(each) for each in fields if not isinstance(each, TextField)]
    texts = [each for each in fields if isinstance(each, TextField)]
    return {text.id for text in texts if any(meet(shape(text), other) for other in others)}


def _explained(
    document: mupdf.PdfDocument, code: PlacedCode, refusal: CardRefused, *, is_bare: bool
) -> CardRefused:
    """A code that cannot be read in its place may be elsewhere on the page, or nowhere."""
    if refusal.problem.facts.get("case") != "none":
        return refusal
    found = read(sight.view(document, code.page, None, _SEARCH_ZOOM), everywhere=True)
    facts = {"field": code.field, "page": code.page}
    if found is not None and found.text == code.symbol.payload:
        return CardRefused("card_code_misplaced", facts)
    return CardRefused("card_code_missing", facts) if is_bare else refusal


def _key(code: PlacedCode) -> object:
    return code.field, code.page, code.box, code.symbol.size, code.covered


def _evidence(seen: _Seen, *, is_cold: bool) -> dict[str, Any]:
    """The worst of all codes at the top."""
    codes = seen.codes
    return {
        "verifier": VERIFIER,
        "cold": is_cold,
        "decoded": sorted({code["decoded"] for code in codes}),
        "contrast": min((code["contrast"] for code in codes), default=None),
        "min_module_mm": min((code["module_mm"] for code in codes), default=None),
        "position_error_mm": max((code["position_error_mm"] for code in codes), default=None),
        "codes": codes,
        "texts": seen.texts,
    }
