"""What is told of the bundle of a pack, after the end of its documents."""

from __future__ import annotations

from uuid import UUID

import pytest

from makeready import leases, render
from tests.sql.test_render_bundles import publish
from tests.support.hooks import alerts, endpoint, outbox, told
from tests.support.rendering import Press


@pytest.fixture
async def user(press: Press) -> UUID:
    """Somebody who wants to be told of packs."""
    user = await press.user()
    await endpoint(press.db, user, "pack.done", "pack.bundled")
    return user


async def ended(press: Press, user: UUID) -> UUID:
    """A bundled pack whose only document is ready."""
    pack = await press.pack(user, "invoice", bundled=True)
    await render.render_pack(press.db, user, pack)
    await press.publish(await press.one())
    return pack


async def test_a_bundle_is_told_with_its_files(press: Press, user: UUID) -> None:
    pack = await ended(press, user)
    assert await told(press.db) == ["pack.done"]
    claimed = await press.bundle()
    await publish(press, claimed)
    data = (await outbox(press.db))[-1]["message"]["data"]
    assert (data["pack_id"], data["job_id"]) == (str(pack), str(claimed.job.id))
    assert data["status"] == "ready"
    assert data["pdf_file_id"] != data["zip_file_id"]


async def test_a_bundle_that_fails_is_told_to_user_and_operators(press: Press, user: UUID) -> None:
    pack = await ended(press, user)
    claimed = await press.bundle()
    problem = {"code": "BUNDLE_TOO_LARGE", "message": "so"}
    await leases.fail(press.db, claimed.lease, "fatal", problem)
    data = (await outbox(press.db))[-1]["message"]["data"]
    assert data == {
        "job_id": str(claimed.job.id),
        "pack_id": str(pack),
        "status": "failed",
        "reason": "bundle_too_large",
    }
    (alert,) = await alerts(press.db)
    assert (alert["event"], alert["request_id"]) == ("render_job_failed", str(claimed.job.id))


async def test_a_bundle_that_no_longer_counts_is_not_told(press: Press, user: UUID) -> None:
    pack = await ended(press, user)
    stale = await press.bundle()
    await press.job_of(user, pack, "invoice")
    await publish(press, stale, "superseded")
    assert await told(press.db) == ["pack.done"]


async def test_a_bundle_that_is_retried_too_late_is_not_told_again(
    press: Press, user: UUID
) -> None:
    pack = await ended(press, user)
    stale = await press.bundle()
    await leases.fail(press.db, stale.lease, "fatal", {"code": "X", "message": "so"})
    await press.job_of(user, pack, "invoice")
    before = await told(press.db)
    await press.db.execute("select makeready.retry('render', $1)", stale.job.id)
    assert await told(press.db) == before
