"""Whatever the checks let through can be printed, and is found on the card (PSM-026, PSM-027)."""

from __future__ import annotations

import functools
import random
from typing import Any

import pytest
from PIL import Image

from makeready.cards.order import Order
from makeready.cards.press import Press
from makeready.cards.verify import Verifier
from tests.support.card_drawing import asset, saved
from tests.support.card_fonts import opentype, truetype
from tests.support.card_templates import light, rows, turned

LETTERS = "Стол №0123456789ЗалЛетнявранд\u00a0"
PICTURES = [
    saved(Image.new("RGB", (100, 80), (180, 20, 30)), "PNG"),
    saved(Image.new("RGBA", (60, 120), (10, 90, 200, 128)), "PNG"),
    saved(Image.new("CMYK", (50, 50), (20, 200, 0, 10)), "JPEG"),
]
INKS: list[Any] = [
    "black",
    {"cmyk": [1, 0.8, 0, 0.5]},
    {"gray": 0.1},
    {"rgb": "#402010"},
    {"spot": {"name": "PANTONE 281 C", "cmyk": [1, 0.8, 0, 0.4], "tint": 1}},
]


@functools.cache
def fonts() -> tuple[bytes, ...]:
    return truetype(LETTERS), opentype("".join(sorted(set(LETTERS))))


def code(chance: random.Random) -> dict[str, Any]:
    side = chance.uniform(32, 44)
    field = {
        "id": "qr",
        "kind": "qr",
        "pages": [1],
        "x": chance.uniform(16, 24),
        "y": chance.uniform(12, 16),
        "width": side + chance.uniform(0, 8),
        "height": side,
        "value": chance.choice(
            ["{table.url}", "{table.url|upper}", "https://a.ru/{table.number}"]
        ),
        "ecc": chance.choice("LMQH"),
        "rotate": chance.choice([0, 90, 180, 270, 45, chance.uniform(-180, 180)]),
        "color": chance.choice(INKS),
        "quiet_zone": chance.choice([4, 5, 6.5]),
        "align": chance.choice(["left", "center", "right"]),
        "background": chance.choice(["white", {"cmyk": [0, 0.05, 0.2, 0]}, {"gray": 0.95}]),
    }
    if chance.random() < 0.4:
        field |= {"ecc": "H", "logo": {"asset": asset(chance.choice(PICTURES))}}
    return field


def words(chance: random.Random, number: int) -> dict[str, Any]:
    own = chance.choice([None, *fonts()])
    plain = {"font": "noto-sans", "case": chance.choice(["upper", "lower"])}
    return {
        "id": f"text{number}",
        "kind": "text",
        "pages": [1],
        "x": chance.uniform(12, 18),
        "y": 84 + 16 * number,
        "width": chance.uniform(45, 72),
        "height": chance.uniform(9, 13),
        "value": chance.choice(
            ["Стол № {table.number}", "Стол\u00a0{table.number}", "Летняя веранда {table.number}"]
        ),
        "size": chance.uniform(8, 30),
        "min_size": 6,
        "max_lines": chance.choice([1, 2]),
        "align": chance.choice(["left", "center", "right"]),
        "valign": chance.choice(["top", "middle", "bottom"]),
        "color": chance.choice(INKS),
        "rotate": chance.choice([0, 0, 180, chance.uniform(-5, 5)]),
        "letter_spacing": chance.choice([0, 0, 1, 3]),
        **(plain if own is None else {"font": asset(own)}),
    }


@pytest.mark.parametrize("seed", range(8))
def test_what_the_checks_let_through_is_found_on_the_card(seed: int) -> None:
    """PSM-026, PSM-027."""
    chance = random.Random(seed)
    picture = {
        "id": "image",
        "kind": "image",
        "pages": [1],
        "x": 75,
        "y": 68,
        "width": 20,
        "height": 9,
        "rotate": chance.choice([0, 33]),
        "asset": asset(chance.choice(PICTURES)),
        "fit": chance.choice(["contain", "cover", "stretch"]),
    }
    assets = {asset(each): each for each in (*fonts(), *PICTURES)}
    fields = [code(chance), words(chance, 0), words(chance, 1), picture]
    pdf = (light, turned)[seed % 2]()
    press = Press.open(
        Order(pdf=pdf, settings={"schema": 1, "fields": fields}, rows=rows(3), assets=assets)
    )
    verifier = Verifier(press)

    for index in range(3):
        evidence = verifier.check(press.stamp(index))
        assert evidence
