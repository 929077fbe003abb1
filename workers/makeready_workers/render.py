"""The handler of the queue `render`: one document from its data to a published PDF.

    data ─ check, template ─► HTML ─ Chromium ─► PDF ─ opened again ─► object storage ─► publish

Nothing is visible before `publish`: it ends the job and enters artifact, file and state in one
transaction, and refuses whoever has lost the lease. Until then the object is only bytes under a
key that no other attempt writes to; if the attempt fails, the orphan scan removes them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import anyio
import structlog
from anyio import to_thread

from makeready import documents, pdf, render
from makeready.db import Connection
from makeready.documents import DocumentType, Html, TemplateFailed
from makeready.errors import MakereadyError, NotFound, Rejected
from makeready.faults import Backoff, again
from makeready.jobs import Done, FailKind, Job, JobFailed, Lease, Outcome
from makeready.print_options import PrintOptions
from makeready.storage import ObjectFacts, Storage
from makeready.storage_errors import (
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
)
from makeready_workers.attempt import HeldLease
from makeready_workers.chromium.records import (
    Engine,
    EngineLimits,
    Fault,
    RenderError,
    RenderResult,
)
from makeready_workers.engines import open_engines
from makeready_workers.handler import Context

RENDER_TIMEOUT_S = 120.0  # of one document in the browser
AFTERWORK_S = 20.0  # of an attempt's time is kept for checking, storing and publishing
FONTS_AGAIN_S = 30.0
BROWSER_LOSSES = 3  # of one job in this process; each further one counts as an attempt
JOBS_REMEMBERED = 1000
PROBLEMS_KEPT = 20
WARNINGS_KEPT = 20
START_PATIENCE_S = 30.0
WARM_UP_S = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A document that is ready for the engine."""

    doc: DocumentType
    html: Html


