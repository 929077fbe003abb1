"""What a crash of the database leaves of photos: whole ones, and all of them where it is asked."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from makeready.embedded.postgres import EmbeddedPostgres
from tests.support.photographing import Darkroom

pytestmark = pytest.mark.timeout(120)

HALVES = """
    select count(*) from makeready.photos p
      full join (select * from makeready.jobs where queue = 'ingest') j on j.id = p.id
     where p.id is null or j.id is null
        or not exists (select from makeready.processing_logs l where l.job_id = p.id)
        or not exists (select from makeready.media_objects m where m.job_id = p.id)
        or (p.finished_at is null) <> (j.state in ('queued', 'running'))
        or (j.state = 'done') <> exists (select from makeready.processing_logs l
                                          where l.job_id = p.id and l.status = 'succeeded')"""


async def lived(server: EmbeddedPostgres, dsn: str, *, durable: bool) -> tuple[set[UUID], int]:
    """Photos in each state, then a kill: those that are missing or not as told, and halves."""
    db = await asyncpg.connect(dsn)
    dark = Darkroom(db)
    await dark.policy(is_durable=durable)
    done = {await dark.done() for _ in range(3)}
    ended = {(await dark.admit()).job_id for _ in range(3)}
    for job in ended:
        await dark.end(job, "timeout")
    waiting = {(await dark.admit()).job_id for _ in range(3)}
    await asyncio.to_thread(server.kill)
    db.terminate()
    await asyncio.to_thread(server.start)
    db = await asyncpg.connect(dsn)
    states = {row[0]: row[1] for row in await db.fetch("select id, state from makeready.jobs")}
    halves: int = await db.fetchval(HALVES)
    await db.close()
    told = dict.fromkeys(done, "done") | dict.fromkeys(ended, "expired")
    told |= dict.fromkeys(waiting, "queued")
    return {job for job, state in told.items() if states.get(job) != state}, halves


async def test_a_crash_leaves_no_half_of_a_photo(server: EmbeddedPostgres, dsn: str) -> None:
    """The last moments may be gone, and the waiting requests with them: nobody was told."""
    _, halves = await lived(server, dsn, durable=False)
    assert halves == 0


async def test_a_crash_takes_no_photo_where_admission_waits_for_the_disk(
    server: EmbeddedPostgres, dsn: str
) -> None:
    """ingest_policy.is_durable: what was admitted, processed or ended is so after the crash."""
    missing, halves = await lived(server, dsn, durable=True)
    assert missing == set()
    assert halves == 0
