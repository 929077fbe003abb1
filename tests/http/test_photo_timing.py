"""Where the time of a photo went."""

from __future__ import annotations

import re
import time

import asyncpg
import pytest

from makeready.commands import photos
from makeready.config import Settings
from makeready_http.photo_timing import Timing
from makeready_workers.ingest import open_photos
from tests.support.booth import opened, post
from tests.support.service import serving


def _parts(header: str) -> dict[str, float]:
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([0-9.]+)", header)}


async def test_an_answer_says_where_its_time_went(
    settings: Settings, db: asyncpg.Connection
) -> None:
    await opened(db)
    async with serving(settings, photo_workers=open_photos) as service:
        began = time.perf_counter()
        answer = await post(service.url)
        took_ms = (time.perf_counter() - began) * 1000

    assert answer.status == 200
    parts = _parts(answer.headers["server-timing"])
    assert set(parts) == set(photos.PARTS)
    assert 0 < sum(parts.values()) < took_ms


def test_what_the_worker_says_of_its_time_is_taken_out_of_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.010, 0.110])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timing = Timing()
    timing.mark("admit")
    timing.waited({"queue_ms": 1, "prepare_ms": 2.5, "provider_ms": 90, "store_ms": 4})

    assert _parts(timing.header) == {
        "admit": 10.0,
        "finalise": 6.5,
        "claim": 1.0,
        "prepare": 2.5,
        "provider": 90.0,
    }
