"""Two who touch one render at once: each pair stepped by hand, in both orders."""

from __future__ import annotations

from uuid import UUID

import pytest

from makeready import render
from makeready.errors import LeaseLost
from tests.sql.interleave import step
from tests.support.core import Core
from tests.support.database import Connect
from tests.support.rendering import Press


@pytest.fixture
async def user(press: Press) -> UUID:
    return await press.user()


@pytest.fixture
async def pack(press: Press, user: UUID) -> UUID:
    return await press.pack(user, "invoice")


async def test_a_regeneration_waits_for_a_publication_and_comes_after_it(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    other = Core(await connect())
    async with press.db.transaction():
        await press.publish(claimed)
        asking = render.render_document(other.db, user, pack, "invoice")
        call = await step(await connect(), other, asking)
        assert call.waits
    made = await call

    assert made.is_new
    assert made.job_id != claimed.job.id
    assert await press.open_count(pack) == 1


async def test_a_pack_that_is_rendered_during_a_publication_skips_the_document(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    other = Core(await connect())
    async with press.db.transaction():
        await press.publish(claimed)
        call = await step(await connect(), other, render.render_pack(other.db, user, pack))
        assert call.waits

    assert (await call).jobs_created == 0


async def test_a_cancellation_that_comes_after_a_publication_changes_nothing(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    other = Core(await connect())
    async with press.db.transaction():
        await press.publish(claimed)
        call = await step(await connect(), other, other.cancel("render", claimed.job.id))
        assert call.waits

    assert await call == "done"
    assert await press.states(user, pack) == ["ready"]
    assert await press.open_count(pack) == 0


async def test_a_publication_that_comes_before_the_worker_heard_of_the_cancellation_counts(
    press: Press, user: UUID, pack: UUID
) -> None:
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    await press.db.execute("select makeready.cancel('render', $1)", claimed.job.id)

    assert await press.publish(claimed) == "ok"
    assert await press.states(user, pack) == ["ready"]


async def test_a_publication_that_comes_after_a_give_up_is_refused(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    other = Core(await connect())
    async with press.db.transaction():
        await press.db.execute("select makeready.give_up('render', $1)", claimed.job.id)
        call = await step(await connect(), other, Press(other.db).publish(claimed))
        assert call.waits
    with pytest.raises(LeaseLost):
        await call

    assert await press.states(user, pack) == ["failed"]
    assert await press.open_count(pack) == 0
    assert await press.db.fetchval("select count(*) from makeready.artifacts") == 0


async def test_an_enqueue_that_is_rolled_back_lets_the_next_one_in(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    other = Core(await connect())
    transaction = press.db.transaction()
    await transaction.start()
    first = await render.render_document(press.db, user, pack, "invoice", request_key="k")
    asking = render.render_document(other.db, user, pack, "invoice", request_key="k")
    call = await step(await connect(), other, asking)
    assert call.waits
    await transaction.rollback()
    second = await call

    assert second.is_new
    assert second.job_id != first.job_id
    assert [c.job.id for c in await press.claim(9)] == [second.job_id]


async def test_two_that_publish_with_one_lease_make_one_artifact(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    other = Core(await connect())
    async with press.db.transaction():
        assert await press.publish(claimed) == "ok"
        call = await step(await connect(), other, Press(other.db).publish(claimed))
        assert call.waits

    assert await call == "repeat"
    assert await press.db.fetchval("select count(*) from makeready.artifacts") == 1


async def test_a_retry_waits_for_whoever_has_the_pack_before_it_touches_the_document(
    press: Press, user: UUID, pack: UUID, connect: Connect
) -> None:
    """With the document's entry first each would wait for the other: it has a unique key."""
    job = await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())
    other = Core(await connect())
    async with press.db.transaction():
        await press.db.execute("select makeready.render_lock_pack($1, $2)", user, pack)
        retrying = other.call("retry", queue_name="render", job=job)
        call = await step(await connect(), other, retrying)
        assert call.waits
        made = await render.render_document(press.db, user, pack, "invoice")

    assert await call == "cancelled"
    assert await press.states(user, pack) == ["queued"]
    assert [c.job.id for c in await press.claim(9)] == [made.job_id]
    assert await press.open_count(pack) == 1
