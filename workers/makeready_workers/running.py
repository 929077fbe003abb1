"""Runs one attempt to its end: the handler, what came out, and the call that records it."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from makeready.errors import LeaseLost, MakereadyError, Rejected
from makeready.faults import alone, is_away, is_transient
from makeready.jobs import Done, JobFailed
from makeready_workers.attempt import Attempt
from makeready_workers.ending import Endings
from makeready_workers.handler import Handler
from makeready_workers.heartbeat import Heartbeat

_log = structlog.get_logger(__name__)


async def run_attempt(
    attempt: Attempt, handler: Handler, endings: Endings, heartbeat: Heartbeat
) -> str:
    """Returns how the attempt ended: done, repeat, lost, unknown, or the state that fail returned.

    `unknown`: the database could not be told; the caller gives the job back when it can.
    """
    _log.debug("job_start")
    try:
        outcome, failure = await _work(attempt, handler, heartbeat)
        if outcome is not None:
            return await _finish(attempt, outcome, endings)
        if failure is not None:
            return await _fail(attempt, failure, endings)
    except Exception as error:  # noqa: BLE001 -- one job must not take the others with it
        if is_transient(error):
            _log.error("job_end_unknown", error=f"{type(error).__name__}: {error}")
        else:
            _log.error("job_end_unknown", exc_info=error)
        return "unknown"
    _log.warning("job_lost", ms=_ms(attempt))
    return "lost"


async def _work(
    attempt: Attempt, handler: Handler, heartbeat: Heartbeat
) -> tuple[Done | None, JobFailed | None]:
    """The handler's outcome, or how it failed; neither when the lease is lost."""
    try:
        outcome = await attempt.work(handler)
    except Exception as raised:  # noqa: BLE001 -- whatever a handler raises ends its attempt only
        error = alone(raised)
        if isinstance(error, LeaseLost):
            return None, None
        if attempt.stopped is None:
            return None, _failure(error, attempt, heartbeat)
        if not isinstance(error, JobFailed):
            _log.warning("job_stop_noisy", exc_info=error)
        return None, attempt.failure()
    if outcome is None:
        return None, attempt.failure()
    return outcome, None


def _failure(error: Exception, attempt: Attempt, heartbeat: Heartbeat) -> JobFailed:
    if isinstance(error, JobFailed):
        return error
    if is_away(error) or (is_transient(error) and heartbeat.missed_since(attempt.started)):
        # Not the job's fault: the attempt is given back.
        return JobFailed("interrupted", "database_away", "the database went away while it ran")
    if isinstance(error, MakereadyError) and not isinstance(error, asyncpg.PostgresError):
        return JobFailed("retry", error.code, str(error))
    if isinstance(error, Rejected):
        return JobFailed("fatal", error.code, str(error))
    # The text of an unknown error may carry anything, a signed link too: it stays in the log.
    _log.error("job_crashed", exc_info=error)
    text = f"the handler raised {type(error).__name__}; the log of the worker has the details"
    return JobFailed("retry", "internal_error", text)


async def _finish(attempt: Attempt, done: Done, endings: Endings) -> str:
    worked_ms = _ms(attempt)
    try:
        verdict = await endings.finish(attempt, done)
    except Exception as error:
        if is_transient(error):
            raise
        _log.error("job_result_refused", exc_info=error)
        code = error.code if isinstance(error, MakereadyError) else "internal_error"
        text = f"its result was refused: {type(error).__name__}"
        return await _fail(attempt, JobFailed("retry", code, text), endings)
    if verdict == "lost":
        _log.warning("job_lost", ms=worked_ms)
    else:
        _log.info("job_done", ms=worked_ms, total_ms=_ms(attempt))
    return "done" if verdict == "ok" else verdict


async def _fail(attempt: Attempt, failure: JobFailed, endings: Endings) -> str:
    try:
        state = await endings.fail(attempt, failure)
    except Exception as error:
        if is_transient(error):
            raise
        # Without an end the job would be given back uncounted, and fail like this for ever.
        _log.error("job_failure_refused", exc_info=error)
        text = "its failure could not be written down; the log of the worker has the details"
        state = await endings.fail(attempt, JobFailed(failure.kind, "internal_error", text))
    log = _log.info if failure.kind in ("snooze", "interrupted", "cancelled") else _log.warning
    log("job_failed", kind=failure.kind, code=failure.code, state=state, ms=_ms(attempt))
    return state


def _ms(attempt: Attempt) -> float:
    return round((asyncio.get_running_loop().time() - attempt.started) * 1000, 1)
