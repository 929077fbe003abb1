"""Counters of providers: calls, failures, time and cost by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from makeready import ingest
from tests.support.clock import Clock
from tests.support.database import Connect


def asked(provider: str, calls: int, failures: int = 0, cost: float = 0.0) -> dict[str, Any]:
    """What one photo has asked of one provider."""
    return {
        "provider": provider,
        "calls": calls,
        "failures": failures,
        "ms": 100 * calls,
        "cost": cost,
    }


async def test_calls_add_up_by_provider_and_day(
    db: asyncpg.Connection, connect: Connect, clock: Clock
) -> None:
    worker = await connect("makeready_worker")
    first: datetime = await db.fetchval("select makeready.now()")
    await ingest.providers_asked(worker, [asked("gemini", 3, 2, 0.1), asked("fal", 1, 0, 0.02)])
    await ingest.providers_asked(worker, [asked("gemini", 1, 0, 0.2), asked("gemini", 1, 1)])
    await clock.advance(24 * 3600)
    await ingest.providers_asked(worker, [asked("gemini", 1)])
    ops = await connect("makeready_ops")
    day = first.astimezone(UTC).date()
    rows = await ops.fetch(
        "select provider_id, day, calls, failures, busy_ms, cost::float8"
        " from makeready.provider_usage order by day, provider_id",
    )
    assert [tuple(row) for row in rows] == [
        ("fal", day, 1, 0, 100, 0.02),
        ("gemini", day, 5, 3, 500, pytest.approx(0.3)),
        ("gemini", day + timedelta(days=1), 1, 0, 100, 0.0),
    ]


async def test_only_workers_count_and_nothing_impossible_is_kept(
    db: asyncpg.Connection, connect: Connect
) -> None:
    for role in ("makeready_http", "makeready_ops"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ingest.providers_asked(await connect(role), [asked("gemini", 1)])
    with pytest.raises(asyncpg.CheckViolationError):
        await ingest.providers_asked(db, [asked("gemini", 1, failures=2)])
    assert await db.fetchval("select count(*) from makeready.provider_usage") == 0


async def test_counting_does_not_wait_for_the_disk(db: asyncpg.Connection) -> None:
    async with db.transaction():
        await ingest.providers_asked(db, [asked("gemini", 1)])
        assert await db.fetchval("show synchronous_commit") == "off"
    assert await db.fetchval("show synchronous_commit") == "on"
