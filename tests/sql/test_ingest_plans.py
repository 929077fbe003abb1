"""What a call about a photo reads does not grow with the photos of the past."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.support.photographing import SLOT, STORE, Darkroom

PAST = 4000
OPEN = 11
FILL = """
    with old as (
      insert into makeready.photos (id, slot_id, provider_id, chain, payload_sha256, waiters,
             created_at, expires_at, started_at, finished_at, result_sha256, result_size_bytes,
             result_store, result_path, result_expires_at)
      select gen_random_uuid(), $1, 'local', '[]', sha256(n::text::bytea), '{}', at, at, at,
             at + interval '5 seconds', sha256(''), 1, $2, 'results/' || n, at + interval '1 day'
        from generate_series(1, $3::int) n
       cross join lateral (select makeready.now() - n * interval '6 seconds' as at) t
      returning id, created_at, finished_at
    ), jobs as (
      insert into makeready.jobs (queue, id, state, run_at, deadline_at, lane, payload, created_at,
             finished_at, owner)
      select 'ingest', id, 'done', created_at, created_at, 'local', '{}', created_at, finished_at,
             $1 from old
    ), media as (
      insert into makeready.media_objects (id, kind, store, path, mime, size_bytes, sha256, job_id,
             created_at, expires_at)
      select id, 'payload', $2, id::text, 'image/jpeg', 1, sha256(''), id, created_at, created_at
        from old
    )
    insert into makeready.processing_logs (job_id, slot_id, status, occurred_at)
    select id, $1, 'succeeded', finished_at from old"""
READ = """
    select coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::int
      from pg_stat_xact_user_tables where schemaname = 'makeready'"""
CALLS = {
    "ingest_door": "select * from makeready.ingest_door($1, '::1')",
    "ingest_admit": "select * from makeready.ingest_admit(gen_random_uuid(), $1, $2, '{}', $3)",
    "ingest_begin": "select makeready.ingest_begin($1)",  # claim itself: test_plans.py
    "ingest_offer": "select makeready.ingest_offer($1, $2, $3)",
    "ingest_finish": "select makeready.ingest_finish($1, $2, $3)",
    "ingest_end": "select makeready.ingest_end($1, 'timeout')",
    "ingest_answered": "select * from makeready.ingest_answered($1, 200)",
    "media_forget": "select makeready.media_forget($1, $2)",
    "ingest_abandoned": "select makeready.ingest_abandoned(100)",
    "ingest_has_abandoned": "select makeready.ingest_has_abandoned(makeready.now())",
}


async def read_by(db: asyncpg.Connection, text: str, *values: Any) -> int:
    """Tuples that a call reads; its effect is undone."""
    transaction = db.transaction()
    await transaction.start()
    before = await db.fetchval(READ)
    await db.fetch(text, *values)
    tuples: int = await db.fetchval(READ) - before
    await transaction.rollback()
    return tuples


@pytest.mark.parametrize("joins", [False, True])
async def test_a_call_reads_its_photo_and_those_that_are_open(
    db: asyncpg.Connection, joins: bool
) -> None:
    """With statistics of empty tables, as after a first busy day."""
    dark = Darkroom(db)
    await db.execute("analyze makeready.photos; analyze makeready.jobs")
    await dark.slot(joins_resent=joins)
    waiter = await dark.waiter()
    for _ in range(6):  # plans are made on empty tables, and kept
        await dark.done()
    await db.execute(FILL, SLOT, STORE, PAST)
    for _ in range(OPEN):
        await dark.admit()
    claimed = (await dark.claim(4))[0]
    job, token = claimed.job.id, claimed.lease.token
    stored = (
        '{"store": "bucket:photos", "path": "x", "media_type": "image/jpeg",'
        f' "size_bytes": 1, "sha256": "{uuid4().hex * 2}"}}'
    )
    values: dict[str, tuple[Any, ...]] = {
        "ingest_door": (SLOT,),
        "ingest_admit": (SLOT, stored, waiter),
        "ingest_begin": (job,),
        "ingest_offer": (job, token, stored),
        "ingest_finish": (job, token, stored),
        "ingest_end": (job,),
        "ingest_answered": (job,),
        "media_forget": (STORE, [str(job)]),
        "ingest_abandoned": (),
        "ingest_has_abandoned": (),
    }
    read = {name: await read_by(db, text, *values[name]) for name, text in CALLS.items()}
    # Open ones a few times, and sixty of the past where a wait is estimated.
    assert {name: tuples for name, tuples in read.items() if tuples > 400} == {}
