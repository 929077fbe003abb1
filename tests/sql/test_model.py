"""The SQL core against a small model in Python: random calls, and after each one they agree.

MAKEREADY_TEST_EXAMPLES=500 runs it for long, with other random numbers each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import model
from tests.support.core import OPEN, Core, seconds
from tests.support.model import Job, Model, Refused

EXAMPLES = int(os.environ.get("MAKEREADY_TEST_EXAMPLES", "0"))
STEP_S = 1000
POLICY = {
    "max_in_flight": 3,
    "max_open": 8,
    "attempt_limit": f"{model.ATTEMPT_LIMIT} seconds",
    "max_attempts": model.MAX_ATTEMPTS,
    "max_lost": model.MAX_LOST,
    "retry_base": f"{model.RETRY_BASE} seconds",
    "retry_cap": f"{model.RETRY_CAP} seconds",
    "retry_jitter": 0,
}
NUMBER = st.integers(min_value=0, max_value=999)
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Machine(RuleBasedStateMachine):
    """Every rule calls the core and the model, and compares what they answer."""

    core: Core
    run: Run

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.leases: list[tuple[UUID, UUID]] = []
        self.workers = [uuid4(), uuid4()]
        self.made = 0
        self.run(self.reset())
        for lane in ("", "", "", model.LANE):  # something to do from the first step on
            self.enqueue(1, 0, lane, 0, None)
        self.claim(0, 2)

    async def reset(self) -> None:
        """An empty queue with the policy of the model, and two workers."""
        await self.core.db.execute(
            "truncate makeready.jobs, makeready.attempts, makeready.workers, makeready.audit_log;"
            "update makeready.queues set paused_at = null, closed_at = null"
        )
        await self.core.set("bounded", **POLICY)
        await self.core.lane("bounded", model.LANE, model.LANE_SEATS)
        await self.clock()
        for worker in self.workers:
            await self.core.register(worker, "bounded", stale=model.STALE)
            self.model.beats[worker] = 0

    async def clock(self) -> None:
        """Sets the database's clock to the model's."""
        text = "select set_config('makeready.clock_offset', $1, false)"
        await self.core.db.execute(text, f"{self.model.now} seconds")

    def both(self, core: Coroutine[Any, Any, Any], expected: Callable[[], Any]) -> Any:
        """Runs the call in both worlds: the same answer, or the same refusal."""
        try:
            wanted = expected()
        except Refused as refusal:
            wanted = refusal
        if isinstance(wanted, Refused):
            with pytest.raises(asyncpg.PostgresError) as error:
                self.run(core)
            assert error.value.sqlstate == str(wanted)
            return None
        answer = self.run(core)
        if wanted is not None:
            assert answer == wanted
        return answer

    def some_job(self, number: int) -> tuple[UUID, Job]:
        """A job, any."""
        job = list(self.model.jobs)[number % len(self.model.jobs)]
        return job, self.model.jobs[job]

    def some_lease(self, number: int) -> tuple[Any, Job, UUID]:
        """A lease that was given at some time, mostly a late one."""
        job, lease = self.leases[-1 - (number % min(len(self.leases), 5))]
        return {"queue": "bounded", "id": job, "lease": lease}, self.model.jobs[job], lease

    @rule(
        count=st.integers(1, 3),
        rank=st.integers(0, 1),
        lane=st.sampled_from(["", model.LANE]),
        due=st.sampled_from([0, 0, 0, 700, 1700]),
        deadline=st.sampled_from([None, None, None, 500, 2300, 4300]),
    )
    def enqueue(self, count: int, rank: int, lane: str, due: int, deadline: int | None) -> None:
        for _ in range(count):
            self.made += 1
            self.enqueue_one(UUID(int=self.made), rank, lane, due, deadline)

    def enqueue_one(self, job: UUID, rank: int, lane: str, due: int, deadline: int | None) -> None:
        """One job in both worlds."""

        async def call() -> None:
            now = await self.core.call("now")
            await self.core.enqueue(
                "bounded",
                job=job,
                rank=rank,
                lane_name=lane,
                due=now + seconds(due) if due else None,
                deadline=None if deadline is None else now + seconds(deadline),
            )

        self.both(call(), lambda: self.model.enqueue(job, rank, lane, due, deadline))

    @rule(which=st.integers(0, 1), count=st.integers(1, 4))
    def claim(self, which: int, count: int) -> None:
        worker = self.workers[which]
        wanted: list[Job] = []
        call = self.core.claim("bounded", count, worker)
        rows = self.both(call, lambda: wanted.extend(self.model.claim(worker, count)))
        known = self.model.jobs
        got = {id(known[row["id"]]): row for row in rows or ()}
        assert set(got) == {id(job) for job in wanted}
        for job in wanted:
            row = got[id(job)]
            self.model.grant(job, worker, row["lease"])
            self.leases.append((row["id"], row["lease"]))

    @precondition(lambda self: self.leases)
    @rule(number=NUMBER, how=st.sampled_from(["finish", "finish", "report"]))
    def succeed(self, number: int, how: str) -> None:
        row, job, lease = self.some_lease(number)
        if how == "finish":
            self.both(self.core.finish(row), lambda: self.model.finish(job, lease))
        else:
            self.both(self.core.report(row), lambda: self.model.report(job, lease))

    @precondition(lambda self: self.leases)
    @rule(
        number=NUMBER,
        manner=st.sampled_from(["retry", "retry", "fatal", "snooze", "interrupted"]),
        after=st.sampled_from([400, 1300]),
    )
    def fail(self, number: int, manner: str, after: int) -> None:
        row, job, lease = self.some_lease(number)
        call = self.core.fail(row, manner, None, seconds(after))
        self.both(call, lambda: self.model.fail(job, lease, manner, after))

    @precondition(lambda self: self.model.jobs)
    @rule(number=NUMBER, how=st.sampled_from(["cancel", "give_up", "retry"]))
    def decide(self, number: int, how: str) -> None:
        """What a caller or an operator does to a job."""
        job, row = self.some_job(number)
        if how == "cancel":
            self.both(self.core.cancel("bounded", job), lambda: self.model.cancel(row))
        elif how == "retry":
            call = self.core.call("retry", queue_name="bounded", job=job)
            self.both(call, lambda: self.model.reopen(row))
        else:
            if row.state in OPEN:
                row.leave("expired")
            assert self.run(self.core.give_up("bounded", job))["job_state"] == row.state

    @rule(chore=st.sampled_from(["reap", "promote", "expire"]))
    def sweep(self, chore: str) -> None:
        self.sweep_both(chore)

    def sweep_both(self, chore: str) -> None:
        """Maintenance in both worlds."""
        if chore == "reap":
            self.both(self.core.reap(), self.model.reap)
        else:
            self.both(self.core.call(chore, max_jobs=100), lambda: self.model.sweep(chore))

    @rule(
        what=st.sampled_from(["pause", "resume", "close", "open", "limits", "limits"]),
        limit=st.sampled_from([0, 1, 2, 3, 5, None]),
        places=st.sampled_from([3, 8, 12, None]),
    )
    def policy(self, what: str, limit: int | None, places: int | None) -> None:
        if what == "limits":
            self.model.limit, self.model.max_open = limit, places
            self.run(self.core.set("bounded", max_in_flight=limit, max_open=places))
            return
        if what in ("pause", "resume"):
            self.model.paused = what == "pause"
        else:
            self.model.closed = what == "close"
        self.run(self.core.call(f"queue_{what}", queue_name="bounded"))

    @rule(
        which=st.integers(0, 1),
        what=st.sampled_from(["beat", "restart", "restart", "restart", "drain"]),
    )
    def worker(self, which: int, what: str) -> None:
        worker = self.workers[which]
        if what == "drain":
            self.model.draining.add(worker)
            self.run(self.core.call("worker_drain", worker=worker))
        elif what == "restart":
            self.restart(which)
        else:
            self.beat(worker)

    def beat(self, worker: UUID) -> None:
        """The bad news of the last leases, late ones among them."""
        leases = self.leases[-6:]
        rows: list[Any] = [{"queue": "bounded", "id": job, "lease": x} for job, x in leases]
        bad = self.run(self.core.beat(worker, *rows))
        self.model.beats[worker] = self.model.now
        lost = {job for job, lease in leases if self.model.jobs[job].lease != lease}
        stop = {job for job, lease in leases if self.model.jobs[job].lease == lease}
        assert set(bad) == lost | {job for job in stop if self.model.jobs[job].cancelled}

    def restart(self, which: int) -> None:
        """The process dies and another one comes; somebody reaps."""
        old, new = self.workers[which], uuid4()
        self.model.beats.pop(old)
        self.model.beats[new] = self.model.now
        self.workers[which] = new
        text = "delete from makeready.workers where id = $1"
        self.run(self.core.db.execute(text, old))
        self.run(self.core.register(new, "bounded", stale=model.STALE))
        self.sweep_both("reap")

    @rule(
        steps=st.integers(1, 2),
        alive=st.sampled_from(["both", "both", "one", "none"]),
        chores=st.sampled_from([[], ["promote"], ["promote", "expire"], ["promote", "reap"]]),
    )
    def time_passes(self, steps: int, alive: str, chores: list[str]) -> None:
        self.model.now += steps * STEP_S
        self.run(self.clock())
        for worker in self.workers[: {"both": 2, "one": 1, "none": 0}[alive]]:
            self.beat(worker)
        for chore in chores:
            self.sweep_both(chore)

    @invariant()
    def both_worlds_agree(self) -> None:
        rows = self.run(self.core.db.fetch("select * from makeready.jobs where queue = 'bounded'"))
        seen = {
            row["id"]: (row["state"], row["attempt"], row["lost"], row["lease"]) for row in rows
        }
        known = self.model.jobs.items()
        assert seen == {job: (x.state, x.attempt, x.lost, x.lease) for job, x in known}
        seats = [row["seat"] for row in rows if row["seat"] is not None]
        assert len(seats) == len(set(seats))
        for row in rows:
            assert 0 <= row["attempt"] <= model.MAX_ATTEMPTS
            assert 0 <= row["lost"] <= model.MAX_LOST


@pytest.fixture
def apart() -> Iterator[Run]:
    """An event loop in a thread of its own: hypothesis is not asynchronous."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(15)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(3600 if EXAMPLES else 60)
def test_the_core_agrees_with_the_model(dsn: str, apart: Run) -> None:
    connection = apart(asyncpg.connect(dsn))
    bound = type("Bound", (Machine,), {"core": Core(connection), "run": staticmethod(apart)})
    try:
        run_state_machine_as_test(
            bound,
            settings=settings(
                max_examples=EXAMPLES or 50,
                stateful_step_count=40,
                derandomize=not EXAMPLES,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        apart(connection.close())
