"""The job core once more, in Python and without a database: what the SQL must agree with.

One queue with a limit, a lane, attempts and losses. Times are whole numbers of seconds; whoever
drives it moves the clock in steps so large that the real time of a test makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from tests.support.core import OPEN

ATTEMPT_LIMIT, STALE, RETRY_BASE, RETRY_CAP = 2500, 1500, 700, 2000
MAX_ATTEMPTS, MAX_LOST, LANE_SEATS = 2, 2, 1
LANE = "x"


class Refused(Exception):
    """The model refuses, with the SQLSTATE that the core must give."""


@dataclass(slots=True, kw_only=True)
class Job:
    """A job as the model sees it."""

    order: int
    rank: int
    lane: str
    run_at: int
    deadline: int | None
    state: str
    attempt: int = 0
    lost: int = 0
    lease: UUID | None = None
    final_lease: UUID | None = None
    worker: UUID | None = None
    run_until: int = 0
    cancelled: bool = False

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it stands in line."""
        return (self.rank, self.run_at, self.order)

    def is_late(self, now: int) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and self.deadline <= now

    def leave(self, state: str) -> None:
        """Its lease ends."""
        self.lease = None
        self.state = state


@dataclass(slots=True)
class Model:
    """The queue."""

    limit: int | None = 3
    max_open: int | None = 8
    paused: bool = False
    closed: bool = False
    now: int = 0
    steps: int = 0
    jobs: dict[UUID, Job] = field(default_factory=dict)
    beats: dict[UUID, int] = field(default_factory=dict)
    draining: set[UUID] = field(default_factory=set)

    def in_state(self, *states: str) -> list[Job]:
        """Jobs in these states, in the order of the line."""
        return sorted((j for j in self.jobs.values() if j.state in states), key=lambda j: j.place)

    def order(self) -> int:
        """Distinguishes what happened within one step of the clock."""
        self.steps += 1
        return self.steps

    def admit(self) -> None:
        """One more open job, or a refusal."""
        if self.closed:
            raise Refused("MR503")
        if self.max_open is not None and len(self.in_state(*OPEN)) >= self.max_open:
            raise Refused("MR429")

    def enqueue(self, job: UUID, rank: int, lane: str, due: int, deadline: int | None) -> None:
        """One more job."""
        self.admit()
        state = "waiting" if due > 0 else "queued"
        run_at, last = self.now + due, None if deadline is None else self.now + deadline
        self.jobs[job] = Job(
            order=self.order(), rank=rank, lane=lane, run_at=run_at, deadline=last, state=state
        )

    def claim(self, worker: UUID, count: int) -> list[Job]:
        """The jobs that the next claim must return; `grant` gives them their leases."""
        if worker in self.draining or self.beats[worker] < self.now - STALE:
            raise Refused("MR002")
        if self.paused:
            return []
        running = self.in_state("running")
        room = count if self.limit is None else min(count, self.limit - len(running))
        in_lane = LANE_SEATS - sum(job.lane == LANE for job in running)
        taken: list[Job] = []
        for job in self.in_state("queued"):
            if len(taken) < room and not job.is_late(self.now):
                if job.lane == LANE and in_lane <= 0:
                    continue
                in_lane -= job.lane == LANE
                taken.append(job)
        return taken

    def grant(self, job: Job, worker: UUID, lease: UUID) -> None:
        """The claim has happened."""
        job.state, job.lease, job.worker, job.attempt = "running", lease, worker, job.attempt + 1
        job.run_until = min(self.now + ATTEMPT_LIMIT, job.deadline or 1 << 60)

    def held(self, job: Job, lease: UUID) -> None:
        """Refuses whoever does not hold the lease."""
        if job.state != "running" or job.lease != lease:
            raise Refused("MR001")

    def finish(self, job: Job, lease: UUID) -> str:
        """Done, again done, or refused."""
        if job.state == "done" and job.final_lease == lease:
            return "repeat"
        self.held(job, lease)
        if job.is_late(self.now):
            raise Refused("MR001")
        job.final_lease = lease
        job.leave("done")
        return "ok"

    def fail(self, job: Job, lease: UUID, manner: str, after: int) -> str:
        """The state that the attempt leaves the job in."""
        if job.lease != lease and job.final_lease == lease:
            return job.state
        self.held(job, lease)
        given_back = manner in ("snooze", "interrupted")
        pause = min(RETRY_CAP, RETRY_BASE * 2 ** (job.attempt - 1))
        pause = {"interrupted": 0, "snooze": after}.get(manner, max(after, pause))
        next_run = self.now + pause
        if job.cancelled or manner == "cancelled":
            state = "cancelled"
        elif job.is_late(self.now):
            state = "expired"
        elif manner == "fatal" or (not given_back and job.attempt >= MAX_ATTEMPTS):
            state = "dead"
        elif job.is_late(next_run):
            state = "expired"
        else:
            state = "waiting" if pause else "queued"
        job.attempt -= given_back
        job.final_lease = lease
        job.leave(state)
        if state in OPEN:
            job.run_at, job.order = next_run, self.order()
        return state

    def report(self, job: Job, lease: UUID) -> None:
        """Progress."""
        self.held(job, lease)
        if job.is_late(self.now):
            raise Refused("MR001")
        job.lost = 0
        job.run_until = min(self.now + ATTEMPT_LIMIT, job.deadline or 1 << 60)

    def reap(self) -> int:
        """Takes back what lost workers and hung attempts held."""
        gone = [
            job
            for job in self.in_state("running")
            if job.run_until < self.now
            or job.worker not in self.beats
            or self.beats[job.worker] < self.now - STALE
        ]
        order = self.order()
        for job in gone:
            job.lost, job.attempt = job.lost + 1, job.attempt - 1
            job.run_at, job.order = self.now, order
            late, poison = job.is_late(self.now), job.lost >= MAX_LOST
            fate = "expired" if late else "dead" if poison else "queued"
            job.leave("cancelled" if job.cancelled else fate)
        return len(gone)

    def cancel(self, job: Job) -> str:
        """At once, or asked for."""
        if job.state in OPEN:
            job.cancelled = True
        if job.state in ("waiting", "queued"):
            job.state = "cancelled"
        return job.state

    def reopen(self, job: Job) -> str:
        """An operator's retry."""
        if job.state not in ("dead", "cancelled", "expired", "waiting"):
            raise Refused("MR409")
        if job.state != "waiting":
            self.admit()
        job.state, job.run_at, job.order = "queued", self.now, self.order()
        job.attempt, job.lost, job.cancelled = 0, 0, False
        if job.is_late(self.now):
            job.deadline = None
        return "queued"

    def sweep(self, chore: str) -> int:
        """promote, or expire."""
        if chore == "promote":
            found = [job for job in self.in_state("waiting") if job.run_at <= self.now]
        else:
            found = [j for j in self.in_state("waiting", "queued") if j.is_late(self.now)]
        for job in found:
            job.state = "queued" if chore == "promote" else "expired"
        return len(found)
