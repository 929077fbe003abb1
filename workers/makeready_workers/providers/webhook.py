"""Any program that takes a photo over HTTP: its provider's options say how, without code.

What is sent and where the image is in the answer stands in `makeready.photo_options`. Texts are
filled in before JSON is written, so that no value of a slot changes the shape of what is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from makeready.jobs import Json
from makeready_workers.providers.answers import (
    Document,
    at,
    failure,
    image_of,
    readable,
    reference_of,
    told,
)
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.bodies import (
    Body,
    Inline,
    data_uri,
    json_body,
    multipart_body,
    raw_body,
)
from makeready_workers.providers.fetching import fetched
from makeready_workers.providers.inputs import filled
from makeready_workers.providers.wire import Answer, best_effort, briefly, exchange, polled

POLL_S = 1.0
_WORD = re.compile(r"\{([a-z][a-z0-9_.]*)\}")


class Webhook:
    """Speaks what the options describe."""

    async def process(self, task: Task, call: Call) -> Image:
        """See `Provider.process`."""
        options = _complete(call)
        words = await _words(task, call)
        answer = await exchange(
            call,
            options.get("method", "POST"),
            _address(options["url"], words),
            headers=_headers(options, words),
            body=_body(options["body"], task, words),
        )
        _note(call, answer)
        if "poll" in options:
            return await self._polled(call, words, Document(answer))
        return await _image(call, answer)

    async def _polled(self, call: Call, words: Mapping[str, str], first: Document) -> Image:
        poll = call.options["poll"]
        reference = reference_of(first.at(poll["reference"]))
        call.notes["provider_reference"] = reference
        words = {**words, "reference": reference}
        headers = _headers(call.options, words)

        async def ask() -> Answer | None:
            found = await exchange(call, "GET", _address(poll["url"], words), headers=headers)
            _note(call, found)
            ends = {*poll["done"], *poll.get("failed", ())}
            return found if _state(call, Document(found)) in ends else None

        every_s = float(call.options.get("poll_interval_s", POLL_S))
        done = await polled(call, ask, first_s=every_s, every_s=every_s)
        _check(call, Document(done))
        if "result_url" in poll:
            url = _address(poll["result_url"], words)
            done = await exchange(call, "GET", url, headers=headers)
            _note(call, done)
        return await _image(call, done)

    async def cancel(self, call: Call) -> None:
        """See `Provider.cancel`."""
        cancel, reference = call.options.get("cancel"), call.notes.get("provider_reference")
        if cancel and reference:
            words = _own_words(call) | {"reference": str(reference)}
            url, headers = _address(cancel["url"], words), _headers(call.options, words)
            await best_effort(exchange(briefly(call), cancel["method"], url, headers=headers))

    async def ping(self, call: Call) -> None:
        """Asks what the options say, or whether anybody is there at all."""
        options, words = _complete(call), _own_words(call)
        if ping := options.get("ping"):
            url = _address(ping["url"], words)
            _note(
                call, await exchange(call, ping["method"], url, headers=_headers(options, words))
            )
            return
        parts = urlsplit(options["url"])
        answer = await exchange(call, "HEAD", f"{parts.scheme}://{parts.netloc}/")
        if answer.status >= 500:
            raise failure(call, answer)


def _complete(call: Call) -> Json:
    """The options; raises when they lack something, or a key that they name is not there."""
    missing = [name for name in ("url", "body", "answer") if name not in call.options]
    if missing:
        raise ProviderFailed("rejected", f"its options lack {', '.join(missing)}")
    if call.key is None and "{key}" in json.dumps(call.options):
        raise ProviderFailed("rejected", "its options name a key, and it has none")
    return call.options


def _own_words(call: Call) -> dict[str, str]:
    return {"key": call.key.reveal()} if call.key is not None else {}


async def _words(task: Task, call: Call) -> dict[str, str]:
    """What may be filled in; the photo is published only when its link is asked for."""
    words = _own_words(call) | {"operation": task.operation, "job_id": str(task.job_id)}
    words["prompt"] = str(task.settings.get("prompt", ""))
    for each in task.settings.get("values", ()):
        words[f"value.{each['name']}"] = str(each["value"])
    if "{photo_link}" in json.dumps(call.options):
        words["photo_link"] = await call.public_url()
    return words


def _fill(text: str, words: Mapping[str, str], escape: Callable[[str], str] = str) -> str:
    """The text with what is known; a name that is not stays as it stands."""
    return _WORD.sub(
        lambda found: escape(words[found[1]]) if found[1] in words else found[0], text
    )


def _address(text: str, words: Mapping[str, str]) -> str:
    return _fill(text, words, lambda word: quote(word, safe=""))


def _headers(options: Json, words: Mapping[str, str]) -> dict[str, str]:
    return {each["name"]: _fill(each["value"], words) for each in options.get("headers", ())}


def _body(body: Json, task: Task, words: Mapping[str, str]) -> Body:
    if body["kind"] == "raw":
        return raw_body(task.photo)
    images = {"{photo}": task.photo}
    images |= {f"{{template.{key}}}": image for key, image in task.templates.items()}
    if body["kind"] == "json":
        return json_body(filled(body["document"], lambda text: _placed(text, images, words)))
    fields, files = [], [(str(body.get("file_field", "file")), "photo", task.photo)]
    for each in body.get("fields", ()):
        if image := images.get(each["value"]):
            files.append((each["name"], each["name"], image))
        else:
            fields.append((each["name"], _fill(each["value"], words)))
    return multipart_body(fields, files)


def _placed(text: str, images: Mapping[str, Image], words: Mapping[str, str]) -> str | Inline:
    """An image in base64 or as a data URI ({photo_data}, {template_data.key}), or words."""
    if image := images.get(text):
        return Inline(image.content)
    if image := images.get(text.replace("_data", "", 1)):
        return data_uri(image)
    return _fill(text, words)


def _note(call: Call, answer: Answer) -> None:
    """Notes the status; raises when it is no success."""
    call.notes["http_status"] = answer.status
    if not 200 <= answer.status < 300:
        path = call.options.get("answer", {}).get("error_path", "error")
        raise failure(call, answer, at(readable(answer), path))


def _state(call: Call, document: Document) -> str:
    """How far a job is; what is no text in JSON is compared as JSON writes it."""
    found = document.at(call.options["poll"]["status"])
    return found if isinstance(found, str) else json.dumps(found)


def _check(call: Call, document: Document) -> None:
    state = _state(call, document)
    if state not in call.options["poll"]["done"]:
        said = told(call, document.at(call.options["answer"].get("error_path", "error")))
        text = f"it ended as {told(call, state)}: {said}"
        raise ProviderFailed("upstream", text, may_retry=True)


async def _image(call: Call, answer: Answer) -> Image:
    wanted = call.options["answer"]
    if wanted["kind"] == "image":
        if not answer.body:
            raise ProviderFailed("no_image", "its answer is empty", may_retry=True)
        return image_of(bytes(answer.body))
    document = Document(answer)
    found = document.at(wanted["path"])
    if not found:
        raise ProviderFailed("no_image", "it answered without an image", may_retry=True)
    if wanted["kind"] == "base64":
        return await document.image(found)
    hosts = [urlsplit(call.options["url"]).hostname or ""]
    return await fetched(call, str(found), hosts)
