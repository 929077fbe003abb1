"""Turbotext: fetches the photo from a public link, queues it, is asked until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from makeready_workers.providers.answers import Document, failure, first_link, reference_of, told
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.bodies import form_body
from makeready_workers.providers.fetching import fetched
from makeready_workers.providers.wire import Answer, authorization, base_url, exchange, polled

BASE_URL = "https://www.turbotext.ru/api_ai"
HOSTS = ("turbotext.ru", "*.turbotext.ru")
POLL_S = 2.0
PASSED_ON = ("strength", "seed", "scale", "negative_prompt", "original_language", "user_id")


class Turbotext:
    """Speaks create_queue and get_result of the photo methods."""

    async def process(self, task: Task, call: Call) -> Image:
        """See `Provider.process`."""
        method = task.operation
        created = await _said(call, method, await _fields(task, call))
        queue = reference_of(created.value.get("queueid"))
        call.notes["provider_reference"] = queue

        async def ask() -> Document | None:
            found = await _said(call, method, {"do": "get_result", "queueid": queue})
            return None if found.value.get("action") == "reconnect" else found

        every_s = float(call.options.get("poll_interval_s", POLL_S))
        done = await polled(call, ask, first_s=every_s, every_s=every_s)
        return await fetched(call, _link(done), HOSTS)

    async def cancel(self, call: Call) -> None:
        """There is no way to."""

    async def ping(self, call: Call) -> None:
        """Asks for a queue that nobody has: any answer but a refusal of the key will do."""
        fields = {"do": "get_result", "queueid": "0"}
        answer = await _asked(call, "generate_image2image", fields)
        if answer.status in (401, 403) or answer.status >= 500:
            raise failure(call, answer)


async def _fields(task: Task, call: Call) -> dict[str, str]:
    """Which image is which: the photo is what is changed, and gives its face."""
    photo, settings = await call.public_url(), task.settings
    fields = {"do": "create_queue"}
    if task.operation == "generate_image2image":
        fields["url"] = photo
    else:
        fields |= {"url_image_target": photo, "url": str(settings["image_url"])}
    if "prompt" in settings:
        fields["content"] = str(settings["prompt"])
    if "face_restore" in settings:
        fields["face_restore"] = str(bool(settings["face_restore"]))
    return fields | {name: str(settings[name]) for name in PASSED_ON if name in settings}


async def _asked(call: Call, method: str, fields: Mapping[str, str]) -> Answer:
    url = f"{base_url(call, BASE_URL)}/{method}"
    return await exchange(call, "POST", url, headers=authorization(call), body=form_body(fields))


async def _said(call: Call, method: str, fields: Mapping[str, str]) -> Document:
    """An answer that is no refusal; refusals come with status 200."""
    answer = await _asked(call, method, fields)
    call.notes["http_status"] = answer.status
    if answer.status != 200:
        raise failure(call, answer)
    found = Document(answer)
    refusal = found.value.get("error") or (
        None if found.value.get("success", True) else found.value.get("message", "no reason")
    )
    if not refusal:
        return found
    words = told(call, refusal) or "no reason"
    if words == "LIMIT":
        raise ProviderFailed("quota", "its limit is used up: LIMIT", key_is_bad=True)
    raise ProviderFailed("rejected", f"it refused the photo: {words}")


def _link(done: Document) -> str:
    """Where the result is: its samples have it beside the data, programs have found it inside."""
    data: Any = done.value.get("data")
    data = data if isinstance(data, Mapping) else {}
    if data.get("forbidden_content") is True:
        raise ProviderFailed("rejected", "it made no image: forbidden content")
    image = first_link(data.get("image")) or ""
    link = (
        first_link(done.value.get("uploaded_image"))
        or first_link(data.get("uploaded_image"))
        or (image if image.startswith(("https://", "http://")) else None)
    )
    if link is None:
        raise ProviderFailed("no_image", "it answered without an image")
    return link
