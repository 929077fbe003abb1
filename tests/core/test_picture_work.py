"""What providers get of a photo: upright, sRGB, small enough, and silent about its origin."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from typing import Any

import pytest
from PIL import Image

from makeready import picture_work
from makeready.picture_metadata import stripped
from makeready.picture_work import PictureUnfit, Prepared
from tests.support.photo_pictures import (
    QUARTERS,
    SECRET_PLACE,
    corners,
    is_near,
    opened,
    quarters,
    saved,
    swapping_profile,
    told_place,
    turned,
)

WEB = ("image/jpeg", "image/png", "image/webp")


def prepared(content: bytes, **changes: Any) -> Prepared:
    options: dict[str, Any] = {"media_types": WEB, "max_bytes": 1 << 20} | changes
    return picture_work.prepare(io.BytesIO(content), **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_turned_upright_whatever_it_says_of_itself(kind: str, orientation: int) -> None:
    content = saved(turned(orientation), kind, exif=told_place(orientation))
    found = prepared(content)
    assert (found.width, found.height) == (96, 64)
    assert is_near(corners(opened(found.content)), QUARTERS)
    assert SECRET_PLACE in content
    assert SECRET_PLACE not in found.content
    assert b"Anna" not in found.content
    assert opened(found.content).getexif() == {}


def test_a_photo_that_is_fit_keeps_its_pixels_bit_by_bit() -> None:
    for kind in ("JPEG", "PNG"):
        content = saved(quarters(), kind, exif=told_place())
        found = prepared(content)
        assert found.media_type == f"image/{kind.lower()}"
        assert opened(found.content).tobytes() == opened(content).tobytes()
        assert len(found.content) < len(content)


def test_what_stands_behind_the_end_of_a_photo_goes() -> None:
    for kind in ("JPEG", "PNG"):
        content = saved(quarters(), kind)
        assert prepared(content + b"GPS of a trailer").content == content


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}])
def test_progressive_photos_and_those_with_restarts_are_stripped_whole(
    options: dict[str, Any],
) -> None:
    plain = saved(quarters(), **options)
    content = saved(quarters(), exif=told_place(), comment=b"a comment", **options)
    assert stripped(content, "image/jpeg") == plain


def test_a_photo_that_is_cut_off_is_not_taken_for_whole() -> None:
    content = saved(quarters())
    for end in (2, 10, len(content) // 2, len(content) - 2):
        assert stripped(content[:end], "image/jpeg") is None
        with pytest.raises(PictureUnfit):
            picture_work.verified(content[:end])
    assert stripped(b"", "image/jpeg") is None
    assert stripped(saved(quarters(), "PNG")[:-12], "image/png") is None
    assert stripped(content, "image/webp") is None


def test_colours_are_turned_into_those_of_srgb() -> None:
    profile = swapping_profile()
    for kind in ("JPEG", "PNG"):
        content = saved(quarters(), kind, icc_profile=profile)
        image = opened(prepared(content).content)
        red, green, *_ = corners(image)
        assert red[1] > red[0]
        assert green[0] > green[1]
        assert "icc_profile" not in image.info


def test_a_profile_that_is_broken_is_as_none() -> None:
    content = saved(quarters(), icc_profile=b"\0" * 200)
    assert is_near(corners(opened(prepared(content).content)), QUARTERS)


def test_colours_of_ink_and_greys_of_16_bits_are_shown_as_colours() -> None:
    ink = saved(quarters().convert("CMYK"))
    assert is_near(corners(opened(prepared(ink).content)), QUARTERS)
    grey = Image.new("I;16", (8, 8), 0x8000)
    assert opened(prepared(saved(grey, "PNG")).content).convert("L").getpixel((4, 4)) == 128
    for mode in ("1", "L", "LA", "P", "PA", "RGBA"):
        image = quarters().convert(mode if mode != "PA" else "P")
        assert opened(prepared(saved(image, "PNG")).content).mode in ("RGB", "L", "RGBA")


def test_heic_becomes_jpeg_where_a_provider_cannot_take_it() -> None:
    """ING-010 and ING-007: what a booth may send is wider than what a provider takes."""
    content = saved(quarters(), "HEIF", quality=90, exif=told_place(6))
    assert SECRET_PLACE in content
    found = prepared(content)
    assert found.media_type == "image/jpeg"
    assert SECRET_PLACE not in found.content
    assert sorted((found.width, found.height)) == [64, 96]


def test_a_photo_of_several_pictures_is_its_first_one() -> None:
    out = io.BytesIO()
    quarters().save(out, "MPO", save_all=True, append_images=[quarters((48, 32))])
    content = out.getvalue()
    assert picture_work.verified(content).media_type == "image/jpeg"
    found = prepared(content)
    assert len(found.content) < len(content) / 1.5
    assert opened(found.content).format == "JPEG"


def test_bytes_that_were_changed_on_the_way_are_read_or_refused_in_words() -> None:
    chance = random.Random(17)
    kinds = [saved(turned(6), kind, exif=told_place(6)) for kind in ("JPEG", "PNG", "WEBP")]
    kinds.append(saved(quarters(), "PNG", icc_profile=swapping_profile()))
    for _ in range(60):
        content = bytearray(chance.choice(kinds))
        for _ in range(chance.choice((1, 3, 20))):
            content[chance.randrange(min(len(content), 500))] = chance.randrange(256)
        for work in (prepared, picture_work.verified, picture_work.read):
            with suppress(PictureUnfit):
                work(bytes(content))


def test_a_photo_is_drawn_smaller_until_it_fits() -> None:
    """ING-010: the provider's limit holds for what is sent to it."""
    noise = Image.effect_noise((360, 240), 90).convert("RGB")
    content = saved(noise, quality=95)
    most = len(content) // 6
    found = prepared(content, max_bytes=most)
    assert len(found.content) <= most
    assert found.width / found.height == pytest.approx(1.5, rel=0.01)
    assert prepared(content, max_side=100).width == 100
    assert len(prepared(saved(noise, "PNG"), max_bytes=most).content) <= most
    with pytest.raises(PictureUnfit, match="does not fit"):
        prepared(content, max_bytes=50)


