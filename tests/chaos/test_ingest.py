"""Photos that booths wait for while the service, or its database, goes away: real processes.

The provider is a server of the test that answers when it is told to.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from makeready.embedded.postgres import EmbeddedPostgres
from makeready.embedded.processes import free_ports
from tests.chaos.conftest import Witness
from tests.support.booth import Answer, form, line_to, opened, payloads, photo, post
from tests.support.provider_server import ProviderServer, held, picture, provider_server
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess, worker_process

OPEN = "select count(*) from makeready.photos where finished_at is null"
ROWS = "select count(*) from makeready.media_objects"
REASONS = "select array_agg(distinct failure_reason) from makeready.photos"

pytestmark = pytest.mark.timeout(240)


async def is_open(url: str) -> bool:
    """Whether somebody listens there."""
    try:
        async with line_to(url):
            return True
    except ConnectionError:
        return False


async def is_closed(url: str) -> bool:
    """Whether nobody does."""
    return not await is_open(url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What each of these tests plays in."""

    dsn: str
    witness: Witness
    folder: Path
    provider: ProviderServer
    gate: asyncio.Event
    url: str
    told: dict[str, Any]

    @asynccontextmanager
    async def service(self, name: str = "booths") -> AsyncIterator[WorkerProcess]:
        """`makeready http` for the time of the block, once it listens."""
        async with worker_process(self.dsn, self.folder, name, **self.told) as process:
            await until(lambda: is_open(self.url), timeout_s=30, what="an open port")
            yield process

    def posts(self, count: int) -> list[asyncio.Task[Answer]]:
        """So many booths post a photo each."""
        return [asyncio.create_task(post(self.url, form(photo(50 + n)))) for n in range(count)]

    async def until_asked(self, count: int) -> None:
        """Waits until the provider has so many photos."""
        await until(
            lambda: len(self.provider.asked) >= count, timeout_s=30, what=f"{count} questions"
        )

    async def answers(self) -> bool:
        """Whether the service takes a photo and gives it back."""
        try:
            return (await post(self.url, form(photo(40)))).status == 200
        except (OSError, EOFError):
            return False

    async def open(self) -> int:
        """How many photos have not ended."""
        return await self.witness.number(OPEN)

    def payloads(self) -> list[Path]:
        """Files of clients that are still there."""
        return payloads(self.folder / "var" / "media")


@pytest.fixture
async def scene(dsn: str, witness: Witness, tmp_path: Path) -> AsyncIterator[Scene]:
    async with provider_server() as provider:
        gate = asyncio.Event()
        provider.will(*[held(gate)] * 100)
        await _set_up(dsn, provider)
        (port,) = free_ports(1)
        yield Scene(
            dsn=dsn,
            witness=witness,
            folder=tmp_path,
            provider=provider,
            gate=gate,
            url=f"http://127.0.0.1:{port}",
            told={
                "command": ("makeready", "http"),
                "http_port": port,
                "data_dir": tmp_path / "var",
                "log_level": "info",
                # Photos lie in a folder: that nothing listens there is of no account.
                "s3_endpoint": "http://127.0.0.1:9",
                "s3_bucket": "none",
                "s3_access_key": "none",
                "s3_secret_key": "none",
                "drain_grace_s": 1,
                "testing": True,  # windows of seconds
            },
        )


async def _set_up(dsn: str, provider: ProviderServer) -> None:
    """All slots ask the provider of the test."""
    options = provider.options("webhook") | {
        "url": f"{provider.url}/hook/run",
        "body": {"kind": "raw"},
        "answer": {"kind": "image"},
    }
    db = await asyncpg.connect(dsn)
    try:
        await opened(db, window_s=48)
        await db.execute(
            "update makeready.providers set options = $1, is_enabled = true where id = 'webhook'",
            json.dumps(options),
        )
        await db.execute(
            "update makeready.slots set provider_id = 'webhook', operation_id = 'call'"
        )
    finally:
        await db.close()


