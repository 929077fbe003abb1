"""Photos changed: made ready for a provider, drawn small, framed, filtered.

Everything here is pure and blocks: call it in a thread. What comes out is upright, in sRGB, and
says nothing of where, when or with what it was taken. A JPEG or PNG that needs no change but that
keeps its pixels bit by bit; a large JPEG is read at a fraction of its size.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import pillow_heif
from PIL import Image, ImageCms, ImageOps

from makeready.picture_metadata import stripped
from makeready.pictures import JPEG, MAX_PIXELS, PNG, WEBP, BadPicture, PictureFacts, look

WHOLE_MAX_BYTES = (
    256 << 20
)  # of HEIF, PNG, WebP: decoders take the whole file, or a chunk of it, into memory
MAX_SIDE = 4096  # no provider looks at more
QUALITY = 92
LOWER_QUALITY = (85, 75)  # before it is made smaller
SMALLER = 0.75
TRIES = 10
THUMBNAIL_SIDE = 320
ROOM = 1.3  # how much larger than wanted a picture is read, so that it can be drawn well
THUMBNAIL_QUALITY = 82
PAPER = (255, 255, 255)  # under what is transparent where nothing may be

_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
_TYPES = {"JPEG": JPEG, "MPO": JPEG, "PNG": PNG, "WEBP": WEBP}
_BY_MARK = {b"ftyp": "HEIF", b"\r\n\x1a\n": "PNG"}
_ORIENTATION = 274
_TAIL = 1 << 16

pillow_heif.register_heif_opener()


class PictureUnfit(ValueError):
    """The picture cannot be worked with; the argument says why, in words for a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture in memory, ready to be sent."""

    content: bytes
    media_type: str
    width: int
    height: int


def prepare(
    file: IO[bytes],
    *,
    media_types: Collection[str],
    max_bytes: int,
    max_side: int = MAX_SIDE,
    quality: int = QUALITY,
) -> Prepared:
    """A photo as a provider takes it: one of the types, within both limits; raises PictureUnfit.

    Transparency is kept where PNG may be sent, else it stands on white.
    """
    with _opened(file) as image:
        fit = _as_it_is(file, image, media_types, max_bytes, max_side)
        if fit is not None:
            return fit
        drawn = _drawn_within(image, max_side)
    return _encoded(drawn, media_types, max_bytes, quality)


def thumbnail(file: IO[bytes]) -> bytes:
    """A small JPEG of a picture; raises PictureUnfit."""
    with _opened(file) as image:
        drawn = flat(_drawn_within(image, THUMBNAIL_SIDE, by=Image.Resampling.HAMMING))
    return encoded(drawn, JPEG, THUMBNAIL_QUALITY)


def whole(file: IO[bytes]) -> bytes:
    """A file's content for another process; raises PictureUnfit for one that is too large."""
    size = file.seek(0, io.SEEK_END)
    if size > WHOLE_MAX_BYTES:
        raise PictureUnfit(f"{size} bytes at once")
    file.seek(0)
    return file.read(size)


def read(content: bytes, max_side: int = MAX_SIDE) -> Image.Image:
    """A picture decoded: upright, sRGB, RGB or RGBA, within a square; raises PictureUnfit."""
    with _opened(io.BytesIO(content)) as image:
        return _drawn_within(image, max_side)


