"""Admission: never more active than the limit, at once or within a minute.

Proves PSM-018, PSM-024, PSM-043.
"""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from makeready import posm, posm_templates
from makeready.errors import Conflict, MakereadyError, Rejected, WrongIsolation
from tests.sql.conftest import Heard
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.generating import Cardroom

pytestmark = pytest.mark.timeout(60)


async def pressed(room: Cardroom, count: int, *, wake: bool = False) -> list[UUID]:
    """So many generations, each of a pair of its own."""
    place = await room.restaurant(1)
    templates = [await room.template(f"T{number}") for number in range(count)]
    return [(await room.press(each, place, wake=wake)).id for each in templates]


async def states(room: Cardroom, generations: list[UUID]) -> list[str]:
    return [await room.status(each) for each in generations]


async def test_it_stays_created_until_it_is_admitted_and_never_is_again_psm_043(
    room: Cardroom,
) -> None:
    (made,) = await pressed(room, 1)
    assert await room.claim() == []
    assert await room.status(made) == "created"
    assert await posm.admit(room.db) == 1
    assert await room.status(made) == "scheduled"
    await room.fail(await room.one(), "retry")
    one = await posm.read(room.db, made)
    assert (one.status, one.attempts) == ("scheduled", 1)  # waiting for its time to be tried again
    assert await posm.admit(room.db) == 0


async def test_at_most_so_many_are_scheduled_or_in_progress_psm_018(room: Cardroom) -> None:
    made = await pressed(room, 5, wake=True)
    assert await states(room, made) == ["scheduled"] * 2 + ["created"] * 3
    first, second = await room.claim()
    assert await states(room, made) == ["in-progress"] * 2 + ["created"] * 3
    assert await posm.admit(room.db) == 0
    await room.make(first)  # the end of one admits the next, in the order of the presses
    assert await states(room, made) == ["done", "in-progress", "scheduled"] + ["created"] * 2
    await room.fail(second)
    assert await states(room, made) == ["done", "error", "scheduled", "scheduled", "created"]
    await posm.cancel(room.db, made[2])
    assert await states(room, made) == ["done", "error", "error", "scheduled", "scheduled"]


async def test_one_that_waits_for_its_retry_keeps_its_place_psm_018(room: Cardroom) -> None:
    made = await pressed(room, 3, wake=True)
    first, _ = await room.claim()
    await room.fail(first, "retry")
    assert await states(room, made) == ["scheduled", "in-progress", "created"]


async def test_an_admission_wakes_workers_at_once_psm_018(room: Cardroom, heard: Heard) -> None:
    await pressed(room, 1, wake=True)
    assert "wake posm" in await heard()


async def test_the_minute_s_tick_admits_what_nobody_woke_psm_018(
    room: Cardroom, clock: Clock
) -> None:
    (made,) = await pressed(room, 1)
    every = "select every from makeready.chores where chore = 'posm_admit'"
    assert (await room.db.fetchval(every)).total_seconds() == 60
    await clock.advance(61)
    due = [row[0] for row in await room.db.fetch("select makeready.tick()")]
    assert "posm_admit" in due
    assert await room.db.fetchval("select makeready.chore_run('posm_admit')") == 1
    assert await room.status(made) == "scheduled"


async def test_forty_at_once_never_exceed_the_limit_psm_024(
    room: Cardroom, connect: Connect
) -> None:
    place = await room.restaurant(1)
    templates = [await room.template(f"T{number}") for number in range(40)]
    rooms = [Cardroom(await connect()) for _ in range(40)]
    watcher = await connect()
    over: list[int] = []
    active = "select count(*) from makeready.posm_generations where status = 'scheduled'"
    ended = "select count(*) from makeready.posm_generations where status in ('done', 'error')"

    async def watch() -> None:
        while await watcher.fetchval(ended) < 40:
            over.append(await watcher.fetchval(active))

    async def press_and_make(number: int) -> None:
        own = rooms[number]
        await own.press(templates[number], place)
        while await watcher_free(number):
            for claimed in await own.claim(1):
                if number % 3:
                    await own.make(claimed)
                else:
                    await own.fail(claimed)

    async def watcher_free(number: int) -> bool:
        left: int = await rooms[number].db.fetchval(ended)
        return left < 40

    await asyncio.gather(watch(), *(press_and_make(number) for number in range(40)))
    assert max(over) <= 2
    assert 2 in over


async def test_the_limit_is_changed_while_it_runs_psm_024(room: Cardroom) -> None:
    made = await pressed(room, 4)
    await posm_templates.set_policy(room.db, max_active=0)
    assert await posm.admit(room.db) == 0
    await posm_templates.set_policy(room.db, max_active=3)  # whoever raises it admits
    assert await states(room, made) == ["scheduled"] * 3 + ["created"]
    await posm_templates.set_policy(room.db, max_active=1)
    claimed = await room.claim()
    await room.make(claimed[0])
    await room.make(claimed[1])
    assert await states(room, made) == ["done", "done", "in-progress", "created"]
    await room.make(claimed[2])
    assert await room.status(made[3]) == "scheduled"


