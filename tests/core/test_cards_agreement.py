"""What checks let through is printed, and what was printed is verified: they must agree."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from makeready.cards import wording
from makeready.cards.checks import examine
from makeready.cards.inspection import inspect
from makeready.cards.order import Order
from makeready.cards.press import Press
from makeready.cards.verify import Verifier
from tests.support.card_checks import FACTS
from tests.support.card_templates import heavy, light, rows, turned

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "table-card.json"
VALUES = ["{table.url}", "HTTPS://A.RU/{table.uuid|b32}", "https://a.ru/{table.uuid|b58}?t=1"]
TEXTS = ["Стол № {table.number}", "{table.section|upper}", "{restaurant.city}\n{table.seats} мест"]
TURNS = st.sampled_from([0, 90, 180, -90, 45]) | st.floats(-180, 180)
INKS = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(lambda inks: {"cmyk": inks})
DARK = INKS | st.sampled_from(
    ["black", {"gray": 0.2}, {"cmyk": [1, 0.8, 0, 0.3]}, {"rgb": "#203080"}]
)
PAPER = st.sampled_from(["white", {"gray": 0.8}, {"cmyk": [0, 0, 0.4, 0]}, {"rgb": "#ffeecc"}])
ALIGN, VALIGN = (
    st.sampled_from(["left", "center", "right"]),
    st.sampled_from(["top", "middle", "bottom"]),
)
CODES = st.fixed_dictionaries(
    {
        "id": st.just("qr"),
        "kind": st.just("qr"),
        "x": st.floats(3, 50),
        "y": st.floats(3, 60),
        "width": st.floats(15, 45),
        "height": st.floats(15, 45),
        "value": st.sampled_from(VALUES),
        "rotate": TURNS,
        "ecc": st.sampled_from("LMQH"),
        "quiet_zone": st.sampled_from([4, 4.5, 6]),
        "color": DARK,
        "background": PAPER,
        "align": ALIGN,
        "valign": VALIGN,
    },
    optional={"mask": st.integers(0, 7), "version": st.integers(4, 12), "boost": st.booleans()},
)
WORDS = st.fixed_dictionaries(
    {
        "id": st.just("text"),
        "kind": st.just("text"),
        "x": st.floats(5, 40),
        "y": st.floats(95, 125),
        "width": st.floats(20, 60),
        "height": st.floats(5, 20),
        "value": st.sampled_from(TEXTS),
        "rotate": TURNS,
        "size": st.floats(6, 40),
        "min_size": st.just(3),
        "max_lines": st.integers(2, 3),
        "align": ALIGN,
        "valign": VALIGN,
        "weight": st.sampled_from(["regular", "bold"]),
        "color": st.just("black"),
    }
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([*VALUES, *TEXTS, "{row.x}", "sha256:" + "0" * 64, math.inf]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)  # fmt: skip


def test_the_example_of_the_page_is_printed_and_verified() -> None:
    raw = json.loads(EXAMPLE.read_text("utf-8"))
    press = Press.open(Order(pdf=heavy(), settings=raw, rows=rows(2)))
    verifier = Verifier(press)

    for index in range(2):
        assert verifier.check(press.stamp(index))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(CODES, WORDS, st.sampled_from([light, turned]), st.integers(1, 999))
def test_what_the_checks_let_through_is_printed_and_verified(
    code: dict[str, Any], words: dict[str, Any], template: Any, first: int
) -> None:
    facts, tables = inspect(template()), rows(2, first=first)
    raw = {"fields": [code, words]}
    assume(not any(each.is_error for each in examine(facts, raw, tables, {})))

    press = Press.open(Order(pdf=template(), settings=raw, rows=tables), facts)
    verifier = Verifier(press)
    for index in range(2):
        assert verifier.check(press.stamp(index), cold=True)


def test_letters_that_lie_between_two_pixels_look_as_they_read() -> None:
    code = {"id": "qr", "kind": "qr", "x": 3, "y": 3, "width": 15, "height": 15, "ecc": "L"}
    text = {"id": "text", "kind": "text", "x": 5, "y": 95, "width": 20, "height": 13}
    text |= {"rotate": 45, "size": 12, "min_size": 3, "max_lines": 2, "weight": "bold"}
    fields = [code | {"value": "{table.url}"}, text | {"value": "Стол № {table.number}"}]
    tables = rows(1, first=221)

    press = Press.open(Order(pdf=light(), settings={"fields": fields}, rows=tables))
    assert Verifier(press).check(press.stamp(0))


@settings(deadline=None)
@given(st.data())
def test_settings_with_anything_in_any_place_are_judged(data: st.DataObject) -> None:
    raw: Any = copy.deepcopy(json.loads(EXAMPLE.read_text("utf-8")))
    place: Any = raw
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = inner

    for each in examine(FACTS, raw, rows(2), {}):
        assert all(wording.text(each, lang)[0] != each.code for lang in wording.LANGUAGES)
