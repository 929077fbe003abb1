"""A photo and a frame to try a slot with: drawn here, so that the demo carries no pictures."""

from __future__ import annotations

import io
import math
import random

from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 1800, 1200
MARGIN = 60
_ORIENTATION = 0x0112
_UPSIDE_DOWN = 3  # as some cameras hang in their booth
_CONFETTI = 90
_SEED = 7


def photo() -> bytes:
    """A JPEG of three guests before a wall; its EXIF says that it is to be turned around."""
    image = _wall()
    draw = ImageDraw.Draw(image)
    for x, height, coat, skin in (
        (430, 640, (54, 92, 141), (232, 190, 160)),
        (900, 760, (176, 58, 72), (141, 96, 66)),
        (1370, 600, (61, 128, 96), (244, 208, 178)),
    ):
        _guest(draw, x, height, coat, skin)
    exif = Image.Exif()
    exif[_ORIENTATION] = _UPSIDE_DOWN
    out = io.BytesIO()
    image.rotate(180).save(out, "JPEG", quality=90, exif=exif)
    return out.getvalue()


def overlay() -> bytes:
    """A PNG frame with a transparent window, as a designer would hand it in."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (24, 45, 38, 255))
    draw = ImageDraw.Draw(image)
    window = (MARGIN, MARGIN, WIDTH - MARGIN, HEIGHT - 3 * MARGIN)
    draw.rounded_rectangle(window, 36, fill=(0, 0, 0, 0), outline=(232, 200, 120, 255), width=8)
    for index in range(13):
        x = 160 + index * (WIDTH - 320) / 12
        _tree(draw, x, HEIGHT - 44, 100 if index % 2 else 74)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _wall() -> Image.Image:
    top, bottom = (250, 222, 190), (206, 120, 110)
    strip = Image.new("RGB", (1, HEIGHT))
    for y in range(HEIGHT):
        share = y / HEIGHT
        mixed = [round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True)]
        strip.putpixel((0, y), (mixed[0], mixed[1], mixed[2]))
    image = strip.resize((WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    chance = random.Random(_SEED)  # noqa: S311 -- the same picture each time
    for _ in range(_CONFETTI):
        x, y, size = chance.randrange(WIDTH), chance.randrange(HEIGHT), chance.randrange(6, 22)
        colour = chance.choice([(255, 244, 214), (242, 176, 80), (120, 160, 190), (226, 90, 110)])
        draw.ellipse((x, y, x + size, y + size), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(3))


def _guest(
    draw: ImageDraw.ImageDraw,
    x: int,
    height: int,
    coat: tuple[int, int, int],
    skin: tuple[int, int, int],
) -> None:
    top = HEIGHT - height
    draw.rounded_rectangle((x - 190, top + 250, x + 190, HEIGHT + 80), 120, fill=coat)
    draw.rectangle((x - 50, top + 190, x + 50, top + 290), fill=skin)
    draw.ellipse((x - 120, top - 20, x + 120, top + 240), fill=skin)
    hair = (66, 44, 34)
    draw.pieslice((x - 128, top - 40, x + 128, top + 200), 180, 360, fill=hair)
    for side in (-46, 46):
        draw.ellipse((x + side - 13, top + 96, x + side + 13, top + 126), fill=(40, 30, 30))
    draw.arc((x - 60, top + 110, x + 60, top + 200), 25, 155, fill=(140, 40, 50), width=9)


def _tree(draw: ImageDraw.ImageDraw, x: float, foot: float, height: float) -> None:
    for step in range(3):
        low = foot - step * height * 0.28
        wide = height * (0.42 - 0.1 * step)
        draw.polygon(
            [(x - wide, low), (x + wide, low), (x, low - height * 0.5)], fill=(90, 158, 111, 255)
        )
    star = foot - height * 1.12
    points = []
    for corner in range(10):
        angle, size = math.pi * corner / 5 - math.pi / 2, (10 if corner % 2 == 0 else 4)
        points.append((x + size * math.cos(angle), star + size * math.sin(angle)))
    draw.polygon(points, fill=(232, 200, 120, 255))