def _drawn_within(
    image: Image.Image, max_side: int, by: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """An opened picture as `read` gives it; a large JPEG is decoded at a part of its size."""
    if max(image.size) > max_side:
        if image.mode.startswith("I"):  # 16 bits of grey cannot be drawn smaller
            image = _plain_mode(ImageOps.exif_transpose(image))
        # A JPEG is decoded at a half, a quarter or an eighth of its size, if that is enough.
        image.thumbnail((max_side, max_side), by, reducing_gap=ROOM)
    drawn = ImageOps.exif_transpose(image)
    drawn = _in_srgb(_plain_mode(drawn), image.info.get("icc_profile"))
    if drawn is image:
        drawn = image.copy()
    drawn.info.clear()
    return drawn


def flat(image: Image.Image) -> Image.Image:
    """Without transparency: what is seen through stands on white."""
    if image.mode == "RGB":
        return image
    below = Image.new("RGBA", image.size, (*PAPER, 255))
    below.alpha_composite(image.convert("RGBA"))
    return below.convert("RGB")


def encoded(image: Image.Image, media_type: str, quality: int = QUALITY) -> bytes:
    """The bytes of a decoded picture: JPEG, WebP or PNG."""
    out = io.BytesIO()
    if media_type == JPEG:
        flat(image).save(out, "JPEG", quality=quality)
    elif media_type == WEBP:
        image.save(out, "WEBP", quality=quality)
    else:
        image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def verified(content: bytes) -> PictureFacts:
    """What a received picture is; raises PictureUnfit.

    By its content, whatever is said of it: two readers of headers agree, and its end is there.
    """
    file = io.BytesIO(content)
    try:
        facts = look(file, max_pixels=MAX_PIXELS)
    except BadPicture as error:
        raise PictureUnfit(f"it is no picture: {error}") from error
    with _opened(file) as image:
        media_type = _TYPES.get(image.format or "", "")
    if media_type != facts.media_type:
        raise PictureUnfit(f"a picture of a kind that is not sent on: {facts.media_type}")
    if not _has_end(content, media_type):
        raise PictureUnfit("it is cut off")
    return facts


def _has_end(content: bytes, media_type: str) -> bool:
    if media_type == JPEG:  # compressed data never looks like the marker
        return b"\xff\xd9" in content[-_TAIL:]
    if media_type == PNG:
        return b"IEND" in content[-_TAIL:]
    return len(content) >= 8 + int.from_bytes(content[4:8], "little")


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[Image.Image]:
    """By its header only; raises PictureUnfit for what is no picture or too large to decode."""
    file.seek(0)
    head = file.read(12)
    kind = "WebP" if head[8:] == b"WEBP" else _BY_MARK.get(head[4:8])
    if kind and file.seek(0, io.SEEK_END) > WHOLE_MAX_BYTES:
        raise PictureUnfit(f"{kind} of more than {WHOLE_MAX_BYTES} bytes")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=_FORMATS)
    except Exception as error:
        raise PictureUnfit(f"it is no picture: {type(error).__name__}") from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise PictureUnfit(f"{image.width} × {image.height} pixels")
        try:
            yield image
        except PictureUnfit:
            raise
        except Exception as error:  # what a decoder stumbles over may be anything
            raise PictureUnfit(f"it cannot be decoded: {type(error).__name__}") from error


def _as_it_is(
    file: IO[bytes],
    image: Image.Image,
    media_types: Collection[str],
    max_bytes: int,
    max_side: int,
) -> Prepared | None:
    """The same pixels without metadata; None when they have to be changed."""
    media_type = _TYPES.get(image.format or "", "")
    size = file.seek(0, io.SEEK_END)
    if (
        media_type not in media_types
        or size > max_bytes
        or max(image.size) > max_side
        or image.mode not in ("RGB", "RGBA", "L")
        or image.getexif().get(_ORIENTATION, 1) != 1
        or not _is_srgb(image.info.get("icc_profile"))
    ):
        return None
    file.seek(0)
    content = stripped(file.read(size), media_type)
    if content is None:
        return None
    return Prepared(content=content, media_type=media_type, width=image.width, height=image.height)


def _encoded(
    drawn: Image.Image, media_types: Collection[str], max_bytes: int, quality: int
) -> Prepared:
    is_clear = drawn.mode == "RGBA" and drawn.getchannel("A").getextrema() != (255, 255)
    media_type = PNG if JPEG not in media_types or (is_clear and PNG in media_types) else JPEG
    if media_type not in media_types:
        raise PictureUnfit("it cannot be made into one of " + ", ".join(sorted(media_types)))
    qualities = iter((quality, *LOWER_QUALITY) if media_type == JPEG else (quality,))
    chosen = next(qualities)
    for _ in range(TRIES):
        content = encoded(drawn, media_type, chosen)
        if len(content) <= max_bytes:
            width, height = drawn.size
            return Prepared(content=content, media_type=media_type, width=width, height=height)
        lower = next(qualities, None)
        if lower is None:
            width, height = (max(1, int(side * SMALLER)) for side in drawn.size)
            drawn = drawn.resize((width, height), Image.Resampling.LANCZOS)
        else:
            chosen = lower
    raise PictureUnfit(f"it does not fit in {max_bytes} bytes")


def _plain_mode(image: Image.Image) -> Image.Image:
    """RGB, RGBA, or CMYK where a profile has yet to tell what its inks look like."""
    if image.mode in ("RGB", "RGBA", "CMYK"):
        return image
    if image.mode.startswith("I"):  # 16 bits of grey
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("RGB")
    is_clear = "A" in image.mode.upper() or "transparency" in image.info
    return image.convert("RGBA" if is_clear else "RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """By the picture's own profile; one that is unusable is as none: the numbers are sRGB's."""
    if not _is_srgb(profile) and profile is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space.strip() == image.mode[:3].replace("CMY", "CMYK"):
                alpha = image.getchannel("A") if image.mode == "RGBA" else None
                inks = image.convert("RGB") if alpha is not None else image
                turned = ImageCms.profileToProfile(inks, source, _srgb(), outputMode="RGB")
                if turned is not None:
                    image = turned
                if alpha is not None:
                    image.putalpha(alpha)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB") if image.mode == "CMYK" else image


def _is_srgb(profile: bytes | None) -> bool:
    if profile is None:
        return True
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return "srgb" in ImageCms.getProfileDescription(source).lower()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
