"""A ZIP of stored objects as a plan: each of its bytes is known before the first one is read.

Entries are stored as they are (PDFs are compressed already), so their sizes and CRC-32 fix the
whole layout: how long the archive is, what its ETag is, and which bytes of which objects make any
range of it. Equal entries and times give equal bytes, wherever and whenever they are asked for;
that is what lets a download go on where it broke off.

    local header, bytes of an entry     in the given order
    central directory, end              with Zip64 records only where a number needs them
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

MEDIA_TYPE = "application/zip"

_MAX_16, _MAX_32 = 0xFFFF, 0xFFFF_FFFF  # as values they mean: see the Zip64 record
_PLAIN, _ZIP64 = 20, 45  # the versions of the format that a reader must know
_MADE_BY_UNIX = 3 << 8
_FILE_MODE = 0o100644 << 16
_UTF8 = 1 << 11
_STORED = 0
_TIMES, _ZIP64_SIZES = 0x5455, 0x0001  # extra fields
_DOS_YEARS = range(1980, 2108)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of an archive; made of a stored object, or of bytes (`Entry.of`)."""

    name: str
    """With `/` between folders."""
    byte_count: int
    crc32: int
    source: str | bytes
    """The object's key, or the bytes themselves."""

    @classmethod
    def of(cls, name: str, body: bytes) -> Entry:
        """An entry whose bytes are here."""
        return cls(name=name, byte_count=len(body), crc32=zlib.crc32(body), source=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes of a stored object, `first` and `last` included."""

    key: str
    first: int
    last: int
    crc32: int | None = None
    """Of its bytes, where that is known: other bytes than were stored are not handed on whole."""

    @property
    def byte_count(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


Piece: TypeAlias = bytes | Span
"""A part of an archive: the bytes themselves, or where they are stored."""


class Archive:
    """The layout of one archive; raises ValueError for entries that no archive can hold."""

    def __init__(self, entries: Sequence[Entry], made_at: datetime) -> None:
        self.entries = tuple(entries)
        self._heads: list[bytes] = []
        self._starts: list[int] = []
        directory, at = [], 0
        for entry in self.entries:
            self._starts.append(at)
            local, central = _headers(entry, at, made_at)
            self._heads.append(local)
            directory.append(central)
            at += len(local) + entry.byte_count
        listing = b"".join(directory)
        self._tail_at = at
        self._tail = listing + _end(len(self.entries), len(listing), at)
        self.byte_count = at + len(self._tail)
        self.etag = self._digest(listing)
        """Without quotes; strong, for what lies here is hashed, and objects have size and CRC."""

    def pieces(self, first: int = 0, last: int | None = None) -> Iterator[Piece]:
        """The bytes from `first` to `last` (included; None: the end), in order, none empty."""
        stop = self.byte_count if last is None else last + 1
        if not 0 <= first < stop <= self.byte_count:
            raise ValueError(f"no bytes from {first} to {last} in {self.byte_count}")
        return self._pieces(first, stop)

    def _pieces(self, first: int, stop: int) -> Iterator[Piece]:
        begin = max(bisect_right(self._starts, first) - 1, 0)
        for index in range(begin, len(self.entries)):
            at, head, entry = self._starts[index], self._heads[index], self.entries[index]
            if at >= stop:
                return
            yield from _cut(head, len(head), at, first, stop)
            yield from _cut(
                entry.source, entry.byte_count, at + len(head), first, stop, crc32=entry.crc32
            )
        yield from _cut(self._tail, len(self._tail), self._tail_at, first, stop)

    def _digest(self, listing: bytes) -> str:
        digest = hashlib.sha256(listing)
        for entry in self.entries:
            if isinstance(entry.source, bytes):
                digest.update(entry.source)
        return digest.hexdigest()[:32]


def _cut(
    source: str | bytes,
    byte_count: int,
    at: int,
    first: int,
    stop: int,
    *,
    crc32: int | None = None,
) -> Iterator[Piece]:
    """What lies between `first` and `stop` of something that begins at `at`."""
    low, high = max(first - at, 0), min(stop - at, byte_count)
    if low < high:
        if isinstance(source, bytes):
            yield source[low:high]
        else:
            is_whole = high - low == byte_count
            yield Span(key=source, first=low, last=high - 1, crc32=crc32 if is_whole else None)


def _headers(entry: Entry, at: int, made_at: datetime) -> tuple[bytes, bytes]:
    """The entry's local header, and its line in the central directory."""
    name, size = entry.name.encode(), entry.byte_count
    _check(entry, name)
    times = _unix_time(made_at)
    is_large, is_far = size >= _MAX_32, at >= _MAX_32
    local_extra = (_sizes(size, size) if is_large else b"") + times
    central_extra = _sizes(*([size, size] if is_large else []), *([at] if is_far else [])) + times
    shown_size = _MAX_32 if is_large else size

    def common(extra: bytes, *, needs: int) -> bytes:
        return struct.pack(
            "<5H3L2H", needs, _UTF8, _STORED, *_dos_time(made_at),
            entry.crc32, shown_size, shown_size, len(name), len(extra),
        )  # fmt: skip

    local = b"PK\3\4" + common(local_extra, needs=_ZIP64 if is_large else _PLAIN)
    needs = _ZIP64 if is_large or is_far else _PLAIN
    central = b"PK\1\2" + struct.pack("<H", _MADE_BY_UNIX | needs)
    central += common(central_extra, needs=needs)
    # No comment, on the first disk, of no known kind; a plain file; where its header is.
    central += struct.pack("<3H2L", 0, 0, 0, _FILE_MODE, _MAX_32 if is_far else at)
    return local + name + local_extra, central + name + central_extra


def _check(entry: Entry, name: bytes) -> None:
    steps = entry.name.split("/")
    if len(name) > _MAX_16 or any(step in {"", ".", ".."} for step in steps):
        raise ValueError(f"{entry.name[:100]!r} names no file of an archive")
    if not 0 <= entry.crc32 <= _MAX_32 or entry.byte_count < 0:
        raise ValueError(f"{entry.name}: size {entry.byte_count}, CRC {entry.crc32}")


def _sizes(*numbers: int) -> bytes:
    """The extra field of the numbers that 32 bits do not hold."""
    if not numbers:
        return b""
    return struct.pack(f"<2H{len(numbers)}Q", _ZIP64_SIZES, 8 * len(numbers), *numbers)


def _dos_time(at: datetime) -> tuple[int, int]:
    """Time and date, to two seconds; the format knows no zone, so it is UTC."""
    at = at.astimezone(UTC)
    year = min(max(at.year, _DOS_YEARS[0]), _DOS_YEARS[-1])
    return (
        at.hour << 11 | at.minute << 5 | at.second // 2,
        (year - _DOS_YEARS[0]) << 9 | at.month << 5 | at.day,
    )


def _unix_time(at: datetime) -> bytes:
    """The same again in an extra field that knows the zone; nothing before 1970 or after 2037."""
    seconds = int(at.timestamp())
    if not 0 <= seconds < 1 << 31:
        return b""
    return struct.pack("<2HBl", _TIMES, 5, 1, seconds)


def _end(entries: int, byte_count: int, at: int) -> bytes:
    """What follows the central directory, which lies at `at`."""
    long = b""
    if entries >= _MAX_16 or byte_count >= _MAX_32 or at >= _MAX_32:
        long = b"PK\6\6" + struct.pack(
            "<Q2H2L4Q", 44, _MADE_BY_UNIX | _ZIP64, _ZIP64, 0, 0, entries, entries, byte_count, at
        )
        long += b"PK\6\7" + struct.pack("<LQL", 0, at + byte_count, 1)
    shown = min(entries, _MAX_16)
    short = struct.pack(
        "<4H2LH", 0, 0, shown, shown, min(byte_count, _MAX_32), min(at, _MAX_32), 0
    )
    return long + b"PK\5\6" + short
