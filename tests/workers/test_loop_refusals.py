"""What the database refuses of a failure does not let the job run for ever."""

from __future__ import annotations

import asyncpg
import pytest

from makeready.config import Settings
from makeready.jobs import Job, JobFailed, Outcome
from makeready_workers.attempt import HeldLease
from tests.support.core import Core, plain
from tests.support.in_process import Scripted, working


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (JobFailed("retry", "broken", "a zero \0 in the text"), "broken"),
        (JobFailed("retry", "broken", "half a pair \ud800"), "broken"),
        (JobFailed("retry", "broken", "", evidence={"text": "a zero \0"}), "internal_error"),
        (JobFailed("retry", "broken", "", evidence={"text": "\ud800"}), "internal_error"),
    ],
)
async def test_a_failure_that_cannot_be_stored_is_counted_all_the_same(
    settings: Settings,
    core: Core,
    db: asyncpg.Connection,
    failure: JobFailed,
    code: str,
) -> None:
    async def run(_: Job, __: HeldLease) -> Outcome:
        raise failure

    await core.set("free", max_attempts=1)
    async with working(settings, Scripted(run=run)) as shop:
        await core.enqueue(wake=True)
        assert await shop.until_ends() == {"dead": 1}
    assert plain(await db.fetchval("select error from makeready.jobs"))["code"] == code
