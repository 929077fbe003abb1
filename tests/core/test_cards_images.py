"""Uploaded pictures come out as they look, JPEG bytes untouched, and no bomb goes off."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageOps

from makeready.cards.images import MAX_PIXELS, BadPicture, read
from tests.support.card_drawing import DPI, asset, drawn, picture, pixel, saved, seen

RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 160, 40), (30, 40, 220), (255, 255, 255)
CORNERS = {(12, 112): RED, (38, 112): GREEN, (12, 128): BLUE, (38, 128): (0, 0, 0)}
"""Where they are seen on the page, in mm, when `quarters` fills its field of 30 × 20 mm."""


def quarters() -> Image.Image:
    """A colour a quarter, so that no turn and no mirror goes unseen."""
    image = Image.new("RGB", (60, 40))
    for box, colour in (
        ((0, 0, 30, 20), RED),
        ((30, 0, 60, 20), GREEN),
        ((0, 20, 30, 40), BLUE),
    ):
        image.paste(colour, box)
    return image


def corners(data: bytes, **given: Any) -> dict[tuple[int, int], tuple[int, int, int]]:
    pdf, _ = drawn(picture(asset=asset(data), **given), assets=[data])
    view = seen(pdf, dpi=DPI)
    return {place: pixel(view, *place) for place in CORNERS}


def is_like(found: dict[tuple[int, int], tuple[int, int, int]], within: int = 3) -> bool:
    return all(
        abs(one - two) <= within
        for place, colour in CORNERS.items()
        for one, two in zip(found[place], colour, strict=True)
    )


@pytest.mark.parametrize(
    "image", [quarters(), quarters().quantize(8), quarters().convert("RGBA")], ids=lambda i: i.mode
)
def test_a_png_looks_as_it_did(image: Image.Image) -> None:
    assert is_like(corners(saved(image, "PNG")))


def test_an_interlaced_png_or_one_of_sixteen_bits_is_read() -> None:
    gray = Image.new("I;16", (60, 40), 0x8000)

    found = read(saved(gray, "PNG"))

    assert found.space == "DeviceGray"
    assert set(zlib.decompress(found.parts[0][1])) <= {127, 128}


def test_black_and_white_and_gray_are_printed_with_one_ink() -> None:
    for image in (
        Image.new("1", (8, 8), 1),
        Image.new("L", (8, 8), 77),
        Image.new("RGB", (8, 8), (77, 77, 77)),
        Image.new("RGBA", (8, 8), (77, 77, 77, 100)),
    ):
        assert read(saved(image, "PNG")).space == "DeviceGray"


def test_transparency_is_kept_as_a_soft_mask() -> None:
    image = quarters().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((60, 40)))
    image.paste((0, 0, 0, 0), (30, 20, 60, 40))

    found = read(saved(image, "PNG"))
    look = corners(saved(image, "PNG"))

    assert "/SMask {1}" in found.parts[0][0]
    assert look[38, 128] == WHITE
    assert look[12, 112] != RED
    assert "/SMask" not in read(saved(quarters().convert("RGBA"), "PNG")).parts[0][0]


def test_a_transparent_palette_is_transparent() -> None:
    image = quarters().quantize(8)
    look = corners(saved(image, "PNG", transparency=image.getpixel((0, 0))))

    assert look[12, 112] == WHITE
    assert look[38, 112] == pytest.approx(GREEN, abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_its_camera_says(orientation: int) -> None:
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quarters().resize((600, 400), Image.Resampling.NEAREST)
    if orientation in undone:
        stored = stored.transpose(undone[orientation])
    note = Image.Exif()
    note[274] = orientation
    data = saved(stored, "JPEG", exif=note, quality=95)
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == (600, 400)

    assert is_like(corners(data), within=8)
    assert read(data).parts[0][1] == data


def test_a_jpeg_of_four_inks_keeps_its_bytes_and_its_inks() -> None:
    """Adobe stores such a picture upside down, and says so."""
    image = Image.new("CMYK", (60, 40), (255, 0, 0, 0))
    image.paste((0, 0, 255, 0), (30, 0, 60, 40))
    data = saved(image, "JPEG", quality=95)

    found = read(data)
    look = corners(data)

    assert (found.space, found.parts[0][1]) == ("DeviceCMYK", data)
    assert "/Decode [1 0 1 0 1 0 1 0]" in found.parts[0][0]
    assert look[12, 112] == pytest.approx((0, 174, 239), abs=8)
    assert look[38, 112] == pytest.approx((255, 242, 0), abs=8)


def test_a_profile_of_rgb_travels_along_and_others_do_not() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    for kind in ("PNG", "JPEG"):
        found = read(saved(quarters(), kind, icc_profile=profile))
        assert "/ColorSpace [/ICCBased {1}]" in found.parts[0][0]
        assert zlib.decompress(found.parts[1][1]) == profile
        strange = read(saved(quarters().convert("L"), kind, icc_profile=profile))
        assert strange.parts[0][0].count("/DeviceGray") == 1
        assert len(strange.parts) == 1
    assert is_like(corners(saved(quarters(), "PNG", icc_profile=profile)))


def test_the_same_picture_makes_the_same_bytes() -> None:
    """PSM-029."""
    data = saved(quarters(), "PNG")
    first = read(data)
    read.cache_clear()

    assert read(data) == first


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no picture"),
        (b"GIF89a\1\0\1\0\0\0\0;", "a GIF file"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP file"),
        (b"%PDF-1.7", "a PDF file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG file"),
        (saved(quarters(), "PNG")[:90], ""),
        (saved(quarters(), "JPEG")[:600], ""),
        (saved(quarters(), "TIFF"), "no picture"),
    ],
)
def test_what_is_no_picture_is_refused_by_what_it_is(data: bytes, reason: str) -> None:
    with pytest.raises(BadPicture) as refused:
        read(data)
    assert str(refused.value)
    assert reason in str(refused.value)


def test_a_small_file_of_endless_pixels_is_refused_before_it_is_unpacked() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    for side in (8_000, 20_000, 60_000):
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(
            b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        )
        assert side * side > MAX_PIXELS
        with pytest.raises(BadPicture, match=r"pixels|bomb|exceeds"):
            read(bomb + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b""))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_picture_is_refused_or_read_and_nothing_else(kind: str) -> None:
    whole = saved(quarters(), kind)
    chance = random.Random(kind)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(whole))] = chance.randrange(256)
        try:
            read(bytes(broken))
        except BadPicture as refused:
            reason = str(refused)
            assert reason.strip()
