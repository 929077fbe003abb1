"""Bodies in pieces and JSON whose images stay bytes, against the plain ways to do it."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from werkzeug.formparser import parse_form_data

from makeready_workers.providers import answers, bodies
from makeready_workers.providers.answers import Document, decoded
from makeready_workers.providers.base import Image, ProviderFailed
from makeready_workers.providers.bodies import (
    Body,
    Inline,
    data_uri,
    json_body,
    multipart_body,
)
from makeready_workers.providers.wire import Answer
from tests.support.providing import PHOTO, STYLE, meaning

NOISE = random.Random(3).randbytes(700_001)
QUIET = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


async def sent(body: Body) -> bytes:
    found = b"".join([piece async for piece in body.stream()])
    assert len(found) == body.size
    return found


def answered(body: bytes) -> Answer:
    return Answer(200, CIMultiDict(), bytearray(body))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing but its turn."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


def filled(value: Any, images: list[bytes]) -> tuple[Any, Any]:
    """A value with images at some places: as it is given, and as plain JSON."""
    if isinstance(value, dict):
        pairs = {name: filled(each, images) for name, each in value.items()}
        return {n: a for n, (a, _) in pairs.items()}, {n: b for n, (_, b) in pairs.items()}
    if isinstance(value, list):
        found = [filled(each, images) for each in value]
        return [a for a, _ in found], [b for _, b in found]
    if value is None and images:
        content = images.pop()
        return Inline(content), base64.b64encode(content).decode()
    return value, value


@QUIET
@given(JSON, st.lists(st.binary(max_size=300), max_size=4))
def test_json_with_images_is_as_the_library_writes_it(value: Any, images: list[bytes]) -> None:
    given_value, plain = filled(value, images)
    found = run(sent(json_body(given_value)))
    assert json.loads(found) == plain


async def test_large_images_are_encoded_piece_by_piece() -> None:
    image = Image(content=NOISE, media_type="image/png")
    body = json_body({"a": data_uri(image), "b": [data_uri(image)]})
    pieces = [piece async for piece in body.stream()]
    assert max(map(len, pieces)) <= bodies.PIECE_BYTES // 3 * 4
    text = f"data:image/png;base64,{base64.b64encode(NOISE).decode()}"
    assert json.loads(b"".join(pieces)) == {"a": text, "b": [text]}


async def test_what_is_no_json_is_no_body() -> None:
    with pytest.raises(TypeError):
        json_body({"a": b"bytes"})


@QUIET
@given(st.text(max_size=200).filter(lambda text: "\r" not in text and text.isprintable()))
def test_a_form_is_read_by_others_as_it_was_meant(text: str) -> None:
    body = multipart_body([("prompt", text)], [("image[]", "photo", PHOTO), ("b", "c", STYLE)])
    whole = run(sent(body))
    facts: dict[str, Any] = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": body.media_type}
    facts |= {"CONTENT_LENGTH": str(len(whole)), "wsgi.input": io.BytesIO(whole)}
    _, form, files = parse_form_data(facts, stream_factory=lambda *_, **__: io.BytesIO())
    assert form.to_dict() == {"prompt": text}
    assert files["image[]"].read() == PHOTO.content
    assert (files["image[]"].filename, files["b"].mimetype) == ("photo.jpeg", "image/png")


@QUIET
@given(JSON, st.data())
def test_long_texts_are_found_wherever_they_are(value: Any, data: st.DataObject) -> None:
    sizes = [data.draw(st.integers(0, 200_000)) for _ in range(3)]
    first, second, third = (
        base64.b64encode(PHOTO.content + bytes(size)).decode() for size in sizes
    )
    plain = {"value": value, "images": [first, {"deep": second}, third], "more": value}
    indent = data.draw(st.sampled_from([None, 2]))
    body = json.dumps(plain, ensure_ascii=data.draw(st.booleans()), indent=indent).encode()
    if data.draw(st.booleans()):
        body = body.replace(b"/", rb"\/")
    document = Document(answered(body))
    assert len(json.dumps(document.value)) < answers.REST_MAX_BYTES
    for path, expected in (("0", first), ("1.deep", second), ("2", third)):
        found = run(document.image(document.at(f"images.{path}")))
        assert base64.b64encode(found.content).decode() == expected


HOSTILE = [
    b"",
    b"}",
    b"{",
    b"[]",
    b"null",
    b'{"a":',
    b'{"a": "' + b"A" * 200_000,
    b'{"a": "' + b"A" * 200_000 + b"}",
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"a": ' + b" " * 3_000_000 + b'"b"}',
    b'{"a": "' + b"\\u0041" * 300_000 + b'"}',
    b'{"a": [' + b"0," * 1_000_000 + b"0]}",
    b'{"a": "\xff\xfe"}',
    b'{"a": "' + b'\\"' * 1_000_000 + b'"}',
]


@pytest.mark.parametrize("place", range(len(HOSTILE)))
async def test_hostile_json_is_refused_at_little_cost(place: int) -> None:
    with pytest.raises(ProviderFailed) as raised:
        Document(answered(HOSTILE[place]))
    assert raised.value.reason == "invalid_response"


async def test_a_text_that_looks_like_a_mark_is_only_a_text() -> None:
    document = Document(answered(b'{"a": "text 0 of the answer"}'))
    with pytest.raises(ProviderFailed):
        await document.image(document.at("a"))


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256 * 1024, 256 * 1024 * 3 + 1])
async def test_both_alphabets_are_read_with_and_without_padding(size: int) -> None:
    content = NOISE[:size]
    for text in (base64.b64encode(content), base64.urlsafe_b64encode(content)):
        assert await decoded(memoryview(text)) == content
        assert await decoded(memoryview(text.rstrip(b"="))) == content


@pytest.mark.parametrize("text", [b"", b"!", b"A", b"AAAA=AAA", b"A" * 262_144 + b"!AAA"])
async def test_what_is_no_base64_is_told(text: bytes) -> None:
    with pytest.raises(ProviderFailed) as raised:
        await decoded(memoryview(text))
    assert meaning(raised.value) == ("invalid_response", True, False)


async def test_an_image_beyond_the_limit_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "IMAGE_MAX_BYTES", 1000)
    with pytest.raises(ProviderFailed, match="too large"):
        await decoded(memoryview(b"A" * 4000))
