"""The latest render of a document is the last one entered, also where the clock was set back."""

from __future__ import annotations

from uuid import UUID

import pytest

from makeready import render
from tests.support.clock import Clock
from tests.support.rendering import Press


@pytest.fixture
async def user(press: Press) -> UUID:
    return await press.user()


@pytest.fixture
async def pack(press: Press, user: UUID) -> UUID:
    return await press.pack(user, "invoice")


async def test_the_last_good_file_is_that_of_the_later_render_rnd_010_rnd_011(
    press: Press, user: UUID, pack: UUID, clock: Clock
) -> None:
    first = await press.rendered(user, pack, "invoice")
    await clock.advance(-3600)
    second = await press.rendered(user, pack, "invoice")
    assert second != first
    await press.job_of(user, pack, "invoice")
    assert (await press.document(user, pack, "invoice")).last_good_file_id == second
    await press.fail(await press.one())

    state = await press.document(user, pack, "invoice")
    assert (state.status, state.file_id, state.last_good_file_id) == ("failed", None, second)


async def test_a_pack_renders_again_what_failed_after_the_clock_went_back_rnd_003_rnd_011(
    press: Press, user: UUID, pack: UUID, clock: Clock
) -> None:
    await press.rendered(user, pack, "invoice")
    await clock.advance(-3600)
    await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())

    found = await render.render_pack(press.db, user, pack)
    assert (found.jobs_created, found.jobs_skipped) == (1, 0)


@pytest.mark.parametrize("state", ["queued", "ready"])
async def test_a_pack_skips_what_is_open_or_ready_after_the_clock_went_back_rnd_003_rnd_011(
    press: Press, user: UUID, pack: UUID, clock: Clock, state: str
) -> None:
    await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    await clock.advance(-3600)
    await press.job_of(user, pack, "invoice")
    if state == "ready":
        await press.publish(await press.one())

    found = await render.render_pack(press.db, user, pack)
    assert (found.jobs_created, found.jobs_skipped) == (0, 1)
    assert await press.states(user, pack) == [state]


async def test_a_retry_of_an_older_render_after_the_clock_went_back_ends_by_itself_rnd_011(
    press: Press, user: UUID, pack: UUID, clock: Clock
) -> None:
    jobs = []
    for _ in range(2):
        jobs.append(await press.job_of(user, pack, "invoice"))
        await press.fail(await press.one())
        await clock.advance(-3600)
    call = "select makeready.retry('render', $1)"

    assert await press.db.fetchval(call, jobs[0]) == "cancelled"
    assert await press.states(user, pack) == ["failed"]
    assert await press.db.fetchval(call, jobs[1]) == "queued"
    assert await press.states(user, pack) == ["queued"]
    assert await press.open_count(pack) == 1
