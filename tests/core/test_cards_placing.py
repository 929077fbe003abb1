"""Where fields of cards may lie. Proves PSM-007: all coordinates are inside their page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from makeready.cards.inspection import inspect
from tests.support.card_checks import FACTS, IMAGE, PAGE, SLUG, TEXT, found, mm, one, settings
from tests.support.card_templates import turned


@pytest.mark.parametrize(
    ("x", "y", "side", "excess"),
    [(-4.2, 40, "left", 4.2), (56.2, 40, "right", 4.2), (26, -5, "top", 5), (26, 99, "bottom", 4)],
)
def test_a_code_beyond_the_trim_edge_is_told_in_millimetres(
    x: float, y: float, side: str, excess: float
) -> None:
    """PSM-007."""
    wrong = one(settings(x=x, y=y), "field_outside_page")

    assert wrong.is_error
    assert wrong.path == "fields[0]"
    assert wrong.facts == {
        "field": "qr", "side": side, "edge": side, "page": 1, "excess": excess, "box": "trim",
    }  # fmt: skip


def test_only_the_square_of_a_code_has_to_be_inside() -> None:
    """Its box may be wider; the quiet zone is a part of the square."""
    wide = {"x": -10, "width": 125, "height": 53}

    assert found(settings(**wide)) == []
    assert one(settings(align="right", **wide), "field_outside_page").facts["side"] == "right"
    assert one(settings(align="left", **wide), "field_outside_page").facts["excess"] == 10


def test_a_code_near_the_knife_is_warned_of() -> None:
    near = one(settings(x=2), "field_outside_page")

    assert not near.is_error
    assert (near.facts["case"], near.facts["left"], near.facts["side"]) == ("margin", 2, "left")
    assert found(settings(x=3)) == []


@pytest.mark.parametrize(
    ("rotate", "is_inside"), [(0, True), (90, True), (180, True), (45, False), (-45, False)]
)
def test_a_turned_field_is_measured_as_it_lies(rotate: float, is_inside: bool) -> None:
    """A square of 95 mm turned by 45° is 134 mm wide."""
    raw = settings(x=5, y=5, width=95, height=95, rotate=rotate)

    codes = [each.code for each in found(raw)]
    assert codes == ([] if is_inside else ["field_outside_page", "field_overlap"])


def test_a_long_text_turned_upright_is_no_longer_too_wide() -> None:
    long = {**TEXT, "x": -15, "y": 70, "width": 130, "height": 8}

    assert one(settings(long, pages=(2,)), "field_outside_page").facts["excess"] == 12
    assert found(settings({**long, "rotate": 90, "pages": [2]})) == []


def test_pictures_may_reach_into_the_bleed_and_no_further() -> None:
    """PSM-007."""
    into = {**IMAGE, "x": -3, "width": 20}
    beyond = {**into, "x": -5}

    assert not one(settings(into), "field_outside_page").is_error
    assert one(settings(into), "field_outside_page").facts["case"] == "bleed"
    assert one(settings(beyond), "field_outside_page").is_error
    assert one(settings(beyond), "field_outside_page").facts["box"] == "bleed"


def test_the_trim_edge_counts_wherever_settings_measure_from() -> None:
    raw = settings(x=26 + SLUG, y=46 + SLUG) | {"origin": {"box": "media"}}
    raw["fields"][1] |= {"x": 10 + SLUG, "y": 106 + SLUG}

    assert found(raw) == []
    raw["fields"][0]["x"] = 5
    assert one(raw, "field_outside_page").facts["excess"] == 7


def test_a_page_that_is_shown_turned_is_measured_as_shown() -> None:
    facts = inspect(turned())

    assert found(settings(x=49), facts=facts) == []
    wrong = one(settings(x=60), "field_outside_page", facts=facts)
    assert (wrong.facts["side"], wrong.facts["box"]) == ("right", "page")


def test_pages_that_are_not_there_are_named() -> None:
    """PSM-007."""
    raw = settings(pages=(1, 3, -3, 0))
    missing = [each.facts for each in found(raw) if each.code == "field_page_missing"]

    assert {each["page"] for each in missing} == {3, -3, 0}
    assert {each["pages"] for each in missing} == {2}
    single = replace(FACTS, pages=(PAGE,))
    assert one(settings({**TEXT, "pages": "even"}), "field_page_missing", facts=single).facts == {
        "case": "none"
    }


def test_no_more_than_twenty_pages_are_stamped() -> None:
    many = replace(FACTS, pages=tuple(replace(PAGE, number=n) for n in range(1, 23)))
    raw = settings({**TEXT, "pages": "all"})

    assert one(raw, "field_too_many_pages", facts=many).facts == {"pages": 22, "most": 20}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({**TEXT, "x": 70, "y": 60, "width": 30, "height": 8}, "qr"),
        ({**TEXT, "x": 79.2, "y": 60, "width": 20, "height": 8}, None),
        ({**TEXT, "x": 40, "y": 110, "width": 20, "height": 20}, "text"),
        ({**TEXT, "pages": [2], "x": 70, "y": 60, "width": 30, "height": 8}, None),
        ({**TEXT, "if": "{restaurant.logo}", "x": 70, "y": 60}, None),
        ({**TEXT, "x": 76, "y": 37, "width": 20, "height": 4, "rotate": 45}, None),
        ({**TEXT, "x": 66, "y": 44, "width": 20, "height": 4, "rotate": 45}, "qr"),
    ],
)
def test_fields_that_meet_on_some_card_are_told(more: dict[str, Any], code: str | None) -> None:
    """What is left out of every card by its `if` meets nothing."""
    overlaps = [each for each in found(settings(more)) if each.code == "field_overlap"]

    if code is None:
        assert overlaps == []
    else:
        (overlap,) = overlaps
        assert overlap.path == "fields[2]"
        assert overlap.is_error == (code == "qr")
        assert overlap.facts["page"] == 1


def test_a_code_may_lie_on_a_picture_below_and_not_under_one_above() -> None:
    picture = {**IMAGE, "id": "p", "x": 20, "y": 40, "width": 65, "height": 65}
    raw = settings(picture)
    assert one(raw, "field_overlap").facts == {
        "case": "qr", "field": "qr", "other": "p", "page": 1,
    }  # fmt: skip
    raw["fields"] = [raw["fields"][2], *raw["fields"][:2]]
    assert [each.code for each in found(raw)] == ["asset_unknown"]
    raw["fields"][1]["background"] = "none"
    assert one(raw, "field_overlap").is_error


def test_what_the_pdf_paints_above_a_field_is_named() -> None:
    stamped = replace(PAGE, annotations=(("stamp", mm(60, 90, 70, 110)),))
    facts = replace(FACTS, pages=(stamped, FACTS.pages[1]))

    both = [
        each for each in found(settings(), facts=facts) if each.code == "field_over_annotation"
    ]
    assert [(each.path, each.is_error) for each in both] == [
        ("fields[0]", True),
        ("fields[1]", True),
    ]
    assert both[0].facts == {"field": "qr", "kind": "stamp", "page": 1}
    assert found(settings(y=30, pages=(2,)), facts=facts) == []
