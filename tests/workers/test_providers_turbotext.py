"""Turbotext's format: a public link goes out, a queue is asked, a link comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from makeready_workers.providers.base import Image
from makeready_workers.providers.turbotext import Turbotext
from tests.support.provider_server import (
    Behaviour,
    block,
    expired,
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
from tests.support.providing import Desk, desk, meaning

RESULT = Image(content=picture(), media_type="image/jpeg")


@pytest.fixture
async def turbotext() -> AsyncIterator[Desk]:
    settings = {"prompt": "девушка в костюме супермена"}
    async with desk("turbotext", Turbotext(), **settings) as found:
        found.operation = "generate_image2image"
        yield found


async def test_a_photo_is_queued_by_its_link_and_its_result_fetched(turbotext: Desk) -> None:
    turbotext.server.fetches_at, turbotext.server.pending = turbotext.server.url, 3
    assert await turbotext.ask(turbotext.task(strength=50, seed=7)) == RESULT
    assert turbotext.server.stages() == ["submit", "download", *["poll"] * 4, "download"]
    assert turbotext.server.fetched == [(200, RESULT.content)]
    asked = turbotext.server.asked[0]
    assert asked.path == "/turbotext/api_ai/generate_image2image"
    assert asked.headers["authorization"] == "Bearer key-of-a-provider-0123456789"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.form == {
        "do": "create_queue",
        "url": f"{turbotext.server.url}/files/photo.jpg?signature=of-a-photo",
        "content": "девушка в костюме супермена",
        "strength": "50",
        "seed": "7",
    }
    assert turbotext.server.last("poll").form == {"do": "get_result", "queueid": "1001"}
    assert "authorization" not in turbotext.server.last("download").headers
    assert turbotext.notes == {"provider_reference": "1001", "http_status": 200}


async def test_the_photo_gives_its_face_or_takes_the_style(turbotext: Desk) -> None:
    other = "https://example.com/hero.jpg"
    await turbotext.ask(turbotext.task(operation="mix_images", image_url=other))
    mixed = turbotext.server.last().form
    task = turbotext.task(operation="deepfake_photo", image_url=other, face_restore=True)
    await turbotext.ask(task)
    swapped = turbotext.server.last().form
    for form in (mixed, swapped):
        assert form["url"] == other
        assert "signature=of-a-photo" in form["url_image_target"]
    assert swapped["face_restore"] == "True"


async def test_the_link_is_found_at_the_top_and_inside(turbotext: Desk) -> None:
    turbotext.server.nested = True
    assert await turbotext.ask() == RESULT
    link = f"{turbotext.server.url}/files/x.jpg"
    turbotext.server.will(say({"success": True, "data": {"image": [link]}}), stage="poll")
    assert await turbotext.ask() == RESULT


WAYS: list[tuple[str, Behaviour, tuple[str, bool, bool]]] = [
    ("submit", refuse(400, word="LIMIT"), ("quota", False, True)),
    ("submit", say({"success": False, "message": "no money"}), ("rejected", False, False)),
    ("submit", block("url_error"), ("rejected", False, False)),
    ("submit", refuse(503), ("upstream", True, False)),
    ("submit", say({}, 401), ("rejected", False, True)),
    ("submit", say({"success": True}), ("invalid_response", False, False)),
    ("submit", say({"success": True, "queueid": "../x"}), ("invalid_response", False, False)),
    ("submit", truncated(), ("invalid_response", True, False)),
    ("submit", reset(), ("upstream", True, False)),
    ("poll", block("face_not_detected"), ("rejected", False, False)),
    ("poll", no_image(), ("rejected", False, False)),
    ("poll", say({"success": True, "data": {}}), ("no_image", False, False)),
    ("poll", say({"success": True, "error": "LIMIT"}), ("quota", False, True)),
    ("download", wrong_type(), ("invalid_response", False, False)),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_each_way_to_fail_has_its_meaning(turbotext: Desk, way: int) -> None:
    stage, behaviour, expected = WAYS[way]
    turbotext.server.will(behaviour, stage=stage)
    turbotext.server.pending = 0
    assert meaning(await turbotext.failure()) == expected


async def test_polls_may_fail_twice_since_the_photo_is_paid_for(turbotext: Desk) -> None:
    turbotext.server.will(reset(), refuse(503), stage="poll")
    assert await turbotext.ask() == RESULT
    turbotext.server.will(reset(), refuse(503), reset(), stage="poll")
    assert meaning(await turbotext.failure()) == ("upstream", True, False)


async def test_ing_031_it_is_asked_until_the_deadline_or_so_many_times(turbotext: Desk) -> None:
    turbotext.server.pending = 10_000
    assert (await turbotext.failure(seconds=0.3)).reason == "upstream"
    polls = turbotext.server.stages().count("poll")
    assert meaning(await turbotext.failure(max_polls=4)) == ("upstream", False, False)
    assert turbotext.server.stages().count("poll") == polls + 4


async def test_a_file_may_be_told_of_before_it_can_be_had(turbotext: Desk) -> None:
    turbotext.server.will(expired(), reset(), stage="download")
    assert await turbotext.ask() == RESULT
    turbotext.server.will(expired(), expired(), expired(), stage="download")
    assert meaning(await turbotext.failure()) == ("upstream", True, False)
    turbotext.server.will(late(30), stage="download")
    assert (await turbotext.failure(seconds=0.3)).reason == "upstream"


async def test_a_ping_queues_nothing(turbotext: Desk) -> None:
    await turbotext.provider.ping(turbotext.call())
    assert turbotext.server.stages() == ["ping"]
    turbotext.server.will(ok(), say({}, 401), stage="ping")
    await turbotext.provider.cancel(turbotext.call())
