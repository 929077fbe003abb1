"""Gemini's format: what is sent, what is read, and what each way to fail means."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator

import pytest

from makeready_workers.providers.base import Image
from makeready_workers.providers.gemini import Gemini
from tests.support.provider_server import (
    Behaviour,
    bad_base64,
    block,
    cut_off,
    drip,
    endless,
    held,
    late,
    no_image,
    ok,
    picture,
    refuse,
    reset,
    say,
    truncated,
    wrong_type,
)
from tests.support.providing import PHOTO, STYLE, Desk, desk, meaning
from tests.support.waiting import until


@pytest.fixture
async def gemini() -> AsyncIterator[Desk]:
    async with desk("gemini", Gemini(), prompt="As a knight; the final image only.") as found:
        yield found


async def test_the_photo_comes_first_then_references_then_words(gemini: Desk) -> None:
    task = gemini.task(
        templates={"reference": STYLE}, aspect_ratio="3:2", image_size="2K", temperature=0.4
    )
    image = await gemini.ask(task, model="gemini-3-pro-image")
    assert (image.content, image.media_type) == (picture(), "image/jpeg")
    asked = gemini.server.last()
    assert asked.path == "/gemini/v1beta/models/gemini-3-pro-image:generateContent"
    assert asked.headers["x-goog-api-key"] == "key-of-a-provider-0123456789"
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert "transfer-encoding" not in asked.headers  # not everybody takes a body in chunks
    photo, reference, words = asked.document["contents"][0]["parts"]
    assert base64.b64decode(photo["inlineData"]["data"]) == PHOTO.content
    assert reference["inlineData"]["mimeType"] == "image/png"
    assert words == {"text": "As a knight; the final image only."}
    assert asked.document["generationConfig"] == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"aspectRatio": "3:2", "imageSize": "2K"},
        "temperature": 0.4,
    }
    assert gemini.notes == {
        "model": "gemini-3-pro-image",
        "http_status": 200,
        "finish_reason": "STOP",
    }


async def test_large_images_go_both_ways_unchanged(gemini: Desk) -> None:
    noise = PHOTO.content[:20] + random.Random(7).randbytes(3_000_000)
    gemini.server.content = noise
    image = await gemini.ask(gemini.task(photo=Image(content=noise, media_type="image/jpeg")))
    assert image.content == noise
    (part, _) = gemini.server.last().document["contents"][0]["parts"]
    assert base64.b64decode(part["inlineData"]["data"]) == noise


async def test_names_in_snake_case_are_read_and_thoughts_are_not(gemini: Desk) -> None:
    data = base64.b64encode(PHOTO.content).decode()
    thought = {"thought": True, "inline_data": {"mime_type": "image/png", "data": "AAAA"}}
    found = {"inline_data": {"mime_type": "image/png", "data": data}}
    parts = {"content": {"parts": [thought, found]}, "finish_reason": "STOP"}
    gemini.server.will(say({"candidates": [parts]}))
    assert await gemini.ask() == PHOTO  # told from its bytes


WAYS: list[tuple[Behaviour, tuple[str, bool, bool]]] = [
    (no_image(), ("no_image", True, False)),
    (no_image("IMAGE_OTHER"), ("no_image", True, False)),
    (no_image("IMAGE_SAFETY"), ("rejected", False, False)),
    (no_image("PROHIBITED_CONTENT"), ("rejected", False, False)),
    (no_image("MAX_TOKENS"), ("rejected", False, False)),
    (say({"candidates": []}), ("no_image", True, False)),
    (say({"usageMetadata": {}}), ("no_image", True, False)),
    (say({"candidates": [{"content": {"parts": "x"}}]}), ("no_image", True, False)),
    (block("IMAGE_SAFETY"), ("rejected", False, False)),
    (refuse(429), ("quota", True, True)),
    (refuse(429, word="GenerateRequestsPerDayPerProject"), ("quota", False, True)),
    (refuse(400), ("rejected", False, False)),
    (refuse(400, word="API_KEY_INVALID"), ("rejected", False, True)),
    (refuse(403), ("rejected", False, True)),
    (refuse(404), ("rejected", False, False)),
    (refuse(500), ("upstream", True, False)),
    (refuse(503), ("upstream", True, False)),
    (refuse(504), ("upstream", True, False)),
    (say({}, 503), ("upstream", True, False)),
    (say({}, 302, Location="https://elsewhere.example/"), ("upstream", False, False)),
    (truncated(), ("invalid_response", True, False)),
    (bad_base64(), ("invalid_response", True, False)),
    (wrong_type(), ("invalid_response", False, False)),
    (ok(b""), ("invalid_response", True, False)),
    (cut_off(), ("upstream", True, False)),
    (reset(), ("upstream", True, False)),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_each_way_to_fail_has_its_meaning(gemini: Desk, way: int) -> None:
    # ING-035, ING-071: a reason for the client, a text for the log without secrets
    behaviour, expected = WAYS[way]
    gemini.server.will(behaviour)
    assert meaning(await gemini.failure()) == expected


async def test_a_pause_that_it_asks_for_is_read(gemini: Desk) -> None:
    gemini.server.will(refuse(429, retry_s=55), say({}, 503, Retry_After="7"))
    assert (await gemini.failure()).retry_after_s == 55
    assert (await gemini.failure()).retry_after_s == 7


async def test_an_answer_that_drips_or_comes_late_ends_with_the_time(gemini: Desk) -> None:
    # ING-030, ING-031: no request outlives what is left of the window
    gemini.server.will(drip(), late(30), drip())
    for seconds, timeout_s in ((0.2, 30), (0.2, 30), (10, 0.1)):
        failed = await gemini.failure(seconds=seconds, request_timeout_s=timeout_s)
        assert meaning(failed) == ("upstream", True, False)
        assert "did not answer within" in str(failed)
    assert meaning(await gemini.failure(seconds=0)) == ("upstream", False, False)
    assert len(gemini.server.asked) <= 3


async def test_an_answer_without_end_is_dropped(
    gemini: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makeready_workers.providers.wire.ANSWER_MAX_BYTES", 1 << 20)
    gemini.server.will(endless())
    assert meaning(await gemini.failure()) == ("invalid_response", False, False)


async def test_what_it_says_is_kept_without_what_it_repeats(gemini: Desk) -> None:
    said = f"Bad key {gemini.call().key!r} key-of-a-provider-0123456789 at https://a.example/?k=1"
    gemini.server.will(refuse(400, f"{said} {'QUJD' * 40} end."))
    failed = await gemini.failure()
    assert str(failed) == "it answered 400: Bad key *** *** at (link) … end."


async def test_a_ping_asks_for_the_model_and_nothing_that_is_billed(gemini: Desk) -> None:
    await gemini.provider.ping(gemini.call(model="gemini-3.1-flash-image"))
    assert [each.path for each in gemini.server.asked] == [
        "/gemini/v1beta/models/gemini-3.1-flash-image"
    ]
    assert gemini.server.stages() == ["ping"]


async def test_a_call_that_is_cancelled_lets_go_of_its_connection(gemini: Desk) -> None:
    gate = asyncio.Event()
    gemini.server.will(held(gate))
    large = Image(content=PHOTO.content + bytes(2_000_000), media_type="image/jpeg")
    task = asyncio.create_task(gemini.ask(gemini.task(photo=large)))
    await until(lambda: gemini.server.asked, what="the request")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    connector = gemini.http.connector
    assert connector is not None
    assert not connector._acquired
