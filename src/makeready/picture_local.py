"""Photos in a frame, on a background, under a filter: what slots can do without any provider.

Pure, and it blocks: call it in a thread. The settings fit their schemas in `photo_schemas`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

from PIL import Image, ImageColor, ImageEnhance, ImageFilter, ImageOps

from makeready.photo_schemas import SIDE_MAX
from makeready.picture_work import Prepared, encoded, flat, read
from makeready.pictures import JPEG, PNG, WEBP

Settings: TypeAlias = Mapping[str, Any]
Step: TypeAlias = Callable[[Image.Image, Settings], Image.Image]

QUALITY = 90
CACHED = 4  # templates, decoded
CACHED_PIXELS = 6_000_000
_PAPER = "#ffffff"
_TYPES = {"jpeg": JPEG, "png": PNG, "webp": WEBP}
_SEPIA = (0.393, 0.769, 0.189, 0.0, 0.349, 0.686, 0.168, 0.0, 0.272, 0.534, 0.131, 0.0)


def framed(
    photo: bytes, template: bytes, settings: Settings, max_side: int = SIDE_MAX
) -> Prepared:
    """A photo in the window of a template that lies over it or under it; raises PictureUnfit."""
    layer = _template(template, max_side)
    size = _size(layer.size, settings, max_side)
    if size != layer.size:
        layer = layer.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", size, (*_colour(settings.get("colour", _PAPER)), 255))
    is_over = settings.get("layer", "overlay") == "overlay"
    if not is_over:
        canvas.alpha_composite(layer)
    left, top, width, height = _window(settings.get("window"), size)
    # Twice the window: what is cut off at two sides is still read at its full size.
    shown = read(photo, min(max_side, 2 * max(width, height)))
    fitted = _fitted(shown, (width, height), settings.get("fit", "cover"))
    place = (left + (width - fitted.width) // 2, top + (height - fitted.height) // 2)
    canvas.alpha_composite(fitted.convert("RGBA"), place)
    if is_over:
        canvas.alpha_composite(layer)
    return _made(canvas, settings)


def filtered(photo: bytes, settings: Settings, max_side: int = SIDE_MAX) -> Prepared:
    """A photo after the steps of a filter, one after the other; raises PictureUnfit."""
    image = read(photo, max_side)
    size = _size(image.size, settings, max_side)
    if size != image.size:
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    image = image.convert("RGB")
    for step in settings["steps"]:
        turn = _TURNS.get(step["operation"])
        if turn is None:
            image = _STEPS[step["operation"]](image, step).convert("RGB")
        else:
            image = image.transpose(turn)
            alpha = alpha.transpose(turn) if alpha is not None else None
    if alpha is not None:
        image.putalpha(alpha)
    return _made(image, settings)


def _template(content: bytes, max_side: int) -> Image.Image:
    """The same few lie around every photo: small ones stay decoded. Not to be drawn on."""
    image = _read_template(content, max_side)
    if image.width * image.height > CACHED_PIXELS:
        _read_template.cache_clear()
    return image


@lru_cache(maxsize=CACHED)
def _read_template(content: bytes, max_side: int) -> Image.Image:
    return read(content, max_side).convert("RGBA")


def _size(own: tuple[int, int], settings: Settings, max_side: int) -> tuple[int, int]:
    """Of the result: as told, one side keeps the proportions; within the limit in any case."""
    width, height = settings.get("width"), settings.get("height")
    wanted = (float(own[0]), float(own[1]))
    if width is not None and height is not None:
        wanted = (width, height)
    elif width is not None:
        wanted = (width, own[1] * width / own[0])
    elif height is not None:
        wanted = (own[0] * height / own[1], height)
    scale = min(1.0, max_side / max(wanted))
    return max(1, round(wanted[0] * scale)), max(1, round(wanted[1] * scale))


def _window(window: Settings | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width, height in pixels, inside the canvas."""
    if window is None:
        return 0, 0, *size
    left = min(round(window["x"] * size[0]), size[0] - 1)
    top = min(round(window["y"] * size[1]), size[1] - 1)
    width = max(1, min(round(window["width"] * size[0]), size[0] - left))
    height = max(1, min(round(window["height"] * size[1]), size[1] - top))
    return left, top, width, height


def _fitted(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    whole = Image.Resampling.LANCZOS
    if fit == "contain":
        return ImageOps.contain(image, size, whole)
    return ImageOps.fit(image, size, whole)


def _made(image: Image.Image, settings: Settings) -> Prepared:
    media_type = _TYPES[settings.get("format", "jpeg")]
    image = flat(image) if media_type == JPEG else image
    content = encoded(image, media_type, settings.get("quality", QUALITY))
    return Prepared(content=content, media_type=media_type, width=image.width, height=image.height)


def _colour(text: str) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def _pixelate(image: Image.Image, step: Settings) -> Image.Image:
    size = (max(1, image.width // step["size"]), max(1, image.height // step["size"]))
    small = image.resize(size, Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _colorize(image: Image.Image, step: Settings) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), step["dark"], step["light"])


def _enhanced(by: Callable[[Image.Image], ImageEnhance._Enhance]) -> Step:
    return lambda image, step: by(image).enhance(step["factor"])


def _filter(kind: type[ImageFilter.BuiltinFilter]) -> Step:
    return lambda image, _: image.filter(kind())


def _unsharp_mask(image: Image.Image, step: Settings) -> Image.Image:
    mask = ImageFilter.UnsharpMask(step["radius"], step["percent"], step["threshold"])
    return image.filter(mask)


_TURNS: Mapping[str, Image.Transpose] = MappingProxyType(
    {"mirror": Image.Transpose.FLIP_LEFT_RIGHT, "flip": Image.Transpose.FLIP_TOP_BOTTOM}
)
_STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "grayscale": lambda image, _: ImageOps.grayscale(image),
        "sepia": lambda image, _: image.convert("RGB", _SEPIA),
        "invert": lambda image, _: ImageOps.invert(image),
        "equalize": lambda image, _: ImageOps.equalize(image),
        "detail": _filter(ImageFilter.DETAIL),
        "smooth": _filter(ImageFilter.SMOOTH),
        "sharpen": _filter(ImageFilter.SHARPEN),
        "contour": _filter(ImageFilter.CONTOUR),
        "emboss": _filter(ImageFilter.EMBOSS),
        "edge_enhance": _filter(ImageFilter.EDGE_ENHANCE),
        "autocontrast": lambda image, step: ImageOps.autocontrast(image, cutoff=step["cutoff"]),
        "brightness": _enhanced(ImageEnhance.Brightness),
        "contrast": _enhanced(ImageEnhance.Contrast),
        "color": _enhanced(ImageEnhance.Color),
        "sharpness": _enhanced(ImageEnhance.Sharpness),
        "gaussian_blur": lambda image, step: image.filter(
            ImageFilter.GaussianBlur(step["radius"])
        ),
        "box_blur": lambda image, step: image.filter(ImageFilter.BoxBlur(step["radius"])),
        "unsharp_mask": _unsharp_mask,
        "median": lambda image, _: image.filter(ImageFilter.MedianFilter(3)),
        "posterize": lambda image, step: ImageOps.posterize(image, step["bits"]),
        "solarize": lambda image, step: ImageOps.solarize(image, step["threshold"]),
        "pixelate": _pixelate,
        "colorize": _colorize,
    }
)
"""The operations of `photo_schemas.FILTER_STEPS` that leave each pixel where it is."""
