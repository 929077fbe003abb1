from __future__ import annotations

import pytest

from makeready.figures import css_string, qr, ticks


@pytest.mark.parametrize(
    ("values", "wanted", "axis"),
    [
        ([3, 91], 4, [0, 25, 50, 75, 100]),
        ([17.7], 4, [0, 5, 10, 15, 20]),
        ([0.74, 1.08], 4, [0, 0.5, 1, 1.5]),
        ([560], 4, [0, 200, 400, 600]),
        ([0, 0], 4, [0, 1]),
        ([], 4, [0, 1]),
        ([100], 5, [0, 20, 40, 60, 80, 100]),
    ],
)
def test_ticks_are_round_and_reach_the_largest_value(
    values: list[float], wanted: int, axis: list[float]
) -> None:
    assert ticks(values, wanted) == axis


def test_a_qr_code_fills_its_box_and_has_a_limit() -> None:
    svg = qr("Оплата ₽")
    assert svg.startswith("<svg")
    assert "viewBox" in svg
    with pytest.raises(ValueError, match="too long"):
        qr("ы" * 1001)


def test_a_css_string_ends_neither_its_rule_nor_its_element() -> None:
    text = css_string('Счёт №5 "x" </style>\n\\}')
    assert text.startswith('"Счёт №5 ')
    assert text[1:-1].count('"') == 0
    assert "<" not in text
    assert "\n" not in text
