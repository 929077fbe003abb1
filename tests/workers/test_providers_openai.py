"""The format of OpenAI's image edits: the form that is sent, the answers, the ways to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from makeready_workers.providers.base import Image
from makeready_workers.providers.openai_images import OpenAIImages
from tests.support.provider_server import (
    Behaviour,
    bad_base64,
    block,
    cut_off,
    drip,
    late,
    no_image,
    picture,
    refuse,
    reset,
    say,
    truncated,
    wrong_type,
)
from tests.support.providing import PHOTO, STYLE, Desk, desk, meaning


@pytest.fixture
async def openai() -> AsyncIterator[Desk]:
    async with desk("openai", OpenAIImages(), prompt="Как рыцарь") as found:
        yield found


async def test_a_photo_alone_is_one_field(openai: Desk) -> None:
    openai.server.content = picture("image/png")
    image = await openai.ask(openai.task(output_format="png", input_fidelity="high", size="auto"))
    assert image == Image(content=picture("image/png"), media_type="image/png")
    asked = openai.server.last()
    assert (asked.method, asked.path) == ("POST", "/openai/v1/images/edits")
    assert asked.headers["authorization"] == "Bearer key-of-a-provider-0123456789"
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert asked.files == [("image", "image/jpeg", PHOTO.content)]
    assert asked.form == {
        "model": "gpt-image-2",
        "prompt": "Как рыцарь",
        "n": "1",
        "size": "auto",
        "output_format": "png",
        "input_fidelity": "high",
    }
    assert openai.notes == {"model": "gpt-image-2", "http_status": 200}


async def test_references_follow_the_photo_in_a_list(openai: Desk) -> None:
    await openai.ask(openai.task(templates={"b": PHOTO, "a": STYLE}), model="gpt-image-1.5")
    asked = openai.server.last()
    assert [(name, kind) for name, kind, _ in asked.files] == [
        ("image[]", "image/jpeg"),
        ("image[]", "image/png"),
        ("image[]", "image/jpeg"),
    ]
    assert asked.form["model"] == "gpt-image-1.5"


WAYS: list[tuple[Behaviour, tuple[str, bool, bool]]] = [
    (no_image(), ("no_image", True, False)),
    (block(), ("rejected", False, False)),
    (refuse(400), ("rejected", False, False)),
    (refuse(401), ("rejected", False, True)),
    (refuse(409), ("upstream", True, False)),
    (refuse(429, word="rate_limit_exceeded"), ("quota", True, True)),
    (refuse(429, word="insufficient_quota"), ("quota", False, True)),
    (refuse(500), ("upstream", True, False)),
    (say({}, 500, x_should_retry="false"), ("upstream", False, False)),
    (say([], 502), ("upstream", True, False)),
    (truncated(), ("invalid_response", True, False)),
    (bad_base64(), ("invalid_response", True, False)),
    (wrong_type(), ("invalid_response", False, False)),
    (say({"data": [{"b64_json": 7}]}), ("invalid_response", False, False)),
    (cut_off(), ("upstream", True, False)),
    (reset(), ("upstream", True, False)),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_each_way_to_fail_has_its_meaning(openai: Desk, way: int) -> None:
    behaviour, expected = WAYS[way]
    openai.server.will(behaviour)
    assert meaning(await openai.failure()) == expected


async def test_pauses_in_milliseconds_come_before_those_in_seconds(openai: Desk) -> None:
    openai.server.will(
        say({}, 429, Retry_After="20", retry_after_ms="1500"),
        refuse(429, retry_s=20),
        refuse(503, retry_s=0.5),
        say({}, 503, Retry_After="soon"),
        say({}, 503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    )
    for seconds in (1.5, 20, 0.5, None, 0):
        assert (await openai.failure()).retry_after_s == seconds


async def test_nothing_is_waited_for_beyond_the_deadline(openai: Desk) -> None:
    openai.server.will(late(30), drip())
    assert meaning(await openai.failure(seconds=0.1)) == ("upstream", True, False)
    assert meaning(await openai.failure(seconds=0.1)) == ("upstream", True, False)


async def test_a_ping_asks_for_the_model(openai: Desk) -> None:
    await openai.provider.ping(openai.call())
    assert openai.server.last("ping").path == "/openai/v1/models/gpt-image-2"
