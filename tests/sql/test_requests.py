"""Idempotency keys: created, joined, replayed or refused, and a duplicate is never 429."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready.errors import Busy, Rejected, WrongIsolation
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core


async def once(
    core: Core,
    key: str = "k",
    queue: str = "free",
    body_hash: bytes = b"same",
    scope: str = "user",
    **options: Any,
) -> tuple[str, UUID, str]:
    """One request; verdict, job, state."""
    (row,) = await core.rows(
        "enqueue_once",
        scope_key=scope,
        operation_name="render",
        request_key=key,
        body_hash=body_hash,
        queue_name=queue,
        **options,
    )
    return row["verdict"], row["job_id"], row["job_state"]


async def test_a_new_key_creates(core: Core) -> None:
    """A6: the first of its kind."""
    verdict, job, state = await once(core)
    assert (verdict, state) == ("created", "queued")
    assert await core.state(job) == "queued"


@pytest.mark.parametrize("state", ["queued", "waiting", "running"])
async def test_the_same_request_joins_what_is_open(core: Core, state: str) -> None:
    """A6: the same key and body while the job is open."""
    _, job, _ = await once(core)
    if state != "queued":
        (claimed,) = await core.claim("free")
        if state == "waiting":
            await core.fail(claimed)
    assert await once(core) == ("joined", job, state)
    assert await core.count("free", "queued", "waiting", "running") == 1


@pytest.mark.parametrize(("manner", "state"), [("finish", "done"), ("fatal", "dead")])
async def test_the_same_request_replays_what_has_ended(
    core: Core, manner: str, state: str
) -> None:
    """A6: finished, or dead: a failure is an answer too."""
    _, job, _ = await once(core)
    (claimed,) = await core.claim("free")
    await (core.finish(claimed) if manner == "finish" else core.fail(claimed, manner))
    assert await once(core) == ("replayed", job, state)


@pytest.mark.parametrize("how", ["cancel", "give_up"])
async def test_after_a_cancellation_or_a_deadline_the_key_is_free(core: Core, how: str) -> None:
    """A6: nothing to replay, so a new beginning."""
    _, job, _ = await once(core)
    await (core.cancel("free", job) if how == "cancel" else core.give_up("free", job))
    verdict, other, _ = await once(core)
    assert verdict == "created"
    assert other != job
    assert await once(core) == ("joined", other, "queued")


async def test_another_body_under_the_same_key_is_refused(core: Core) -> None:
    """A6: conflict."""
    _, job, _ = await once(core)
    with pytest.raises(Rejected) as refusal:
        await once(core, body_hash=b"other")
    assert refusal.value.details["code"] == "idempotency_mismatch"
    assert refusal.value.details["resource"] == str(job)
    assert await core.count("free", "queued") == 1


@pytest.mark.parametrize("change", [{"key": "other"}, {"scope": "somebody else"}])
async def test_other_keys_and_other_scopes_make_their_own_jobs(
    core: Core, change: dict[str, Any]
) -> None:
    """A6: different keys."""
    _, job, _ = await once(core)
    verdict, other, _ = await once(core, **change)
    assert verdict == "created"
    assert other != job


async def test_an_expired_key_is_free_again_even_for_another_body(
    core: Core, clock: Clock
) -> None:
    """A6: released after its time."""
    _, job, _ = await once(core)
    await clock.advance(24 * 3600 + 1)
    verdict, other, _ = await once(core, body_hash=b"other")
    assert verdict == "created"
    assert other != job


async def test_a_key_outlives_the_job_it_made(core: Core, clock: Clock) -> None:
    """Across retention: the pruned job is replayed as pruned, not made a second time."""
    await core.set("free", keep_done="1 hour")
    _, job, _ = await once(core)
    (claimed,) = await core.claim("free")
    await core.finish(claimed)
    await clock.advance(7200)
    assert await core.call("prune", max_jobs=10) == 1
    assert await once(core) == ("replayed", job, "pruned")


async def test_purged_keys_are_gone_and_others_stay(core: Core, clock: Clock) -> None:
    await once(core, "old")
    await clock.advance(23 * 3600)
    await once(core, "young")
    await clock.advance(2 * 3600)
    assert await core.call("requests_purge", max_rows=100) == 1
    assert await core.db.fetchval("select key from makeready.requests") == "young"


async def test_a_purge_of_keys_is_bounded_and_takes_the_oldest(core: Core, clock: Clock) -> None:
    for key in ("1", "2", "3"):
        await once(core, key)
        await clock.advance(1)
    await clock.advance(25 * 3600)
    assert await core.call("requests_purge", max_rows=2) == 2
    assert await core.db.fetchval("select array_agg(key) from makeready.requests") == ["3"]
    assert await core.call("requests_purge", max_rows=2) == 1


async def test_a_duplicate_is_never_refused_for_a_limit(core: Core) -> None:
    _, job, _ = await once(core, queue="bounded")
    await core.many("bounded", 4)
    with pytest.raises(Busy):
        await once(core, "new", queue="bounded")
    assert await once(core, queue="bounded") == ("joined", job, "queued")


async def test_a_refused_request_leaves_its_key_free(core: Core) -> None:
    await core.many("bounded", 5)
    with pytest.raises(Busy):
        await once(core, queue="bounded")
    assert await core.db.fetchval("select count(*) from makeready.requests") == 0
    await core.set("bounded", max_open=6)
    assert (await once(core, queue="bounded"))[0] == "created"


async def test_twenty_duplicates_at_once_make_one_job(session: Session) -> None:
    """Q1: concurrent duplicates, each on a connection of its own."""
    sessions = [await session() for _ in range(20)]
    found = await asyncio.gather(*(once(other) for other in sessions))
    assert sorted(verdict for verdict, _, _ in found) == ["created"] + ["joined"] * 19
    assert len({job for _, job, _ in found}) == 1


async def test_a_duplicate_of_an_uncommitted_request_waits_and_then_creates(
    session: Session,
) -> None:
    first, second = await session(), await session()
    transaction = first.db.transaction()
    await transaction.start()
    _, job, _ = await once(first)
    waiting = asyncio.create_task(once(second))
    await transaction.rollback()
    verdict, other, _ = await waiting
    assert verdict == "created"
    assert other != job


async def test_a_batch_is_open_while_any_of_its_jobs_is(core: Core) -> None:
    pack = uuid4()
    asked = {
        "scope_key": "user",
        "operation_name": "pack",
        "request_key": "k",
        "body_hash": b"same",
        "queue_name": "free",
        "target": pack,
    }
    (first,) = await core.rows("request_take", **asked)
    await core.many("free", 2, batch_key=pack)
    (second,) = await core.rows("request_take", **{**asked, "target": uuid4()})
    for job in await core.claim("free", 2):
        await core.finish(job)
    (third,) = await core.rows("request_take", **{**asked, "target": uuid4()})
    assert [first["verdict"], second["verdict"], third["verdict"]] == [
        "created",
        "joined",
        "replayed",
    ]
    assert second["target_id"] == third["target_id"] == pack


async def test_a_key_may_be_kept_for_a_time_of_its_own(core: Core, clock: Clock) -> None:
    text = "select verdict from makeready.request_take('s', 'o', 'k', 'x', 'free', $1, '1 minute')"
    assert await core.db.fetchval(text, uuid4()) == "created"
    await clock.advance(61)
    assert await core.db.fetchval(text, uuid4()) == "created"


async def test_a_frozen_snapshot_cannot_take_a_key(core: Core) -> None:
    with pytest.raises(WrongIsolation):
        async with core.db.transaction(isolation="repeatable_read"):
            await once(core)


async def test_a_retry_of_the_whole_transaction_is_harmless(core: Core) -> None:
    """A6: the answer to the COMMIT was lost, the client asks again with its own job id."""
    job = uuid4()
    assert await once(core, job=job) == ("created", job, "queued")
    assert await once(core, job=job) == ("joined", job, "queued")
