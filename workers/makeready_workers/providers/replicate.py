"""Replicate: a prediction that is waited for, then asked for, then fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from makeready_workers.providers.answers import (
    Document,
    failure,
    first_link,
    readable,
    reference_of,
    told,
)
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.bodies import Body, json_body
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
    time_for,
)

BASE_URL = "https://api.replicate.com/v1"
HOSTS = ("replicate.delivery", "*.replicate.delivery")
PHOTO_FIELD = "image"
POLL_S = 1.0
WAIT_MAX_S = 60
CANCEL_MIN_S = 5  # it takes no earlier deadline
_RESETS = re.compile(r"\bin ~?(\d{1,4}) ?s")
_REFUSED = re.compile(r"nsfw|sensitive|flagged|safety|E005", re.IGNORECASE)


class Replicate:
    """Speaks predictions of the HTTP API."""

    async def process(self, task: Task, call: Call) -> Image:
        """See `Provider.process`."""
        model, _, version = str(task.settings["model"]).partition(":")
        call.notes["model"] = model
        asked: dict[str, Any] = {"input": await inputs(task, call, PHOTO_FIELD)}
        path = f"models/{model}/predictions"
        if version:
            path, asked["version"] = "predictions", version
        answer = await _exchange(
            call, "POST", path, body=json_body(asked), headers=_deadlines(call)
        )
        call.notes["http_status"] = answer.status
        if answer.status not in (200, 201, 202):
            raise _failure(call, answer)
        first = Document(answer)
        name = reference_of(first.value.get("id"))
        call.notes["provider_reference"] = name
        done = first if _has_ended(first) else None
        if done is None:
            every_s = float(call.options.get("poll_interval_s", POLL_S))
            done = await polled(call, lambda: _asked(call, name), first_s=every_s, every_s=every_s)
        return await _image(call, done)

    async def cancel(self, call: Call) -> None:
        """See `Provider.cancel`."""
        if name := call.notes.get("provider_reference"):
            path = f"predictions/{quote(str(name), safe='')}/cancel"
            await best_effort(_exchange(briefly(call), "POST", path))

    async def ping(self, call: Call) -> None:
        """Asks whose key it is."""
        answer = await _exchange(call, "GET", "account")
        if answer.status != 200:
            raise _failure(call, answer)


async def _exchange(
    call: Call,
    method: str,
    path: str,
    *,
    body: Body | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An exchange with the API, by the path below its address."""
    return await exchange(
        call,
        method,
        f"{base_url(call, BASE_URL)}/{path}",
        headers=authorization(call) | dict(headers or {}),
        body=body,
    )


def _deadlines(call: Call) -> dict[str, str]:
    """How long to hold the answer, and when to stop: nobody wants the image after that."""
    wait_s = min(WAIT_MAX_S, int(time_for(call)) - 1)
    found = {"Prefer": f"wait={wait_s}"} if wait_s >= 1 else {}
    if call.seconds_left >= CANCEL_MIN_S:
        found["Cancel-After"] = f"{int(call.seconds_left)}s"
    return found


async def _asked(call: Call, name: str) -> Document | None:
    answer = await _exchange(call, "GET", f"predictions/{quote(name, safe='')}")
    if answer.status != 200:
        raise _failure(call, answer)
    found = Document(answer)
    return found if _has_ended(found) else None


def _has_ended(document: Document) -> bool:
    return document.value.get("status") not in ("starting", "processing")


def _failure(call: Call, answer: Answer) -> ProviderFailed:
    """A refusal; when throttling ends stands in its words alone."""
    said = readable(answer).get("detail")
    failed = failure(call, answer, said)
    if failed.retry_after_s is None and (found := _RESETS.search(told(call, said))):
        failed.retry_after_s = float(found[1])
    return failed


async def _image(call: Call, done: Document) -> Image:
    """What a prediction has put out; raises what it means that it has not."""
    status, words = done.value.get("status"), told(call, done.value.get("error"))
    if status == "failed":
        if _REFUSED.search(words):
            raise ProviderFailed("rejected", f"it refused the request: {words}")
        raise ProviderFailed("upstream", f"the model failed: {words}", may_retry=True)
    if status != "succeeded":
        raise ProviderFailed("upstream", f"it ended as {told(call, status) or 'nothing known'}")
    found = first_link(done.value.get("output"))
    if found is None:
        raise ProviderFailed("no_image", "it answered without an image", may_retry=True)
    if found.startswith(("https://", "http://")):
        return await fetched(call, found, HOSTS)
    return await done.image(found)
