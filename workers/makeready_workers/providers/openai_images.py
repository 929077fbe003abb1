"""OpenAI's image edits, and whoever else offers them: a form with images, JSON with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from makeready_workers.providers.answers import Document, failure, readable, told
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.bodies import Body, multipart_body
from makeready_workers.providers.wire import Answer, authorization, base_url, exchange

BASE_URL = "https://api.openai.com/v1"
MODEL = "gpt-image-2"
PASSED_ON = (
    "size",
    "quality",
    "output_format",
    "output_compression",
    "background",
    "input_fidelity",
    "moderation",
)
_REFUSALS = {"moderation_blocked", "content_policy_violation"}


class OpenAIImages:
    """Speaks POST /images/edits."""

    async def process(self, task: Task, call: Call) -> Image:
        """See `Provider.process`."""
        model = str(task.settings.get("model") or call.options.get("model", MODEL))
        call.notes["model"] = model
        answer = await exchange(
            call,
            "POST",
            f"{base_url(call, BASE_URL)}/images/edits",
            headers=authorization(call),
            body=_body(task, model),
        )
        call.notes["http_status"] = answer.status
        if name := told(call, answer.headers.get("x-request-id")):
            call.notes["request_id"] = name
        if answer.status != 200:
            raise _failure(call, answer)
        document = Document(answer)
        found = document.at("data.0.b64_json")
        if not found:
            raise ProviderFailed("no_image", "it answered without an image", may_retry=True)
        return await document.image(found)

    async def cancel(self, call: Call) -> None:
        """There is nothing to cancel: a request that is dropped is paid for all the same."""

    async def ping(self, call: Call) -> None:
        """Asks for the model's description."""
        model = quote(str(call.options.get("model", MODEL)), safe="")
        url = f"{base_url(call, BASE_URL)}/models/{model}"
        answer = await exchange(call, "GET", url, headers=authorization(call))
        if answer.status != 200:
            raise _failure(call, answer)


def _body(task: Task, model: str) -> Body:
    """The photo first; with several images the field is a list."""
    fields = [("model", model), ("prompt", str(task.settings["prompt"])), ("n", "1")]
    fields += [(name, str(task.settings[name])) for name in PASSED_ON if name in task.settings]
    images = [("photo", task.photo), *sorted(task.templates.items())]
    field = "image" if len(images) == 1 else "image[]"
    files = [(field, str(number), each) for number, (_, each) in enumerate(images)]
    return multipart_body(fields, files)


def _failure(call: Call, answer: Answer) -> ProviderFailed:
    error: Any = readable(answer).get("error")
    error = error if isinstance(error, Mapping) else {}
    failed = failure(call, answer, error.get("message"))
    code = error.get("code")
    if code == "insufficient_quota":
        failed.reason, failed.may_retry, failed.key_is_bad = "quota", False, True
    elif code in _REFUSALS:
        failed.reason, failed.may_retry, failed.key_is_bad = "rejected", False, False
    elif answer.headers.get("x-should-retry") in ("true", "false"):
        failed.may_retry = answer.headers["x-should-retry"] == "true"
    return failed
