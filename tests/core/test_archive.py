"""The ZIP plan: any range of it, read by other implementations, equals the whole.

Proves PSM-032.
"""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makeready.archive import Archive, Entry, Span

MADE_AT = datetime(2026, 3, 1, 12, 30, 41, tzinfo=UTC)
GIB = 1 << 30


def assembled(archive: Archive, objects: Mapping[str, bytes], *bounds: int | None) -> bytes:
    """The bytes that pieces stand for; bounds as of `Archive.pieces`."""
    found = []
    for piece in archive.pieces(*bounds):  # type: ignore[arg-type]
        if isinstance(piece, Span):
            part = objects[piece.key][piece.first : piece.last + 1]
            assert len(part) == piece.byte_count
            found.append(part)
        else:
            found.append(piece)
        assert found[-1], "an empty piece"
    return b"".join(found)


def stored(names: list[str], bodies: list[bytes]) -> tuple[list[Entry], dict[str, bytes]]:
    """Entries of objects with these bytes."""
    objects = {f"posm/{place}": body for place, body in enumerate(bodies)}
    entries = [
        Entry(name=name, byte_count=len(body), crc32=zlib.crc32(body), source=key)
        for name, (key, body) in zip(names, objects.items(), strict=True)
    ]
    return entries, objects


def cards(count: int = 5) -> tuple[Archive, dict[str, bytes]]:
    """An archive of some cards and a manifest."""
    chance = random.Random(4)
    names = [f"Ресторан «Ёлки»/Стол № {place:04} — зал.pdf" for place in range(count)]
    entries, objects = stored(names, [chance.randbytes(20 + 7 * n) for n in range(count)])
    return Archive([*entries, Entry.of("manifest.csv", b"table;file\r\n")], MADE_AT), objects


@given(
    bodies=st.lists(st.binary(max_size=40), max_size=8),
    literal=st.binary(max_size=30),
    bounds=st.tuples(st.integers(min_value=0), st.integers(min_value=0)),
)
def test_any_range_equals_that_part_of_the_whole_psm_032(
    bodies: list[bytes], literal: bytes, bounds: tuple[int, int]
) -> None:
    entries, objects = stored([f"стол {n}.pdf" for n in range(len(bodies))], bodies)
    archive = Archive([*entries, Entry.of("manifest.csv", literal)], MADE_AT)
    whole = assembled(archive, objects)
    first, last = sorted(bound % archive.byte_count for bound in bounds)

    assert len(whole) == archive.byte_count
    assert assembled(archive, objects, first, last) == whole[first : last + 1]
    assert assembled(archive, objects, first) == whole[first:]
    with zipfile.ZipFile(io.BytesIO(whole)) as found:
        assert found.testzip() is None
        assert [found.read(name) for name in found.namelist()] == [*bodies, literal]


def test_every_single_byte_and_every_cut_of_a_small_archive_is_right() -> None:
    archive, objects = cards(2)
    whole = assembled(archive, objects)

    for at in range(archive.byte_count):
        assert assembled(archive, objects, at, at) == whole[at : at + 1]
        assert assembled(archive, objects, 0, at) + whole[at + 1 :] == whole


@pytest.mark.parametrize("bounds", [(-1, 4), (5, 4), (0, 10**6), (10**6, None)])
def test_a_range_outside_is_refused(bounds: tuple[int, int | None]) -> None:
    with pytest.raises(ValueError, match="no bytes from"):
        cards()[0].pieces(*bounds)


def test_names_times_and_modes_are_read_back_psm_032() -> None:
    archive, objects = cards()

    with zipfile.ZipFile(io.BytesIO(assembled(archive, objects))) as found:
        infos = found.infolist()
    assert [info.filename for info in infos] == [entry.name for entry in archive.entries]
    assert infos[0].filename == "Ресторан «Ёлки»/Стол № 0000 — зал.pdf"
    assert all(info.flag_bits == 1 << 11 for info in infos)  # UTF-8, and no data descriptor
    assert {info.date_time for info in infos} == {(2026, 3, 1, 12, 30, 40)}
    assert {info.external_attr >> 16 for info in infos} == {0o100644}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.extract_version for info in infos} == {20}


def test_other_programs_find_nothing_wrong(tmp_path: Path) -> None:
    archive, objects = cards(30)
    path = tmp_path / "карточки.zip"
    path.write_bytes(assembled(archive, objects))

    subprocess.run([sys.executable, "-m", "zipfile", "-t", str(path)], check=True)
    unzip = shutil.which("unzip")
    if unzip is None:
        pytest.skip("unzip is not installed")
    subprocess.run([unzip, "-tq", str(path)], check=True)
    unpack = [unzip, "-q", str(path), "-d", str(tmp_path / "out")]
    subprocess.run(unpack, env={"LC_ALL": "C.UTF-8"}, check=True)
    unpacked = {str(p.relative_to(tmp_path / "out")) for p in tmp_path.rglob("*.pdf")}
    assert unpacked == {entry.name for entry in archive.entries[:-1]}


