"""Gemini: one request with the photo in it, one answer with the image in it, or without one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from makeready_workers.providers.answers import Document, failure, readable, told
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.bodies import Inline, json_body
from makeready_workers.providers.wire import Answer, base_url, exchange

BASE_URL = "https://generativelanguage.googleapis.com"
MODEL = "gemini-3.1-flash-lite-image"  # models have a date of their end; this one answers fastest
MAY_COME_YET = {"NO_IMAGE", "IMAGE_OTHER"}  # the same request may bring an image the next time
_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


class Gemini:
    """Speaks generateContent of the Gemini API; reads names in camelCase and in snake_case."""

    async def process(self, task: Task, call: Call) -> Image:
        """See `Provider.process`."""
        model = str(task.settings.get("model") or _model(call))
        call.notes["model"] = model
        answer = await exchange(
            call,
            "POST",
            f"{_models(call)}/{quote(model, safe='')}:generateContent",
            headers=_headers(call) | {"X-Server-Timeout": str(max(1, int(call.seconds_left)))},
            body=json_body(_request(task)),
        )
        call.notes["http_status"] = answer.status
        if answer.status != 200:
            raise _failure(call, answer)
        return await _image(call, Document(answer))

    async def cancel(self, call: Call) -> None:
        """There is nothing to cancel: a request that is dropped is paid for all the same."""

    async def ping(self, call: Call) -> None:
        """Asks for the model's description."""
        model = quote(_model(call), safe="")
        answer = await exchange(call, "GET", f"{_models(call)}/{model}", headers=_headers(call))
        if answer.status != 200:
            raise _failure(call, answer)


def _model(call: Call) -> str:
    return str(call.options.get("model", MODEL))


def _models(call: Call) -> str:
    return f"{base_url(call, BASE_URL)}/v1beta/models"


def _headers(call: Call) -> dict[str, str]:
    return {"x-goog-api-key": call.key.reveal()} if call.key is not None else {}


def _request(task: Task) -> dict[str, Any]:
    """The photo first, then what it is to look like, then the words."""
    settings = task.settings
    images = [task.photo, *(task.templates[key] for key in sorted(task.templates))]
    parts: list[dict[str, Any]] = [
        {"inlineData": {"mimeType": each.media_type, "data": Inline(each.content)}}
        for each in images
    ]
    parts.append({"text": settings["prompt"]})
    asked: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    shape = {
        name: settings[key]
        for key, name in (("aspect_ratio", "aspectRatio"), ("image_size", "imageSize"))
        if key in settings
    }
    if shape:
        asked["imageConfig"] = shape
    if "temperature" in settings:
        asked["temperature"] = settings["temperature"]
    found: dict[str, Any] = {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": asked,
    }
    if "safety_settings" in settings:
        found["safetySettings"] = settings["safety_settings"]
    return found


async def _image(call: Call, document: Document) -> Image:
    """The first image that is no thought; 200 without one is normal."""
    blocked = _either(_either(document.value, "promptFeedback"), "blockReason")
    if blocked:
        call.notes["block_reason"] = told(call, blocked)
        raise ProviderFailed("rejected", f"it refused the request: {told(call, blocked)}")
    candidates = document.value.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else {}
    finished = told(call, _either(first, "finishReason"))
    if finished:
        call.notes["finish_reason"] = finished
    parts = _either(_either(first, "content"), "parts")
    for part in parts if isinstance(parts, list) else ():
        data = _either(part, "inlineData")
        if data and not _either(part, "thought"):
            return await document.image(_either(data, "data"))
    if finished in ("", "STOP", *MAY_COME_YET):
        raise ProviderFailed(
            "no_image", f"it answered without an image: {finished or 'no reason'}", may_retry=True
        )
    raise ProviderFailed("rejected", f"it made no image: {finished}")


def _either(value: Any, name: str) -> Any:
    """A field by its name in camelCase or in snake_case."""
    if not isinstance(value, Mapping):
        return None
    snake = re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
    return value.get(name, value.get(snake))


def _failure(call: Call, answer: Answer) -> ProviderFailed:
    error = readable(answer).get("error")
    error = error if isinstance(error, Mapping) else {}
    status, details = str(error.get("status", "")), error.get("details")
    details = [each for each in details or () if isinstance(each, Mapping)]
    failed = failure(call, answer, error.get("message"), retry_after_s=_delay(details))
    if status == "RESOURCE_EXHAUSTED":
        failed.reason, failed.key_is_bad = "quota", True
        failed.may_retry = not _is_for_days(details)
    elif status in ("DEADLINE_EXCEEDED", "UNAVAILABLE", "INTERNAL"):
        failed.reason, failed.may_retry = "upstream", True
    elif status == "FAILED_PRECONDITION" or any(
        each.get("reason") in ("API_KEY_INVALID", "API_KEY_EXPIRED") for each in details
    ):
        failed.reason, failed.may_retry, failed.key_is_bad = "rejected", False, True
    return failed


def _delay(details: list[Mapping[str, Any]]) -> float | None:
    """What RetryInfo says, such as "55s"."""
    for each in details:
        if found := _DELAY.fullmatch(str(each.get("retryDelay", ""))):
            return float(found[1])
    return None


def _is_for_days(details: list[Mapping[str, Any]]) -> bool:
    """Whether what is used up comes back tomorrow."""
    violations = [each.get("violations") for each in details]
    return any(
        "PerDay" in str(each.get("quotaId", ""))
        for found in violations
        if isinstance(found, list)
        for each in found
        if isinstance(each, Mapping)
    )
