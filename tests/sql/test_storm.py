"""Everything at once, from many sessions, on few rows: refusals are fine, deadlocks are not."""

from __future__ import annotations

import asyncio
import random
import re
import time

import asyncpg
import pytest

from tests.sql.conftest import Session
from tests.support.core import Core

SECONDS = 3.0
ONE = "from makeready.jobs where queue = 'limited' and state = any ('{states}')"
HELD = ONE.format(states="{running}")
OPEN = ONE.format(states="{waiting,queued,running}")
ENDED = ONE.format(states="{dead,cancelled,expired}")
MANY = """select makeready.finish_many('limited', array_agg(id order by {0}),
          array_agg(lease order by {0}))""".replace("\n", "")
ANYTHING = f"""
select makeready.claim('{{limited,bounded}}', $1, 3)
select makeready.claim('{{bounded,limited}}', $1, 3)
select makeready.finish('limited', id, lease, '{{}}') {HELD} and worker_id = $1 limit 1
{MANY.format("id")} {HELD}
{MANY.format("id desc")} {HELD}
{MANY.format("lease")} {HELD}
select makeready.fail('limited', id, lease, 'retry', '{{}}') {HELD} order by random() limit 1
select makeready.fail('limited', id, lease, 'fatal', '{{}}') {HELD} order by random() limit 1
select makeready.report('limited', id, lease, '{{}}') {HELD} order by random() limit 1
select makeready.beat($1, array_agg(queue), array_agg(id), array_agg(lease)) {HELD}
select makeready.cancel('limited', id) {OPEN} order by random() limit 1
select makeready.give_up('limited', id) {OPEN} order by random() limit 1
select makeready.job_evict('limited', id) {HELD} order by random() limit 1
select makeready.retry('limited', id) {ENDED} order by random() limit 1
select makeready.redrive('limited', 3, dry_run => false)
select makeready.redrive('bounded', 3, dry_run => false)
select makeready.enqueue_many('limited', array['{{}}', '{{}}']::jsonb[])
select makeready.enqueue('bounded')
select makeready.enqueue_once('s', 'o', (random() * 5)::int::text, 'x', 'bounded')
select makeready.queue_set('limited', 'max_in_flight', (1 + random() * 5)::int::text)
select makeready.queue_pause('bounded')
select makeready.queue_resume('bounded')
select makeready.reap()
select makeready.worker_leave($1)
select makeready.worker_register($1, 'w' || $1::uuid, 'h', 1, 1, '{{limited}}', '0', '1 s', false)
select makeready.worker_strays($1, '{{}}')
select makeready.promote(5)
select makeready.expire(5)
select makeready.prune(5)
select makeready.tick()
select makeready.chore_run(chore) from makeready.chores where random() < 0.3
"""
CALLS = [line for line in ANYTHING.splitlines() if line]


@pytest.mark.once
@pytest.mark.slow
async def test_a_storm_of_everything_never_deadlocks(core: Core, session: Session) -> None:
    """A4: lock order. Every refusal of the core is allowed, 40P01 and broken rules are not."""
    await core.many("limited", 200)
    await core.set("limited", keep_done="0", keep_dead="0", retry_base="10 milliseconds")
    await core.db.execute("update makeready.chores set every = '10 milliseconds'")
    people = [await session() for _ in range(12)]
    until = time.monotonic() + SECONDS
    now_running: dict[int, str] = {}
    trouble: list[str] = []
    calls = 0

    async def rage(person: Core) -> None:
        nonlocal calls
        pid = person.db.get_server_pid()
        dice = random.Random(pid)
        person.me = await person.worker()
        while time.monotonic() < until:
            text = now_running[pid] = dice.choice(CALLS)
            try:
                await person.db.fetch(text, *([person.me] if "$1" in text else []))
            except asyncpg.PostgresError as error:
                if not str(error.sqlstate).startswith(("MR", "40001")):
                    others = map(int, re.findall(r"rocess (\d+)", str(error.detail)))
                    trouble.append(f"{error}: {[now_running.get(other) for other in others]}")
            calls += 1

    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(rage(person))
    assert trouble == []
    assert calls > 300