async def test_the_policy_is_checked_and_each_change_is_audited(room: Cardroom) -> None:
    for wrong in (
        {"max_active": -1},
        {"keep_generations": 0},
        {"keep_days": 0},
        {"max_tables": 5001},
        {"max_template_bytes": 5},
        {"link_template": "https://x.example/"},
        {"link_template": "x/{uuid}"},
        {"link_template": "https://x.example/{uuid}/{uuid}"},
        {"link_template": "https://x.example/ {uuid}"},
    ):
        with pytest.raises(Rejected):
            await posm_templates.set_policy(room.db, **wrong)
    new = await posm_templates.set_policy(room.db, max_active=7, because="more workers")
    assert (new.max_active, new.keep_generations, new.keep_days) == (7, 10, 90)
    assert new == await posm_templates.policy(room.db)
    line = await room.db.fetchrow(
        "select before ->> 'max_active' as was, after ->> 'max_active' as now, reason"
        " from makeready.audit_log where action = 'posm_policy_set' order by id desc limit 1"
    )
    assert line
    assert tuple(line) == ("2", "7", "more workers")


async def test_an_operator_s_retry_does_not_push_past_admission_psm_024(room: Cardroom) -> None:
    made = await pressed(room, 3, wake=True)
    with pytest.raises(Conflict) as raised:
        await room.db.execute("select makeready.retry('posm', $1)", made[2])
    assert raised.value.details["reason"] == "not_admitted"
    assert await room.status(made[2]) == "created"
    assert len(await room.claim()) == 2


async def test_why_tells_that_it_waits_for_admission_psm_043(room: Cardroom) -> None:
    made = await pressed(room, 3, wake=True)
    why = (await room.db.fetch("select * from makeready.why($1)", made[2]))[0]
    assert why["reason"] == "not_admitted"
    assert why["detail"] == "2 generations are scheduled or in progress, at most 2 may be"
    assert "posm_policy_set(active_limit => 3)" in why["fix"]
    line = await room.db.fetchrow(
        "select state, ahead from makeready.posm_overview where generation = $1", made[2]
    )
    assert line
    assert tuple(line) == ("created", 0)


async def test_why_says_how_to_admit_what_nobody_woke_psm_043(room: Cardroom) -> None:
    (made,) = await pressed(room, 1)
    why = (await room.db.fetch("select * from makeready.why($1)", made))[0]
    assert (why["reason"], why["detail"][:13]) == ("not_admitted", "0 generations")
    await room.db.execute(why["fix"].split(";")[0])
    assert await room.status(made) == "scheduled"


@pytest.mark.parametrize("role", ["makeready_ops", "makeready_read"])
async def test_dashboards_see_what_is_active(room: Cardroom, connect: Connect, role: str) -> None:
    await pressed(room, 3, wake=True)
    rows = await (await connect(role)).fetch("select state, ahead from makeready.posm_overview")
    found = [tuple(row) for row in rows]
    assert found == [("created", 0), ("scheduled", None), ("scheduled", None)]


async def test_admission_needs_read_committed(room: Cardroom) -> None:
    async with room.db.transaction(isolation="repeatable_read"):
        with pytest.raises(WrongIsolation):
            await posm.admit(room.db)


async def test_one_that_is_cancelled_while_it_waits_holds_up_nobody(
    room: Cardroom, connect: Connect
) -> None:
    made = await pressed(room, 4, wake=True)
    other = await connect()
    async with room.db.transaction():
        await room.db.execute(
            "select from makeready.jobs where queue = 'posm' and id = $1 for update", made[2]
        )
        await posm_templates.set_policy(other, max_active=3)  # does not wait for that job
    assert await states(room, made) == ["scheduled"] * 2 + ["created", "scheduled"]
    await posm_templates.set_policy(other, max_active=4)
    assert await states(room, made) == ["scheduled"] * 4


async def test_a_press_that_is_refused_leaves_the_gate_open(
    room: Cardroom, connect: Connect
) -> None:
    await pressed(room, 1, wake=True)
    async with (await connect()).transaction():
        with pytest.raises(MakereadyError):
            await room.press(uuid4(), uuid4())
        assert await posm.admit(await connect()) == 0


async def test_workers_and_applications_may_call_what_they_need_and_no_more(
    room: Cardroom,
) -> None:
    granted = await room.db.fetch(
        "select r.role, array_agg(p.proname::text order by p.proname) as names"
        "  from unnest($1::text[]) r (role)"
        "  join pg_catalog.pg_proc p on has_function_privilege(r.role, p.oid, 'execute')"
        " where p.pronamespace = 'makeready'::regnamespace"
        "   and (p.proname like 'posm%' or p.proname like 'restaurant%')"
        " group by r.role",
        ["makeready_worker", "makeready_app"],
    )
    work = ["posm_begin", "posm_cards_keep", "posm_finish", "posm_input", "posm_input_cards"]
    assert {row["role"]: row["names"] for row in granted} == {
        "makeready_worker": ["posm_admit", *work],
        "makeready_app": ["posm_admit", "posm_enqueue"],
    }
