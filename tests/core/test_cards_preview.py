"""Pictures of templates and cards, plain and with a grid."""

from __future__ import annotations

import pymupdf
import pytest
import zxingcpp

from makeready.cards import sample
from makeready.cards.press import Press
from makeready.cards.preview import card_png, page_png
from makeready.cards.problems import CardsRefused
from makeready.cards.settings import read_settings
from tests.support.card_templates import light, order_for, settings_for, turned

RED, BLUE, GREEN = (217, 26, 26), (26, 89, 230), (0, 128, 64)


def picture(png: bytes) -> pymupdf.Pixmap:
    assert png.startswith(b"\x89PNG")
    return pymupdf.Pixmap(png)


def lines(png: bytes) -> set[tuple[int, int, int]]:
    """Which of the colours of lines there are."""
    shown = picture(png)
    found = set(zip(*[iter(shown.samples)] * shown.n, strict=True))
    return {
        line
        for line in (RED, BLUE, GREEN)
        if any(max(map(abs, map(int.__sub__, line, pixel))) < 3 for pixel in found)
    }


def test_psm_036_a_page_of_a_template_is_as_large_as_it_is_displayed() -> None:
    shown = picture(page_png(turned(), dpi=50.8))
    assert (shown.width, shown.height) == pytest.approx((210, 296), abs=1)
    assert not lines(page_png(light(), dpi=60))


def test_psm_036_the_grid_shows_edges_bleed_and_fields() -> None:
    settings = read_settings(settings_for())
    pdf = sample.template()
    assert lines(page_png(pdf, dpi=200, grid=True, settings=settings)) == {RED, BLUE, GREEN}
    assert lines(page_png(pdf, dpi=200, grid=True)) == {RED, BLUE}
    assert lines(page_png(pdf, page=2, dpi=200, grid=True, settings=settings)) == {RED, BLUE}


def test_psm_036_a_card_can_be_read_off_its_picture() -> None:
    press = Press.open(order_for(light(), 2))
    for grid in (False, True):
        shown = picture(card_png(press, press.stamp(1), dpi=150, grid=grid))
        pixels = memoryview(shown.samples).cast("B", (shown.height, shown.width, 3))
        found = zxingcpp.read_barcode(pixels)
        assert found is not None
        assert found.text == press.rows[1]["table"]["url"]


def test_a_page_that_is_not_there_is_said_to_be_missing() -> None:
    for page in (0, 3, -1):
        with pytest.raises(CardsRefused) as caught:
            page_png(sample.template(), page=page)
        (problem,) = caught.value.problems
        assert (problem.code, problem.facts) == ("field_page_missing", {"page": page, "pages": 2})
    for dpi in (35, 301, float("nan")):
        with pytest.raises(ValueError, match="dpi"):
            page_png(light(), dpi=dpi)


def test_a_huge_page_is_drawn_coarser_than_asked_for() -> None:
    with pymupdf.open() as document:
        document.new_page(width=14_000, height=14_000)
        shown = picture(page_png(document.tobytes(), dpi=300))
    assert shown.width * shown.height <= 25_100_000
