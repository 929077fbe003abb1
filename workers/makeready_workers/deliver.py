"""The handler of the queue `deliver`: webhooks to users' programs, alerts to the operators' one.

    row of the outbox ─ read ─► signed text ─ POST ─► 2xx: delivered · 410: disabled · else: again

The same message may arrive twice: a worker that is killed after the receiver has answered never
told the database. It then comes with the same id and text. Neither URL nor secret is ever logged.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from makeready import webhooks
from makeready.db import Connection
from makeready.jobs import Done, Job, JobFailed
from makeready.log import mask
from makeready.webhooks import Message
from makeready_workers.attempt import HeldLease
from makeready_workers.handler import Context
from makeready_workers.posting import Answer, Poster, PostFailed, open_poster

WEBHOOK_TIMEOUT_S = 10.0
ALERT_TIMEOUT_S = 2.0  # RND-044
GONE = 410
FINAL_CODES = frozenset({"ADDRESS_REFUSED", "INVALID_URL"})  # it is the same the next time

_log = structlog.get_logger(__name__)


class DeliverHandler:
    """Sends messages; made by `open_handler`, shared by all tasks of a process."""

    queue = webhooks.QUEUE

    def __init__(self, context: Context, guarded: Poster, trusted: Poster) -> None:
        self._pool = context.pool
        self._alert_url = context.settings.alert_webhook_url
        self._guarded = guarded
        self._trusted = trusted

    async def run(self, job: Job, lease: HeldLease) -> Done:
        """Sends one message; raises JobFailed when it was not taken."""
        kind = job.payload.get("kind")
        if kind == "webhook":
            return await self._webhook(_id_in(job, "delivery_id"), lease)
        if kind == "alert":
            return await self._alert(_id_in(job, "alert_id"), job, lease)
        raise JobFailed("fatal", "UNKNOWN_MESSAGE", "the job names no kind of message")

    async def _webhook(self, delivery: UUID, lease: HeldLease) -> Done:
        message = await webhooks.message_of(self._pool, delivery)
        if message is None:
            return Done(result={"skipped": "it has ended, or its endpoint was deleted"})
        if message.is_stopped:
            raise JobFailed("cancelled", "ENDPOINT_DISABLED", "its endpoint is disabled")
        log = _log.bind(delivery_id=str(delivery), endpoint_id=str(message.endpoint_id))
        try:
            answer = await self._send(delivery, message)
        except PostFailed as error:
            log.info("webhook_failed", code=error.code, ms=error.ms)
            await self._note(delivery, status=None, ms=error.ms, code=error.code, text=str(error))
            kind: Any = "fatal" if error.code in FINAL_CODES else "retry"
            raise JobFailed(kind, error.code, str(error)) from None
        if not answer.is_taken:
            code = "ENDPOINT_GONE" if answer.status == GONE else f"HTTP_{answer.status}"
            text = f"it answered {answer.status}"
            log.info("webhook_failed", code=code, status=answer.status, ms=answer.ms)
            await self._note(delivery, status=answer.status, ms=answer.ms, code=code, text=text)
            kind = "fatal" if answer.status == GONE else "retry"
            raise JobFailed(kind, code, text, retry_after=answer.retry_after_s)
        log.info("webhook_delivered", status=answer.status, ms=answer.ms)

        async def commit(connection: Connection, _: Job, /) -> str:
            return await webhooks.delivered(
                connection, lease, delivery, status=answer.status, ms=answer.ms
            )

        return Done(commit=commit)

    async def _send(self, delivery: UUID, message: Message) -> Answer:
        headers = webhooks.signed(str(delivery), message.text, message.keys, at=int(time.time()))
        return await self._guarded.post(
            message.url, message.text, headers, timeout_s=WEBHOOK_TIMEOUT_S
        )

    async def _note(self, delivery: UUID, **facts: Any) -> None:
        await webhooks.note_failure(self._pool, delivery, **facts)

    async def _alert(self, alert: UUID, job: Job, lease: HeldLease) -> Done:
        row = await self._pool.fetchrow(
            "select how_severe as severity, what as event, from_request as request_id,"
            " recorded_at as ts, facts::text as context from makeready.deliver_alert($1)",
            alert,
        )
        if row is None:
            return Done(result={"skipped": "retention has removed it"})
        log = _log.bind(alert_id=str(alert), alert_event=row["event"], severity=row["severity"])
        if job.attempt == 1 and job.lost == 0:
            log.info("alert_recorded")
        if self._alert_url is None:
            return Done(result={"skipped": "not configured"})
        body = json.dumps({**row, "context": mask(json.loads(row["context"]))}, default=_text)
        try:
            answer = await self._trusted.post(
                self._alert_url.reveal(), body, {}, timeout_s=ALERT_TIMEOUT_S
            )
        except PostFailed as error:
            log.warning("alert_send_error", code=error.code, ms=error.ms)
            raise JobFailed("retry", error.code, str(error)) from None
        if not answer.is_taken:
            log.warning("alert_send_error", code=f"HTTP_{answer.status}", ms=answer.ms)
            text = f"it answered {answer.status}"
            wait_s = answer.retry_after_s
            raise JobFailed("retry", f"HTTP_{answer.status}", text, retry_after=wait_s)
        log.info("alert_sent", ms=answer.ms)

        async def commit(connection: Connection, _: Job, /) -> str:
            return str(
                await connection.fetchval(
                    "select makeready.deliver_alert_sent($1, $2, $3)",
                    lease.job_id,
                    lease.token,
                    alert,
                )
            )

        return Done(commit=commit)


@asynccontextmanager
async def open_handler(context: Context) -> AsyncIterator[DeliverHandler]:
    """Opens two clients: one for addresses of users' choosing, one for the operators' own."""
    async with (
        open_poster(private=context.settings.webhook_private) as guarded,
        open_poster(private=True) as trusted,
    ):
        yield DeliverHandler(context, guarded, trusted)


def _id_in(job: Job, name: str) -> UUID:
    try:
        return UUID(str(job.payload.get(name)))
    except ValueError:
        raise JobFailed("fatal", "UNKNOWN_MESSAGE", f"the job has no {name}") from None


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
