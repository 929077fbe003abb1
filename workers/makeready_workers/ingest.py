"""The queue `ingest`: photos, processed in the process whose clients wait for them.

Four tasks on the event loop of the HTTP service, with connections of their own. A photo has one
attempt: whatever is worth trying again is tried inside its window, and a process that ends ends
its photos as cancelled. What comes too late is deleted, and the end that was written stays.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import anyio
import asyncpg
import structlog

from makeready import ingest, pictures_aside
from makeready.config import Settings
from makeready.db import Connection, Control, pool_opened
from makeready.faults import is_transient
from makeready.ingest import Begun, SealedKey
from makeready.jobs import Done, FailKind, Job, JobFailed, Json
from makeready.listening import Listener
from makeready.media import MediaStore, StoredMedia
from makeready.media import kept as media_kept
from makeready.sealing import Sealer, about_key
from makeready.storage_errors import StorageError
from makeready.values import Secret
from makeready_workers.attempt import HeldLease, Stop
from makeready_workers.ending import OnEnd
from makeready_workers.loop import Worker
from makeready_workers.photo import Photo
from makeready_workers.photo_results import Results
from makeready_workers.provider_pings import ProviderPings
from makeready_workers.providers import by_kind
from makeready_workers.providers.base import ProviderFailed
from makeready_workers.providers.chain import Chain, Made, OutOfTime, Surroundings
from makeready_workers.providers.tally import Tally
from makeready_workers.providers.wire import new_session

TASKS = 4
SPARE_CONNECTIONS = 2  # beside one a task: thumbnails, links, keys
MARGIN_SHARE = 1 / 45  # of the window; as `ingest_admit` counts on it
RESERVE_PART = 0.02  # of the time left, for storing what a provider brings
RESERVE_S = 0.25

_log = structlog.get_logger(__name__)


class PhotoFailed(JobFailed):
    """A photo that has no image; what is known of it stands beside code and message."""

    def __init__(
        self, kind: FailKind, code: str, text: str, facts: Mapping[str, Any], **more: Any
    ) -> None:
        super().__init__(kind, code, text, **more)
        self.facts = facts

    def problem(self) -> dict[str, Any]:
        """See `JobFailed`."""
        return {**self.facts, **super().problem()}


def _too_late(text: str, facts: Mapping[str, Any] = MappingProxyType({})) -> JobFailed:
    """The photo ends as a timeout: put off until after its deadline, a job expires."""
    return PhotoFailed("snooze", "sync_timeout", text, facts, retry_after=3600)


FAILURES: Mapping[Stop, JobFailed] = MappingProxyType(
    {
        Stop.SHUTDOWN: JobFailed("cancelled", "cancelled", "the service was stopped"),
        Stop.LIMIT: _too_late("its files took too long"),  # the chain ends before that
    }
)


class PhotoHandler:
    """Processes photos; one a process, shared by its tasks."""

    queue = ingest.QUEUE

    def __init__(
        self,
        pool: asyncpg.Pool,
        media: MediaStore,
        chain: Chain,
        results: Results,
        link: str | None,
    ) -> None:
        self._pool = pool
        self._media = media
        self._chain = chain
        self._results = results
        self._public_url = link

    async def run(self, job: Job, lease: HeldLease) -> Done:
        """Processes one photo; raises JobFailed as told in `_failure`."""
        tally = Tally()
        begun = _begun(job)
        async with AsyncExitStack() as files:
            try:
                file = await files.enter_async_context(self._media.local(begun.payload))
                photo = Photo(
                    lease,
                    begun,
                    file,
                    pool=self._pool,
                    media=self._media,
                    public_url=self._public_url,
                    forget=self._results.forget,
                )
                made = await self._made(photo, lease, tally)
                stored = await self._results.store(photo, made.image)
            except (ProviderFailed, OutOfTime, StorageError, OSError) as error:
                raise _failure(error, tally) from error
            finally:
                self._results.count(tally)
            kept = files.pop_all()
        tally.stored(queued_s=(job.started_at - job.created_at).total_seconds())
        facts = tally.facts(made.step)
        return Done(
            result={**facts, "stored": media_kept(stored)},
            commit=self._commit(photo, made, stored, facts, kept),
        )

    async def _made(self, photo: Photo, lease: HeldLease, tally: Tally) -> Made:
        left_s = lease.seconds_left
        until = anyio.current_time() + left_s - min(RESERVE_S, left_s * RESERVE_PART)
        return await self._chain.run(photo, photo.begun.chain, until=until, tally=tally)

    def _commit(
        self, photo: Photo, made: Made, stored: StoredMedia, facts: Json, files: AsyncExitStack
    ) -> Callable[[Connection, Job], Any]:
        lease = photo.lease

        async def commit(connection: Connection, job: Job, /) -> str:
            try:
                verdict = await ingest.finish(connection, job.id, lease.token, stored, facts)
            except asyncpg.PostgresError as error:
                if not is_transient(error):  # too late, in nearly every case
                    _log.warning("photo_late", provider=made.step.provider)
                    self._results.forget(stored.path)
                    self._results.in_background(files.aclose, "close")
                raise
            self._results.picture(job.id, files, photo.file, made.image)
            return verdict

        return commit


class PhotoWorker(Worker):
    """The tasks of a process that process photos, and what they know of providers."""

    def __init__(self, *arguments: Any, pings: ProviderPings, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pings = pings

    async def ping(self) -> Mapping[str, str]:
        """What each provider that slots use says of itself now: `ok`, or why not."""
        return await self._pings()


@asynccontextmanager
async def open_photos(
    settings: Settings, media: MediaStore, listener: Listener | None, on_end: OnEnd
) -> AsyncIterator[PhotoWorker]:
    """The workers of a process; `run` works until `stop`, then running photos are cancelled.

    `settings` name the database of photos. `listener` is the process's own and hears the same
    database; `on_end` is told of each photo's end after its commit. Waits for the database.
    """
    name = f"{settings.instance} photos"
    settings = replace(settings, tasks=TASKS, drain_grace_s=0, instance=name)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(_pool_opened(settings))
        control = Control(settings, "makeready_worker")
        stack.push_async_callback(control.close)
        # They are closed after what is done in the background, which may use them.
        sessions = [
            await stack.enter_async_context(new_session(private=each)) for each in (False, True)
        ]
        group = await stack.enter_async_context(anyio.create_task_group())
        results = Results(pool, media, group)
        stack.push_async_callback(results.close)
        around = Surroundings(
            http=sessions[0],
            http_private=sessions[1],
            providers=by_kind(),
            open_key=functools.partial(_opened, Sealer.of(settings.secrets_key)),
            rest_key=functools.partial(ingest.key_rests, pool),
            in_background=results.in_background,
        )
        stack.push_async_callback(pictures_aside.close)
        worker = PhotoWorker(
            settings,
            pool,
            [PhotoHandler(pool, media, Chain(around), results, settings.public_url)],
            control=control,
            listener=listener,
            host=media.host,
            failures=FAILURES,
            on_end=on_end,
            claim=ingest.claim,
            margin_share=MARGIN_SHARE,
            pings=ProviderPings(pool, around.session, around.providers, around.open_key),
        )
        _log.info("ingest_workers_started", worker=str(worker.id), tasks=TASKS, store=media.name)
        yield worker


def _pool_opened(settings: Settings) -> AbstractAsyncContextManager[asyncpg.Pool]:
    return pool_opened(
        settings,
        "makeready_worker",
        size=TASKS + SPARE_CONNECTIONS,
        patience_s=float("inf"),
        statement_timeout_s=settings.ingest_statement_timeout_ms / 1000,
    )


def _begun(job: Job) -> Begun:
    if not job.payload:
        raise JobFailed("fatal", "job_not_found", "the job has no photo")
    begun = Begun.of(job.payload)
    if not begun.is_awaited:
        raise _too_late("the process that waited for it is gone")
    return begun


def _opened(sealer: Sealer, provider: str, key: SealedKey) -> Secret:
    return sealer.open(key.nonce, key.sealed, about_key(provider, key.id))


def _failure(error: Exception, tally: Tally) -> JobFailed:
    """How a photo ends that has no image."""
    facts = tally.facts()
    if isinstance(error, OutOfTime):
        return _too_late(str(error), facts)
    if isinstance(error, ProviderFailed):
        facts["reason"] = error.reason
        return PhotoFailed("fatal", "provider_error", str(error), facts)
    text = f"its files cannot be read or written: {type(error).__name__}"
    return PhotoFailed("fatal", "storage_unavailable", text, facts)
