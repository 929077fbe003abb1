"""The header of HEIC and HEIF: size in pixels of the picture that is meant to be shown.

The header is a tree of boxes. Of its `meta` box, which holds no pixels, all is read at once; the
picture may be put together of many tiles, so the size is that of the primary item alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from makeready.picture_heads import BadPicture, Head

META_BYTES = 4 << 20  # hundreds of times what cameras write
BOXES = 64
"""At the top of a file; before `meta` there is one, rarely three."""
ITEMS = 20_000
FILLED = 64
"""Pixels by which a picture of whole blocks is larger than what was photographed."""


@dataclass(slots=True)
class _Meta:
    """What is wanted of the `meta` box."""

    primary: int | None = None
    properties: list[tuple[bytes, bytes]] | None = None
    """Kind and content, in order: they are referred to by number."""
    of_items: dict[int, list[int]] | None = None
    """Numbers of its properties, from 1, by item."""


def heif_head(file: IO[bytes]) -> Head:
    """Of a HEIC or HEIF; the turn that its own properties ask for is made already."""
    try:
        found = _read(_meta(file))
    except (struct.error, IndexError):
        raise BadPicture("it ends in its header") from None
    if found.primary is None or not found.properties or not found.of_items:
        raise BadPicture("no size in its header")
    return _size(found.properties, found.of_items.get(found.primary, []))


def _size(properties: list[tuple[bytes, bytes]], numbers: list[int]) -> Head:
    size: tuple[int, int] | None = None
    quarters = 0
    for number in numbers:
        if not 1 <= number <= len(properties):
            continue
        kind, content = properties[number - 1]
        if kind == b"ispe" and len(content) >= 12:
            size = struct.unpack(">4xII", content[:12])
        elif kind == b"clap" and size is not None:
            size = _clipped(size, content)
        elif kind == b"irot" and content:
            quarters = content[0] & 3
    if size is None:
        raise BadPicture("no size in its header")
    width, height = size[::-1] if quarters % 2 else size
    return Head(width=width, height=height)


def _clipped(size: tuple[int, int], clap: bytes) -> tuple[int, int]:
    """Without what fills up to whole blocks; a decoder unfolds what a clip hides beyond that."""
    wide, of_wide, high, of_high = struct.unpack_from(">IIII", clap)
    if not (of_wide and of_high):
        return size
    shown = (wide // of_wide, high // of_high)
    is_near = all(0 <= whole - part < FILLED for whole, part in zip(size, shown, strict=True))
    return shown if is_near else size


def _meta(file: IO[bytes]) -> bytes:
    at = 0
    for _ in range(BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        start = 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            start = 16
        if kind == b"meta":
            if not start < length <= META_BYTES:
                raise BadPicture("a header without an end")
            file.seek(at + start)
            return file.read(length - start)
        if length < start:
            break
        at += length
    raise BadPicture("no size in its header")


def _read(meta: bytes) -> _Meta:
    found = _Meta()
    for kind, content in _boxes(meta[4:]):
        if kind == b"pitm":
            wide = content[0] > 0
            (found.primary,) = struct.unpack_from(">I" if wide else ">H", content, 4)
        elif kind == b"iprp":
            for inner, data in _boxes(content):
                if inner == b"ipco":
                    found.properties = list(_boxes(data))
                elif inner == b"ipma":
                    found.of_items = {**(found.of_items or {}), **_associations(data)}
    return found


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = count = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = len(data) if length == 0 else at + length
        count += 1
        if length in range(1, 8) or end > len(data) or count > ITEMS:
            raise BadPicture("a box that does not fit")
        yield kind, data[at + 8 : end]
        at = end


def _associations(data: bytes) -> dict[int, list[int]]:
    version, flags = data[0], data[3]
    (items,) = struct.unpack_from(">I", data, 4)
    at = 8
    found: dict[int, list[int]] = {}
    item_form, form = ">I" if version else ">H", ">H" if flags & 1 else ">B"
    mask = 0x7FFF if flags & 1 else 0x7F  # the bit before it says that it is essential
    for _ in range(min(items, ITEMS)):
        (item,) = struct.unpack_from(item_form, data, at)
        at += struct.calcsize(item_form)
        count = data[at]
        at += 1
        numbers = struct.unpack_from(f">{count}{form[1:]}", data, at)
        at += count * struct.calcsize(form)
        found[item] = [number & mask for number in numbers]
    return found
