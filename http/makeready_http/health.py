"""Health: does the process live, is it ready for work, and how is object storage set up.

`live` asks nothing of anybody. `ready` asks the database and storage, at most once a second
however often it is called. No answer names a credential.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import asyncpg
from starlette.requests import Request
from starlette.responses import Response

from makeready import sms
from makeready.schema import inspect
from makeready_http.answers import Json
from makeready_http.operations import TEXT, TRUTH, Answer, Operation, done, nullable, record
from makeready_http.problems import Problem, Refusal, answer, retry_after
from makeready_http.services import Services, services_of

CHECK_TIMEOUT_S = 3.0  # above storage's own, which has the better word for it
KEEP_S = 1.0
KEEP_SCHEMA_S = 10.0  # a schema that is current stays so while this version runs

Checks = dict[str, str]


class Readiness:
    """The last answer of `ready`, shared by all who ask within a second."""

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._found: Checks = {}
        self._until = 0.0
        self._schema_until = 0.0

    async def checks(self, services: Services) -> Checks:
        """What each part says: `ok`, or what is wrong with it."""
        async with self._turn:
            if time.monotonic() >= self._until:
                self._found = {
                    "database": await _verdict(lambda: self._database(services)),
                    "storage": await _verdict(services.storage.check),
                }
                self._until = time.monotonic() + KEEP_S
            return self._found

    async def _database(self, services: Services) -> None:
        async with services.pool.acquire(timeout=CHECK_TIMEOUT_S) as connection:
            if time.monotonic() < self._schema_until:
                await connection.fetchval("select 1")
                return
            state = await inspect(cast("asyncpg.Connection", connection))
        if not state.is_current:
            raise Problem("queue_unavailable", f"the schema lacks {', '.join(state.pending)}")
        if not await services.wait_connected(0):
            raise Problem("queue_unavailable", "the registry of documents is not written yet")
        self._schema_until = time.monotonic() + KEEP_SCHEMA_S


async def live(_: Request) -> Response:
    """200 while the process answers at all."""
    return Json({"ok": True})


async def ready(request: Request) -> Response:
    """200 when the database has the schema of this version and storage answers, else 503."""
    checks = await request.app.state.readiness.checks(services_of(request))
    failed = [name for name, found in checks.items() if found != "ok"]
    if not failed:
        return Json({"ok": True, "checks": checks})
    code = "storage_unavailable" if failed == ["storage"] else "queue_unavailable"
    return answer(
        Refusal(
            code=code,
            message=f"Not ready: {', '.join(failed)}.",
            details={"checks": checks},
            headers=retry_after(),
        )
    )


async def database(request: Request) -> Response:
    """200 when the database has the schema of this version, else 503."""
    found = (await request.app.state.readiness.checks(services_of(request)))["database"]
    if found == "ok":
        return Json({"ok": True})
    return answer(
        Refusal(
            code="queue_unavailable",
            message=f"The database is not ready: {found}.",
            headers=retry_after(),
        )
    )


async def telephone(request: Request) -> Response:
    """200 when one-time codes can be sent, else 503 and why not; asks nobody."""
    settings = services_of(request).settings
    why = sms.complaint(settings)
    if not why:
        return Json({"ok": True, "provider": settings.sms_provider})
    return answer(
        Refusal(
            code="queue_unavailable",
            message=f"No code can be sent: {why}.",
            details={"provider": settings.sms_provider, "reason": "not_set_up"},
            headers=retry_after(60),
        )
    )


async def storage(request: Request) -> Response:
    """How object storage is set up, without asking it; with DEBUG also whether it answers."""
    services = services_of(request)
    settings = services.settings
    has_credentials = bool(settings.s3_access_key and settings.s3_secret_key)
    facts: dict[str, object] = {
        "ok": bool(settings.s3_url and settings.s3_bucket and has_credentials),
        "bucket": settings.s3_bucket,
        "endpoint": settings.s3_url,
        "presign_endpoint": settings.s3_presign_url,
        "provider": "s3",
        "has_credentials": has_credentials,
    }
    if settings.debug:
        facts["head_bucket"] = await _verdict(services.storage.check)
    return Json(facts)


async def _verdict(check: Callable[[], Awaitable[None]]) -> str:
    try:
        with anyio.fail_after(CHECK_TIMEOUT_S):
            await check()
    except Problem as problem:
        return problem.refusal.message
    except Exception as error:  # noqa: BLE001 -- any fault of a part is an answer here
        return type(error).__name__
    return "ok"


_STORAGE = record(
    {
        "ok": TRUTH,
        "bucket": TEXT,
        "endpoint": nullable(TEXT),
        "presign_endpoint": nullable(TEXT),
        "provider": TEXT,
        "has_credentials": TRUTH,
    },
    {"head_bucket": TEXT},
)
OPERATIONS = (
    Operation(
        method="GET",
        path="/health",
        endpoint=live,
        who="anyone",
        tag="health",
        summary="says that the process answers",
        answers={200: Answer(description="It does.", schema=done())},
    ),
    Operation(
        method="GET",
        path="/health/live",
        endpoint=live,
        who="anyone",
        tag="health",
        summary="says the same, for probes",
        answers={200: Answer(description="It does.", schema=done())},
    ),
    Operation(
        method="GET",
        path="/health/ready",
        endpoint=ready,
        who="anyone",
        tag="health",
        summary="says whether database, schema and storage are usable",
        answers={
            200: Answer(
                description="All are.",
                schema=done(checks=record({"database": TEXT, "storage": TEXT})),
            )
        },
        errors=("storage_unavailable",),
    ),
    Operation(
        method="GET",
        path="/health/db",
        endpoint=database,
        who="anyone",
        tag="health",
        summary="says whether the database and its schema are usable",
        answers={200: Answer(description="They are.", schema=done())},
    ),
    Operation(
        method="GET",
        path="/health/sms",
        endpoint=telephone,
        who="anyone",
        tag="health",
        summary="tells whether one-time codes can be sent, without a call",
        answers={200: Answer(description="They can.", schema=done(provider=TEXT))},
    ),
    Operation(
        method="GET",
        path="/health/s3",
        endpoint=storage,
        who="anyone",
        tag="health",
        summary="tells how storage is configured, without a call",
        description="`ok` is false when endpoint, bucket or credentials are missing.",
        answers={200: Answer(description="The configuration.", schema=_STORAGE)},
    ),
)
