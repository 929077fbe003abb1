"""One photo from its admission to its answer: how a request waits, and what it is told.

The deadline is counted by this process's own clock from before the admission, so the answer is
never later than the database's deadline. The last word is the database's: a photo that has timed
out there is a 504 here, and one that came in the last moment is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import anyio
import structlog

from makeready import ingest, job_reads, jobs
from makeready.db import is_transient
from makeready.errors import NotFound
from makeready.ingest import QUEUE, Admitted, Reason
from makeready.jobs import ENDED, Ended, Json
from makeready.media import StoredMedia, kept
from makeready.waiting import Expected
from makeready_http.answers import iso
from makeready_http.photo_answers import Body
from makeready_http.photo_services import Photos
from makeready_http.problems import Problem, retry_after

LAST_CALL_S = 0.25  # before the deadline, for the call that ends the photo
LAST_CALL_SHARE = 0.03  # of what is left, where that is less
END_TIMEOUT_S = 2.0  # of a call that ends a photo earlier
CLIENT_GONE = 499
WORKER_LOST = "lease_lost"
TIMEOUT_TEXT = "Ingest processing exceeded the synchronous response window"

_log = structlog.get_logger(__name__)

Why: TypeAlias = Literal["ended", "late", "gone", "cut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A request that waits for a photo."""

    job: UUID
    waiter: UUID
    """This process."""
    expires_at: datetime
    asked_at: float
    """By the event loop's clock, as the deadline."""
    deadline: float
    expected: Expected
    is_replay: bool
    """It has ended before, and is told of once more."""

    @classmethod
    def of(cls, admitted: Admitted, waiter: UUID, asked_at: float, expected: Expected) -> Wait:
        """For a photo whose admission was asked for at that time of the loop's clock."""
        return cls(
            job=admitted.job_id,
            waiter=waiter,
            expires_at=admitted.expires_at,
            asked_at=asked_at,
            deadline=asked_at + admitted.seconds_left,
            expected=expected,
            is_replay=admitted.verdict == "replayed",
        )


class ClientGone(Exception):
    """Nobody is there to be answered."""


async def ended(photos: Photos, wait: Wait, body: Body) -> Ended:
    """How the photo ended; by this request if need be: too late, nobody there, process ends.

    Raises ClientGone, and Problem when the database cannot be asked.
    """
    if wait.is_replay:
        return await _ended_before(photos, wait.job)
    why, found = await _outcome(photos, wait, body)
    if found is not None:
        return found
    left_s = wait.deadline - anyio.current_time()
    try:
        with anyio.fail_after(left_s if why == "late" else END_TIMEOUT_S):
            found = await _ended_by_us(
                photos, wait.job, "timeout" if why == "late" else "cancelled"
            )
    except Exception as error:
        if why == "gone":
            _log.info("ingest_end_unsaid", error=type(error).__name__)
            raise ClientGone from error
        if not is_transient(error) and not isinstance(error, NotFound):
            raise
        if why == "late" and isinstance(error, TimeoutError):
            raise _too_late(wait) from error  # slow, not away; by its own clock it is over too
        # It may have ended in whatever way: the database has not said, or lost it in a crash.
        raise Problem(
            "queue_unavailable",
            "The database cannot say how the photo ended.",
            details={"job_id": str(wait.job)},
            headers=retry_after(),
        ) from error
    if why == "gone":
        raise ClientGone
    return found


async def _ended_before(photos: Photos, job: UUID) -> Ended:
    """As its job says; by its result, which may be kept longer than that."""
    for found in await jobs.peek(photos.pool, QUEUE, [job]):
        return found
    try:
        shown = await job_reads.result(photos.pool, job)  # Gone, when it is not kept any more
    except NotFound:
        text = "The photo of this key is not kept any more: send it under another one."
        raise Problem("result_expired", text, details={"job_id": str(job)}) from None
    facts = {"stored": kept(shown.stored)}
    return Ended(queue=QUEUE, job_id=job, state="done", result=facts)


