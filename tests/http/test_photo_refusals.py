"""Requests that were refused before there was a photo: counted, also through an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from makeready.config import Settings
from makeready_http import photo_refusals
from makeready_http.photo_refusals import Refusals
from tests.support.booth import Studio, opened, post
from tests.support.service import Service, serving
from tests.support.waiting import until


async def written(db: asyncpg.Connection) -> dict[tuple[str, str], int]:
    rows = await db.fetch(
        "select slot_id, reason, sum(refused) as count from makeready.ingest_refusals"
        " group by slot_id, reason"
    )
    return {(row["slot_id"], row["reason"]): row["count"] for row in rows}


async def test_ing_072_refusals_are_counted_by_slot_and_reason(
    db: asyncpg.Connection, dsn: str
) -> None:
    """ING-072: 429 by its reason, 503 and 500 as unavailable; a client's own faults are none."""
    refusals = Refusals()
    for slot, code, reason in (
        ("slot-001", "queue_busy", "limit"),
        ("slot-001", "queue_busy", "limit"),
        ("slot-002", "queue_busy", "deadline"),
        ("slot-001", "queue_unavailable", "draining"),
        ("slot-001", "storage_unavailable", None),
        ("slot-001", "internal_error", None),
        ("slot-001", "rate_limited", None),
        ("slot-001", "invalid_credentials", None),
        ("slot-001", "unsupported_media_type", "limit"),
        ("slot-999", "queue_busy", "limit"),
        ("../../etc", "queue_unavailable", None),
    ):
        refusals.note(slot, code, reason)
    async with asyncpg.create_pool(dsn, min_size=1) as pool:
        await refusals.write(pool)
        refusals.note("slot-001", "queue_busy", "limit")
        await refusals.write(pool)
        await refusals.write(pool)
    assert await written(db) == {
        ("slot-001", "limit"): 3,
        ("slot-002", "deadline"): 1,
        ("slot-001", "unavailable"): 3,
    }
    assert not refusals.unwritten


async def test_what_cannot_be_written_is_kept_and_bounded(
    db: asyncpg.Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals()
    refusals.note("slot-001", "queue_unavailable", None)
    pool = await asyncpg.create_pool(dsn, min_size=1)
    await pool.close()
    await refusals.write(pool)
    assert refusals.unwritten.total() == 1  # type: ignore[attr-defined]
    monkeypatch.setattr(photo_refusals, "MOST", 1)
    refusals.note("slot-002", "queue_unavailable", None)
    refusals.note("slot-001", "queue_unavailable", None)
    async with asyncpg.create_pool(dsn, min_size=1) as back:
        await refusals.write(back)
    assert await written(db) == {("slot-001", "unavailable"): 2}


@pytest.fixture
async def service(settings: Settings, db: asyncpg.Connection) -> AsyncIterator[Service]:
    await opened(db)
    async with serving(settings, photo_workers=Studio().open) as running:
        yield running


async def test_a_booth_that_finds_the_store_away_shows_in_the_figures(
    service: Service, settings: Settings, db: asyncpg.Connection
) -> None:
    folder = settings.media_folder / "payloads"
    if folder.exists():
        folder.rmdir()
    folder.write_bytes(b"")  # nothing can be stored below
    assert (await post(service.url)).status == 503

    async def counted() -> bool:
        return await written(db) == {("slot-001", "unavailable"): 1}

    await until(counted)
