"""fal: a request is queued, its state is asked for at the links that it gives, then its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from makeready_workers.providers.answers import (
    Document,
    broken,
    failure,
    first_link,
    readable,
    reference_of,
    told,
)
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.bodies import json_body
from makeready_workers.providers.fetching import fetched
from makeready_workers.providers.inputs import inputs
from makeready_workers.providers.wire import (
    Answer,
    authorization,
    base_url,
    best_effort,
    briefly,
    exchange,
    polled,
)

BASE_URL = "https://queue.fal.run"
HOSTS = ("fal.media", "*.fal.media")
PHOTO_FIELD = "image_url"
POLL_S = 0.5
NOBODY = "fal-ai/any/requests/00000000-0000-0000-0000-000000000000"


class Fal:
    """Speaks the queue API."""

    async def process(self, task: Task, call: Call) -> Image:
        """See `Provider.process`."""
        model = str(task.settings["model"])
        call.notes["model"] = model
        answer = await exchange(
            call,
            "POST",
            f"{base_url(call, BASE_URL)}/{model}",
            headers=_key(call) | {"X-Fal-Request-Timeout": str(max(1, int(call.seconds_left)))},
            body=json_body(await inputs(task, call, PHOTO_FIELD)),
        )
        call.notes["http_status"] = answer.status
        if not 200 <= answer.status < 300:
            raise _failure(call, answer)
        queued = Document(answer).value
        status = _own(call, queued.get("status_url"))
        response = _own(call, queued.get("response_url"))
        if cancel := queued.get("cancel_url"):
            call.notes["provider_reference"] = _path(call, _own(call, cancel))

        async def ask() -> Answer | None:
            return await _asked(call, status)

        every_s = float(call.options.get("poll_interval_s", POLL_S))
        await polled(call, ask, first_s=every_s, every_s=every_s)
        return await _image(call, response)

    async def cancel(self, call: Call) -> None:
        """See `Provider.cancel`."""
        if path := call.notes.get("provider_reference"):
            url = f"{base_url(call, BASE_URL)}/{path}/cancel"
            await best_effort(exchange(briefly(call), "PUT", url, headers=_key(call)))

    async def ping(self, call: Call) -> None:
        """Asks for a request that nobody has made: any answer but a refusal of the key will do."""
        url = f"{base_url(call, BASE_URL)}/{NOBODY}/status"
        answer = await exchange(call, "GET", url, headers=_key(call))
        if answer.status in (401, 403) or answer.status >= 500:
            raise _failure(call, answer)


def _key(call: Call) -> dict[str, str]:
    return authorization(call, "Key")


def _own(call: Call, link: Any) -> str:
    """A link that the key may be sent to: one of the API itself."""
    text = str(link)
    own = urlsplit(base_url(call, BASE_URL))
    if not text.startswith(f"{own.scheme}://{own.netloc}/"):
        raise broken("it names addresses that are not its own")
    return text


def _path(call: Call, cancel: str) -> str:
    """What a request is called: its address below that of the API."""
    below = cancel.removeprefix(f"{base_url(call, BASE_URL)}/").removesuffix("/cancel")
    return reference_of(below.partition("?")[0])


async def _asked(call: Call, status_url: str) -> Answer | None:
    """Its state: 202 until it is done."""
    answer = await exchange(call, "GET", status_url, headers=_key(call))
    if answer.status == 202:
        return None
    if answer.status != 200:
        raise _failure(call, answer)
    return answer if Document(answer).value.get("status") == "COMPLETED" else None


async def _image(call: Call, response_url: str) -> Image:
    answer = await exchange(call, "GET", response_url, headers=_key(call))
    call.notes["http_status"] = answer.status
    if answer.status != 200:
        raise _failure(call, answer)
    document = Document(answer)
    found = first_link(document.value)
    if found is None:
        raise ProviderFailed("no_image", "it answered without an image", may_retry=True)
    if found.startswith(("https://", "http://")):
        return await fetched(call, found, HOSTS)
    return await document.image(found)


def _failure(call: Call, answer: Answer) -> ProviderFailed:
    """Of the platform: a text and its kind; of a model: a list of what is wrong."""
    said: Any = readable(answer).get("detail")
    if isinstance(said, list) and said and isinstance(said[0], Mapping):
        said = f"{said[0].get('type', '')}: {said[0].get('msg', '')}"
    failed = failure(call, answer, said)
    if answer.status == 403 and "balance" in told(call, said).lower():
        failed.reason = "quota"
    if answer.headers.get("x-fal-retryable") in ("true", "false"):
        failed.may_retry = answer.headers["x-fal-retryable"] == "true"
    return failed
