"""Two at the same moment: endpoints that are made and deleted while something ends."""

from __future__ import annotations

import pytest

from makeready import printing
from makeready.errors import Conflict
from tests.sql.conftest import Session
from tests.sql.interleave import BOTH, begin, step
from tests.support.hooks import endpoint, outbox, told
from tests.support.rendering import Press, stored


@BOTH
async def test_a_user_has_at_most_ten_endpoints(press: Press, session: Session, how: str) -> None:
    user = await press.user()
    for _ in range(9):
        await endpoint(press.db, user)
    first, second = await session(), await session()
    transaction = await begin(first)
    await endpoint(first.db, user)
    other = await step(press.db, second, endpoint(second.db, user))
    assert other.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Conflict) as raised:
            await other
        assert raised.value.details["limit"] == 10
    else:
        await other


@BOTH
async def test_an_endpoint_that_is_deleted_at_this_moment_stops_no_render(
    press: Press, session: Session, how: str
) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user, "render.ready")
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    first, second = await session(), await session()
    transaction = await begin(first)
    await first.call("webhook_delete", person=user, hook=which)
    publishing = printing.publish(second.db, claimed.lease, stored(claimed), {"pages": 1})
    other = await step(press.db, second, publishing)
    assert other.waits
    await transaction.end(how)
    assert await other == "ok"
    assert await press.states(user, pack) == ["ready"]
    assert await told(press.db) == ([] if how == "commit" else ["render.ready"])


@BOTH
async def test_an_endpoint_is_not_deleted_under_the_delivery_that_is_written(
    press: Press, session: Session, how: str
) -> None:
    user = await press.user()
    which, _ = await endpoint(press.db, user, "render.ready")
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    first, second = await session(), await session()
    transaction = await begin(first)
    await printing.publish(first.db, claimed.lease, stored(claimed), {"pages": 1})
    deleting = second.call("webhook_delete", person=user, hook=which)
    other = await step(press.db, second, deleting)
    assert other.waits
    await transaction.end(how)
    await other
    assert await outbox(press.db) == []