class RenderHandler:
    """Renders documents; made by `open_handler`, shared by all tasks of a process."""

    queue = render.QUEUE

    def __init__(self, context: Context, storage: Storage, engine: Engine) -> None:
        self._pool = context.pool
        self._storage = storage
        self._engine = engine
        self._losses: OrderedDict[UUID, int] = OrderedDict()

    async def run(self, job: Job, lease: HeldLease) -> Outcome:
        """Renders, checks and stores one document; raises JobFailed by the table below."""
        started = time.monotonic()
        log = _log.bind(doc_id=job.payload.get("doc_id"), pack_id=job.payload.get("pack_id"))
        log.info("render_start", attempt=job.attempt)
        try:
            stored, facts = await self._make(job, lease)
        except (MakereadyError, RenderError) as error:
            failure = self._failure(job, error)
            log.warning("render_error", code=failure.code, kind=failure.kind)
            if failure.kind == "retry":
                log.info("render_retry_scheduled", attempt=job.attempt, code=failure.code)
            raise failure from error
        ms = round((time.monotonic() - started) * 1000, 1)
        log.info("render_ok", pages=facts["pages"], size_bytes=stored.byte_count, ms=ms)

        async def commit(connection: Connection, _: Job, /) -> str:
            verdict = await render.publish(connection, lease, stored, facts)
            log.info("file_created", key=stored.key, verdict=verdict)
            return verdict

        return Done(commit=commit)

    async def _make(self, job: Job, lease: HeldLease) -> tuple[ObjectFacts, Mapping[str, Any]]:
        wanted = await render.input_of(self._pool, job.id)
        if wanted is None:
            raise JobFailed("fatal", "NO_DOCUMENT", "the job renders no document of a pack")
        # Templates and schemas keep a processor busy, for a long report some 100 ms.
        ready = await to_thread.run_sync(_prepare, wanted)
        options = ready.doc.options
        engine = await render.engine_of(self._pool, wanted.doc_id, options.engine)
        printed = await self._engine.render(
            ready.html.html,
            ready.html.assets,
            replace(options, engine=engine),
            timeout_s=max(1.0, min(RENDER_TIMEOUT_S, lease.seconds_left - AFTERWORK_S)),
            pack=str(wanted.pack_id),
        )
        checked = await _verified(printed)
        stored = await self._stored(job, lease, wanted.doc_id, printed.pdf)
        return stored, _facts(ready, printed, checked)

    async def _stored(self, job: Job, lease: HeldLease, doc_id: str, body: bytes) -> ObjectFacts:
        """Stores as soon as storage takes it: an outage throws no finished document away.

        Waits as long as the attempt has time; then the job is retried, which counts.
        """
        backoff = Backoff(first_s=0.2, longest_s=5.0)
        while True:
            try:
                return await self._store(job, lease, doc_id, body)
            except StorageUnavailable as error:
                pause_s = backoff.pause_s()
                if lease.seconds_left - pause_s < AFTERWORK_S:
                    raise
                _log.warning("storage_awaited", doc_id=doc_id, error=type(error).__name__)
            await anyio.sleep(pause_s)

    async def _store(self, job: Job, lease: Lease, doc_id: str, body: bytes) -> ObjectFacts:
        """Stores under a key that belongs to this attempt alone.

        The first lease of a job owns `renders/<job>/<doc>.pdf`; each later one gets a key with its
        token. So a worker that has lost its lease and goes on writing never touches the bytes of
        its successor, whatever the store makes of conditional requests; where the short key is
        taken all the same (a redriven job begins to count anew), the long one is used.
        """
        own_key = f"renders/{job.id}/{lease.token}/{doc_id}.pdf"
        if job.attempt == 1 and job.lost == 0:
            try:
                return await self._put(f"renders/{job.id}/{doc_id}.pdf", body)
            except ObjectExists:
                _log.info("render_key_taken", doc_id=doc_id)
        return await self._put(own_key, body)

    async def _put(self, key: str, body: bytes) -> ObjectFacts:
        try:
            return await self._storage.put(key, body, media_type="application/pdf", only_new=True)
        except ObjectMissing:  # somebody has removed the bucket
            await self._storage.ensure_bucket()
            return await self._storage.put(key, body, media_type="application/pdf", only_new=True)

    def _failure(self, job: Job, error: MakereadyError | RenderError) -> JobFailed:
        """How to go on after each kind of failure."""
        if isinstance(error, RenderError):
            return self._engine_failure(job, error)
        if isinstance(error, Rejected):
            problems = list(error.details.get("problems", ()))[:PROBLEMS_KEPT]
            return JobFailed("fatal", "DATA_INVALID", str(error), evidence={"problems": problems})
        if isinstance(error, TemplateFailed):
            return JobFailed("fatal", Fault.TEMPLATE_ERROR, str(error))
        if isinstance(error, NotFound):  # a worker of an older version; another may know it
            return JobFailed("retry", "DOCUMENT_UNKNOWN", str(error))
        if isinstance(error, StorageError):
            return JobFailed("retry", Fault.STORAGE_ERROR, str(error))
        # InvalidPdf, and a checker that died of the PDF.
        return JobFailed("retry", error.code, str(error), evidence=error.details)

    def _engine_failure(self, job: Job, error: RenderError) -> JobFailed:
        kind: FailKind = "retry" if error.retryable else "fatal"
        if error.code is Fault.FONTS_MISSING:
            return JobFailed("snooze", error.code, str(error), retry_after=FONTS_AGAIN_S)
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


def _prepare(wanted: render.RenderInput) -> _Prepared:
    doc = documents.document_type(wanted.layout)
    documents.check_data(doc, wanted.data)
    return _Prepared(doc=doc, html=documents.build_html(doc, wanted.data, wanted.language))


async def _verified(printed: RenderResult) -> pdf.PdfFacts:
    try:
        return await pdf.verify_aside(printed.pdf, pages=printed.pages)
    except TimeoutError:
        raise JobFailed("retry", Fault.RENDER_TIMEOUT, "checking the PDF took too long") from None


def _facts(ready: _Prepared, printed: RenderResult, checked: pdf.PdfFacts) -> Mapping[str, Any]:
    """What is kept with the artifact, and as the job's result."""
    return {
        "pages": checked.pages,
        "page_size_mm": list(checked.page_size_mm),
        "sha256": checked.sha256,
        "warnings": list(printed.warnings)[:WARNINGS_KEPT],
        "timings_ms": dict(printed.timings),
        "engine": printed.engine_version,
        "type_version": ready.doc.version,
        "fingerprint": ready.html.fingerprint(ready.doc.options, printed.engine_version),
    }
