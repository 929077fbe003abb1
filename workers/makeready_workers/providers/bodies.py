"""What is sent to providers: bodies made in pieces, so that no photo holds up the event loop.

A photo in JSON is base64, a third larger than itself: it is encoded while it is sent and never
becomes a text. The length is known before, since not every server takes a body without one.
"""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from makeready_workers.providers.base import Image

PIECE_BYTES = 3 << 15  # a tenth of a millisecond to encode; thirds, for base64


@dataclass(frozen=True, slots=True)
class Inline:
    """An image where JSON has a text: its base64, after a prefix."""

    content: bytes
    prefix: str = ""

    @property
    def size(self) -> int:
        """In characters of base64, with the prefix."""
        return len(self.prefix) + (len(self.content) + 2) // 3 * 4


def data_uri(image: Image) -> Inline:
    """The image as a data URI."""
    return Inline(image.content, f"data:{image.media_type};base64,")


@dataclass(frozen=True, slots=True)
class Body:
    """A body of a request: its type and its parts."""

    media_type: str
    parts: Sequence[bytes | Inline]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(each.size if isinstance(each, Inline) else len(each) for each in self.parts)

    async def stream(self) -> AsyncIterator[bytes]:
        """The bytes; other tasks run between the pieces."""
        for part in self.parts:
            for piece in _encoded(part) if isinstance(part, Inline) else _cut(part):
                yield piece
                await asyncio.sleep(0)


def json_body(document: Any) -> Body:
    """The body of a JSON document that has `Inline` where images belong."""
    images: list[Inline] = []
    mark = uuid4().hex  # nothing in the document can be taken for it

    def marked(found: Any) -> str:
        if not isinstance(found, Inline):
            raise TypeError(f"{type(found).__name__} is not JSON")
        images.append(found)
        return mark

    text = json.dumps(document, ensure_ascii=False, default=marked, separators=(",", ":"))
    head, *tails = text.encode().split(mark.encode())
    parts: list[bytes | Inline] = [head]
    for image, tail in zip(images, tails, strict=True):
        parts += [image, tail]
    return Body("application/json", parts)


def form_body(fields: Mapping[str, str]) -> Body:
    """The body of a form without files."""
    return Body("application/x-www-form-urlencoded", [urlencode(fields).encode()])


def multipart_body(
    fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, str, Image]]
) -> Body:
    """The body of a form with files: (name, value), and (name, file name's stem, image)."""
    boundary = uuid4().hex
    parts: list[bytes | Inline] = []
    for name, value in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(f"{head}{value}\r\n".encode())
    for name, stem, image in files:
        ending = image.media_type.rpartition("/")[2]
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{stem}.{ending}"\r\nContent-Type: {image.media_type}\r\n\r\n'
        )
        parts += [head.encode(), image.content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return Body(f"multipart/form-data; boundary={boundary}", parts)


def raw_body(image: Image) -> Body:
    """The image itself."""
    return Body(image.media_type, [image.content])


def _encoded(part: Inline) -> Iterator[bytes]:
    if part.prefix:
        yield part.prefix.encode()
    for piece in _cut(part.content):
        yield binascii.b2a_base64(piece, newline=False)


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
