"""What providers answer: JSON whose images stay bytes, and refusals sorted into few reasons.

An image in JSON is one text of megabytes. Such texts are cut out before the JSON is read: they
become neither a Python string nor a pause of the event loop, and what is left is small or refused.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from makeready.pictures import SNIFFED_BYTES, sniff
from makeready_workers.posting import retry_after
from makeready_workers.providers.base import IMAGE_MAX_BYTES, Call, Image, ProviderFailed, Reason
from makeready_workers.providers.wire import Answer

WINDOW = 1 << 16  # a text that is longer than two of these has one without a quotation mark
PIECE = 1 << 16  # a quarter of a millisecond to decode
REST_MAX_BYTES = 1 << 20
SAID_LENGTH = 300
NESTED = 8  # how deep an image may lie in what a model has put out

_TEXT = re.compile(rb"data:|[A-Za-z0-9+/_-]{64}")
_DATA = re.compile(rb"data:[a-z]{1,20}/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_LINK = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://\S+", re.IGNORECASE)
_REFERENCE = re.compile(r"[A-Za-z0-9_-][\x21-\x7e]{0,199}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{40,}")


class Document:
    """A JSON document that was answered; long texts are marks, `image` gives what they stand for.

    Raises ProviderFailed when it is no JSON object.
    """

    def __init__(self, answer: Answer) -> None:
        self._texts: dict[str, memoryview] = {}
        if answer.body[-200:].rstrip()[-1:] != b"}":
            raise broken("its answer is no JSON object, or not all of it", may_retry=True)
        rest = self._cut_out(answer.body)
        if len(rest) > REST_MAX_BYTES:
            raise broken("its JSON is too large")
        try:
            found = json.loads(rest)
        except (ValueError, RecursionError):
            raise broken("its answer is not JSON", may_retry=True) from None
        self.value: dict[str, Any] = found

    def at(self, path: str) -> Any:
        """What stands at a path such as images.0.url; None when nothing does."""
        return at(self.value, path)

    async def image(self, text: Any) -> Image:
        """The image that a text is in base64 or as a data URI, decoded piece by piece."""
        if not isinstance(text, str):
            raise broken("it has no text where an image should be")
        data = self._texts.get(text)
        if data is None:
            data = memoryview("".join(text.split()).encode("ascii", "replace"))
        if found := _DATA.match(data[:100]):
            data = data[found.end() :]
        return image_of(await decoded(data))

    def _cut_out(self, body: bytearray) -> bytes:
        """The JSON with marks in place of long texts."""
        view, kept, parts, start = memoryview(body), 0, [], 0
        while (start := _window(body, start)) >= 0:
            first, last = body.rfind(b'"', kept, start) + 1, body.find(b'"', start)
            if first == 0 or last < 0:
                break
            text = _plain(view[first:last], body.find(b"\\", first, last) >= 0)
            if text is not None and _TEXT.match(body, first):
                mark = f"text {len(self._texts)} of the answer"
                self._texts[mark] = text
                parts += [bytes(view[kept:first]), mark.encode()]
                kept = last
            start = last + 1
        return b"".join([*parts, bytes(view[kept:])])


def _plain(text: memoryview, has_escapes: bool) -> memoryview | None:
    """A text of JSON without the escapes that base64 may have; None: it has others."""
    if not has_escapes:
        return text
    whole = text.tobytes()
    for escape, plain in ((rb"\/", b"/"), (rb"\n", b""), (rb"\r", b"")):
        whole = whole.replace(escape, plain)
    return None if b"\\" in whole else memoryview(whole)


def _window(body: bytearray, start: int) -> int:
    """The start of the next window without a quotation mark; -1: there is none."""
    for place in range(start, len(body) - WINDOW, WINDOW):
        if body.find(b'"', place, place + WINDOW) < 0:
            return place
    return -1


def at(value: Any, path: str) -> Any:
    """What stands at a path such as images.0.url in a JSON value; None when nothing does."""
    for name in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


async def decoded(data: memoryview) -> bytes:
    """The bytes of base64 of either alphabet; raises ProviderFailed when it is none."""
    if len(data) // 4 * 3 > IMAGE_MAX_BYTES:
        raise broken("its image is too large")
    pieces = []
    for start in range(0, len(data), PIECE):
        pieces.append(_decoded(data[start : start + PIECE], start + PIECE >= len(data)))
        await asyncio.sleep(0)
    content = b"".join(pieces)
    if not content:
        raise broken("its image is empty", may_retry=True)
    return content


def _decoded(piece: memoryview, is_last: bool) -> bytes:
    with suppress(ValueError):
        return binascii.a2b_base64(piece, strict_mode=True)
    text = bytes(piece).translate(_URL_SAFE) + b"=" * (-len(piece) % 4 if is_last else 0)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise broken("its image is not base64", may_retry=True) from None


def image_of(content: bytes) -> Image:
    """An image by what it is, whatever the other side calls it."""
    found = sniff(content[:SNIFFED_BYTES])
    if found is None:
        raise broken("what it made is no JPEG, PNG, WebP or HEIF")
    return Image(content=content, media_type=found)


def first_link(value: Any) -> str | None:
    """The first link or data URI in what a model has put out: a text, a list, an object."""
    for _ in range(NESTED):
        if isinstance(value, Mapping):
            names = ("url", "image", "images", "output")
            value = next((value[name] for name in names if value.get(name)), None)
        elif isinstance(value, list):
            value = value[0] if value else None
        else:
            break
    return value if value and isinstance(value, str) else None


def broken(text: str, *, may_retry: bool = False) -> ProviderFailed:
    """An answer that cannot be read."""
    return ProviderFailed("invalid_response", text, may_retry=may_retry)


def failure(
    call: Call, answer: Answer, said: Any = None, *, retry_after_s: float | None = None
) -> ProviderFailed:
    """What a status that is no success means; the other side's own words are cleaned."""
    status = answer.status
    reason, may_retry, key_is_bad = _meaning(status)
    words = told(call, said)
    return ProviderFailed(
        reason,
        f"it answered {status}{': ' if words else ''}{words}",
        may_retry=may_retry,
        retry_after_s=retry_after_s if retry_after_s is not None else pause_of(answer),
        key_is_bad=key_is_bad,
    )


