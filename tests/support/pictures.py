"""Small photos of all kinds, made once a run, and forms as booths send them."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any

import pillow_heif
from PIL import Image

BOUNDARY = "------------0903210714"
CAPTURED = (
    ("time", "2026-11-22 14:03:11"),
    ("user_id", "41"),
    ("id", "CY04N068111304S2L_00000001."),
    ("profile", "C:\\Users\\booth\\profile.xml"),
    ("status", "C:\\Users\\booth\\status.txt"),
    ("hash", "3f786850e387550fdab836ed7e6dc881de23001b"),
    ("name", "IMG_0003.JPG"),
    ("model", "Canon EOS 250D"),
    ("version", "3.30.2"),
)
"""What a booth sends before its password, in its order."""

_FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/heic": "HEIF",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
}


@functools.cache
def photo(
    media_type: str = "image/jpeg",
    size: tuple[int, int] = (64, 48),
    *,
    orientation: int | None = None,
    frames: int = 1,
    lossless: bool = False,
) -> bytes:
    """One of this type; `orientation` as a camera notes it."""
    pillow_heif.register_heif_opener()
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    out = io.BytesIO()
    more: dict[str, Any] = {"lossless": True} if lossless else {}
    if orientation is not None:
        exif = Image.Exif()
        exif[274] = orientation
        more["exif"] = exif.tobytes()
    if frames > 1:
        others = [image.rotate(10 * number) for number in range(1, frames)]
        more |= {"save_all": True, "append_images": others}
    image.save(out, _FORMATS[media_type], **more)
    return out.getvalue()


def field(name: str, value: str) -> bytes:
    """A text part."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + value.encode() + b"\r\n"


def file(
    content: bytes,
    *,
    name: str = "fileToUpload",
    filename: str = "IMG_0003.JPG",
    media_type: str = "image/jpeg",
) -> bytes:
    """A file part."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"'
        f"\r\nContent-Type: {media_type}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """The whole body."""
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def booth_form(content: bytes, password: str, *, fields: Sequence[tuple[str, str]] = ()) -> bytes:
    """As a booth sends it: its fields, the password, the photo."""
    named = (*CAPTURED, *fields, ("password", password))
    return form(*(field(*each) for each in named), file(content))
