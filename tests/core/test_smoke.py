"""The smoke test is a program of ours (RND-047), goes a user's way (RND-046), leaves no secret.

RND-029: neither a presigned link nor a secret stands in any log line of such a run.
RND-041, RND-042: it leaves the events of a good day. RND-043: lines of a request have its id.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from makeready.commands.service import Client, new_session, wait_ready
from makeready.commands.walk import walk
from makeready.config import Settings
from makeready.documents import shipped
from makeready.embedded.processes import free_ports
from tests.support.objectstore import S3
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SECRET_FIELDS = {"token", "code", "url", "download_url"}
LINK_PARTS = ("X-Amz-Signature", "X-Amz-Credential", "Signature=")
EVENTS = {
    "file_created",
    "file_presigned",
    "render_job_created",
    "render_jobs_enqueued",
    "render_ok",
    "render_pack_requested",
    "render_start",
    "render_status_listed",
    "request_finished",
    "request_received",
    "s3_presign_ok",
    "s3_upload_ok",
    "s3_upload_start",
    "worker_start",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keen(Client):
    """Remembers every secret that it is told."""

    secrets: set[str] = field(default_factory=set)

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        found = await Client.call(self, method, path, body, **more)
        self.secrets.update(str(found[name]) for name in SECRET_FIELDS & found.keys())
        return found


@asynccontextmanager
async def _running(settings: Settings, folder: Path, *words: str) -> AsyncIterator[Path]:
    """A process of ours; its log."""
    log = folder / f"{words[0]}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "makeready", *words),
            stdout=out,
            stderr=out,
            cwd=folder,
            env=dict(os.environ) | settings.to_env(),
        )
    try:
        yield log
    finally:
        process.terminate()
        await process.wait()


async def _pack(client: Client) -> None:
    letter = shipped.sample(shipped.document_type("letter"), "en")
    pack = await client.post("/packs", {"language": "en", "documents": {"letter": letter}})
    await client.post(f"/packs/{pack['pack_id']}/render")

    async def is_ready() -> bool:
        found = await client.get(f"/packs/{pack['pack_id']}/documents")
        return bool(found["documents"][0]["file_id"])

    await until(is_ready, timeout_s=30, what="the letter")


@pytest.mark.timeout(120)
@pytest.mark.slow
async def test_whole_way_leaves_no_secret(settings: Settings, s3: S3, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    own = replace(settings, debug=True, http_port=port, drain_grace_s=2, log_level="debug")
    async with (
        _running(own, tmp_path, "http") as http,
        _running(own, tmp_path, "work", "render", "deliver") as work,
        new_session() as session,
    ):
        client = Keen(session=session, base_url=f"http://127.0.0.1:{port}")
        await wait_ready(client)
        await _pack(await walk(client, lambda _: None))

    text = http.read_text("utf-8") + work.read_text("utf-8")
    told = {secret for secret in client.secrets if not secret.isdecimal()}
    assert len(told) >= 3  # a token and two links
    for secret in (*told, s3.secret_key, *LINK_PARTS):
        assert secret not in text
    codes = {f'"{secret}"' for secret in client.secrets if secret.isdecimal()}
    assert codes
    assert not any(code in text for code in codes)

    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["event"] for line in lines} >= EVENTS
    assert all({"event", "level", "ts"} <= line.keys() for line in lines)
    requests = [line for line in lines if line["event"] == "request_finished"]
    assert all(line["request_id"] for line in requests)
