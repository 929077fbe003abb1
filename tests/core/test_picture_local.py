"""Frames, backgrounds, filters: where the photo lies, what lies over it, what size comes out."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from makeready import picture_local
from makeready.photo_kinds import settings_problems
from makeready.photo_schemas import FILTER_STEPS
from makeready.picture_work import PictureUnfit
from tests.support.photo_pictures import (
    QUARTERS,
    corners,
    is_near,
    opened,
    quarters,
    saved,
    told_place,
    turned,
)

BLACK = (0, 0, 0)
WINDOW = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
STEP_VALUES: dict[str, Any] = {
    "factor": 1.5,
    "radius": 2,
    "percent": 150,
    "threshold": 3,
    "bits": 3,
    "cutoff": 2,
    "size": 8,
    "dark": "#102030",
    "light": "#f0e0d0",
}


def with_hole(size: tuple[int, int] = (200, 200)) -> bytes:
    """A black frame; its middle, half as wide and high, is clear."""
    image = Image.new("RGBA", size, (*BLACK, 255))
    width, height = size
    image.paste((0, 0, 0, 0), (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    return saved(image, "PNG")


def framed(photo: bytes, template: bytes, **settings: Any) -> Image.Image:
    assert settings_problems("local", "frame", settings) == []
    return opened(picture_local.framed(photo, template, settings).content)


def filtered(photo: bytes, *steps: dict[str, Any], **settings: Any) -> Image.Image:
    settings = {"steps": list(steps), **settings}
    assert settings_problems("local", "filter", settings) == []
    return opened(picture_local.filtered(photo, settings).content)


def at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.convert("RGB").getpixel((x, y))
    assert isinstance(found, tuple)
    return tuple(int(each) for each in found)


def test_the_photo_shows_through_the_window_of_a_frame() -> None:
    photo = saved(turned(6, (100, 100)), exif=told_place(6))
    image = framed(photo, with_hole(), window=WINDOW)
    assert image.size == (200, 200)
    assert is_near((at(image, 10, 10), at(image, 190, 190)), (BLACK, BLACK))
    inside = image.crop((50, 50, 150, 150))
    assert is_near(corners(inside), QUARTERS)
    assert image.getexif() == {}


def test_the_photo_lies_on_a_background() -> None:
    ground = saved(Image.new("RGB", (200, 100), (0, 0, 200)))
    image = framed(saved(quarters((100, 50))), ground, layer="background", window=WINDOW)
    assert is_near((at(image, 10, 10),), ((0, 0, 200),))
    assert is_near(corners(image.crop((50, 25, 150, 75))), QUARTERS)


def test_the_soft_edge_of_a_photo_blends_with_what_is_behind_it() -> None:
    half = saved(Image.new("RGBA", (50, 50), (200, 0, 0, 128)), "PNG")
    ground = saved(Image.new("RGB", (50, 50), BLACK), "PNG")
    image = framed(half, ground, layer="background", format="png")
    assert is_near((at(image, 25, 25),), ((100, 0, 0),))


def test_a_window_is_filled_or_shows_the_whole_photo() -> None:
    photo = saved(Image.new("RGB", (100, 50), (200, 0, 0)))
    full = framed(photo, with_hole(), window=WINDOW)
    assert is_near((at(full, 100, 55), at(full, 100, 145)), ((200, 0, 0), (200, 0, 0)))
    whole = framed(photo, with_hole(), window=WINDOW, fit="contain", colour="#00ff00")
    assert is_near((at(whole, 100, 55), at(whole, 100, 100)), ((0, 255, 0), (200, 0, 0)))


def test_a_frame_has_the_size_that_is_asked_for() -> None:
    photo = saved(quarters())
    assert framed(photo, with_hole()).size == (200, 200)
    assert framed(photo, with_hole((200, 100)), width=100).size == (100, 50)
    assert framed(photo, with_hole((200, 100)), height=300).size == (600, 300)
    assert framed(photo, with_hole(), width=120, height=80).size == (120, 80)
    made = picture_local.framed(photo, with_hole(), {}, 64)
    assert (made.width, made.height) == (64, 64)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_the_result_has_the_format_that_is_asked_for(kind: str) -> None:
    image = framed(saved(quarters()), with_hole(), format=kind, quality=40)
    assert str(image.format).lower() == kind


def test_a_window_at_the_edge_keeps_a_pixel() -> None:
    settings = {"window": {"x": 1, "y": 1, "width": 0.01, "height": 0.01}, "layer": "background"}
    image = framed(saved(quarters()), saved(Image.new("RGB", (40, 40), BLACK)), **settings)
    assert at(image, 0, 0) == BLACK
    assert max(at(image, 39, 39)) > 20


@pytest.mark.parametrize("name", FILTER_STEPS)
def test_every_step_of_a_filter_works_and_changes_the_photo(name: str) -> None:
    photo = saved(quarters())
    step = {"operation": name, **{each: STEP_VALUES[each] for each in FILTER_STEPS[name]}}
    image = filtered(photo, step, format="png")
    assert image.size == (96, 64)
    soft = name in ("median", "smooth", "detail", "sharpen", "edge_enhance", "box_blur")
    is_same = image.convert("RGB").tobytes() == opened(photo).tobytes()
    assert not is_same or soft or name in ("autocontrast", "unsharp_mask", "pixelate")


def test_steps_come_one_after_the_other_and_turn_what_is_clear_as_well() -> None:
    photo = saved(quarters())
    grey = filtered(photo, {"operation": "grayscale"}, {"operation": "invert"})
    first = at(grey, 10, 10)
    assert max(first) - min(first) <= 3
    mirrored = filtered(photo, {"operation": "mirror"}, {"operation": "flip"})
    assert is_near(corners(mirrored), QUARTERS[::-1])
    clear = Image.new("RGBA", (40, 20), (200, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 20, 20))
    image = filtered(saved(clear, "PNG"), {"operation": "mirror"}, format="png")
    assert image.getchannel("A").getpixel((35, 10)) == 0
    assert image.getchannel("A").getpixel((5, 10)) == 255


def test_a_filter_makes_the_size_that_is_asked_for() -> None:
    photo = saved(quarters())
    step = {"operation": "sepia"}
    assert filtered(photo, step, width=48).size == (48, 32)
    assert filtered(photo, step, width=50, height=50).size == (50, 50)
    assert picture_local.filtered(photo, {"steps": [step]}, 60).width == 60


def test_template_media_that_is_no_picture_is_refused() -> None:
    with pytest.raises(PictureUnfit):
        picture_local.framed(saved(quarters()), b"nothing", {})
    with pytest.raises(PictureUnfit):
        picture_local.framed(b"nothing", with_hole(), {})
