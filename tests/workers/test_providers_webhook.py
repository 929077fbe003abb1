"""The generic provider: whatever its options describe, and nothing else."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from makeready.photo_kinds import options_problems, settings_problems
from makeready_workers.providers.base import Image, ProviderFailed
from makeready_workers.providers.webhook import Webhook
from tests.support.provider_server import (
    Behaviour,
    bad_base64,
    cut_off,
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
KEY_HEADER = {"name": "Authorization", "value": "Token {key}"}


@pytest.fixture
async def webhook() -> AsyncIterator[Desk]:
    async with desk("webhook", Webhook(), prompt='A "knight"\r\n{key}') as found:
        found.operation = "call"
        yield found


def options(webhook: Desk, **more: Any) -> dict[str, Any]:
    """Options that were checked as those that staff enters."""
    found = {
        "url": f"{webhook.server.url}/hook/run",
        "headers": [KEY_HEADER],
        "body": {"kind": "multipart"},
        "answer": {"kind": "image"},
    } | more
    assert options_problems("webhook", found | {"allows_private": True}) == []
    return found


async def test_a_form_with_the_photo_and_what_else_is_described(webhook: Desk) -> None:
    fields = [
        {"name": "prompt", "value": "{prompt}!"},
        {"name": "strength", "value": "{value.strength}"},
        {"name": "style", "value": "{template.style}"},
        {"name": "unknown", "value": "{value.none} {nobody}"},
    ]
    body = {"kind": "multipart", "file_field": "fileToUpload", "fields": fields}
    task = webhook.task(
        templates={"style": STYLE}, values=[{"name": "strength", "value": "{key}"}]
    )
    assert await webhook.ask(task, **options(webhook, body=body)) == RESULT
    asked = webhook.server.last()
    assert (asked.method, asked.path) == ("POST", "/hook/run")
    assert asked.headers["authorization"] == "Token key-of-a-provider-0123456789"
    assert asked.files == [
        ("fileToUpload", "image/jpeg", PHOTO.content),
        ("style", "image/png", STYLE.content),
    ]
    # What a slot says is never filled in itself: it could ask for the key.
    assert asked.form == {
        "prompt": 'A "knight"\r\n{key}!',
        "strength": "{key}",
        "unknown": "{value.none} {nobody}",
    }


async def test_a_json_document_with_the_photo_in_it(webhook: Desk) -> None:
    document = {
        "input": {"image": "{photo}", "uri": "{photo_data}", "link": "{photo_link}"},
        "references": ["{template.style}", "{template_data.style}"],
        "prompt": "{prompt}",
        "steps": 4,
    }
    task = webhook.task(templates={"style": STYLE})
    found = options(webhook, method="PUT", body={"kind": "json", "document": document})
    assert await webhook.ask(task, **found) == RESULT
    asked = webhook.server.last()
    photo, style = (base64.b64encode(each.content).decode() for each in (PHOTO, STYLE))
    assert asked.method == "PUT"
    assert asked.document == {
        "input": {
            "image": photo,
            "uri": f"data:image/jpeg;base64,{photo}",
            "link": f"{webhook.server.url}/files/photo.jpg?signature=of-a-photo",
        },
        "references": [style, f"data:image/png;base64,{style}"],
        "prompt": 'A "knight"\r\n{key}',
        "steps": 4,
    }


async def test_the_photo_alone_and_a_key_in_the_address(webhook: Desk) -> None:
    url = f"{webhook.server.url}/hook/run?key={{key}}&prompt={{prompt}}"
    await webhook.ask(**options(webhook, url=url, headers=[], body={"kind": "raw"}))
    asked = webhook.server.last()
    assert (asked.body, asked.headers["content-type"]) == (PHOTO.content, "image/jpeg")
    assert asked.path.endswith(
        "?key=key-of-a-provider-0123456789&prompt=A%20%22knight%22%0D%0A%7Bkey%7D"
    )


@pytest.mark.parametrize("speaks", ["image", "base64", "url"])
@pytest.mark.parametrize("polled", [False, True])
async def test_images_are_found_wherever_they_are(
    webhook: Desk, speaks: str, polled: bool
) -> None:
    webhook.server.speaks, webhook.server.polled = speaks, polled
    answer = {"kind": speaks} | ({} if speaks == "image" else {"path": "images.0.it"})
    more: dict[str, Any] = {"answer": answer}
    if polled:
        own = f"{webhook.server.url}/hook"
        more["poll"] = {
            "reference": "job.id",
            "url": f"{own}/jobs/{{reference}}",
            "status": "job.state",
            "done": ["ready"],
        }
        if speaks == "image":
            more["poll"]["result_url"] = f"{own}/jobs/{{reference}}/result"
    assert await webhook.ask(**options(webhook, **more)) == RESULT
    expected = ["submit", "poll", "poll"] if polled else ["submit"]
    expected += ["result"] if polled and speaks == "image" else []
    assert webhook.server.stages() == expected + (["download"] if speaks == "url" else [])
    if polled:
        assert webhook.notes == {"http_status": 200, "provider_reference": "1001"}
        asked = webhook.server.last("poll")
        assert asked.path == "/hook/jobs/1001"
        assert asked.headers["authorization"] == "Token key-of-a-provider-0123456789"


WAYS: list[tuple[Behaviour, tuple[str, bool, bool]]] = [
    (refuse(400), ("rejected", False, False)),
    (refuse(401), ("rejected", False, True)),
    (refuse(429, retry_s=3), ("quota", True, True)),
    (refuse(503), ("upstream", True, False)),
    (ok(b""), ("no_image", True, False)),
    (wrong_type(), ("invalid_response", False, False)),
    (cut_off(), ("upstream", True, False)),
    (reset(), ("upstream", True, False)),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_each_way_to_fail_has_its_meaning(webhook: Desk, way: int) -> None:
    behaviour, expected = WAYS[way]
    webhook.server.will(behaviour)
    assert meaning(await webhook.failure(**options(webhook))) == expected


JSON_WAYS: list[tuple[Behaviour, tuple[str, bool, bool]]] = [
    (no_image(), ("no_image", True, False)),
    (bad_base64(), ("invalid_response", True, False)),
    (truncated(), ("invalid_response", True, False)),
    (say([1, 2]), ("invalid_response", True, False)),
    (say({"images": [{"it": {"no": "text"}}]}), ("invalid_response", False, False)),
]


@pytest.mark.parametrize("way", range(len(JSON_WAYS)))
async def test_json_that_is_not_as_described_is_told(webhook: Desk, way: int) -> None:
    webhook.server.speaks = "base64"
    behaviour, expected = JSON_WAYS[way]
    webhook.server.will(behaviour)
    found = options(webhook, answer={"kind": "base64", "path": "images.0.it"})
    assert meaning(await webhook.failure(**found)) == expected


async def test_its_words_for_a_failure_are_kept(webhook: Desk) -> None:
    webhook.server.polled = True
    poll = {
        "reference": "job.id",
        "url": f"{webhook.server.url}/hook/jobs/{{reference}}",
        "status": "job.ok",
        "done": ["true"],
        "failed": ["false"],
    }
    answer = {"kind": "base64", "path": "image", "error_path": "job.why"}
    found = options(webhook, poll=poll, answer=answer)
    webhook.server.will(say({"job": {"ok": False, "why": "no face"}}), stage="poll")
    failed = await webhook.failure(**found)
    assert str(failed) == "it ended as false: no face"
    webhook.server.will(say({"job": {"why": "too dark"}}, 422))
    assert str(await webhook.failure(**found)) == "it answered 422: too dark"
    webhook.server.will(say({"job": {}}))
    assert meaning(await webhook.failure(**found)) == ("invalid_response", False, False)


async def test_ing_032_what_is_unwanted_is_cancelled_as_described(webhook: Desk) -> None:
    cancel = {"url": f"{webhook.server.url}/hook/jobs/{{reference}}/cancel", "method": "DELETE"}
    call = webhook.call(**options(webhook, cancel=cancel))
    call.notes["provider_reference"] = "a/b"
    await webhook.provider.cancel(call)
    asked = webhook.server.last("cancel")
    assert (asked.method, asked.path) == ("DELETE", "/hook/jobs/a%2Fb/cancel")
    assert asked.headers["authorization"] == "Token key-of-a-provider-0123456789"
    await webhook.provider.cancel(webhook.call(**options(webhook)))
    assert webhook.server.stages() == ["cancel"]


async def test_a_ping_does_as_described_or_knocks(webhook: Desk) -> None:
    ping = {"url": f"{webhook.server.url}/hook/ping", "method": "GET"}
    await webhook.provider.ping(webhook.call(**options(webhook, ping=ping)))
    assert webhook.server.last("ping").headers["authorization"].startswith("Token ")
    webhook.server.will(refuse(401), stage="ping")
    with pytest.raises(ProviderFailed):
        await webhook.provider.ping(webhook.call(**options(webhook, ping=ping)))
    with pytest.raises(ProviderFailed, match="takes no connection"):
        await webhook.provider.ping(webhook.call(**options(webhook, url="http://127.0.0.1:9/")))


async def test_a_provider_that_nobody_has_described_says_so(webhook: Desk) -> None:
    failed = await webhook.failure()
    assert str(failed) == "its options lack url, body, answer"
    failed = await webhook.failure(key=None, **options(webhook))
    assert str(failed) == "its options name a key, and it has none"
    assert webhook.server.asked == []
    assert settings_problems("webhook", "call", {"prompt": "x"}) == []
