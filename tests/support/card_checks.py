"""A template's facts, settings that fit it, and what is found to be wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from makeready.cards.checks import examine
from makeready.cards.geometry import MM_PER_POINT, Box
from makeready.cards.problems import Problem
from makeready.cards.template import PageFacts, TemplateFacts
from makeready.cards.values import Row
from tests.support.card_templates import rows, settings_for

ASSET = "sha256:" + "0a" * 32
IMAGE = {"kind": "image", "asset": ASSET}
TEXT = {"kind": "text", "value": "x", "size": 8}
WIDTH, HEIGHT, BLEED, SLUG = 105.0, 148.0, 3.0, 12.0


def mm(x0: float, y0: float, x1: float, y1: float) -> Box:
    """A box from the top left corner of the trimmed page, in user space."""
    x, y = SLUG, SLUG + HEIGHT
    x0, y0, x1, y1 = (side / MM_PER_POINT for side in (x + x0, y - y1, x + x1, y - y0))
    return x0, y0, x1, y1


PAGE = PageFacts(
    number=1,
    media=mm(-SLUG, -SLUG, WIDTH + SLUG, HEIGHT + SLUG),
    crop=mm(-SLUG, -SLUG, WIDTH + SLUG, HEIGHT + SLUG),
    trim=mm(0, 0, WIDTH, HEIGHT),
    bleed=mm(-BLEED, -BLEED, WIDTH + BLEED, HEIGHT + BLEED),
    rotate=0,
    user_unit=1,
)
FACTS = TemplateFacts(
    sha256="0" * 64,
    byte_count=1,
    pages=(PAGE, replace(PAGE, number=2)),
    has_cmyk=True,
)


def settings(*more: dict[str, Any], **qr: Any) -> dict[str, Any]:
    """A code at (26, 46) of 53 mm, a label at (10, 106) of 85 × 10 mm, and more fields."""
    raw = settings_for(**qr)
    for number, each in enumerate(more):
        place = {"id": f"f{number}", "pages": [1], "x": 10, "y": 10, "width": 20, "height": 10}
        raw["fields"].append(place | each)
    return raw


def labelled(**changes: Any) -> dict[str, Any]:
    raw = settings()
    raw["fields"][1] |= changes
    return raw


def found(
    raw: Any, tables: Sequence[Row] | None = None, facts: TemplateFacts = FACTS, **more: Any
) -> list[Problem]:
    assets = more.pop("assets", {})
    return examine(facts, raw, rows(3) if tables is None else tables, assets, **more)


def tables_with(**changes: Any) -> list[Row]:
    """Three tables, of which the second is another."""
    first, second, third = rows(3)
    return [first, {**second, "table": {**second["table"], **changes}}, third]


def one(raw: Any, code: str, tables: Sequence[Row] | None = None, **more: Any) -> Problem:
    """The only problem of this code."""
    (chosen,) = [each for each in found(raw, tables, **more) if each.code == code]
    return chosen