async def _outcome(photos: Photos, wait: Wait, body: Body) -> tuple[Why, Ended | None]:
    """Waits for whatever comes first."""
    left_s = wait.deadline - anyio.current_time()
    patience_s = left_s - min(LAST_CALL_S, left_s * LAST_CALL_SHARE)
    why: Why = "cut"
    found: Ended | None = None
    with anyio.CancelScope() as scope, photos.cuttable(scope):
        leaves = asyncio.create_task(body.until_gone())  # a task group would cost as much again
        leaves.add_done_callback(lambda _: scope.cancel())
        try:
            found = await wait.expected.wait(patience_s)
            why = "late" if found is None else "ended"
        finally:
            leaves.cancel()
    return ("gone" if why == "cut" and body.is_gone else why), found


async def _ended_by_us(photos: Photos, job: UUID, reason: Reason) -> Ended:
    """Ends it, and tells how it stands: others may have been faster."""
    state = await ingest.end(photos.pool, job, reason)
    for found in await jobs.peek(photos.pool, QUEUE, [job]) if state in ENDED else ():
        return found
    # It goes on, for another who waits for the same photo: here it is over.
    return Ended(queue=QUEUE, job_id=job, state="expired" if reason == "timeout" else "cancelled")


def refuse_unless_done(wait: Wait, found: Ended) -> StoredMedia:
    """The result of a photo that has ended well; raises Problem for all others."""
    if found.state == "done" and found.result is not None:
        return StoredMedia.of(found.result["stored"])
    job = str(wait.job)
    if found.state == "cancelled":
        raise Problem("job_cancelled", "The photo was cancelled.", details={"job_id": job})
    problem = found.error or {}
    if found.state == "dead" and problem.get("code") != WORKER_LOST:
        raise _failure(wait.job, problem)
    raise _too_late(wait)


def _too_late(wait: Wait) -> Problem:
    details = {"job_id": str(wait.job), "expires_at": iso(wait.expires_at)}
    return Problem("sync_timeout", TIMEOUT_TEXT, details=details)


def _failure(job: UUID, problem: Json) -> Exception:
    """What a booth is told of a photo that could not be processed."""
    reason = problem.get("reason")
    if problem.get("code") == "provider_error" and reason:
        return Problem(
            "provider_error",
            "The provider gave no image.",
            details={"job_id": str(job), "reason": reason},
        )
    if problem.get("code") == "storage_unavailable":
        return files_away(job)
    return RuntimeError(f"photo {job} failed: {problem.get('code')}")


def files_away(job: UUID) -> Problem:
    """503, for files that cannot be read or written now."""
    return Problem(
        "storage_unavailable",
        "The files of the photo could not be read or written.",
        details={"job_id": str(job)},
        headers=retry_after(),
    )


async def settle(photos: Photos, wait: Wait, payload: StoredMedia | None, status: int) -> None:
    """The answer is out: what nobody needs any more is deleted, whatever the database says."""
    paths, due = [payload.path] if payload is not None else [], []
    try:
        with anyio.fail_after(END_TIMEOUT_S):
            due = list(await ingest.answered(photos.pool, wait.job, status, waiter=wait.waiter))
            paths = [stored.path for stored in due]
    except Exception as error:  # noqa: BLE001 -- the answer is out; the cleaner finds the row
        _log.warning("ingest_settle_failed", error=f"{type(error).__name__}: {error}")
    if await withdraw(photos, paths) and due:
        try:
            with anyio.fail_after(END_TIMEOUT_S):
                await ingest.forget(photos.pool, due)
        except Exception as error:  # noqa: BLE001 -- as above
            _log.info("ingest_settle_failed", error=f"{type(error).__name__}: {error}")


async def withdraw(photos: Photos, paths: Sequence[str]) -> bool:
    """Deletes files that nobody needs any more; False: not all, the cleaner finds them."""
    try:
        with anyio.fail_after(END_TIMEOUT_S):
            await photos.media.delete(paths)
    except Exception as error:  # noqa: BLE001 -- as it says
        _log.warning("ingest_withdraw_failed", error=f"{type(error).__name__}: {error}")
        return False
    return True
