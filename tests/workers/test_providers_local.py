"""Work on photos on this machine: what is long is done in a helper process, not in ours."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from PIL import Image as Pillow

from makeready import picture_local, picture_work, pictures_aside
from makeready_workers import photo_results
from makeready_workers.providers.base import Call, Image, ProviderFailed, Task
from makeready_workers.providers.local import Local
from tests.support.photo_pictures import opened, quarters, saved

MEDIAN: dict[str, Any] = {"steps": [{"operation": "median"}]}


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    async def link() -> str:
        raise AssertionError

    async with aiohttp.ClientSession() as http:
        yield Call(http=http, options={}, key=None, deadline=float("inf"), public_url=link)
    await pictures_aside.close()


def task(operation: str, settings: dict[str, Any], **templates: bytes) -> Task:
    photo = Image(content=saved(quarters((60, 40))), media_type="image/jpeg")
    return Task(
        job_id=uuid4(),
        operation=operation,
        settings=settings,
        photo=photo,
        templates={
            name: Image(content=each, media_type="image/png") for name, each in templates.items()
        },
    )


TEMPLATE = saved(Pillow.new("RGBA", (50, 50), (0, 0, 0, 9)), "PNG")
BOTH = [task("filter", MEDIAN), task("frame", {}, frame=TEMPLATE)]


@pytest.mark.parametrize("asked", BOTH, ids=("filter", "frame"))
async def test_long_work_is_done_outside_this_process_ing_077(
    asked: Task, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await Local().process(asked, call)
    monkeypatch.setattr(pictures_aside, "LONG_PIXELS", 100)
    for name in ("framed", "filtered"):
        monkeypatch.delattr(picture_local, name)  # what would run in a thread of ours
    assert await Local().process(asked, call) == here


async def test_what_becomes_large_is_long_too(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(picture_local, "filtered")
    made = await Local().process(task("filter", {**MEDIAN, "width": 1200, "height": 900}), call)
    assert opened(made.content).size == (1200, 900)


async def test_a_filter_that_takes_too_long_is_rejected(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_aside, "ASIDE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(pictures_aside, "LONG_PIXELS", 100)
    with pytest.raises(ProviderFailed, match="it takes longer") as refused:
        await Local().process(task("filter", MEDIAN), call)
    assert refused.value.reason == "rejected"


async def test_thumbnails_of_what_holds_the_lock_are_made_outside_ing_077(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    del call  # only its helpers are wanted
    webp = saved(quarters((60, 40)), "WEBP")
    here = await photo_results.thumbnail(io.BytesIO(webp))
    monkeypatch.setattr(pictures_aside, "LONG_PIXELS", 100)
    monkeypatch.delattr(picture_work, "thumbnail")
    assert await photo_results.thumbnail(io.BytesIO(webp)) == here
