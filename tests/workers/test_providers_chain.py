"""The chain with real programs and a server on the other side: what is asked, what is logged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import structlog

from makeready.ingest import SealedKey, Step
from makeready.photo_kinds import KINDS
from makeready.values import Secret
from makeready_workers.providers import by_kind
from makeready_workers.providers.base import ProviderFailed, Task
from makeready_workers.providers.chain import Chain, Made, Surroundings
from makeready_workers.providers.tally import Tally
from tests.support.provider_server import (
    ProviderServer,
    bad_base64,
    block,
    cut_off,
    expired,
    no_image,
    picture,
    provider_server,
    refuse,
    reset,
    say,
    truncated,
    wrong_type,
)
from tests.support.providing import PHOTO

SETTINGS: dict[str, dict[str, Any]] = {
    "gemini": {"prompt": "A knight"},
    "turbotext": {"prompt": "A knight"},
    "openai": {"prompt": "A knight"},
    "replicate": {"model": "booth/styler"},
    "fal": {"model": "fal-ai/styler"},
    "webhook": {},
}
OPERATIONS = {"gemini": "edit", "openai": "edit", "turbotext": "generate_image2image"}
SECRETS = ("the-first-key-of-all", "the-second-key-of-all")


@dataclass(kw_only=True)
class Booth:
    """A photo that asks for its providers."""

    server: ProviderServer
    chain: Chain
    rested: list[float] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def step(self, kind: str, *, keys: int = 1, **more: Any) -> Step:
        if kind == "webhook":
            more |= {"url": f"{self.server.url}/hook/run", "body": {"kind": "raw"}}
            more |= {"answer": {"kind": "image"}, "headers": [{"name": "X", "value": "{key}"}]}
        return Step(
            provider=kind,
            kind=kind,
            operation=OPERATIONS.get(kind, "run"),
            settings=SETTINGS[kind],
            options=self.server.options(kind, **({"retry_pause_s": 0.01} | more)),
            keys=tuple(
                SealedKey(id=uuid4(), nonce=b"", sealed=text.encode()) for text in SECRETS[:keys]
            ),
        )

    async def task(self, step: Step) -> Task:
        return Task(
            job_id=uuid4(),
            operation=step.operation,
            settings=step.settings,
            photo=PHOTO,
            templates={},
        )

    async def link(self, _: Step) -> str:
        return f"{self.server.url}/files/photo.jpg?signature=of-a-photo"

    async def run(self, *steps: Step) -> Made:
        until = asyncio.get_running_loop().time() + 20
        return await self.chain.run(self, steps, until=until, tally=self.tally)


@pytest.fixture
async def booth() -> AsyncIterator[Booth]:
    rested: list[float] = []

    async def rest_key(_: UUID, seconds: float, why: str) -> None:
        assert not any(text in why for text in SECRETS)
        rested.append(seconds)

    behind: list[asyncio.Task[object]] = []

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        await call()

    async with provider_server() as server, aiohttp.ClientSession() as http:
        around = Surroundings(
            http=http,
            http_private=http,
            providers=by_kind(),
            open_key=lambda _, key: Secret(key.sealed.decode()),
            rest_key=rest_key,
            in_background=lambda call, _: behind.append(asyncio.create_task(run(call))),
        )
        yield Booth(server=server, chain=Chain(around), rested=rested)
        await asyncio.gather(*behind)


def test_every_kind_has_its_program() -> None:
    assert by_kind().keys() == KINDS.keys()


@pytest.mark.parametrize("kind", SETTINGS)
async def test_every_kind_brings_an_image(booth: Booth, kind: str) -> None:
    made = await booth.run(booth.step(kind))
    assert made.image is not None
    assert (made.image.content, made.image.media_type) == (picture(), "image/jpeg")


async def test_a_booth_gets_its_image_however_the_first_tries_go(booth: Booth) -> None:
    # ING-030, ING-035: what may be tried again is; nothing is told before the last word
    booth.server.will(reset(), refuse(503), no_image(), bad_base64())
    made = await booth.run(booth.step("gemini"))
    assert made.step.provider == "gemini"
    assert booth.tally.calls()[0]["calls"] == 5


async def test_an_only_key_that_was_asked_too_often_is_asked_again(booth: Booth) -> None:
    booth.server.will(refuse(429), refuse(429, retry_s=0.02))
    await booth.run(booth.step("gemini"))
    assert booth.server.stages() == ["submit"] * 3
    assert booth.rested == [0.01, 0.02]


async def test_what_lasts_for_days_goes_to_the_next_provider_at_once(booth: Booth) -> None:
    booth.server.will(refuse(429, word="GenerateRequestsPerDayPerProject", retry_s=0.01))
    made = await booth.run(booth.step("gemini"), booth.step("openai"))
    assert made.step.provider == "openai"
    assert [each.kind for each in booth.server.asked] == ["gemini", "openai"]


async def test_two_keys_are_taken_in_turn(booth: Booth) -> None:
    booth.server.will(refuse(401), refuse(500))
    await booth.run(booth.step("openai", keys=2))
    sent = [each.headers["authorization"].removeprefix("Bearer ") for each in booth.server.asked]
    assert sent == [SECRETS[0], SECRETS[1], SECRETS[1]]


@pytest.mark.parametrize("kind", SETTINGS)
async def test_ing_071_nothing_secret_is_logged_whatever_goes_wrong(
    booth: Booth, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """No key, no link, no image: neither in a line of the log nor in what is kept of the photo."""
    said = f"{SECRETS[0]} {booth.server.url}/x?signature=1 {'QUJDRA' * 30}"
    ways = (
        refuse(400, said),
        refuse(401, said),
        refuse(500, said),
        say({"error": {"message": said, "code": said}, "detail": said}, 422),
        say({"candidates": [{"finishReason": said}], "status": said, "error": said}),
        say({"promptFeedback": {"blockReason": said}, "id": "1", "success": False}),
        say({"success": True, "queueid": said, "uploaded_image": said, "output": said}),
        *(block(), no_image(), truncated(), bad_base64(), wrong_type(), reset(), cut_off()),
    )
    booth.server.pending = 0
    one = booth.step(kind, max_attempts=1, request_timeout_s=2, poll_interval_s=0.01)
    with structlog.testing.capture_logs() as lines:
        for way in ways:
            for stage in ("submit", "poll", "download"):
                booth.server.will(way, expired(), stage=stage)
                try:
                    await booth.run(one)
                except ProviderFailed as failed:
                    lines.append({"event": "raised", "text": str(failed)})
                booth.server.forget()
    assert any(line["event"] == "provider_failed" for line in lines)
    assert not any(line["event"] == "provider_crashed" for line in lines)
    out, err = capfd.readouterr()
    told = json.dumps([lines, booth.tally.facts()], default=str) + out + err
    for secret in (*SECRETS, "signature", "://", "QUJDRAQUJD", "9j/4AAQ"):
        assert secret not in told