def _meaning(status: int) -> tuple[Reason, bool, bool]:
    """Reason, whether to ask again, whether it is the key's fault."""
    if status == 429:
        return "quota", True, True
    if status == 402:
        return "quota", False, True
    if status in (401, 403):
        return "rejected", False, True
    if status in (408, 409, 425) or status >= 500:
        return "upstream", True, False
    if 400 <= status < 500:
        return "rejected", False, False
    return ("invalid_response" if status < 300 else "upstream"), False, False


def pause_of(answer: Answer) -> float | None:
    """Seconds that the headers ask to wait; None: they say nothing."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = answer.headers.get(name, "").strip()
        if _NUMBER.fullmatch(text):
            return float(text) / unit
    return retry_after(answer.headers.get("retry-after"))


def told(call: Call, said: Any) -> str:
    """Words of the other side for the log: short, no key, no link, no data."""
    if not isinstance(said, str):
        return ""
    text = said.replace(call.key.reveal(), "***") if call.key else said
    text = _LONG.sub("…", _LINK.sub("(link)", text[: 4 * SAID_LENGTH]))
    # Neither PostgreSQL nor UTF-8 takes all that JSON can hold: NUL, halves of a surrogate pair.
    text = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(text.split())[:SAID_LENGTH]


def reference_of(found: Any) -> str:
    """What the other side calls an order; raises when that cannot be noted and asked for."""
    text = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    if not _REFERENCE.fullmatch(text):
        raise broken("it did not say what it calls the order")
    return text


def readable(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of a refusal; empty when it is none."""
    try:
        return Document(answer).value
    except ProviderFailed:
        return {}
