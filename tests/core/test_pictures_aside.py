"""Long work on pictures: the same as in a thread, bounded in time and memory, and stopped."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from PIL import Image

from makeready import picture_local, picture_work, pictures_aside
from makeready.picture_work import PictureUnfit
from makeready.pictures_aside import filtered_aside, framed_aside, holds_lock, is_long
from tests.support.photo_pictures import opened, quarters, saved

MEDIAN: Mapping[str, Any] = {"steps": [{"operation": "median"}]}
LONGEST: Mapping[str, Any] = {"steps": [{"operation": "median"}] * 16, "format": "webp"}
SIDE = 8192


@pytest.fixture(autouse=True)
async def helpers() -> AsyncIterator[None]:
    yield
    await pictures_aside.close()


def blank(width: int, height: int) -> bytes:
    """A large PNG of few bytes, made without its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer, row = zlib.compressobj(1), bytes(1 + width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"IDAT", pixels),
            chunk(b"IEND", b""),
        )
    )


async def test_a_helper_makes_what_a_thread_makes() -> None:
    photo = saved(quarters((60, 40)))
    template = saved(Image.new("RGBA", (50, 50), (0, 0, 0, 9)), "PNG")
    assert await filtered_aside(photo, MEDIAN, SIDE) == picture_local.filtered(photo, MEDIAN, SIDE)
    framed = picture_local.framed(photo, template, {}, SIDE)
    assert await framed_aside(photo, template, {}, SIDE) == framed
    asked: dict[str, Any] = {"media_types": ("image/jpeg",), "max_bytes": 10**6, "max_side": 30}
    prepared = picture_work.prepare(io.BytesIO(photo), **asked)
    assert await pictures_aside.prepared_aside(photo, **asked) == prepared
    small = picture_work.thumbnail(io.BytesIO(photo))
    assert await pictures_aside.thumbnail_aside(photo) == small


async def test_what_is_unfit_is_so_in_a_helper_too() -> None:
    with pytest.raises(PictureUnfit, match="no picture"):
        await filtered_aside(b"no picture", MEDIAN, SIDE)
    with pytest.raises(PictureUnfit, match="cannot be worked with: KeyError"):
        await filtered_aside(saved(quarters((60, 40))), {}, SIDE)


async def test_a_filter_that_takes_too_long_is_refused_and_harms_nobody_ing_077(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = blank(SIDE, SIDE)
    with monkeypatch.context() as patch:
        patch.setattr(pictures_aside, "ASIDE_TIMEOUT_S", 0.3)
        with pytest.raises(PictureUnfit, match=r"longer than 0\.3 s"):
            await filtered_aside(photo, LONGEST, SIDE)
    small = saved(quarters((60, 40)))
    assert opened((await filtered_aside(small, MEDIAN, SIDE)).content).size == (60, 40)


async def test_a_filter_ends_with_its_window() -> None:
    photo = blank(SIDE, SIDE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await filtered_aside(photo, LONGEST, SIDE)
    # Both helpers are free: neither is still at it.
    small = saved(quarters((60, 40)))
    both = await asyncio.gather(*(filtered_aside(small, MEDIAN, SIDE) for _ in range(2)))
    assert both[0] == both[1]


def test_small_pictures_and_those_without_a_size_are_not_worth_the_way() -> None:
    large, small = blank(1001, 1000), blank(1000, 1000)
    assert is_long(io.BytesIO(large))
    assert not is_long(io.BytesIO(small))
    assert not is_long(io.BytesIO(b"no picture"))
    assert not holds_lock(io.BytesIO(large))
    webp = saved(Image.new("RGB", (1001, 1000)), "WEBP")
    assert holds_lock(io.BytesIO(webp))


async def test_a_file_that_must_be_read_whole_may_only_be_so_large() -> None:
    class Huge(io.BytesIO):
        """A file that says it has two gigabytes."""

        def seek(self, place: int, whence: int = 0) -> int:
            return 2 << 30 if whence == io.SEEK_END else super().seek(place, whence)

    webp = saved(Image.new("RGB", (8, 8)), "WEBP")
    for kind, content in (("WebP", webp), ("PNG", blank(8, 8))):
        with pytest.raises(PictureUnfit, match=f"{kind} of more than"):
            picture_work.thumbnail(Huge(content))
    with pytest.raises(PictureUnfit, match="at once"):
        picture_work.whole(Huge(webp))