def test_the_same_entries_and_time_make_the_same_bytes_for_ever() -> None:
    """A download that is resumed after an update of the service must not get other bytes."""
    archive, objects = cards()
    moscow = MADE_AT.astimezone(timezone(timedelta(hours=3)))
    again = Archive(archive.entries, moscow)

    assert assembled(again, objects) == assembled(archive, objects)
    digest = hashlib.sha256(assembled(archive, objects)).hexdigest()
    assert (archive.etag, digest[:16]) == (
        "0a909847e6ed79b50a0a36d9386aa758",
        "2f2526967f2208ef",
    )


def test_whatever_differs_in_the_bytes_differs_in_the_etag() -> None:
    entry = Entry(name="a.pdf", byte_count=3, crc32=7, source="x")
    others: list[dict[str, Any]] = [
        {"name": "b.pdf"},
        {"byte_count": 4},
        {"crc32": 8},
    ]
    tags = {Archive([entry], MADE_AT).etag, Archive([entry], MADE_AT + timedelta(days=1)).etag}
    for change in others:
        facts = {"name": "a.pdf", "byte_count": 3, "crc32": 7, "source": "x", **change}
        tags.add(Archive([Entry(**facts)], MADE_AT).etag)

    assert len(tags) == 5
    elsewhere = Entry(name="a.pdf", byte_count=3, crc32=7, source="elsewhere")
    assert Archive([elsewhere], MADE_AT).etag == Archive([entry], MADE_AT).etag


class Virtual(io.RawIOBase):
    """An archive as a file, of objects that are all zeros but for those that are given."""

    def __init__(self, archive: Archive, objects: Mapping[str, bytes]) -> None:
        self._archive, self._objects, self._at = archive, objects, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._archive.byte_count)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._archive.byte_count if size < 0 else self._at + size
        if (stop := min(stop, self._archive.byte_count)) <= self._at:
            return b""
        found = []
        for piece in self._archive.pieces(self._at, stop - 1):
            if isinstance(piece, bytes):
                found.append(piece)
            elif piece.key in self._objects:
                found.append(self._objects[piece.key][piece.first : piece.last + 1])
            else:
                found.append(bytes(piece.byte_count))
        self._at = stop
        return b"".join(found)


def huge(*sizes: int) -> Archive:
    """Entries of so many zeros each, then one small entry."""
    entries = [
        Entry(name=f"{place}.pdf", byte_count=size, crc32=0, source=f"zeros/{place}")
        for place, size in enumerate(sizes)
    ]
    body = b"the last card"
    last = Entry(name="последняя.pdf", byte_count=13, crc32=zlib.crc32(body), source="last")
    return Archive([*entries, last], MADE_AT)


@pytest.mark.parametrize(
    ("sizes", "is_long"),
    [
        ((3 * GIB, GIB - 1000), False),
        ((3 * GIB, GIB), True),  # the last entry lies beyond
        ((0xFFFF_FFFF,), True),  # the size that as 32 bits would mean: look elsewhere
        ((5 * GIB, 7 * GIB), True),
    ],
)
def test_archives_beyond_4_gib_are_read_back_psm_032(
    sizes: tuple[int, ...], is_long: bool
) -> None:
    archive = huge(*sizes)
    virtual = Virtual(archive, {"last": b"the last card"})

    with zipfile.ZipFile(virtual) as found:
        infos = found.infolist()
        assert found.read("последняя.pdf") == b"the last card"
        with found.open("0.pdf") as first:
            assert first.read(10) == bytes(10)
    assert [info.file_size for info in infos] == [*sizes, 13]
    assert (infos[-1].extract_version == 45) == is_long
    virtual.seek(-200, 2)
    assert (b"PK\6\6" in virtual.read()) == is_long


def test_more_entries_than_16_bits_count_are_read_back() -> None:
    entries = [Entry.of(f"{place}.txt", b"") for place in range(0xFFFF)]
    for some in (entries[:-1], entries):
        archive = Archive(some, MADE_AT)
        whole = assembled(archive, {})
        assert (b"PK\6\6" in whole[-200:]) == (len(some) == 0xFFFF)
        with zipfile.ZipFile(io.BytesIO(whole)) as found:
            assert len(found.namelist()) == len(some)


@pytest.mark.parametrize("year", [1970, 1979, 2038, 2200])
def test_times_that_the_format_cannot_say_do_no_harm(year: int) -> None:
    archive = Archive([Entry.of("a.txt", b"a")], datetime(year, 5, 6, tzinfo=UTC))

    with zipfile.ZipFile(io.BytesIO(assembled(archive, {}))) as found:
        assert found.infolist()[0].date_time[:3] == (min(max(year, 1980), 2107), 5, 6)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "a//b", "../b.pdf", "a/./b", "a/", "я" * 40_000]
)
def test_what_is_no_name_of_a_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        Archive([Entry.of(name, b"")], MADE_AT)


def test_a_size_or_checksum_that_cannot_be_is_refused() -> None:
    for facts in ({"byte_count": -1, "crc32": 0}, {"byte_count": 1, "crc32": 1 << 32}):
        with pytest.raises(ValueError, match="size"):
            Archive([Entry(name="a", source="a", **facts)], MADE_AT)
