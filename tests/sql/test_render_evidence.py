"""Evidence of failed attempts: kept under the lease, bounded in number and time, for staff."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from makeready import evidence
from makeready.errors import LeaseLost, NotFound
from makeready.leases import Claimed
from makeready.storage import ObjectFacts
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, seconds
from tests.support.rendering import Press

DAY = 24 * 3600


def archive(claimed: Claimed) -> ObjectFacts:
    return ObjectFacts(
        bucket="bucket",
        key=f"evidence/{claimed.job.id}/{claimed.lease.token}.zip",
        byte_count=7,
        etag="e",
        media_type="application/zip",
        sha256=b"x" * 32,
    )


async def attempted(press: Press) -> Claimed:
    """A render in work, of a pack of its own."""
    user = await press.user()
    await press.job_of(user, await press.pack(user, "invoice"), "invoice")
    return await press.one()


async def kept(press: Press, claimed: Claimed, code: str = "TEMPLATE_ERROR") -> None:
    await evidence.keep(press.db, claimed.lease, code, archive(claimed))


async def unused(core: Core) -> int:
    count: int = await core.db.fetchval(
        "select count(*) from makeready.files where unused_at is not null"
    )
    return count


async def test_evidence_of_a_job_is_found_also_when_the_job_was_pruned(
    press: Press, core: Core
) -> None:
    claimed = await attempted(press)
    await kept(press, claimed)
    await press.fail(claimed)
    await core.db.execute("delete from makeready.render_jobs")
    (found,) = await evidence.of_job(core.db, claimed.job.id)
    assert (found.attempt, found.code) == (1, "TEMPLATE_ERROR")
    assert found.key == archive(claimed).key
    assert found.kept_until - found.kept_at == seconds(14 * DAY)


async def test_who_has_lost_the_lease_leaves_no_evidence(press: Press, core: Core) -> None:
    claimed = await attempted(press)
    await core.call("job_evict", queue_name="render", job=claimed.job.id)
    with pytest.raises(LeaseLost):
        await kept(press, claimed)
    assert await evidence.of_job(core.db, claimed.job.id) == []


async def test_the_newest_three_of_a_job_stay_and_the_others_leave_storage(
    press: Press, core: Core, clock: Clock
) -> None:
    claimed = await attempted(press)
    for attempt in range(1, 6):
        assert claimed.job.attempt == attempt
        await kept(press, claimed)
        await press.fail(claimed, "retry")
        if attempt < 5:
            await clock.advance(120)
            await core.call("promote", max_jobs=10)
            claimed = await press.one()
    found = await evidence.of_job(core.db, claimed.job.id)
    assert [one.attempt for one in found] == [5, 4, 3]
    assert await unused(core) == 2


async def test_evidence_goes_after_its_retention(press: Press, core: Core, clock: Clock) -> None:
    old = await attempted(press)
    await kept(press, old)
    await press.fail(old)
    await clock.advance(10 * DAY)
    new = await attempted(press)
    await kept(press, new)
    assert await core.call("render_evidence_purge", max_rows=10) == 0
    await clock.advance(5 * DAY)
    assert await core.call("render_evidence_purge", max_rows=10) == 1
    assert await evidence.of_job(core.db, old.job.id) == []
    assert len(await evidence.of_job(core.db, new.job.id)) == 1
    assert await unused(core) == 1


async def test_a_look_is_audited_and_an_unknown_job_refused(press: Press, core: Core) -> None:
    claimed = await attempted(press)
    assert await evidence.of_job(core.db, claimed.job.id) == []
    with pytest.raises(NotFound) as raised:
        await evidence.of_job(core.db, uuid4())
    assert raised.value.details["code"] == "job_not_found"
    rows = await core.db.fetch(
        "select target from makeready.audit_log where action = 'render_evidence_read'"
    )
    assert [UUID(row["target"]) for row in rows] == [claimed.job.id]


@pytest.mark.parametrize("role", ["makeready_app", "makeready_read", "makeready_worker"])
async def test_evidence_is_for_staff(session: Session, role: str) -> None:
    text = "select has_function_privilege($1, 'makeready.render_evidence_of(uuid)', 'execute')"
    core = await session()
    assert await core.db.fetchval(text, role) is False
