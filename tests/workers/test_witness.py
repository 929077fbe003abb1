"""What is kept of an attempt that fails, and that keeping it changes nothing else."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import evidence
from makeready.config import Settings
from makeready.db import open_pool
from makeready.jobs import FailKind, JobFailed
from makeready.leases import Claimed
from makeready.storage import Storage, open_storage
from makeready.storage_errors import StorageUnavailable
from makeready_workers.attempt import Attempt, HeldLease
from makeready_workers.chromium.records import Fault, RenderError
from makeready_workers.witness import HTML_BYTES, Witness
from tests.support.objectstore import S3
from tests.support.rendering import Press


@dataclasses.dataclass(kw_only=True)
class Scene:
    """One attempt, and what it needs to leave evidence."""

    db: asyncpg.Connection
    pool: asyncpg.Pool
    storage: Storage
    claimed: Claimed

    async def keep(
        self, witness: Witness, failure: JobFailed, *, seconds_left: float = 60
    ) -> list[str]:
        """Keeps, and says what was logged."""
        attempt = Attempt(self.claimed, self.pool, asked_at=anyio.current_time())
        attempt._scope.deadline = anyio.current_time() + seconds_left
        held = self.claimed.lease
        lease = HeldLease(queue=held.queue, job_id=held.job_id, token=held.token, attempt=attempt)
        with capture_logs() as logs:
            await witness.keep(self.pool, self.storage, self.claimed.job, lease, failure)
        return [line["event"] for line in logs if line["event"].startswith("evidence")]

    async def archive(self) -> zipfile.ZipFile:
        """The one that was kept."""
        (found,) = await evidence.of_job(self.db, self.claimed.job.id)
        return zipfile.ZipFile(io.BytesIO(await self.storage.get(found.key)))

    async def count(self) -> int:
        return len(await evidence.of_job(self.db, self.claimed.job.id))


@pytest.fixture
async def scene(db: asyncpg.Connection, settings: Settings, s3: S3) -> AsyncIterator[Scene]:
    assert settings.s3_bucket == s3.bucket
    press = await Press(db).open()
    user = await press.user()
    await press.job_of(user, await press.pack(user, "invoice"), "invoice")
    pool = await open_pool(settings, "makeready_worker", size=2)
    async with open_storage(settings) as storage:
        yield Scene(db=db, pool=pool, storage=storage, claimed=await press.one())
        await storage.delete([facts.key async for facts in storage.listing()])
    await pool.close()


def failed(kind: FailKind = "fatal", cause: Exception | None = None) -> JobFailed:
    failure = JobFailed(kind, "TEMPLATE_ERROR", "so", evidence={"console": ["x is not defined"]})
    failure.__cause__ = cause
    return failure


async def test_what_the_engine_was_given_and_saw_is_kept(scene: Scene) -> None:
    error = RenderError(Fault.RENDER_TIMEOUT, "so")
    error.screenshot = b"\xff\xd8 a picture"
    witness = Witness(html="<p>Привет", facts={"type_version": "v1"})
    assert await scene.keep(witness, failed("retry", error)) == ["evidence_kept"]
    archive = await scene.archive()
    notes = json.loads(archive.read("evidence.json"))
    assert (notes["code"], notes["attempt"]) == ("TEMPLATE_ERROR", 1)
    assert notes["evidence"] == {"console": ["x is not defined"]}
    assert notes["printed"] == {"type_version": "v1"}
    assert archive.read("document.html").decode() == "<p>Привет"
    assert archive.read("screenshot.jpg") == error.screenshot


async def test_a_failure_before_anything_was_printed_is_kept_too(scene: Scene) -> None:
    assert await scene.keep(Witness(), failed()) == ["evidence_kept"]
    assert (await scene.archive()).namelist() == ["evidence.json"]


async def test_what_is_large_is_cut_and_what_is_signed_is_masked(scene: Scene) -> None:
    link = "https://s3/x?X-Amz-Signature=presigned"  # RND-029
    witness = Witness(html="я" * HTML_BYTES, facts={"asked": link})
    await scene.keep(witness, failed())
    archive = await scene.archive()
    assert len(archive.read("document.html")) < HTML_BYTES + 100
    assert b"presigned" not in archive.read("evidence.json")


@pytest.mark.parametrize("kind", ["interrupted", "snooze", "cancelled"])
async def test_what_is_not_the_documents_fault_leaves_no_evidence(
    scene: Scene, kind: FailKind
) -> None:
    assert await scene.keep(Witness(html="x"), failed(kind)) == []
    assert await scene.count() == 0


async def test_storage_that_is_away_is_not_waited_for_and_changes_nothing(
    scene: Scene, settings: Settings
) -> None:
    away = dataclasses.replace(settings, s3_endpoint="http://127.0.0.1:9")
    async with open_storage(away) as storage:
        scene.storage, there = storage, scene.storage
        started = anyio.current_time()
        assert await scene.keep(Witness(html="x"), failed()) == ["evidence_lost"]
        assert anyio.current_time() - started < 7
        scene.storage = there
    cause = StorageUnavailable("away")
    assert await scene.keep(Witness(html="x"), failed("retry", cause)) == ["evidence_lost"]
    assert await scene.count() == 0


async def test_an_attempt_without_time_ends_without_evidence(scene: Scene) -> None:
    assert await scene.keep(Witness(html="x"), failed(), seconds_left=3) == ["evidence_lost"]
    assert await scene.count() == 0


async def test_a_lost_lease_leaves_no_evidence(scene: Scene) -> None:
    await scene.db.execute("select makeready.job_evict('render', $1)", scene.claimed.job.id)
    assert await scene.keep(Witness(html="x"), failed()) == ["evidence_lost"]
    assert await scene.count() == 0
    assert [facts.key async for facts in scene.storage.listing()] == []


async def test_of_a_pack_that_was_deleted_no_evidence_stays(scene: Scene) -> None:
    await scene.db.execute("delete from makeready.packs")
    assert await scene.keep(Witness(html="x"), failed()) == ["evidence_lost"]
    assert await scene.count() == 0
    assert [facts.key async for facts in scene.storage.listing()] == []
