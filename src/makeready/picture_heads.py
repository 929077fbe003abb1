"""Headers of JPEG, PNG and WebP: size in pixels, orientation, whether it moves.

A file is hostile until it is read: every reader takes a bounded number of steps, reads small
pieces and jumps over what it does not want, so that it costs the same in a file of two gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

STEPS = 2000
"""Segments or chunks before the one that says the size; a photo has some dozens."""
EXIF_BYTES = 64 << 10
EXIF_PARTS = 16
"""Segments of EXIF in a JPEG: decoders join them, each time copying those before."""
NOTES_BYTES = 32 << 20
"""What is no pixel of a JPEG: decoders keep all of it in memory."""
_ORIENTATION = 274
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers of a frame."""
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""JPEG's markers that nothing belongs to."""


class BadPicture(ValueError):
    """The file is no picture that can be used; the argument says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a header says; width and height as they are stored."""

    width: int
    height: int
    orientation: int = 1
    frames: int = 1


def jpeg_head(file: IO[bytes]) -> Head:
    """Of a JPEG, up to the first scan."""
    size: tuple[int, int] | None = None
    orientation, notes, parts = 1, 0, 0
    for marker, length in _segments(file):
        notes += length
        if notes > NOTES_BYTES or parts > EXIF_PARTS:
            raise BadPicture("too much of it is no picture")
        if marker in _SIZES:
            if size is not None:
                raise BadPicture("two sizes")
            height, width = struct.unpack(">xHH", exactly(file, 5))
            size = (width, height)
        elif marker == 0xE1:
            data = file.read(length)
            if data.startswith(b"Exif\0\0"):
                orientation = exif_orientation(data[6:])
                parts += 1
        elif marker == 0xDA and size is not None:
            return Head(width=size[0], height=size[1], orientation=orientation)
        elif marker in {0xD9, 0xDA}:
            break
    raise BadPicture("no size in its header")


def png_head(file: IO[bytes]) -> Head:
    """Of a PNG, up to its pixels."""
    file.seek(8)
    size: tuple[int, int] | None = None
    orientation = frames = 1
    for kind, length in _chunks(file, ">I4s", 4):
        if size is None:
            if kind != b"IHDR" or length != 13:
                raise BadPicture("no size in its header")
            size = struct.unpack(">II", exactly(file, 8))
        elif kind == b"eXIf" and length <= EXIF_BYTES:
            orientation = exif_orientation(exactly(file, length))
        elif kind == b"acTL" and length == 8:
            frames = 2 if int.from_bytes(exactly(file, 4), "big") > 1 else 1
        elif kind in {b"IDAT", b"IEND"}:
            return Head(width=size[0], height=size[1], orientation=orientation, frames=frames)
    raise BadPicture("no pixels")


def webp_head(file: IO[bytes]) -> Head:
    """Of a WebP; what says how it lies may be its last chunk."""
    file.seek(12)
    found: Head | None = None
    for kind, length in _chunks(file, "<4sI", 0):
        if kind == b"EXIF" and found is not None and length <= EXIF_BYTES:
            turned = exif_orientation(exactly(file, length).removeprefix(b"Exif\0\0"))
            return replace(found, orientation=turned)
        if kind in _WEBP and found is None:
            found, may_turn = _WEBP[kind](exactly(file, min(length, 10)))
            if not may_turn:
                return found
    if found is None:
        raise BadPicture("no size in its header")
    return found


def exif_orientation(tiff: bytes) -> int:
    """What EXIF says of how the camera was held; 1 where it says nothing that makes sense."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    if not 8 <= at <= len(tiff) - 2:
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for place in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, many, value = struct.unpack_from(f"{order}HHIH", tiff, place)
        if tag == _ORIENTATION:
            return value if kind == 3 and many == 1 and 1 <= value <= 8 else 1
    return 1


def exactly(file: IO[bytes], size: int) -> bytes:
    """So many bytes; raises BadPicture at the end of the file."""
    data = file.read(size)
    if len(data) < size:
        raise BadPicture("it ends in its header")
    return data


def _segments(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Marker and length of each segment; where the file is left to stand does not matter."""
    at = 2
    for _ in range(STEPS):
        file.seek(at)
        mark, code, length = struct.unpack(">BBH", exactly(file, 4))
        if mark != 0xFF or code == 0xFF:  # some cameras fill up, decoders pass over that
            at += 1
        elif code in _BARE:
            at += 2
        elif length < 2:
            raise BadPicture("a segment without a length")
        else:
            yield code, length - 2
            at += 2 + length
    raise BadPicture("a header without an end")


def _chunks(file: IO[bytes], form: str, tail: int) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk; where the file is left to stand does not matter.

    `form` is that of its two first fields, `tail` the number of bytes behind its content.
    """
    at = file.tell()
    for _ in range(STEPS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        first, second = struct.unpack(form, head)
        kind, length = (second, first) if isinstance(first, int) else (first, second)
        yield kind, length
        at += 8 + length + tail
        if not tail:
            at += length & 1  # WebP fills up to even places
    raise BadPicture("a header without an end")


def _vp8(data: bytes) -> tuple[Head, bool]:
    if len(data) < 10 or data[3:6] != b"\x9d\x01\x2a":
        raise BadPicture("no key frame")
    width, height = struct.unpack("<HH", data[6:10])
    return Head(width=width & 0x3FFF, height=height & 0x3FFF), False


def _vp8l(data: bytes) -> tuple[Head, bool]:
    if len(data) < 5 or data[0] != 0x2F:
        raise BadPicture("no signature")
    bits = int.from_bytes(data[1:5], "little")
    return Head(width=(bits & 0x3FFF) + 1, height=(bits >> 14 & 0x3FFF) + 1), False


def _vp8x(data: bytes) -> tuple[Head, bool]:
    if len(data) < 10:
        raise BadPicture("it ends in its header")
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (4, 7))
    moves, has_exif = data[0] & 2, data[0] & 8
    return Head(width=width, height=height, frames=2 if moves else 1), bool(has_exif)


_WEBP = {b"VP8 ": _vp8, b"VP8L": _vp8l, b"VP8X": _vp8x}
