"""Replicate's and fal's formats: queued, asked for, fetched, and cancelled when unwanted."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from makeready_workers.providers import wire
from makeready_workers.providers.base import Image, ProviderFailed
from makeready_workers.providers.fal import Fal
from makeready_workers.providers.replicate import Replicate
from tests.support.provider_server import (
    Behaviour,
    block,
    cut_off,
    drip,
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
from tests.support.providing import PHOTO, STYLE, Desk, desk, meaning

RESULT = Image(content=picture(), media_type="image/jpeg")
DATA = f"data:image/jpeg;base64,{base64.b64encode(PHOTO.content).decode()}"
STYLE_DATA = f"data:image/png;base64,{base64.b64encode(STYLE.content).decode()}"


@pytest.fixture
async def replicate() -> AsyncIterator[Desk]:
    async with desk("replicate", Replicate(), model="booth/styler", prompt="A knight") as found:
        found.operation = "run"
        yield found


@pytest.fixture
async def fal() -> AsyncIterator[Desk]:
    async with desk("fal", Fal(), model="fal-ai/styler/edit", prompt="A knight") as found:
        found.operation = "run"
        yield found


async def test_a_prediction_is_made_asked_for_and_fetched(replicate: Desk) -> None:
    inputs = {"steps": 4, "style": "{template.style}", "more": ["{template.none}"]}
    task = replicate.task(templates={"style": STYLE}, input=inputs)
    assert await replicate.ask(task, seconds=48) == RESULT
    assert replicate.server.stages() == ["submit", "poll", "download"]
    asked = replicate.server.asked[0]
    assert asked.path == "/replicate/v1/models/booth/styler/predictions"
    assert asked.headers["authorization"] == "Bearer key-of-a-provider-0123456789"
    assert asked.headers["prefer"] == "wait=29"
    assert asked.headers["cancel-after"] in ("47s", "48s")
    assert asked.document == {
        "input": {
            "steps": 4,
            "style": STYLE_DATA,
            "more": ["{template.none}"],
            "prompt": "A knight",
            "image": DATA,
        }
    }
    assert "authorization" not in replicate.server.last("download").headers
    assert replicate.notes == {
        "model": "booth/styler",
        "http_status": 201,
        "provider_reference": "1001",
    }


async def test_a_version_is_asked_for_by_its_own_route(replicate: Desk) -> None:
    replicate.server.pending = 0
    version = "a" * 64
    task = replicate.task(
        model=f"booth/styler:{version}", photo_field="input_images", is_list=True
    )
    assert await replicate.ask(task) == RESULT
    asked = replicate.server.last()
    assert asked.path == "/replicate/v1/predictions"
    assert asked.document["version"] == version
    assert asked.document["input"]["input_images"] == [DATA]
    assert replicate.server.stages() == ["submit", "download"]  # it was held until done


async def test_a_link_goes_out_instead_of_the_photo(replicate: Desk, fal: Desk) -> None:
    for each, field in ((replicate, "image"), (fal, "image_url")):
        await each.ask(each.task(sends="link"))
        document = each.server.last().document
        link = document.get("input", document)[field]
        assert link == f"{each.server.url}/files/photo.jpg?signature=of-a-photo"


@pytest.mark.parametrize(
    "output", [DATA, [DATA], {"image": DATA}, {"images": [{"url": DATA}]}, [[DATA]]]
)
async def test_an_output_may_have_many_shapes(replicate: Desk, output: object) -> None:
    done = {"id": "p1", "status": "succeeded", "output": output}
    replicate.server.will(say(done, 201))
    assert await replicate.ask() == PHOTO


REPLICATE: list[tuple[str, Behaviour, tuple[str, bool, bool]]] = [
    ("submit", no_image(), ("no_image", True, False)),
    ("submit", block(), ("rejected", False, False)),
    (
        "submit",
        say({"id": "1", "status": "failed", "error": "CUDA out of memory"}),
        ("upstream", True, False),
    ),
    ("submit", say({"id": "1", "status": "aborted"}), ("upstream", False, False)),
    ("submit", say({"id": "../1", "status": "starting"}), ("invalid_response", False, False)),
    ("submit", refuse(401), ("rejected", False, True)),
    ("submit", refuse(402), ("quota", False, True)),
    ("submit", refuse(422), ("rejected", False, False)),
    ("submit", refuse(429), ("quota", True, True)),
    ("submit", refuse(500), ("upstream", True, False)),
    ("submit", truncated(), ("invalid_response", True, False)),
    ("submit", cut_off(), ("upstream", True, False)),
    ("poll", say({"id": "1", "status": "canceled"}), ("upstream", False, False)),
    (
        "poll",
        say({"id": "1", "status": "failed", "error": "Out of memory"}),
        ("upstream", True, False),
    ),
    ("poll", refuse(404), ("rejected", False, False)),
    ("download", wrong_type(), ("invalid_response", False, False)),
]


@pytest.mark.parametrize("way", range(len(REPLICATE)))
async def test_each_way_a_prediction_fails_has_its_meaning(replicate: Desk, way: int) -> None:
    stage, behaviour, expected = REPLICATE[way]
    replicate.server.will(behaviour, stage=stage)
    assert meaning(await replicate.failure()) == expected


async def test_when_throttling_ends_is_read_from_its_words(replicate: Desk) -> None:
    for said, seconds in (
        ("Request was throttled. Your rate limit resets in ~30s.", 30),
        ("Request was throttled. Expected available in 1 second.", 1),
    ):
        replicate.server.will(refuse(429, said))
        assert (await replicate.failure()).retry_after_s == seconds


async def test_ing_032_a_prediction_is_cancelled_after_the_deadline(replicate: Desk) -> None:
    replicate.server.pending = 10_000
    assert meaning(await replicate.failure(max_polls=3)) == ("upstream", False, False)
    call = replicate.calls[-1]
    call.deadline -= 60
    assert call.seconds_left < 0
    await replicate.provider.cancel(call)
    assert replicate.server.last("cancel").path == "/replicate/v1/predictions/1001/cancel"
    replicate.server.will(reset(), stage="cancel")
    await replicate.provider.cancel(call)  # nobody minds
    await replicate.provider.cancel(replicate.call())  # nothing was begun
    assert replicate.server.stages().count("cancel") == 2


async def test_a_request_is_queued_asked_for_and_fetched(fal: Desk) -> None:
    assert await fal.ask(fal.task(input={"strength": 0.4})) == RESULT
    assert fal.server.stages() == ["submit", "poll", "poll", "result", "download"]
    asked = fal.server.asked[0]
    assert asked.path == "/fal/fal-ai/styler/edit"
    assert asked.headers["authorization"] == "Key key-of-a-provider-0123456789"
    assert asked.headers["x-fal-request-timeout"] in ("9", "10")
    assert asked.document == {"strength": 0.4, "prompt": "A knight", "image_url": DATA}
    assert fal.server.last("poll").path == "/fal/fal-ai/styler/requests/1001/status"
    assert fal.server.last("result").path == "/fal/fal-ai/styler/requests/1001"
    assert fal.notes == {
        "model": "fal-ai/styler/edit",
        "http_status": 200,
        "provider_reference": "fal-ai/styler/requests/1001",
    }


ELSEWHERE = {"request_id": "1", "status_url": "https://evil.example/s", "response_url": "x"}
FAL: list[tuple[str, Behaviour, tuple[str, bool, bool]]] = [
    ("submit", say(ELSEWHERE), ("invalid_response", False, False)),
    ("submit", say({"request_id": "1"}), ("invalid_response", False, False)),
    ("submit", refuse(401), ("rejected", False, True)),
    ("submit", refuse(403, "User is locked. Exhausted balance."), ("quota", False, True)),
    ("submit", refuse(429), ("quota", True, True)),
    ("submit", refuse(503), ("upstream", True, False)),
    ("submit", say({}, 500, x_fal_retryable="false"), ("upstream", False, False)),
    ("poll", truncated(), ("upstream", False, False)),
    ("result", no_image(), ("no_image", True, False)),
    ("result", block(), ("rejected", False, False)),
    ("result", refuse(504, word="request_timeout"), ("upstream", True, False)),
    ("download", expired(), ("upstream", True, False)),
    ("result", drip(), ("upstream", True, False)),
]


@pytest.mark.parametrize("way", range(len(FAL)))
async def test_each_way_a_request_fails_has_its_meaning(fal: Desk, way: int) -> None:
    stage, behaviour, expected = FAL[way]
    fal.server.will(*[behaviour] * 3, stage=stage)
    if stage == "poll":
        expected = ("invalid_response", True, False)
    seconds = 0.3 if way == len(FAL) - 1 else 30  # only the drip is to be too slow
    assert meaning(await fal.failure(request_timeout_s=seconds)) == expected


async def test_a_request_is_cancelled_by_put(fal: Desk) -> None:
    # ING-032: also when the other side does not answer
    fal.server.will(ok(pending=10_000))
    assert meaning(await fal.failure(max_polls=3)) == ("upstream", False, False)
    await fal.provider.cancel(fal.calls[-1])
    asked = fal.server.last("cancel")
    assert (asked.method, asked.path) == ("PUT", "/fal/fal-ai/styler/requests/1001/cancel")
    assert asked.headers["authorization"] == "Key key-of-a-provider-0123456789"


async def test_polls_may_fail_now_and_then_but_not_in_a_row(fal: Desk) -> None:
    lost = ProviderFailed("upstream", "it answered 500", may_retry=True)
    answers: list[ProviderFailed | str | None] = [lost, lost, None, lost, lost, "done"]

    async def ask() -> str | None:
        found = answers.pop(0)
        if isinstance(found, ProviderFailed):
            raise found
        return found

    assert await wire.polled(fal.call(), ask, first_s=0, every_s=0) == "done"
    answers[:] = [lost] * wire.POLL_FAILURES
    with pytest.raises(ProviderFailed, match="it answered 500"):
        await wire.polled(fal.call(), ask, first_s=0, every_s=0)


async def test_cancelling_takes_two_seconds_at_most(
    fal: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makeready_workers.providers.wire.CANCEL_TIMEOUT_S", 0.1)
    await fal.ask()
    fal.server.will(late(30), stage="cancel")
    await fal.provider.cancel(fal.calls[-1])


async def test_pings_make_nothing(replicate: Desk, fal: Desk) -> None:
    for each in (replicate, fal):
        await each.provider.ping(each.call())
        assert each.server.stages() == ["ping"]
