"""Pictures as cameras and telephones write them: turned, with a place, in colours of their own."""

from __future__ import annotations

import functools
import io
import struct
from typing import Any

import pillow_heif
from PIL import Image, ImageCms

SECRET_PLACE = b"59 deg 56 min"
QUARTERS = ((220, 30, 30), (30, 200, 40), (30, 60, 220), (240, 240, 60))
"""Upper left, upper right, lower left, lower right."""


@functools.lru_cache(maxsize=8)
def quarters(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Four colours, so that every turn shows."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for place, colour in enumerate(QUARTERS):
        image.paste(colour, (place % 2 * width, place // 2 * height,
                             (place % 2 + 1) * width, (place // 2 + 1) * height))  # fmt: skip
    return image


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The bytes of a picture."""
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.register_heif_opener()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    """A picture, decoded."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def told_place(orientation: int = 1) -> bytes:
    """An EXIF block with a place and a camera's name."""
    exif = Image.Exif()
    exif[0x010F] = "Camera of Anna"
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[29] = SECRET_PLACE.decode()
    return exif.tobytes()


def turned(orientation: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """`quarters`, stored in such a way that this orientation makes it upright again."""
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    image = quarters(size)
    return image if back is None else image.transpose(back)


@functools.lru_cache(maxsize=1)
def swapping_profile() -> bytes:
    """A colour profile under which red numbers mean green, and green ones red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")))
    (count,) = struct.unpack_from(">I", data, 128)
    places = {bytes(data[132 + 12 * n : 136 + 12 * n]): 136 + 12 * n for n in range(count)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data)


def corners(image: Image.Image) -> tuple[tuple[int, ...], ...]:
    """The colours in the middle of its quarters, in the order of `QUARTERS`."""
    rgb = image.convert("RGB")
    width, height = rgb.size
    places = [(1, 1), (3, 1), (1, 3), (3, 3)]
    found = (rgb.getpixel((width * x // 4, height * y // 4)) for x, y in places)
    return tuple(tuple(each) for each in found if isinstance(each, tuple))


def is_near(found: tuple[tuple[int, ...], ...], wanted: tuple[tuple[int, ...], ...]) -> bool:
    """Whether colours are the same but for what JPEG makes of them."""
    pairs = zip(found, wanted, strict=True)
    return all(abs(a - b) <= 12 for one, two in pairs for a, b in zip(one, two, strict=True))
