"""What a file of a photo is, told from its first bytes: type, size, orientation.

Nothing is decoded and no library is asked: a header is read in steps that are bounded in number
and size, whatever it says and however large the file is. So a picture of 100 kB that would unfold
to gigabytes is known before anything unfolds it. Who decodes a picture later looks at its size
once more: a file can be made that its decoder reads differently.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from makeready.picture_heads import BadPicture, Head, jpeg_head, png_head, webp_head
from makeready.picture_heads_heif import heif_head

__all__ = [
    "EXTENSIONS",
    "HEIC",
    "HEIF",
    "JPEG",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MEDIA_TYPES",
    "PNG",
    "SNIFFED_BYTES",
    "WEBP",
    "BadPicture",
    "PictureFacts",
    "TooLarge",
    "look",
    "safe_name",
    "sniff",
    "told_type",
]

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
HEIC, HEIF = "image/heic", "image/heif"
MEDIA_TYPES = (JPEG, PNG, WEBP, HEIC, HEIF)
"""All that is taken; a slot may take fewer."""
EXTENSIONS = {JPEG: "jpg", PNG: "png", WEBP: "webp", HEIC: "heic", HEIF: "heif"}
SNIFFED_BYTES = 64
MAX_PIXELS = 100_000_000
MAX_SIDE = 20_000
NAME_MAX = 120
NAMELESS = "upload.bin"

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis"})
_HEIF_BRANDS = frozenset({b"mif1", b"mif2"})
_OTHER_BRANDS = frozenset({b"avif", b"avis"})
_OTHERS = (
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF", "application/pdf"),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "text/xml"),
    (b"<!DOC", "text/html"),
    (b"<html", "text/html"),
    (b"PK\x03\x04", "application/zip"),
)
_READERS = {JPEG: jpeg_head, PNG: png_head, WEBP: webp_head, HEIC: heif_head, HEIF: heif_head}
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_TAKEN = re.compile(r"prepared(\.|$)", re.IGNORECASE)
"""The name beside a payload under which the image for providers lies."""


class TooLarge(BadPicture):
    """More pixels than are allowed."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} × {height} pixels")
        self.width = width
        self.height = height


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What a picture's header says."""

    media_type: str
    width: int
    height: int
    """In pixels, as it is looked at."""
    frames: int
    """2 stands for any number above one: an animation."""
    orientation: int
    """What its EXIF note says, 1 to 8; 1 is upright. Width and height allow for it."""


def sniff(head: bytes) -> str | None:
    """The type of a file that begins so, if it is one of MEDIA_TYPES; 64 bytes are enough."""
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return _of_brands(head) if head[4:8] == b"ftyp" else None


def told_type(head: bytes) -> str | None:
    """For refusals: the type of what is not taken, if that is plain to see."""
    found = sniff(head)
    if found is None and head[4:8] == b"ftyp":
        return "image/avif" if _OTHER_BRANDS & set(_brands(head)) else "video/mp4"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for magic, kind in _OTHERS if text.startswith(magic)), found)


def look(file: IO[bytes], *, max_pixels: int = MAX_PIXELS) -> PictureFacts:
    """What the header says; raises TooLarge, and BadPicture when it says nothing.

    Blocks: for a thread. Reads a few pieces of the file wherever it stands, and goes back to its
    beginning.
    """
    try:
        file.seek(0)
        media_type = sniff(file.read(SNIFFED_BYTES))
        if media_type is None:
            raise BadPicture("no picture")
        head = _READERS[media_type](file)
    finally:
        file.seek(0)
    if head.width < 1 or head.height < 1:
        raise BadPicture("no pixels")
    if max(head.width, head.height) > MAX_SIDE or head.width * head.height > max_pixels:
        raise TooLarge(head.width, head.height)
    return _facts(media_type, head)


def safe_name(name: str) -> str:
    """A client's file name as a name in the store; never empty, never hidden, never a path."""
    base = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    kept = _UNSAFE.sub("_", "".join(each for each in base if each.isprintable())).lstrip(".")
    if _TAKEN.match(kept):
        kept = "_" + kept
    stem, dot, extension = kept.rpartition(".")
    if not stem or len(extension) > 8:
        return kept[:NAME_MAX] or NAMELESS
    return stem[: NAME_MAX - len(dot + extension)] + dot + extension


def _facts(media_type: str, head: Head) -> PictureFacts:
    lies = head.orientation >= 5  # on its side
    return PictureFacts(
        media_type=media_type,
        width=head.height if lies else head.width,
        height=head.width if lies else head.height,
        frames=head.frames,
        orientation=head.orientation,
    )


def _of_brands(head: bytes) -> str | None:
    brands = _brands(head)
    if not brands or brands[0] in _OTHER_BRANDS:
        return None
    if _HEIC_BRANDS & set(brands):
        return HEIC
    if _OTHER_BRANDS & set(brands) or not _HEIF_BRANDS & set(brands):
        return None
    return HEIF


def _brands(head: bytes) -> list[bytes]:
    """The major brand, then those it is compatible with, as far as they were read."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *_fours(head[16:end])] if end >= 16 else []


def _fours(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 4] for at in range(0, len(data) - 3, 4))
