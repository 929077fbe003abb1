"""The handler of the queue `posm`: all cards of a generation, stamped, verified and stored.

A card counts from the moment it is entered, which renews the attempt and forgives lost leases; the
job ends as done when none is missing. What stamps is pinned with the first card: a worker of
another version begins anew, so no generation mixes two.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import structlog

from makeready import posm, posm_making, stamping
from makeready.cards import wording
from makeready.cards.messages import problems_json
from makeready.db import Connection
from makeready.errors import Conflict, MakereadyError, NotFound
from makeready.faults import first_of
from makeready.jobs import Done, FailKind, Job, JobFailed
from makeready.stamping import CardsRefused, HelperLost, Problem, StampingFailed, StampingTimeout
from makeready.storage import Storage
from makeready.storage_errors import StorageError
from makeready_workers.attempt import HeldLease
from makeready_workers.handler import Context
from makeready_workers.posm_cards import make_cards
from makeready_workers.storing import Store

COMMENT_LENGTH = 1000  # PSM-023
COMMENT_LANGUAGE = "ru"
PROBLEMS_KEPT = 20
TIMEOUT_ATTEMPTS = 2  # the machine may have been busy once

_log = structlog.get_logger(__name__)


class PosmHandler:
    """Makes generations; made by `open_handler`, shared by all tasks of a process."""

    queue = posm.QUEUE

    def __init__(
        self, context: Context, storage: Storage, then: Callable[[], object] = lambda: None
    ) -> None:
        self._pool = context.pool
        self._storage = storage
        self._then = then
        """Called when an attempt has ended, however."""

    async def run(self, job: Job, lease: HeldLease) -> Done:
        """Makes one generation; raises JobFailed by the table in `_failure`."""
        started = time.monotonic()
        log = _log.bind(generation_id=str(job.id))
        log.info("posm_start", attempt=job.attempt)
        store = Store(self._pool, self._storage, job, lease)
        try:
            facts = await make_cards(self._pool, store)
        except Exception as raised:  # noqa: BLE001 -- what is not of this queue goes on as it came
            error = first_of(raised)
            failure = _failure(job, error)
            if failure is None:
                raise error from None
            log.warning("posm_error", code=failure.code, kind=failure.kind)
            raise failure from error
        finally:
            self._then()
        ms = round((time.monotonic() - started) * 1000, 1)
        log.info("posm_ok", **facts, ms=ms)

        async def commit(connection: Connection, _: Job, /) -> str:
            return await posm_making.finish(connection, lease, facts)

        return Done(commit=commit)


@asynccontextmanager
async def open_handler(context: Context) -> AsyncIterator[PosmHandler]:
    """Makes the bucket if it is missing; storage that is away now only delays jobs."""
    storage = context.storage
    if storage is None:
        raise ValueError("the posm queue needs object storage")
    try:
        await storage.ensure_bucket()
    except StorageError as error:
        _log.warning("storage_awaited", error=type(error).__name__)
    async with anyio.create_task_group() as group:
        group.start_soon(_warm_up)
        try:
            yield PosmHandler(context, storage, lambda: group.start_soon(_warm_up))
        finally:
            group.cancel_scope.cancel()
            await stamping.cool_down()


async def _warm_up() -> None:
    """Starts a stamping process, so that the next generation does not wait for it."""
    try:
        await stamping.version()
    except MakereadyError as error:  # the first generation meets it again and reports it
        _log.warning("posm_warm_up_failed", error=f"{type(error).__name__}: {error}")


def _failure(job: Job, error: Exception) -> JobFailed | None:
    """How to go on after each kind of failure; None: the loop knows better."""
    if isinstance(error, CardsRefused):
        return _refused(error)
    if isinstance(error, StampingTimeout):
        kind: FailKind = "fatal" if job.attempt >= TIMEOUT_ATTEMPTS else "retry"
        return JobFailed(kind, error.code, str(error))
    # Conflict: an object of these very bytes is being deleted; soon it is not there.
    if isinstance(error, HelperLost | StampingFailed | StorageError | Conflict):
        return JobFailed("retry", error.code, str(error))
    if isinstance(error, NotFound):
        return JobFailed("fatal", "generation_not_found", str(error))
    return None


def _refused(error: CardsRefused) -> JobFailed:
    found = [each for each in error.problems if each.is_error] or list(error.problems)
    code = found[0].code if found else error.code
    evidence = {"problems": problems_json(found[:PROBLEMS_KEPT])}
    return JobFailed("fatal", code, _comment(found), evidence=evidence)


def _comment(problems: Sequence[Problem]) -> str:
    """What the one who pressed the button reads: the tables are named, the end may be cut."""
    told = "; ".join(
        ": ".join(part for part in (each.path, wording.text(each, COMMENT_LANGUAGE)[0]) if part)
        for each in problems
    )
    return told if len(told) <= COMMENT_LENGTH else told[: COMMENT_LENGTH - 1] + "…"
