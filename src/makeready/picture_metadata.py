"""JPEG and PNG without what they tell beside their pixels: place, time, camera, comments.

Pixels are copied bit by bit. What a decoder needs to show them (tables, the colour profile, the
note on how CMYK is meant) stays; everything behind the end of the picture goes.
"""

from __future__ import annotations

import re

_SOI, _EOI, _SOS = b"\xff\xd8", 0xD9, 0xDA
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_KEPT_NOTES = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Of the application segments those that say what the numbers mean."""
_COMMENT = 0xFE
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Inside compressed data. A literal comes first, so most bytes are passed by memchr: the search
holds the interpreter, and a pattern such as \\xff+ takes twenty times as long."""

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"iCCP"}
    | {b"cICP", b"bKGD", b"pHYs"}
)


def stripped(content: bytes, media_type: str) -> bytes | None:
    """The file without metadata; None when it is not built as it should be: decode it instead."""
    try:
        if media_type == "image/jpeg":
            return _jpeg(content)
        if media_type == "image/png":
            return _png(content)
    except IndexError:
        pass
    return None


def _jpeg(content: bytes) -> bytes | None:
    if content[:2] != _SOI:
        return None
    kept, at = [_SOI], 2
    while True:
        if content[at] != 0xFF:
            return None
        while content[at] == 0xFF:  # fill bytes may stand before a marker
            at += 1
        marker, at = content[at], at + 1
        if marker == _EOI:
            return b"".join((*kept, b"\xff\xd9"))
        if marker in _STANDALONE:
            continue
        end = _jpeg_end(content, marker, at)
        if end is None:
            return None
        if _is_kept(marker, content[at + 2 : at + 14]):
            kept.append(b"\xff" + content[at - 1 : end])
        at = end


def _jpeg_end(content: bytes, marker: int, at: int) -> int | None:
    """Where a segment ends, with the compressed data behind it; None: it is cut off."""
    end = at + int.from_bytes(content[at : at + 2], "big")
    if not at + 2 <= end <= len(content):
        return None
    if marker != _SOS:
        return end
    found = _NEXT_MARKER.search(content, end)
    return found and found.start()


def _is_kept(marker: int, head: bytes) -> bool:
    if marker == _COMMENT:
        return False
    if 0xE0 <= marker <= 0xEF:
        return marker in _KEPT_NOTES and head.startswith(_KEPT_NOTES[marker])
    return True


def _png(content: bytes) -> bytes | None:
    if content[:8] != _PNG_HEAD:
        return None
    kept, at = [_PNG_HEAD], 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        if end > len(content):
            return None
        if kind in _PNG_KEPT:
            kept.append(content[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    return None
