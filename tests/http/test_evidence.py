"""Evidence over HTTP: links for staff alone."""

from __future__ import annotations

import asyncio
import io
import zipfile
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import evidence
from makeready.storage import Storage
from tests.http.conftest import MakeMember
from tests.support.rendering import Press
from tests.support.service import Member, Person, error_code, fetch

BODY = b"PK\x05\x06" + b"\0" * 18  # an empty archive


@pytest.fixture
async def job(anna: Person, press: Press, storage: Storage) -> str:
    """A failed render of Anna's that left evidence."""
    pack = await anna.pack("invoice")
    await anna.post(f"/packs/{pack}/render")
    claimed = await press.one()
    stored = await storage.put(f"evidence/{claimed.job.id}/1.zip", BODY)
    await evidence.keep(press.db, claimed.lease, "TEMPLATE_ERROR", stored)
    await press.fail(claimed)
    return str(claimed.job.id)


async def test_staff_get_links_that_are_in_no_log_rnd_029(
    staff: MakeMember, job: str, db: asyncpg.Connection
) -> None:
    operator = await staff("operator")
    with capture_logs() as logs:
        answer = await operator.get(f"/admin/render-jobs/{job}/evidence")
    (item,) = answer.json()["items"]
    assert (item["attempt"], item["code"]) == (1, "TEMPLATE_ERROR")
    assert answer.headers["cache-control"] == "no-store"
    status, body = await asyncio.to_thread(fetch, item["url"])
    assert status == 200
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == []
    assert "X-Amz" not in repr(logs)
    line = await db.fetchrow(
        "select actor from makeready.audit_log where action = 'render_evidence_read'"
    )
    assert line is not None
    assert line["actor"].startswith(f"{operator.name} via ")


async def test_owners_do_not_get_it_and_unknown_jobs_are_refused(
    anna: Person, administrator: Member, job: str
) -> None:
    path = "/admin/render-jobs/{}/evidence"
    assert error_code(await anna.get(path.format(job))) == "unauthorized"
    for missing in (uuid4(), "x"):
        answer = await administrator.get(path.format(missing))
        assert error_code(answer) == "job_not_found"


async def test_a_render_that_left_nothing_has_an_empty_list(
    anna: Person, administrator: Member
) -> None:
    pack = await anna.pack("invoice")
    (job,) = (await anna.post(f"/packs/{pack}/render")).json()["job_ids"]
    assert (await administrator.get(f"/admin/render-jobs/{job}/evidence")).json()["items"] == []
