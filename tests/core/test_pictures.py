"""What a photo is, told from its header: right for all that cameras write, safe for the rest."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import pillow_heif
import pytest
from PIL import Image

from makeready.pictures import (
    MEDIA_TYPES,
    BadPicture,
    PictureFacts,
    TooLarge,
    look,
    safe_name,
    sniff,
    told_type,
)
from tests.support.pictures import photo

KINDS = ("image/jpeg", "image/png", "image/webp", "image/heic")


class Counted(io.BytesIO):
    """Counts what is read of it."""

    calls = 0
    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.calls += 1
        self.count += len(data)
        return data


def looked(data: bytes, **limits: Any) -> PictureFacts:
    return look(io.BytesIO(data), **limits)


@pytest.mark.parametrize("kind", KINDS)
def test_ing_007_the_type_is_that_of_the_content(kind: str) -> None:
    assert sniff(photo(kind)[:64]) == kind


def test_ing_007_heif_is_told_from_its_kin() -> None:
    def head(*brands: bytes) -> bytes:
        size = 8 + 4 * (len(brands) + 1)
        return struct.pack(">I4s", size, b"ftyp") + brands[0] + bytes(4) + b"".join(brands[1:])

    assert sniff(head(b"heic", b"mif1", b"heic")) == "image/heic"
    assert sniff(head(b"mif1", b"mif1", b"heic")) == "image/heic"
    assert sniff(head(b"mif1", b"mif1", b"unif")) == "image/heif"
    assert sniff(head(b"mif1", b"avif", b"mif1")) is None
    assert sniff(head(b"avif", b"mif1", b"heic")) is None
    assert sniff(head(b"isom", b"mp41")) is None
    assert told_type(head(b"mif1", b"avif")) == "image/avif"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", None),
        (b"\xff\xd8", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"\0\0\0\x08ftyp", "video/mp4"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\xef\xbb\xbf  <svg xmlns", "image/svg+xml"),
        (b"<!DOCTYPE html>", "text/html"),
        (b"random bytes", None),
    ],
)
def test_ing_007_what_is_no_photo_is_none(data: bytes, told: str | None) -> None:
    assert sniff(data) is None
    assert told_type(data) == told
    with pytest.raises(BadPicture):
        looked(data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (64, 48), (33, 101), (1025, 3)])
def test_the_size_is_what_another_reader_finds(kind: str, size: tuple[int, int]) -> None:
    if kind == "image/heic" and min(size) < 16:
        size = (size[0] + 16, size[1] + 16)  # its coder makes none smaller
    data = photo(kind, size)
    with Image.open(io.BytesIO(data)) as image:
        assert (looked(data).width, looked(data).height) == image.size == size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_on_its_side_is_measured_upright(kind: str, orientation: int) -> None:
    facts = looked(photo(kind, orientation=orientation))

    assert (facts.width, facts.height) == ((48, 64) if orientation > 4 else (64, 48))
    assert facts.orientation == (1 if kind == "image/heic" else orientation)


def test_webp_without_loss_is_measured_too() -> None:
    data = photo("image/webp", (301, 7), lossless=True)
    assert b"VP8L" in data[:32]
    assert (looked(data).width, looked(data).height) == (301, 7)


@pytest.mark.parametrize("kind", ["image/png", "image/webp"])
def test_an_animation_is_told(kind: str) -> None:
    assert looked(photo(kind, frames=3)).frames == 2
    assert looked(photo(kind)).frames == 1


def test_a_picture_of_several_in_one_jpeg_is_its_first() -> None:
    out = io.BytesIO()
    first, second = (Image.new("RGB", (size, 20)) for size in (40, 10))
    first.save(out, "MPO", save_all=True, append_images=[second])

    assert looked(out.getvalue()) == PictureFacts(
        media_type="image/jpeg", width=40, height=20, frames=1, orientation=1
    )


def test_the_picture_that_is_meant_to_be_shown_is_measured() -> None:
    pillow_heif.register_heif_opener()
    heif = pillow_heif.HeifFile()
    for size in ((40, 30), (128, 64), (48, 48)):
        heif.add_from_pillow(Image.new("RGB", size))
    out = io.BytesIO()
    heif.save(out, primary_index=1)

    assert (looked(out.getvalue()).width, looked(out.getvalue()).height) == (128, 64)


def test_what_fills_up_a_header_is_passed_over() -> None:
    whole = photo(orientation=6)
    filled = whole[:20] + b"\0\0\xff\xff" + whole[20:]

    assert looked(filled) == looked(whole)
    with Image.open(io.BytesIO(filled)) as image:
        assert image.size == (64, 48)


def bomb(width: int, height: int) -> bytes:
    """A PNG that unfolds to so many pixels, in some hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        tail = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + tail

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (20_001, 1), (10, 30_000)])
def test_a_bomb_is_known_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(TooLarge) as caught:
        looked(bomb(*size))
    assert (caught.value.width, caught.value.height) == size


