"""Kinds of providers: what may be set at them and at their slots."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from makeready.photo_kinds import (
    ALL,
    KINDS,
    WEB,
    operation_of,
    options_problems,
    settings_problems,
)
from makeready.photo_schemas import FILTER_STEPS
from makeready.validation import check_schema

WEBHOOK: dict[str, Any] = {
    "url": "https://booth.example/run?job={job_id}",
    "body": {"kind": "raw"},
    "answer": {"kind": "image"},
}


def paths(problems: list[dict[str, str]]) -> list[str]:
    return [each["path"] for each in problems]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_whole(kind: str) -> None:
    found = KINDS[kind]
    assert found.id == kind
    check_schema(found.options_schema)
    assert options_problems(kind, WEBHOOK if kind == "webhook" else {}) == []
    for name, operation in found.operations.items():
        assert operation.id == name
        assert set(operation.title) == {"ru", "en"}
        check_schema(operation.schema)
        named = {need for need in operation.needs if not need.startswith("template:")}
        assert named <= set(operation.schema["properties"])


def test_ing_008_slots_take_less_when_their_provider_fetches_photos() -> None:
    assert [kind.id for kind in KINDS.values() if kind.fetches({})] == ["turbotext"]
    assert KINDS["turbotext"].slot_media_types({}) == WEB
    assert KINDS["webhook"].slot_media_types({}) == ALL
    assert KINDS["webhook"].slot_media_types({"requires_public_media": True}) == WEB


def test_ing_010_limits_hold_for_what_is_sent() -> None:
    assert KINDS["gemini"].max_input_bytes == 20 << 20
    assert KINDS["turbotext"].max_input_bytes == 15 << 20


@pytest.mark.parametrize(
    ("kind", "operation", "settings", "expected"),
    [
        ("local", "echo", {}, []),
        ("local", "echo", {"x": 1}, ["x"]),
        ("local", "frame", {"window": {"x": 0, "y": 0, "width": 1, "height": 0.5}}, []),
        (
            "local",
            "frame",
            {"window": {"x": 0, "y": 0, "width": 0}},
            ["window.height", "window.width"],
        ),
        ("local", "filter", {"steps": [{"operation": "sepia"}]}, []),
        ("local", "filter", {}, ["steps"]),
        ("local", "filter", {"steps": []}, ["steps"]),
        ("local", "filter", {"steps": [{"operation": "exec"}]}, ["steps[0].operation"]),
        ("local", "filter", {"steps": [{"operation": "brightness"}]}, ["steps[0].factor"]),
        ("gemini", "edit", {"prompt": "A knight", "aspect_ratio": "3:2"}, []),
        ("gemini", "edit", {"prompt": "", "model": "../x"}, ["model", "prompt"]),
        ("openai", "edit", {"prompt": "x", "size": "1024x1536"}, []),
        ("turbotext", "generate_image2image", {"prompt": "x", "strength": 81}, ["strength"]),
        ("turbotext", "mix_images", {"prompt": "x"}, ["image_url"]),
        ("replicate", "run", {"model": "a/b", "input": {"steps": 4}}, []),
        ("replicate", "run", {"model": "https://evil.example/a"}, ["model"]),
        ("replicate", "run", {"model": "a/b/../c"}, ["model"]),
        ("replicate", "run", {"model": "a/.."}, ["model"]),
        ("fal", "run", {"model": "a/b/../../c"}, ["model"]),
        ("fal", "run", {"model": "fal-ai/flux/dev"}, []),
        ("fal", "run", {"model": "x"}, ["model"]),
        ("webhook", "call", {"values": [{"name": "a", "value": "b"}]}, []),
        ("gemini", "echo", {}, [""]),
        ("nothing", "echo", {}, [""]),
        ("gemini", "edit", [], [""]),
    ],
)
def test_settings_are_told_what_is_wrong_with_them(
    kind: str, operation: str, settings: Any, expected: list[str]
) -> None:
    assert paths(settings_problems(kind, operation, settings)) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, []),
        ({"url": "http://booth.example/"}, ["url"]),
        ({"url": "https://192.168.1.5/"}, ["url"]),
        ({"url": "http://192.168.1.5/", "allows_private": True}, []),
        ({"url": "https://{key}@booth.example/"}, ["url"]),
        ({"url": "https://{value.host}/run"}, ["url"]),
        ({"url": "https://booth.example{value.rest}?a=b"}, ["url"]),
        ({"url": "https://booth.example?job={job_id}"}, []),
        ({"url": "https://booth.example/{reference}"}, ["url"]),
        ({"url": "https://booth.example/{promt}"}, ["url"]),
        ({"headers": [{"name": "X", "value": "{Key} {kee} {value.x}"}]}, ["headers[0].value"]),
        ({"headers": [{"name": "Authorization", "value": "Bearer {key}"}]}, []),
        ({"headers": [{"name": "Host", "value": "x"}]}, ["headers[0].name"]),
        ({"headers": [{"name": "X", "value": "a\r\nB: c"}]}, ["headers[0].value"]),
        ({"body": {"kind": "json"}}, ["body.document"]),
        ({"answer": {"kind": "base64"}}, ["answer.path"]),
        ({"answer": {"kind": "url", "path": "images..url"}}, ["answer.path"]),
        (
            {
                "poll": {
                    "reference": "id",
                    "url": "http://10.0.0.1/{reference}",
                    "status": "status",
                    "done": ["ready"],
                }
            },
            ["poll.url", "poll.result_url"],
        ),
        ({"ping": {"url": "https://localhost/", "method": "GET"}}, ["ping.url"]),
        ({"unknown": 1}, ["unknown"]),
    ],
)
def test_a_webhook_is_told_what_is_wrong_with_it(
    more: dict[str, Any], expected: list[str]
) -> None:
    assert paths(options_problems("webhook", WEBHOOK | more)) == expected


def test_options_of_others_are_checked_as_well() -> None:
    assert paths(options_problems("webhook", {})) == ["answer", "body", "url"]
    assert paths(options_problems("gemini", {"base_url": "https://127.0.0.1"})) == ["base_url"]
    assert paths(options_problems("gemini", {"download_hosts": ["x"]})) == ["download_hosts"]
    assert paths(options_problems("fal", {"download_hosts": ["https://x"]})) == [
        "download_hosts[0]"
    ]
    assert paths(options_problems("nothing", {})) == ["kind"]


def test_every_step_of_a_filter_is_in_its_schema() -> None:
    found = operation_of("local", "filter")
    assert found is not None
    step = found.schema["properties"]["steps"]["items"]
    assert step["properties"]["operation"]["enum"] == list(FILTER_STEPS)
    needed = {name for names in FILTER_STEPS.values() for name in names}
    assert needed | {"operation"} == set(step["properties"])


PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"


def test_the_page_names_every_kind_operation_and_option() -> None:
    text = PAGE.read_text("utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    examples = [json.loads(each) for each in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    described = {name for each in examples for name in each}
    assert named >= KINDS.keys()
    for kind in KINDS.values():
        assert named >= kind.operations.keys()
        assert named | described | {"method"} >= kind.options_schema["properties"].keys()


def test_the_examples_on_the_page_are_options() -> None:
    examples = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert options_problems("webhook", json.loads(example)) == []
