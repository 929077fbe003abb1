"""Uploaded pictures as PDF objects: JPEG as it is, PNG without loss, transparency kept."""

from __future__ import annotations

import io
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from PIL import Image

from makeready.cards.geometry import Matrix

MAX_PIXELS = 40_000_000
"""Twice an A3 page at 300 dpi."""

Part: TypeAlias = tuple[str, bytes]
"""Head and data of a stream, as in `drawing.PdfPart`."""

_SPACES = {"L": "/DeviceGray", "RGB": "/DeviceRGB", "CMYK": "/DeviceCMYK"}
_CHANNELS = {"L": 1, "RGB": 3, "CMYK": 4}
_UPRIGHT: Matrix = (1, 0, 0, 1, 0, 0)
_TURNS: dict[int, Matrix] = {
    2: (-1, 0, 0, 1, 1, 0),
    3: (-1, 0, 0, -1, 1, 1),
    4: (1, 0, 0, -1, 0, 1),
    5: (0, -1, -1, 0, 1, 1),
    6: (0, -1, 1, 0, 0, 1),
    7: (0, 1, 1, 0, 0, 0),
    8: (0, 1, -1, 0, 1, 0),
}
"""What a camera's note (EXIF 274) does to the unit square, y upwards."""
_ORIENTATION = 274


class BadPicture(ValueError):
    """The file is no picture that can be printed; the argument says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture; `parts[0]` is the image, the rest what it refers to by `{1}`, `{2}`."""

    width: int
    height: int
    """In pixels, as it is looked at."""
    space: str
    """DeviceGray, DeviceRGB or DeviceCMYK."""
    parts: tuple[Part, ...]
    turn: Matrix = _UPRIGHT


@lru_cache(maxsize=8)
def read(data: bytes) -> Picture:
    """Reads a PNG or JPEG; raises BadPicture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                is_bearable = image.width * image.height <= MAX_PIXELS
                if is_bearable:
                    image.load()
                    return _jpeg(data, image) if image.format == "JPEG" else _png(image)
                size = f"{image.width} × {image.height} pixels"
    except BadPicture:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(_reason(data, error)) from None
    raise BadPicture(size)


def _jpeg(data: bytes, image: Image.Image) -> Picture:
    """The bytes as they came; Adobe's CMYK is stored upside down."""
    space = _SPACES.get(image.mode)
    if space is None:
        raise BadPicture(f"colours of kind {image.mode}")
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1), _UPRIGHT)
    parts: list[Part] = []
    space = _calibrated(image, space, parts)
    inverted = image.mode == "CMYK" and "adobe" in image.info
    decode = " /Decode [1 0 1 0 1 0 1 0]" if inverted else ""
    head = f"{_head(image.size, space)} /Filter /DCTDecode{decode} >>"
    size = image.size if turn[0] else image.size[::-1]
    return Picture(
        width=size[0],
        height=size[1],
        space=_SPACES[image.mode][1:],
        parts=((head, data), *parts),
        turn=turn,
    )


def _png(image: Image.Image) -> Picture:
    """Pixels deflated; transparency becomes a soft mask."""
    alpha = None
    if image.has_transparency_data:
        image = _with_profile(image.convert("RGBA"), image)
        mask = image.getchannel("A")
        alpha = mask if mask.getextrema() != (255, 255) else None
        image = _with_profile(image.convert("RGB"), image)
    elif image.mode in {"1", "I;16", "I", "F"}:
        image = _gray(image)
    elif image.mode not in _CHANNELS:
        image = _with_profile(image.convert("RGB"), image)
    if image.mode == "RGB" and "icc_profile" not in image.info and _is_gray(image):
        image = image.getchannel("R")
    parts: list[Part] = []
    space = _calibrated(image, _SPACES[image.mode], parts)
    soft = ""
    if alpha is not None:
        head = f"{_head(alpha.size, '/DeviceGray')} /Filter /FlateDecode >>"
        parts.append((head, zlib.compress(alpha.tobytes(), 9)))
        soft = f" /SMask {{{len(parts)}}}"
    head = f"{_head(image.size, space)} /Filter /FlateDecode{soft} >>"
    return Picture(
        width=image.width,
        height=image.height,
        space=_SPACES[image.mode][1:],
        parts=((head, zlib.compress(image.tobytes(), 9)), *parts),
    )


def _head(size: tuple[int, int], space: str) -> str:
    width, height = size
    return (
        f"<< /Type /XObject /Subtype /Image /Width {width} /Height {height}"
        f" /BitsPerComponent 8 /ColorSpace {space}"
    )


def _calibrated(image: Image.Image, space: str, parts: list[Part]) -> str:
    """The picture's own colour profile, of RGB alone: inks go to their plates as they are."""
    profile = image.info.get("icc_profile")
    if image.mode != "RGB" or not profile or profile[16:20] != b"RGB ":
        return space
    head = "<< /N 3 /Alternate /DeviceRGB /Filter /FlateDecode >>"
    parts.append((head, zlib.compress(profile, 9)))
    return f"[/ICCBased {{{len(parts)}}}]"


def _gray(image: Image.Image) -> Image.Image:
    """Eight bits of one or of sixteen."""
    if image.mode == "1":
        return image.convert("L")
    return image.point(lambda value: value / 257).convert("L")


def _is_gray(image: Image.Image) -> bool:
    """Gray is printed with black ink alone, RGB with four."""
    red, green, blue = image.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _with_profile(image: Image.Image, source: Image.Image) -> Image.Image:
    if "icc_profile" in source.info:
        image.info["icc_profile"] = source.info["icc_profile"]
    return image


def _reason(data: bytes, error: Exception) -> str:
    """For people: what the file is instead, if that is plain to see."""
    known = {b"GIF8": "a GIF", b"RIFF": "a WebP", b"%PDF": "a PDF", b"<svg": "an SVG"}
    kind = known.get(data[:4])
    if kind is not None:
        return f"{kind} file"
    return "no picture" if "identify" in str(error) else str(error)[:100]
