"""Codes as files of their own: each is read back by another library.

Proves PSM-034.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pikepdf
import pymupdf
import pytest
import zxingcpp

from makeready.cards.qr import TooLong, encode
from makeready.cards.qr_files import qr_file, qr_files
from makeready.cards.qr_look import MEDIA_TYPES, Look
from tests.support.card_templates import table_uuid

LINK = f"https://go.example.ru/t/{table_uuid(7)}"
Picture = tuple[bytes, int, int]
"""Gray pixels, width, height."""


def of_svg(file: bytes) -> Picture:
    return of_document(pymupdf.open(stream=file, filetype="svg"))


def of_pdf(file: bytes) -> Picture:
    return of_document(pymupdf.open(stream=file, filetype="pdf"))


def of_document(document: Any) -> Picture:
    pixels = document[0].get_pixmap(dpi=300, colorspace=pymupdf.csGRAY)
    return bytes(pixels.samples), pixels.width, pixels.height


def of_png(file: bytes) -> Picture:
    pixels = pymupdf.Pixmap(pymupdf.csGRAY, pymupdf.Pixmap(file))
    return bytes(pixels.samples), pixels.width, pixels.height


def of_eps(file: bytes) -> Picture:
    """Paints the boxes of the one list that there is, four pixels a unit."""
    text = file.decode()
    ground = re.search(r"0 0 0 0 setcmykcolor 0 0 (\d+) (\d+) rectfill", text)
    assert ground is not None
    side = int(ground[1]) * 4
    boxes = re.search(r"0 0 0 1 setcmykcolor \[([\d\s]+)\] rectfill", text)
    assert boxes is not None
    numbers = [int(word) for word in boxes[1].split()]
    picture = [bytearray(b"\xff" * side) for _ in range(side)]
    for at in range(0, len(numbers), 4):
        x, y, width, height = (4 * number for number in numbers[at : at + 4])
        for line in picture[side - y - height : side - y]:
            line[x : x + width] = bytes(width)
    return b"".join(picture), side, side


PAINTED: Mapping[str, Callable[[bytes], Picture]] = {
    "svg": of_svg,
    "png": of_png,
    "pdf": of_pdf,
    "eps": of_eps,
}


def read(picture: Picture) -> Any:
    pixels, width, height = picture
    view = memoryview(pixels).cast("B", (height, width))
    (found,) = zxingcpp.read_barcodes(
        view, try_rotate=False, try_downscale=False, try_invert=False
    )
    return found


@pytest.mark.parametrize("payload", [LINK, "HTTPS://GO.EXAMPLE.RU/T/1", "https://ёлки.рф/стол/1"])
@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_a_code_is_read_back_at_its_place_psm_034(kind: str, payload: str) -> None:
    symbol = encode(payload)
    file = qr_file(symbol, kind, Look(size_mm=30))
    picture = PAINTED[kind](file)
    found = read(picture)

    assert found.text == payload
    width = picture[1]
    margin = 4 / (symbol.size + 8) * width
    assert abs(found.position.top_left.x - margin) < 3
    assert abs(found.position.bottom_right.y - (width - margin)) < 3
    assert (min(picture[0]) < 60, max(picture[0])) == (True, 255)


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_the_same_code_is_the_same_file(kind: str) -> None:
    assert qr_files([LINK], kind) == [qr_file(encode(LINK), kind, Look())]


@pytest.mark.parametrize("kind", ["svg", "pdf", "eps"])
def test_vectors_hold_no_picture_and_are_small(kind: str) -> None:
    file = qr_file(encode(LINK), kind, Look())

    assert len(file) < 9_000
    assert b"/Image" not in file
    assert b"<image" not in file


def test_a_pdf_has_black_ink_alone_and_its_size() -> None:
    file = qr_file(encode(LINK), "pdf", Look(size_mm=25.4))

    with pikepdf.open(io.BytesIO(file)) as document:
        assert document.check_pdf_syntax() == []
        page = document.pages[0]
        assert [float(edge) for edge in page.trimbox] == [0, 0, 72, 72]
        steps = list(pikepdf.parse_content_stream(page))
        colours = [
            [float(ink) for ink in step.operands] for step in steps if str(step.operator) == "k"
        ]
        assert {str(step.operator) for step in steps} == {"q", "cm", "k", "re", "f", "Q"}
        assert colours == [[0, 0, 0, 0], [0, 0, 0, 1]]
        assert str(document.docinfo.Title) == LINK


@pytest.mark.parametrize("dpi", [72, 300, 1200])
def test_a_png_has_whole_modules_and_says_its_size(dpi: int) -> None:
    symbol = encode(LINK)
    file = qr_file(symbol, "png", Look(size_mm=40, dpi=dpi))
    width, height, depth, colour = struct.unpack(">2L2B", file[16:26])
    at = file.index(b"pHYs") + 4
    per_metre = struct.unpack(">L", file[at : at + 4])[0]

    assert width == height
    assert width % (symbol.size + 8) == 0
    assert (depth, colour) == (1, 0)
    assert width / per_metre * 1000 == pytest.approx(40, rel=1e-3)
    assert abs(width / (40 / 25.4) - dpi) <= (symbol.size + 8) / (40 / 25.4) / 2 + 1
    assert read(of_png(file)).text == LINK


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_a_wider_quiet_zone_is_white(kind: str) -> None:
    symbol = encode(LINK)
    pixels, width, _ = PAINTED[kind](qr_file(symbol, kind, Look(quiet_zone=10)))
    margin = int(10 / (symbol.size + 20) * width) - 2

    assert set(pixels[: margin * width]) == {255}
    assert all(pixels[line * width] == 255 for line in range(width))


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_a_payload_cannot_break_out_of_its_file(kind: str) -> None:
    payload = "https://go.example.ru/?a=1&b=<script>\"'()\\%%EOF)>>"
    file = qr_file(encode(payload), kind, Look())

    assert read(PAINTED[kind](file)).text == payload
    assert kind != "svg" or b"<script>" not in file


def test_all_codes_of_a_restaurant_look_alike_and_read_right_psm_034() -> None:
    links = [f"https://go.example.ru/t/{table_uuid(number)}" for number in range(60)]
    files = qr_files([*links, "https://go.example.ru/t/" + "x" * 60], "png")

    assert len({file[16:24] for file in files}) == 1
    assert [read(of_png(file)).text for file in files[:60]] == links


def test_what_no_symbol_holds_is_refused() -> None:
    with pytest.raises(TooLong):
        qr_files(["x" * 3000], "svg")
