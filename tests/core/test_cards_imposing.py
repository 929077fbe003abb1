"""Where cards lie on sheets: arithmetic alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makeready.cards.imposing import MARKS_MM, Face, even_size, faces, filled, lay_out
from makeready.cards.problems import CardsRefused
from makeready.cards.settings import Sheet

SRA3 = Sheet(width=320, height=450, is_named=True, cols=4, rows=2)
A6 = (105.0, 148.0)


def code_of(refused: pytest.ExceptionInfo[CardsRefused]) -> str:
    (problem,) = refused.value.problems
    return problem.code


def test_a_named_sheet_is_turned_only_where_cards_need_it() -> None:
    turned = lay_out(SRA3, *A6)
    upright = lay_out(replace(SRA3, cols=2, rows=2), *A6)

    assert (turned.width, turned.height) == (450, 320)
    assert (upright.width, upright.height) == (320, 450)
    with pytest.raises(CardsRefused) as refused:
        lay_out(replace(SRA3, is_named=False), *A6)
    assert code_of(refused) == "sheet_too_small"


@pytest.mark.parametrize("gutter", [0, 4])
def test_places_lie_in_the_middle_and_beside_each_other_with_their_bleed(gutter: float) -> None:
    layout = lay_out(replace(SRA3, cols=3, rows=2, gutter=gutter), *A6)
    width, height = A6

    assert layout.columns[1] - layout.columns[0] == pytest.approx(width + 6 + gutter)
    assert layout.rows[1] - layout.rows[0] == pytest.approx(height + 6 + gutter)
    assert layout.columns[0] == pytest.approx(layout.width - layout.columns[-1] - width)
    assert layout.rows[0] == pytest.approx(layout.height - layout.rows[-1] - height)
    assert layout.corner(4) == (layout.columns[1], layout.rows[1])


def test_a_block_needs_room_for_its_marks_too() -> None:
    width, height = (105 + 6) * 4 + 2 * MARKS_MM, (148 + 6) * 2 + 2 * MARKS_MM
    exact = Sheet(width=width, height=height, cols=4, rows=2)
    lay_out(exact, *A6)
    for less in (replace(exact, width=width - 0.2), replace(exact, height=height - 0.2)):
        with pytest.raises(CardsRefused) as refused:
            lay_out(less, *A6)
        facts = refused.value.problems[0].facts
        assert (facts["width"], facts["height"]) == (width, height)
        lay_out(replace(less, crop_marks=False), *A6)


@pytest.mark.parametrize(
    ("sheet", "places"),
    [
        (replace(SRA3, cols=0, rows=0), (4, 2)),
        (Sheet(width=210, height=297, is_named=True, cols=0, rows=0, bleed=0), (2, 1)),
        (
            Sheet(width=210, height=297, is_named=True, cols=0, rows=0, bleed=0, crop_marks=False),
            (2, 2),
        ),
        (replace(SRA3, cols=0, rows=0, fold=True), (4, 1)),
        (replace(SRA3, cols=2, rows=0), (2, 2)),
    ],
)
def test_without_a_number_there_are_as_many_as_fit(sheet: Sheet, places: tuple[int, int]) -> None:
    layout = lay_out(sheet, *A6)
    assert (len(layout.columns), len(layout.rows)) == places


def test_a_start_beyond_the_first_sheet_is_refused() -> None:
    assert lay_out(replace(SRA3, start=7), *A6).places == 8
    with pytest.raises(CardsRefused) as refused:
        lay_out(replace(SRA3, start=8), *A6)
    assert code_of(refused) == "sheet_start"
    assert refused.value.problems[0].facts == {"start": 8, "places": 8, "most": 7}


def test_pages_of_two_sizes_are_refused() -> None:
    assert even_size([A6, (105.2, 147.9)]) == A6
    with pytest.raises(CardsRefused) as refused:
        even_size([A6, (148.0, 105.0)])
    assert code_of(refused) == "sheet_uneven_pages"


def test_a_back_lies_behind_its_front_whichever_way_the_sheet_is_turned() -> None:
    layout = lay_out(replace(SRA3, cols=4, rows=2), *A6)
    sideways = [layout.behind(place, turned_sideways=True) for place in range(8)]
    lengthways = [layout.behind(place, turned_sideways=False) for place in range(8)]

    assert sideways == [3, 2, 1, 0, 7, 6, 5, 4]
    assert lengthways == [4, 5, 6, 7, 0, 1, 2, 3]
    for place in range(8):
        x, y = layout.corner(place)
        assert layout.corner(sideways[place])[0] == pytest.approx(450 - x - 105)
        assert layout.corner(sideways[place])[1] == y
        assert layout.corner(lengthways[place])[1] == pytest.approx(320 - y - 148)


def test_each_page_fills_a_place_and_with_a_fold_each_pair() -> None:
    assert faces(SRA3, 2) == [Face(page=1), Face(page=2)]
    folded = replace(SRA3, fold=True)
    assert faces(folded, 1) == [Face(page=1, above=1)]
    assert faces(folded, 2) == [Face(page=1, above=2)]
    assert faces(folded, 3) == [Face(page=1, above=2), Face(page=3, above=3)]


@given(
    places=st.integers(min_value=1, max_value=12),
    count=st.integers(min_value=1, max_value=100),
    start=st.integers(min_value=0, max_value=11),
)
def test_every_card_has_one_place_and_stacks_lie_in_order(
    places: int, count: int, start: int
) -> None:
    start = min(start, places - 1)
    for order in ("rows", "stack"):
        sheet = replace(SRA3, start=start, order=order)
        sheets = filled(sheet, places, count)
        taken = [index for each in sheets for index in each if index is not None]
        assert sorted(taken) == list(range(count))
        assert all(index is None for index in sheets[0][:start])
        assert len(sheets) == -(-(start + count) // places)
        if order == "rows":
            assert taken == list(range(count))
        else:  # the stack of the first place, then that of the second, and so on
            stacked = [each[place] for place in range(places) for each in sheets]
            assert [index for index in stacked if index is not None] == list(range(count))