async def test_a_process_that_is_killed_leaves_timeouts_and_no_payload_ing_033_ing_039(
    scene: Scene,
) -> None:
    await _set_window(scene, 6)
    async with AsyncExitStack() as stack:
        victim = await stack.enter_async_context(scene.service("victim"))
        asked = scene.posts(8)  # four with the provider, four in line
        await scene.until_asked(4)
        await until(scene.open)
        victim.send(signal.SIGKILL)
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(result, (OSError, EOFError)) for result in results)

        heir = await stack.enter_async_context(scene.service("heir"))
        await until(lambda: _is_zero(scene, OPEN), timeout_s=30, what="the end of all photos")
        assert await scene.witness.value(REASONS) == ["timeout"]
        await until(lambda: not scene.payloads(), timeout_s=90, what="no payload on the disk")
        await until(lambda: _is_zero(scene, ROWS), timeout_s=30, what="no row of a payload")

        scene.gate.set()
        assert await scene.answers()
        assert heir.is_alive
    # Nothing was asked of the provider a second time, nothing was given back to a worker.
    assert len(scene.provider.asked) == 5
    assert await scene.witness.number("select max(attempt) from makeready.jobs") == 1


async def _set_window(scene: Scene, seconds: float) -> None:
    statement = "update makeready.ingest_policy set sync_response_s = $1 returning 1"
    await scene.witness.value(statement, seconds)


async def _is_zero(scene: Scene, query: str) -> bool:
    return await scene.witness.number(query) == 0


async def test_a_database_that_stops_while_booths_wait_is_503_and_then_service_ing_023(
    scene: Scene, server: EmbeddedPostgres
) -> None:
    await _set_window(scene, 4)
    async with scene.service():
        asked = scene.posts(6)
        await scene.until_asked(4)
        await asyncio.to_thread(server.stop)
        refused = await post(scene.url)
        answers = [await task for task in asked]
        await asyncio.to_thread(server.start)
        scene.gate.set()
        await until(scene.answers, timeout_s=60, what="service again")
        await until(lambda: _is_zero(scene, OPEN), timeout_s=30, what="the end of all photos")
        await until(lambda: not scene.payloads(), timeout_s=90, what="no payload on the disk")

    for answer in [refused, *answers]:
        assert (answer.status, answer.code) == (503, "queue_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["cache-control"] == "no-store"
    assert "x-job-id" not in refused.headers
    for answer in answers:
        assert answer.error["details"] == {"job_id": answer.headers["x-job-id"]}


async def test_a_short_outage_costs_no_photo(scene: Scene, server: EmbeddedPostgres) -> None:
    async with scene.service():
        asked = scene.posts(4)
        await scene.until_asked(4)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        scene.gate.set()
        answers = [await task for task in asked]

    assert [answer.status for answer in answers] == [200] * 4
    assert {answer.body for answer in answers} == {picture()}


async def test_a_process_that_is_told_to_end_answers_all_who_wait_ing_036(scene: Scene) -> None:
    # ING-036
    async with scene.service() as service:
        asked = scene.posts(6)
        await scene.until_asked(4)
        await until(scene.open)
        service.send(signal.SIGTERM)
        answers = [await task for task in asked]
        assert await service.ended(timeout_s=20) == -signal.SIGTERM

    assert {(answer.status, answer.code) for answer in answers} == {(503, "job_cancelled")}
    assert await scene.witness.value(REASONS) == ["cancelled"]
    assert not scene.payloads()
    assert await scene.witness.number(ROWS) == 0
    assert await scene.witness.number("select count(*) from makeready.workers") == 0


async def test_photos_that_end_within_the_grace_are_answered(scene: Scene) -> None:
    scene.told["drain_grace_s"] = 30
    async with scene.service() as service:
        asked = scene.posts(6)
        await scene.until_asked(4)
        service.send(signal.SIGTERM)
        await until(lambda: is_closed(scene.url))
        scene.gate.set()
        answers = [await task for task in asked]
        assert await service.ended(timeout_s=20) == -signal.SIGTERM

    assert [answer.status for answer in answers] == [200] * 6


async def test_a_second_signal_ends_it_at_once(scene: Scene) -> None:
    scene.told["drain_grace_s"] = 60
    async with scene.service() as service, line_to(scene.url) as line:
        await line.head(len(form()))
        await line.send(form())
        await scene.until_asked(1)
        service.send(signal.SIGTERM)
        await until(lambda: is_closed(scene.url))
        service.send(signal.SIGTERM)
        assert await service.ended(timeout_s=10) == 130
