"""Millimetres of a designer land where he sees them, however the page lies in the file."""

from __future__ import annotations

import itertools
from typing import Any

import pymupdf
import pytest
import zxingcpp

from makeready.cards.geometry import apply, common, frame, inverse, moved
from makeready.cards.template import PageFacts
from tests.support.card_zoo import LINK, MODULES, SIDE_MM, code_at, plain, stamped

DPI = 100
TRIM_MM = (74.0, 52.0)
"""As displayed; the visible page is larger by `MARGINS_MM`: left, top, right, bottom."""
MARGINS_MM = (6.0, 9.0, 4.0, 7.0)
PLACE_MM = (11.0, 8.0)
LEAK = b"q 0.5 0 0 0.5 10 10 cm 0.8 g -100 -100 900 900 re f q"
BOXES = ("plain", "cropped", "negative", "swapped")


def upside(rotate: int, sides: tuple[float, float, float, float]) -> tuple[float, ...]:
    """Left, top, right, bottom as displayed become those of the page before it is turned."""
    left, top, right, bottom = sides
    return {
        0: (left, top, right, bottom),
        90: (top, right, bottom, left),
        180: (right, bottom, left, top),
        270: (bottom, left, top, right),
    }[rotate % 360]


def white_box(margin: tuple[float, ...]) -> tuple[float, float, float, float]:
    """Of the code, from the corner of the visible page."""
    x, y = margin[0] + PLACE_MM[0], margin[1] + PLACE_MM[1]
    return x, y, x + SIDE_MM, y + SIDE_MM


def off_by(one: float, other: float) -> float:
    return abs(one - other)


def paths(page: Any) -> list[tuple[float, ...]]:
    """The boxes of all filled paths, in points as displayed.

    MuPDF logs them as the page lies; the matrix it offers for that forgets the UserUnit.
    """
    width, height = page.rect.width, page.rect.height
    turn = {
        0: (1, 0, 0, 1, 0, 0),
        90: (0, 1, -1, 0, width, 0),
        180: (-1, 0, 0, -1, width, height),
        270: (0, -1, 1, 0, 0, height),
    }[page.rotation]
    logged = [box for kind, box in page.get_bboxlog() if kind == "fill-path"]
    return [moved(box, turn) for box in logged]


def template(rotate: int, boxes: str, unit: float, *, is_inherited: bool) -> bytes:
    """A page whose boxes lie so that the displayed one measures TRIM_MM with its margins."""
    scale = 72 / 25.4 / unit
    across = TRIM_MM[0] + MARGINS_MM[0] + MARGINS_MM[2]
    down = TRIM_MM[1] + MARGINS_MM[1] + MARGINS_MM[3]
    wide, high = (across, down) if rotate % 180 == 0 else (down, across)
    x, y = {"plain": (0, 0), "cropped": (31, 17), "negative": (-50, -20)}.get(boxes, (5, 3))
    left, top, right, bottom = upside(rotate, MARGINS_MM)
    crop = (x, y, x + wide * scale, y + high * scale)
    trim = (
        crop[0] + left * scale,
        crop[1] + bottom * scale,
        crop[2] - right * scale,
        crop[3] - top * scale,
    )
    media: tuple[float, ...] = crop if boxes != "cropped" else (0, 0, crop[2] + 13, crop[3] + 29)
    keys: dict[str, Any] = {"/CropBox": list(crop), "/Rotate": rotate}
    if boxes == "swapped":
        keys["/CropBox"] = [crop[2], crop[1], crop[0], crop[3]]
        media = (media[2], media[3], media[0], media[1])
        trim = (trim[0], trim[3], trim[2], trim[1])
    own = {"/TrimBox": list(trim), "/UserUnit": unit}
    if is_inherited:
        return plain(LEAK, page=own, above=keys | {"/MediaBox": list(media)})
    return plain(LEAK, media=media, page=own | keys)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270, -90, 450])
def test_psm_026_a_code_lands_where_the_designer_put_it(rotate: int) -> None:
    """PSM-026, PSM-028: 288 ways to write one and the same page, 48 a rotation."""
    ways = itertools.product(BOXES, (0.5, 1, 2), ("trim", "crop"), (True, False))
    for boxes, unit, origin, is_inherited in ways:
        pdf = template(rotate, boxes, unit, is_inherited=is_inherited)
        card = stamped(pdf, code_at(*PLACE_MM), origin=origin)
        way = (rotate, boxes, unit, origin, is_inherited)
        margin = MARGINS_MM if origin == "trim" else (0, 0, 0, 0)
        with pymupdf.open(stream=card, filetype="pdf") as document:
            assert not document.is_repaired, way
            image = document[0].get_pixmap(dpi=DPI, colorspace=pymupdf.csGRAY)
            painted = paths(document[0])
        points = [side / 25.4 * 72 for side in white_box(margin)]
        nearest = min(max(map(off_by, box, points)) for box in painted)
        assert nearest < 0.05, way
        samples = memoryview(image.samples).cast("B", (image.height, image.width))
        found = zxingcpp.read_barcode(samples)
        assert found is not None, way
        assert found.text == LINK, way
        quiet = SIDE_MM * 4 / MODULES
        corners = {
            (margin[0] + PLACE_MM[0] + quiet, margin[1] + PLACE_MM[1] + quiet): (
                found.position.top_left
            ),
            (
                margin[0] + PLACE_MM[0] + SIDE_MM - quiet,
                margin[1] + PLACE_MM[1] + SIDE_MM - quiet,
            ): found.position.bottom_right,
        }
        for (x, y), corner in corners.items():
            off = abs(corner.x - x / 25.4 * DPI), abs(corner.y - y / 25.4 * DPI)
            assert max(off) <= 3, (way, off)


def facts(**changes: Any) -> PageFacts:
    known: dict[str, Any] = {
        "number": 1,
        "media": (0, 0, 200, 300),
        "crop": (10, 10, 190, 290),
        "trim": (20, 30, 180, 280),
        "bleed": (15, 25, 185, 285),
        "rotate": 0,
        "user_unit": 1.0,
    }
    return PageFacts(**(known | changes))


@pytest.mark.parametrize(
    ("rotate", "visible"),
    [
        (0, (-10, -10, 170, 270)),
        (90, (-20, -10, 260, 170)),
        (180, (-10, -20, 170, 260)),
        (270, (-10, -10, 270, 170)),
    ],
)
def test_a_frame_knows_its_bleed_and_what_is_visible(
    rotate: int, visible: tuple[float, ...]
) -> None:
    points = 72 / 25.4
    seen = frame(facts(rotate=rotate))
    width, height = (160, 250) if rotate % 180 == 0 else (250, 160)
    assert (seen.width * points, seen.height * points) == pytest.approx((width, height))
    assert [side * points for side in seen.bleed] == pytest.approx([-5, -5, width + 5, height + 5])
    assert [side * points for side in seen.media] == pytest.approx(visible)


def test_a_matrix_is_undone_by_its_inverse() -> None:
    matrix = frame(facts(rotate=270, user_unit=2.0), "crop").matrix
    assert apply(inverse(matrix), *apply(matrix, 3.5, 9)) == pytest.approx((3.5, 9))
    assert moved((1, 2, 3, 5), (0, 1, -1, 0, 0, 0)) == (-5, 1, -2, 3)


def test_boxes_that_only_touch_share_nothing() -> None:
    assert common((0, 0, 2, 2), (1, 1, 3, 3)) == (1, 1, 2, 2)
    assert common((0, 0, 1, 1), (1, 0, 2, 1)) is None
