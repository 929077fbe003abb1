"""A card is its template, but for the fields; and its codes are printed with black ink alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pikepdf import Dictionary

from makeready.cards import sample
from makeready.cards.press import Order, Press
from makeready.cards.proof import inks, untouched
from makeready.cards.verify import CardRefused
from tests.support.bad_cards import above, instead, remade
from tests.support.card_templates import light, order_for, rows, turned
from tests.support.card_zoo import plain


def sampled() -> Press:
    return Press.open(Order(pdf=sample.template(), settings=sample.settings(), rows=rows(3)))


def refused(proof: Callable[..., int], *given: Any) -> dict[str, Any]:
    with pytest.raises(CardRefused) as caught:
        proof(*given)
    return {"code": caught.value.problem.code, **caught.value.problem.facts}


@pytest.mark.parametrize("pdf", [light(), turned()], ids=["light", "turned"])
def test_psm_028_nothing_changes_outside_the_fields(pdf: bytes) -> None:
    press = Press.open(order_for(pdf, 2, rotate=30, x=30, y=40, width=45, height=45))
    assert untouched(press, press.stamp(1)) == 1
    assert inks(press, press.stamp(1)) == 1


def test_psm_028_pages_without_a_field_are_compared_too() -> None:
    press = sampled()
    assert untouched(press, press.stamp(0)) == 2
    order = order_for(sample.template(), 1)
    assert untouched(Press.open(order), Press.open(order).stamp(0)) == 2


def test_psm_028_a_dot_beside_the_fields_is_noticed() -> None:
    press = Press.open(order_for(light(), 1))
    dotted = remade(press, press.stamp(0), above(b"0 g 90 30 1 1 re f"))
    found = refused(untouched, press, dotted)
    assert (found["code"], found["page"]) == ("card_art_changed", 1)
    assert 9 <= found["pixels"] <= 36
    within = remade(press, press.stamp(0), above(b"0 g 27 47 1 1 re f"))
    assert untouched(press, within) == 1


def test_psm_026_codes_are_of_black_ink_alone() -> None:
    press = sampled()
    card = press.stamp(0)
    assert inks(press, card) == 1
    rich = remade(press, card, instead(b"0 0 0 1 k\n", b"0 0 0 rg\n"), pages=(1,))
    assert refused(inks, press, rich) == {
        "code": "card_inks", "field": "qr", "page": 1, "inks": "CMYK",
    }  # fmt: skip
    bare = remade(press, card, instead(b"0 0 0 0 k\n", b"0.1 0 0 0 k\n"), pages=(1,))
    assert refused(inks, press, bare)["inks"] == "CK"


def test_psm_026_white_paper_below_a_code_is_not_overprinted() -> None:
    """Art that ends with overprint on would make the white square print as nothing."""
    press = Press.open(order_for(overprinting(), 1))
    card = press.stamp(0)
    assert press.facts.has_cmyk
    assert inks(press, card) == 1
    press.prefix = press.prefix.replace(b"stream\n\n Q\n", b"stream\n\n  \n")
    press.prefix = press.prefix.replace(b"stream\nq\n", b"stream\n \n")
    open_ended = remade(press, card, lambda operators: operators)
    assert refused(inks, press, open_ended)["inks"] == "CK"


def overprinting() -> bytes:
    """A page full of cyan that leaves overprint on."""
    state = Dictionary(OP=True, op=True, OPM=1)
    return plain(
        b"1 0 0 0 k 0 0 2000 2000 re f /Over gs",
        page={"/Resources": Dictionary(ExtGState=Dictionary(Over=state))},
    )