def test_the_limit_of_pixels_is_exact() -> None:
    assert looked(bomb(10_000, 10_000)).width == 10_000
    assert looked(bomb(100, 10), max_pixels=1000).width == 100
    with pytest.raises(TooLarge):
        looked(bomb(1001, 1), max_pixels=1000)
    with pytest.raises(BadPicture):
        looked(bomb(0, 10))


def test_what_a_clip_hides_counts_as_pixels() -> None:
    data = bytearray(photo("image/heic", (64, 48)))
    at = data.index(b"ispe")
    data[at + 8 : at + 16] = struct.pack(">II", 20_000, 20_000)

    with pytest.raises(TooLarge):
        looked(bytes(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_header_is_a_bad_picture_and_nothing_else(kind: str) -> None:
    chance = random.Random(kind)
    whole = photo(kind, orientation=6)
    for _ in range(1500):
        data = bytearray(whole[: chance.randrange(1, len(whole))])
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file = Counted(bytes(data))
        try:
            facts = look(file)
        except BadPicture:
            continue
        assert facts.media_type in MEDIA_TYPES
        assert 1 <= facts.width <= 20_000


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 1_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 250_000,
        b"\xff\xd8\xff" + b"\xd0\xff" * 500_000,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 9, 9) + bytes(9 + 1_000_000),
        b"RIFF\0\0\0\0WEBP" + bytes(1_000_000),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * 100_000,
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\x00\x0f\x00\x00meta" + b"\0\0\0\x08free" * 130_000,
    ],
    ids=["fillers", "segments", "restarts", "png", "webp", "boxes", "meta"],
)
def test_a_header_without_an_end_costs_little(data: bytes) -> None:
    file = Counted(data)
    with pytest.raises(BadPicture):
        look(file)
    assert file.calls < 2100
    assert file.count < 1_100_000


def noted(marker: int, note: bytes, count: int) -> bytes:
    """A JPEG with so many notes in its header."""
    whole = photo()
    segment = struct.pack(">BBH", 0xFF, marker, len(note) + 2) + note
    return whole[:2] + segment * count + whole[2:]


def test_notes_that_decoders_would_choke_on_are_too_much() -> None:
    assert looked(noted(0xE1, b"Exif\0\0" + bytes(9), 15)).width == 64
    assert looked(noted(0xE1, b"http://ns.adobe.com/", 500)).width == 64
    # Joined one by one, EXIF of 97 MB keeps a decoder for half a minute.
    for too_much in (
        noted(0xE1, b"Exif\0\0" + bytes(9), 17),
        noted(0xEF, bytes(65_000), 520),
    ):
        with pytest.raises(BadPicture, match="too much of it"):
            looked(too_much)


def test_a_header_is_read_without_its_file(tmp_path: Path) -> None:
    # ING-009: two gigabytes behind a header of some hundred bytes, in the file and not in memory.
    path = tmp_path / "large.jpg"
    with path.open("wb") as made:
        made.write(photo())
        made.truncate(2 << 30)

    class Watched:
        """A file that nobody may read whole."""

        def __init__(self, file: IO[bytes]) -> None:
            self.seek = file.seek
            self._file = file

        def read(self, size: int) -> bytes:
            assert 0 <= size <= 1 << 16
            return self._file.read(size)

    with path.open("rb") as file:
        assert look(Watched(file)).width == 64  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "safe"),
    [
        ("IMG_0003.JPG", "IMG_0003.JPG"),
        ("C:\\Users\\booth\\IMG 3.jpg", "IMG_3.jpg"),
        ("../../etc/passwd", "passwd"),
        ("фото.jpg", "____.jpg"),
        ("й.jpg", "_.jpg"),  # two characters that are one
        (".bashrc", "bashrc"),
        ("..", "upload.bin"),
        ("", "upload.bin"),
        ("a/b/", "upload.bin"),
        ("x\0y\r\n.png", "xy.png"),
        ("a<b>:c?.png", "a_b__c_.png"),
        ("prepared.jpg", "_prepared.jpg"),
        ("PREPARED", "_PREPARED"),
        ("preparedness.jpg", "preparedness.jpg"),
        ("a" * 300 + ".jpeg", "a" * 115 + ".jpeg"),
        ("." * 300, "upload.bin"),
        ("x." + "y" * 300, "x." + "y" * 118),
    ],
)
def test_ing_017_a_name_is_made_safe(told: str, safe: str) -> None:
    assert safe_name(told) == safe
