"""Health of what photos need, for load balancers and people: an answer within a second.

Without database or store no photo can be taken: 503. A provider that cannot be reached is told and
changes no status: slots of others work, and so does a chain that has another one to ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from makeready_http.answers import NO_STORE, Json
from makeready_http.operations import ANYTHING, TEXT, Answer, Operation, record
from makeready_http.photo_services import Photos
from makeready_http.problems import Problem, Refusal, answer, retry_after
from makeready_http.services import services_of

CHECK_S = 0.9  # of each part, all at a time
KEEP_S = 1.0
KEEP_PROVIDERS_S = 15.0  # they are other people's machines


class PhotoHealth:
    """The last answer, shared by all who ask within a second; one a process."""

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._until = self._providers_until = 0.0
        self._parts: dict[str, str] = {}
        self._providers: Mapping[str, str] = {}
        self._look: asyncio.Task[None] | None = None

    async def checks(self, photos: Photos) -> tuple[dict[str, str], Mapping[str, str]]:
        """What database and store say, and what each provider says."""
        async with self._turn:
            if time.monotonic() >= self._until:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._part, "database", lambda: _database(photos))
                    group.start_soon(self._part, "storage", lambda: self._stored(photos))
                    if time.monotonic() >= self._providers_until:
                        group.start_soon(self._ping, photos)
                self._until = time.monotonic() + KEEP_S
            return dict(self._parts), self._providers

    async def _part(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        self._parts[name] = "timeout"
        with anyio.move_on_after(CHECK_S):
            try:
                await check()
                self._parts[name] = "ok"
            except Exception as error:  # noqa: BLE001 -- any fault of a part is an answer here
                self._parts[name] = _word(error)

    async def _stored(self, photos: Photos) -> None:
        """A disk that hangs keeps the one look at it; nobody waits until that ends."""
        look = self._look
        if look is None or look.done():
            look = self._look = asyncio.create_task(photos.media.check())
            look.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait([look])
        look.result()

    async def _ping(self, photos: Photos) -> None:
        with anyio.move_on_after(CHECK_S):
            try:
                self._providers = await photos.ping()
                self._providers_until = time.monotonic() + KEEP_PROVIDERS_S
            except Exception:  # noqa: BLE001 -- the database says why
                self._providers = {}


async def healthz(request: Request) -> Response:
    """200 when photos can be taken, else 503."""
    health: PhotoHealth = request.app.state.photo_health
    parts, providers = await health.checks(services_of(request).photos)
    checks: dict[str, Any] = {**parts, "providers": providers}
    failed = sorted(name for name, found in parts.items() if found != "ok")
    if failed:
        code = "storage_unavailable" if failed == ["storage"] else "queue_unavailable"
        text = f"Not healthy: {', '.join(failed)}."
        return answer(
            Refusal(code=code, message=text, details={"checks": checks}, headers=retry_after())
        )
    is_well = all(found == "ok" for found in providers.values())
    told = {"status": "ok" if is_well else "degraded", "checks": checks}
    return Json(told, headers=NO_STORE)


async def _database(photos: Photos) -> None:
    await photos.pool.fetchval("select 1")


def _word(error: Exception) -> str:
    return error.refusal.code if isinstance(error, Problem) else type(error).__name__


OPERATIONS = (
    Operation(
        method="GET",
        path="/healthz",
        endpoint=healthz,
        who="anyone",
        tag="health",
        summary="says whether photos can be taken: database, store, providers",
        description="Within a second. A provider that cannot be reached makes it `degraded`, with"
        " 200; providers are asked every 15 seconds at most, and nothing that they bill.",
        answers={
            200: Answer(
                description="They can.",
                schema=record(
                    {
                        "status": {**TEXT, "enum": ["ok", "degraded"]},
                        "checks": record(
                            {"database": TEXT, "storage": TEXT, "providers": ANYTHING}
                        ),
                    }
                ),
            )
        },
        errors=("storage_unavailable",),
    ),
)