def test_what_is_transparent_stays_so_or_stands_on_white() -> None:
    clear = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    clear.paste((0, 0, 200, 255), (0, 0, 20, 40))
    content = saved(clear, "PNG")
    kept = prepared(content, max_side=20)
    assert kept.media_type == "image/png"
    assert kept.width == 20
    assert opened(kept.content).getchannel("A").getpixel((15, 10)) == 0
    white = opened(prepared(content, media_types=("image/jpeg",)).content).getpixel((35, 20))
    assert isinstance(white, tuple)
    assert min(white) > 240


def test_a_thumbnail_is_small_upright_and_silent() -> None:
    content = saved(turned(6, (1200, 800)), exif=told_place(6))
    found = picture_work.thumbnail(io.BytesIO(content))
    image = opened(found)
    assert image.size == (320, 213)
    assert is_near(corners(image), QUARTERS)
    assert SECRET_PLACE not in found
    assert len(found) < 20_000


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0", b"<svg/>", b"\0" * 99])
def test_what_is_no_picture_is_refused_in_words(content: bytes) -> None:
    for work in (prepared, picture_work.verified, picture_work.read):
        with pytest.raises(PictureUnfit):
            work(content)


def test_a_picture_that_unfolds_to_too_much_is_refused_by_its_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = saved(Image.new("1", (12_000, 9_000)), "PNG")
    assert len(bomb) < 30_000
    for work in (prepared, picture_work.verified, picture_work.read):
        with pytest.raises(PictureUnfit, match="12000 × 9000"):
            work(bomb)
    monkeypatch.setattr(picture_work, "WHOLE_MAX_BYTES", 100)
    with pytest.raises(PictureUnfit, match="HEIF"):
        prepared(saved(quarters(), "HEIF"))


def test_a_received_picture_is_what_its_bytes_say() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        found = picture_work.verified(saved(quarters(), kind))
        assert (found.media_type, found.width, found.height) == (f"image/{kind.lower()}", 96, 64)
    with pytest.raises(PictureUnfit):
        picture_work.verified(saved(quarters(), "HEIF"))
    with pytest.raises(PictureUnfit):
        picture_work.verified(saved(quarters(), "WEBP")[:-9])


def test_sixteen_bits_of_grey_are_drawn_smaller() -> None:
    grey = saved(Image.new("I;16", (60, 40), 200 << 8), "PNG")
    for content in (picture_work.thumbnail(io.BytesIO(grey)), prepared(grey, max_side=30).content):
        assert is_near(corners(opened(content)), ((200, 200, 200),) * 4)
    assert picture_work.read(grey, 30).size == (30, 20)
    wide = saved(Image.new("I;16", (600, 400), 200 << 8), "PNG")
    assert opened(picture_work.thumbnail(io.BytesIO(wide))).size == (320, 213)
