"""What a whole run writes down, service and worker together, and what it never does.

Proves RND-029.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from makeready.config import Settings
from makeready.db import pool_opened
from makeready.storage import open_storage
from makeready_workers.chromium.records import Fault, RenderError
from makeready_workers.handler import Context
from makeready_workers.render import RenderHandler
from tests.support.in_process import working
from tests.support.paper import PaperEngine
from tests.support.service import Person
from tests.support.waiting import until

pytestmark = pytest.mark.notified

Line = Mapping[str, Any]

ONCE = (
    "worker_start",
    "pack_created",
    "render_job_created",
    "render_pack_requested",
    "render_jobs_enqueued",
    "render_error",
    "render_retry_scheduled",
    "evidence_kept",
    "s3_presign_ok",
    "file_presigned",
)
UPLOADS = 7  # two documents, a picture of each, the bundle of both, the evidence of what failed
FACTS = {
    "render_start": {"doc_id", "pack_id", "attempt"},
    "render_ok": {"doc_id", "pack_id", "pages", "size_bytes", "ms"},
    "render_error": {"doc_id", "pack_id", "code", "kind"},
    "render_retry_scheduled": {"doc_id", "pack_id", "attempt", "code"},
    "file_created": {"key"},
    "s3_upload_ok": {"bucket", "key", "size_bytes"},
    "render_jobs_enqueued": {"pack_id", "jobs_created", "jobs_skipped"},
    "render_job_created": {"pack_id", "doc_id", "job_id"},
    "file_presigned": {"file_id", "expires_in_sec"},
}


def _is_bundle(line: Line) -> bool:
    return bool(line["event"] == "render_ok" and line["kind"] == "pack")


@asynccontextmanager
async def printing(settings: Settings) -> AsyncIterator[PaperEngine]:
    """A worker that renders with paper, beside the service."""
    engine = PaperEngine()
    async with (
        open_storage(settings) as storage,
        pool_opened(settings, "makeready_worker", size=4) as pool,
    ):
        context = Context(settings=settings, pool=pool, storage=storage)
        async with working(settings, RenderHandler(context, storage, engine)):
            yield engine
            await storage.delete([facts.key async for facts in storage.listing()])


async def run(anna: Person, settings: Settings) -> tuple[list[Line], list[str]]:
    """Two renders, the first at its second try, and a download: all lines, and what is secret."""
    with capture_logs() as lines:
        async with printing(settings) as engine:
            engine.fault = RenderError(Fault.RENDER_CRASHED, "so it was")
            pack = await anna.pack("invoice", "letter")
            job = (await anna.post(f"/packs/{pack}/render/invoice")).json()["job_id"]
            await until(lambda: any(line["event"] == "render_error" for line in lines))
            engine.fault = None
            await anna.post(f"/packs/{pack}/render")

            async def states() -> bool:
                rows = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
                return {row["status"] for row in rows} == {"ready"}

            await until(states, what=f"the end of {job}")
            await until(lambda: any(_is_bundle(line) for line in lines), what="the bundle")
            row = (await anna.get("/me/files")).json()["files"][0]
            link = (await anna.get(f"/files/{row['file_id']}/download")).json()["url"]
    assert settings.s3_secret_key is not None
    secrets = [anna.secret, settings.s3_secret_key.reveal(), link, "X-Amz", "Signature="]
    return list(lines), secrets


async def test_a_whole_run_writes_every_event_and_no_secret_rnd_029_rnd_041_rnd_042(
    anna: Person, settings: Settings
) -> None:
    lines, secrets = await run(anna, settings)
    told = repr(lines)
    counts = Counter(line["event"] for line in lines)

    assert [secret for secret in secrets if secret in told] == []
    assert {event: counts[event] for event in ONCE} == dict.fromkeys(ONCE, 1)
    assert (counts["render_ok"], counts["file_created"]) == (3, 4)
    assert (counts["s3_upload_start"], counts["s3_upload_ok"]) == (UPLOADS, UPLOADS)
    assert counts["render_start"] == 4  # one of them was for nothing
    assert counts["render_status_listed"] >= 1
    for line in lines:
        if line.get("kind") == "pack":
            continue
        facts = {name for name in FACTS.get(line["event"], ()) if line.get(name) is not None}
        assert facts == FACTS.get(line["event"], set()), line
