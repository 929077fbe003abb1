"""The kinds of providers: what each can do with a photo, what it takes, what may be set.

A kind is how to speak with a provider; the program for it is in the workers' `providers`, under
the same name. Whoever writes settings asks `settings_problems` and `options_problems` first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from makeready import photo_options as options
from makeready import photo_schemas as schemas
from makeready.addresses import check_url
from makeready.photo_schemas import Schema, closed
from makeready.shapes import problem
from makeready.validation import find_problems

MB = 1 << 20
WEB = ("image/jpeg", "image/png", "image/webp")
ALL = (*WEB, "image/heic", "image/heif")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoOperation:
    """Something that a kind of provider can do."""

    id: str
    title: Mapping[str, str]
    """By language: ru, en."""
    schema: Schema
    """Of a slot's settings for it."""
    needs: tuple[str, ...] = ()
    """Without which it cannot work: names of settings, and `template:<key>` for template media."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to speak with providers."""

    id: str
    title: Mapping[str, str]
    operations: Mapping[str, PhotoOperation]
    options_schema: Schema
    """Of the options of a provider of this kind."""
    needs_key: bool = True
    requires_public_media: bool = False
    """It fetches photos by a link, whatever is set: its slots take only what it can read."""
    media_types: tuple[str, ...] = WEB
    """What it can read: photos in other formats become JPEG before they are sent."""
    max_input_bytes: int = 20 * MB
    """Photos are made smaller until they fit."""

    def fetches(self, options: Mapping[str, Any]) -> bool:
        """Whether a provider with these options is given links to photos."""
        return self.requires_public_media or options.get("requires_public_media") is True

    def wants_key(self, options: Mapping[str, Any]) -> bool:
        """Whether a provider with these options cannot be asked without a key."""
        return self.needs_key or "{key}" in json.dumps(options)

    def is_sent_link(self, options: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
        """Whether what is sent has a link to the photo: then the service needs `public_url`."""
        said = settings.get("sends") == "link" or "{photo_link}" in json.dumps(options)
        return said or self.fetches(options)

    def slot_media_types(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What a booth may post to a slot that asks it first."""
        return WEB if self.fetches(options) else ALL


def _titled(name: str, ru: str, en: str, schema: Schema, *needs: str) -> PhotoOperation:
    return PhotoOperation(id=name, title={"ru": ru, "en": en}, schema=schema, needs=needs)


def _by_id(*operations: PhotoOperation) -> Mapping[str, PhotoOperation]:
    return MappingProxyType({each.id: each for each in operations})


def _named(name: str) -> Mapping[str, str]:
    return {"ru": name, "en": name}


_KINDS = (
    Kind(
        id="local",
        title={"ru": "На этой машине", "en": "On this machine"},
        operations=_by_id(
            _titled("echo", "Фото без изменений", "The photo as it is", schemas.ECHO),
            _titled(
                "frame",
                "Рамка или фон",
                "Frame or background",
                schemas.FRAME,
                "template:frame",
            ),
            _titled("filter", "Фильтр", "Filter", schemas.FILTER, "steps"),
        ),
        options_schema=closed(options.COMMON),
        needs_key=False,
        max_input_bytes=100 * MB,
    ),
    Kind(
        id="gemini",
        title=_named("Gemini"),
        operations=_by_id(
            _titled(
                "edit",
                "Изменить по описанию",
                "Change as described",
                schemas.GEMINI_EDIT,
                "prompt",
            ),
            _titled(
                "edit_with_reference",
                "Изменить по описанию и образцу",
                "Change as described, with a reference image",
                schemas.GEMINI_EDIT,
                "prompt",
                "template:reference",
            ),
        ),
        options_schema=closed({**options.REMOTE, **options.MODEL}),
        media_types=ALL,
    ),
    Kind(
        id="turbotext",
        title=_named("Turbotext"),
        operations=_by_id(
            _titled(
                "generate_image2image",
                "Обработать фото",
                "Change the photo",
                schemas.TURBOTEXT_IMAGE2IMAGE,
                "prompt",
            ),
            _titled("mix_images", "Микс-фото", "Mix", schemas.TURBOTEXT_MIX, "image_url"),
            _titled(
                "deepfake_photo", "Замена лица", "Swap faces", schemas.TURBOTEXT_FACE, "image_url"
            ),
        ),
        options_schema=closed(options.POLLED),
        requires_public_media=True,
        max_input_bytes=15 * MB,
    ),
    Kind(
        id="openai",
        title=_named("OpenAI Images"),
        operations=_by_id(
            _titled(
                "edit",
                "Изменить по описанию",
                "Change as described",
                schemas.OPENAI_EDIT,
                "prompt",
            ),
        ),
        options_schema=closed({**options.REMOTE, **options.MODEL}),
        max_input_bytes=50 * MB,
    ),
    Kind(
        id="replicate",
        title=_named("Replicate"),
        operations=_by_id(
            _titled("run", "Запустить модель", "Run a model", schemas.REPLICATE_RUN, "model"),
        ),
        options_schema=closed(options.POLLED),
        max_input_bytes=10 * MB,
    ),
    Kind(
        id="fal",
        title=_named("fal"),
        operations=_by_id(
            _titled("run", "Запустить модель", "Run a model", schemas.FAL_RUN, "model"),
        ),
        options_schema=closed(options.POLLED),
        max_input_bytes=10 * MB,
    ),
    Kind(
        id="webhook",
        title={"ru": "HTTP-запрос", "en": "HTTP request"},
        operations=_by_id(
            _titled("call", "Отправить запрос", "Send the request", schemas.WEBHOOK_CALL),
        ),
        options_schema=closed(options.WEBHOOK, "url", "body", "answer"),
        needs_key=False,
    ),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.id: kind for kind in _KINDS})


def operation_of(kind: str, operation: str) -> PhotoOperation | None:
    """The operation of a kind, if both are known."""
    found = KINDS.get(kind)
    return found.operations.get(operation) if found else None


def settings_problems(kind: str, operation: str, settings: Any) -> list[dict[str, str]]:
    """What is wrong with a slot's settings: {code, path, message, hint} each, by path."""
    known = KINDS.get(kind)
    found = operation_of(kind, operation)
    if known is None or found is None:
        names = ", ".join(known.operations) if known else ", ".join(KINDS)
        return [problem("not_allowed", "", f"{kind} has no {operation}", f"known: {names}")]
    problems = find_problems(found.schema, settings)
    if problems:
        return problems
    return [
        problem("missing_field", name, f"{name} is missing", f"{operation} needs it")
        for name in found.needs
        if not name.startswith("template:") and name not in settings
    ]


def options_problems(kind: str, given: Any) -> list[dict[str, str]]:
    """What is wrong with the options of a provider, the same way."""
    known = KINDS.get(kind)
    if known is None:
        text = f"{kind} is not a kind of provider"
        return [problem("not_allowed", "kind", text, f"known: {', '.join(KINDS)}")]
    problems = find_problems(known.options_schema, given)
    if problems:
        return problems
    more = [*_unknown_words(given), *_incomplete(given)] if "body" in given else []
    return [*_bad_addresses(given), *more]


def _bad_addresses(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """Addresses that lead into one's own network without saying so."""
    is_private = bool(given.get("allows_private"))
    problems = []
    for path, url in _addresses(given):
        host = url.partition("://")[2].partition("/")[0].partition("?")[0]
        if "{" in host:  # a slot could send the key wherever it likes
            problems.append(problem("bad_format", path, "must name its host itself", ""))
            continue
        try:
            check_url(_WORD.sub("x", url), private=is_private)
        except ValueError as error:
            hint = "" if is_private else "allows_private lets it be in your own network"
            problems.append(problem("bad_format", path, str(error), hint))
    return problems


def _unknown_words(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """What addresses and headers want to have filled in, and nobody can."""
    headers = enumerate(given.get("headers", ()))
    texts = [
        *_addresses(given),
        *((f"headers[{at}].value", each["value"]) for at, each in headers),
    ]
    return [
        problem("not_allowed", path, f"{{{word}}} is nothing to fill in", f"known: {_KNOWN}")
        for path, text in texts
        for word in _WORD.findall(text)
        if word not in _WORDS
        and not word.startswith("value.")
        and not (word == "reference" and path.startswith(("poll.", "cancel.")))
    ]


def _addresses(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("base_url", "url"):
        if name in given:
            yield name, given[name]
    for part in ("poll", "cancel", "ping"):
        for name in ("url", "result_url"):
            if name in given.get(part, {}):
                yield f"{part}.{name}", given[part][name]


_WORD = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
_WORDS = ("key", "prompt", "operation", "job_id", "photo_link")
_KNOWN = ", ".join(f"{{{word}}}" for word in (*_WORDS, "value.name"))
_OWN_HEADERS = {"host", "content-length", "content-type", "transfer-encoding", "connection"}


def _incomplete(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a webhook lacks, or has too much of."""
    body, answer, poll = given["body"], given["answer"], given.get("poll", {})
    problems = [
        problem(
            "not_allowed", f"headers[{place}].name", f"{entry['name']} is not yours to set", ""
        )
        for place, entry in enumerate(given.get("headers", ()))
        if entry["name"].lower() in _OWN_HEADERS
    ]
    if body["kind"] == "json" and "document" not in body:
        problems.append(problem("missing_field", "body.document", "document is missing", ""))
    if answer["kind"] != "image" and "path" not in answer:
        hint = "where in the JSON the image is"
        problems.append(problem("missing_field", "answer.path", "path is missing", hint))
    if answer["kind"] == "image" and poll and "result_url" not in poll:
        hint = "where the image is fetched when it is done"
        problems.append(problem("missing_field", "poll.result_url", "is missing", hint))
    return problems
