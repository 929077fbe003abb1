"""A logo in the middle of a code: small enough, at level H, its modules accounted for."""

from __future__ import annotations

import pytest
import zxingcpp
from PIL import Image, ImageOps

from makeready.cards.logos import BUDGET, MOST_SPENT, place, spent
from makeready.cards.modules import fixed, size_of, written_last
from makeready.cards.qr import encode
from makeready.cards.settings import Logo
from tests.support.card_drawing import DPI, asset, codes, drawn, logo, pixel, qr, seen


def near(place: int, size: int) -> bool:
    """Of the alignment pattern in the middle, which stands a little off it in some versions."""
    return abs(place - size // 2) <= 7


@pytest.mark.parametrize("shape", [(100, 100), (300, 100), (100, 250)])
@pytest.mark.parametrize("extra", [0, 40, 120, 260])
def test_a_code_with_a_logo_is_of_level_h_and_still_reads(
    shape: tuple[int, int], extra: int
) -> None:
    data = logo(*shape)
    link = "{table.url}" + "/x" * (extra // 2)
    field = qr(value=link, width=60, height=60, ecc="M", logo=Logo(asset=asset(data)))
    pdf, card = drawn(field, assets=[data])
    (code,) = card.codes
    (found,) = codes(pdf)

    assert (found.text, code.symbol.level) == (code.symbol.payload, "H")
    assert 0.02 < len(code.covered) / code.symbol.size**2 <= 0.12


def test_modules_below_a_logo_are_reported_and_covered() -> None:
    data = logo(100, 100)
    pdf, card = drawn(qr(logo=Logo(asset=asset(data))), assets=[data])
    (code,) = card.codes
    view = seen(pdf, dpi=DPI)
    module = (code.box[2] - code.box[0]) / code.symbol.size
    first, last = min(code.covered)[0], max(code.covered)[0]

    for row, column in code.covered:
        place = (code.box[0] + (column + 0.5) * module, code.box[1] + (row + 0.5) * module)
        is_margin = bool({row, column} & {first, last})
        assert (pixel(view, *place) == (255, 255, 255)) is is_margin
    assert len(code.covered) == (last - first + 1) ** 2


@pytest.mark.parametrize("version", [4, 7, 8, 13, 18, 25, 32, 40])
@pytest.mark.parametrize("ratio", [0.35, 1, 3])
def test_a_code_reads_though_all_below_a_logo_is_wrong(version: int, ratio: float) -> None:
    """The middle may hit one block more than the others: that one decides."""
    size = size_of(version)
    found = place(size, BUDGET, ratio)
    if found is None:
        assert version == 4
        return
    link = "https://go.example.ru/"
    symbol = encode(link, level="H", version=version, mask=version % 8)
    wrong = list(symbol.rows)
    for row, column in found.covered:
        wrong[row] ^= 1 << size - 1 - column
    image = Image.new("L", (size, size))
    image.putdata([255 * (1 - (row >> size - 1 - x & 1)) for row in wrong for x in range(size)])
    framed = ImageOps.expand(image, 4, 255).resize((4 * size + 32,) * 2, Image.Resampling.NEAREST)

    (read,) = zxingcpp.read_barcodes(framed)

    assert read.text == link
    assert spent(size, found.covered) <= MOST_SPENT


@pytest.mark.parametrize("ratio", [0.2, 0.5, 1, 2, 5])
def test_no_logo_covers_what_a_reader_measures_by(ratio: float) -> None:
    for version in range(2, 41):
        size = size_of(version)
        found = place(size, 0.08, ratio)
        if found is None:
            assert version < 7, version
            continue
        kept = fixed(size) | written_last(size)
        kept -= {(row, column) for row, column in kept if near(row, size) and near(column, size)}
        assert not found.covered & kept
        assert len(found.covered) <= BUDGET * size * size
        left, top, right, bottom = found.picture
        assert (right - left) / (bottom - top) == pytest.approx(ratio)
        assert found.column + 1 <= left + 1e-9
        assert top >= found.row + 1 - 1e-9
        assert bottom <= found.row + found.height - 1 + 1e-9
