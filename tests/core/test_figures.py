from __future__ import annotations

import pytest

from makeready.documents.figures import css_string, days, mondays, qr, ticks


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


def test_days_are_counted_over_the_end_of_a_year_and_backwards() -> None:
    assert days("2026-12-31", "2027-01-02") == 2
    assert days("2027-01-02", "2026-12-31") == -2


@pytest.mark.parametrize(
    ("first", "last", "axis"),
    [
        ("2026-11-23", "2026-11-23", ["2026-11-23", "2026-11-30"]),
        ("2026-11-25", "2026-11-30", ["2026-11-23", "2026-11-30", "2026-12-07"]),
        ("2026-11-25", "2026-11-01", ["2026-11-23", "2026-11-30"]),
        ("2026-12-28", "2027-01-03", ["2026-12-28", "2027-01-04"]),
        ("0001-01-01", "0001-01-02", ["0001-01-01", "0001-01-08"]),
        ("9999-12-31", "9999-12-31", ["9999-12-27", "9999-12-31"]),
    ],
)
def test_mondays_hold_all_days_between_them(first: str, last: str, axis: list[str]) -> None:
    assert mondays(first, last) == axis


@pytest.mark.parametrize("last", ["2027-03-01", "2031-12-31", "2999-01-01"])
def test_mondays_of_a_long_time_are_as_few_as_those_of_a_short_one(last: str) -> None:
    axis = mondays("2026-11-20", last)
    assert len(axis) <= 11
    assert axis[0] <= "2026-11-20" < last < axis[-1]
    steps = {days(axis[at], axis[at + 1]) for at in range(len(axis) - 1)}
    assert len(steps) == 1


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
