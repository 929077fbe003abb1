"""The handler of the queue `render`: documents, and bundles of all documents of a pack.

Nothing is visible before it is published: that ends the job and enters artifact, file and state in
one transaction, and refuses whoever has lost the lease.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import structlog

from makeready import pdf, printing, render
from makeready.db import Connection
from makeready.documents.catalogue import Catalogue, TypeUnusable
from makeready.documents.typesetting import TemplateFailed
from makeready.errors import MakereadyError, NotFound, Rejected
from makeready.faults import again
from makeready.jobs import Done, FailKind, Job, JobFailed
from makeready.print_options import PrintOptions
from makeready.storage import Storage
from makeready.storage_errors import StorageError
from makeready_workers.attempt import HeldLease
from makeready_workers.chromium.records import (
    Engine,
    EngineLimits,
    Fault,
    RenderError,
)
from makeready_workers.engines import open_engines
from makeready_workers.handler import Context
from makeready_workers.render_bundle import make_bundle
from makeready_workers.render_document import Made, Workshop, make_document
from makeready_workers.render_store import Shelf
from makeready_workers.witness import Witness

FONTS_AGAIN_S = 30.0
BROWSER_LOSSES = 3  # of one job in this process; each further one counts as an attempt
TIMEOUT_ATTEMPTS = 2  # the machine may have been busy once; later another document is worth more
JOBS_REMEMBERED = 1000
PROBLEMS_KEPT = 20
START_PATIENCE_S = 30.0
WARM_UP_S = 10.0

_log = structlog.get_logger(__name__)


class RenderHandler:
    """Renders documents and bundles; made by `open_handler`, shared by all tasks of a process."""

    queue = render.QUEUE

    def __init__(self, context: Context, storage: Storage, engine: Engine) -> None:
        self._storage = storage
        source = context.settings.config_source
        catalogue = Catalogue(context.pool, storage, source=source)
        self._shop = Workshop(
            pool=context.pool,
            catalogue=catalogue,
            engine=engine,
            timeout_s=context.settings.render_timeout_s,
        )
        self._losses: OrderedDict[UUID, int] = OrderedDict()

    async def run(self, job: Job, lease: HeldLease) -> Done:
        """Makes one document or one bundle; raises JobFailed by the table below."""
        started = time.monotonic()
        log = _log.bind(
            kind=job.payload.get("kind", "document"),
            doc_id=job.payload.get("doc_id"),
            pack_id=job.payload.get("pack_id"),
        )
        log.info("render_start", attempt=job.attempt)
        shelf = Shelf(self._shop.pool, self._storage, job, lease)
        witness = Witness()
        try:
            if job.payload.get("kind") == "pack":
                outcome = await make_bundle(self._shop.pool, shelf)
                facts: Mapping[str, Any] = {}
            else:
                made = await make_document(self._shop, shelf, witness)
                outcome, facts = _published(made, shelf), _told(made)
        except JobFailed as error:
            _tell_failure(log, job, error)
            await witness.keep(self._shop.pool, self._storage, job, lease, error)
            raise
        except (MakereadyError, RenderError) as error:
            failure = self._failure(job, error)
            failure.__cause__ = error
            _tell_failure(log, job, failure)
            await witness.keep(self._shop.pool, self._storage, job, lease, failure)
            raise failure from error
        ms = round((time.monotonic() - started) * 1000, 1)
        log.info("render_ok", **facts, ms=ms)
        return outcome

    def _failure(self, job: Job, error: MakereadyError | RenderError) -> JobFailed:
        """How to go on after each kind of failure."""
        if isinstance(error, RenderError):
            return self._engine_failure(job, error)
        if isinstance(error, Rejected):
            problems = list(error.details.get("problems", ()))[:PROBLEMS_KEPT]
            return JobFailed("fatal", "DATA_INVALID", str(error), evidence={"problems": problems})
        if isinstance(error, TemplateFailed):
            return JobFailed("fatal", Fault.TEMPLATE_ERROR, str(error))
        if isinstance(error, NotFound | TypeUnusable):  # a worker of a later version may know it
            return JobFailed("retry", "DOCUMENT_UNKNOWN", str(error))
        if isinstance(error, StorageError):
            return JobFailed("retry", Fault.STORAGE_ERROR, str(error))
        if isinstance(error, pdf.Unfinishable):
            return JobFailed(
                "fatal", Fault.INVALID_PRINT_OPTIONS, str(error), evidence=error.details
            )
        # InvalidPdf, and a checker that died of the PDF.
        return JobFailed("retry", error.code, str(error), evidence=error.details)

    def _engine_failure(self, job: Job, error: RenderError) -> JobFailed:
        kind: FailKind = "retry" if error.retryable else "fatal"
        if error.code is Fault.FONTS_MISSING:  # not of the document: this machine has no letters
            return JobFailed("snooze", error.code, str(error), retry_after=FONTS_AGAIN_S)
        if error.code is Fault.RENDER_TIMEOUT and job.attempt >= TIMEOUT_ATTEMPTS:
            kind = "fatal"
        if not error.counts and self._losses_of(job.id) <= BROWSER_LOSSES:
            kind = "interrupted"
        return JobFailed(kind, error.code, str(error), evidence=error.evidence)

    def _losses_of(self, job_id: UUID) -> int:
        """How often the browser was lost under this job here, this time included.

        A browser that dies under its neighbour's document costs no attempt; a document that takes
        the browser down again and again must not go on for ever.
        """
        count = self._losses.pop(job_id, 0) + 1
        self._losses[job_id] = count
        while len(self._losses) > JOBS_REMEMBERED:
            self._losses.popitem(last=False)
        return count


@asynccontextmanager
async def open_handler(context: Context) -> AsyncIterator[RenderHandler]:
    """Opens the engines and tells the database which documents this version prints.

    The bucket is made if it is missing; storage that is away now only delays jobs.
    """
    storage = context.storage
    if storage is None:
        raise ValueError("the render queue needs object storage")
    async with open_engines(
        context.settings, limits=EngineLimits(parallel=context.settings.tasks)
    ) as engine:
        types = render.shipped_types()
        await again(lambda: render.sync_types(context.pool, types), patience_s=START_PATIENCE_S)
        try:
            await storage.ensure_bucket()
        except StorageError as error:
            _log.warning("storage_awaited", error=type(error).__name__)
        async with anyio.create_task_group() as group:
            group.start_soon(_warm_up, engine)
            yield RenderHandler(context, storage, engine)
            group.cancel_scope.cancel()


async def _warm_up(engine: Engine) -> None:
    """Starts browser and checker, so that the first who waits does not wait for them too."""
    try:
        printed = await engine.render(
            "<!doctype html><p>.</p>", {}, PrintOptions(), timeout_s=WARM_UP_S
        )
        await pdf.verify_aside(printed.pdf)
    except Exception as error:  # noqa: BLE001 -- the first document meets it again and reports it
        _log.warning("render_warm_up_failed", error=f"{type(error).__name__}: {error}")


def _published(made: Made, shelf: Shelf) -> Done:
    async def commit(connection: Connection, _: Job, /) -> str:
        try:
            verdict = await printing.publish(
                connection, shelf.lease, made.stored, made.facts, made.thumbnail
            )
        except NotFound:  # its pack was deleted meanwhile
            if not made.facts.get("reused", False):
                await shelf.forget([each for each in (made.stored, made.thumbnail) if each])
            raise
        _log.info("file_created", key=made.stored.key, verdict=verdict)
        return verdict

    return Done(commit=commit)


def _tell_failure(log: Any, job: Job, failure: JobFailed) -> None:
    log.warning("render_error", code=failure.code, kind=failure.kind)
    if failure.kind == "retry":
        log.info("render_retry_scheduled", attempt=job.attempt, code=failure.code)


def _told(made: Made) -> Mapping[str, Any]:
    return {
        "pages": made.facts["pages"],
        "size_bytes": made.stored.byte_count,
        "reused": made.facts.get("reused", False),
    }
