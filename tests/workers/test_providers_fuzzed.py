"""Whatever the other side says, a program ends with an image or says why there is none."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from typing import Any

import pytest
from aiohttp import web

from makeready_workers.providers import by_kind
from makeready_workers.providers.base import Image, ProviderFailed
from tests.support import provider_formats as formats
from tests.support.provider_formats import Turn
from tests.support.provider_server import Behaviour, picture, say
from tests.support.providing import desk

WORDS = (
    *("candidates", "content", "parts", "inlineData", "inline_data", "data", "mimeType"),
    *("thought", "finishReason", "error", "promptFeedback", "blockReason", "details", "status"),
    *("message", "code", "success", "queueid", "action", "uploaded_image", "image", "images"),
    *("url", "output", "id", "detail", "b64_json", "status_url", "response_url", "cancel_url"),
    *("state", "it", "type", "msg", "violations", "retryDelay"),
)
LINKS = ("https://cdn.example/a.jpg", "http://[::1]:9/a", "//x", "file:///etc/passwd", "")
TEXTS = (
    *("succeeded", "failed", "processing", "COMPLETED", "reconnect", "NO_IMAGE", "STOP", "LIMIT"),
    *("\x00", "\ud800", "é" * 50, "A" * 400, "data:image/png;base64,", "data:image/png;base64,!!"),
    *("..", "../../x", "a b", "?x=1#y", "{key}", "%00", "\r\nX: y", "9" * 300),
    base64.b64encode(picture()).decode(),
)
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemini": ("edit", {"prompt": "x"}),
    "openai": ("edit", {"prompt": "x"}),
    "turbotext": ("generate_image2image", {"prompt": "x"}),
    "replicate": ("run", {"model": "a/b"}),
    "fal": ("run", {"model": "a/b"}),
    "webhook": ("call", {}),
}
STAGES = ("submit", "poll", "result", "download", "ping", "cancel")


def value(dice: random.Random, own: str, depth: int = 0) -> Any:
    """Some JSON with the names and words of all formats."""
    turn = dice.random()
    if depth < 5 and turn < 0.5:
        names = dice.sample(WORDS, dice.randint(1, 5))
        return {name: value(dice, own, depth + 1) for name in names}
    if depth < 5 and turn < 0.65:
        return [value(dice, own, depth + 1) for _ in range(dice.randint(0, 3))]
    link = f"{own}{dice.choice(('/', '/files/a', '/a/b/requests/1/status', '/a/requests/../x'))}"
    return dice.choice([None, True, False, 0, 1.5, -1, link, *LINKS, *TEXTS])


def changed(dice: random.Random, found: Any, own: str) -> Any:
    """A good answer with something in it that is not."""
    if dice.random() < 0.12:
        return value(dice, own, 3)
    if isinstance(found, dict):
        return {name: changed(dice, each, own) for name, each in found.items()}
    if isinstance(found, list):
        return [changed(dice, each, own) for each in found]
    return found


def spoiled(dice: random.Random, own: str) -> Behaviour:
    """Nearly what it should be."""

    async def behave(turn: Turn) -> web.StreamResponse:
        whole = formats.answer(turn)
        if whole.content_type != "application/json" or not isinstance(whole.body, bytes):
            return whole
        return formats.reply(changed(dice, json.loads(whole.body), own), whole.status)

    return behave


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("seed", range(2))
async def test_any_answer_is_an_image_or_a_reason(kind: str, seed: int) -> None:
    dice = random.Random(f"{kind} {seed}")
    operation, settings = SETTINGS[kind]
    async with desk(kind, by_kind()[kind], **settings) as found:
        own = f"{found.server.url}/{kind}"
        options: dict[str, Any] = {"poll_interval_s": 0.01, "max_polls": 3}
        if kind == "webhook":
            hook = f"{found.server.url}/hook"
            poll = {"reference": "id", "url": f"{hook}/{{reference}}", "status": "status"}
            options |= {"url": hook, "body": {"kind": "raw"}, "poll": poll | {"done": ["STOP"]}}
            options |= {"answer": {"kind": "url", "path": "image", "error_path": "error"}}
        for _ in range(25):
            for stage in STAGES:
                status = dice.choice([200, 200, 201, 202, 204, 400, 403, 429, 500])
                for _ in range(3):
                    plain = say(value(dice, own), status)
                    behaviour = spoiled(dice, own) if dice.random() < 0.7 else plain
                    found.server.will(behaviour, stage=stage)
            call = found.call(seconds=2, request_timeout_s=1, **options)
            try:
                image = await found.provider.process(found.task(operation=operation), call)
                assert isinstance(image, Image)
            except ProviderFailed as failed:
                told = str(failed)
                assert told.encode()
                assert "\x00" not in told
                assert "://" not in told.replace("must begin with https://", "")
            json.dumps(call.notes).encode()
            assert "\\u0000" not in json.dumps(call.notes)
            assert all(isinstance(each, str | int) for each in call.notes.values())
            await found.provider.cancel(call)
            await asyncio.sleep(0)
            found.server.forget()
