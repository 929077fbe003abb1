"""Keys, names and files: the second caller waits, and then sees what the first has done."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready.errors import Conflict
from tests.sql.conftest import Session
from tests.sql.interleave import BOTH, begin, pair, step
from tests.sql.test_files import mark, store
from tests.sql.test_requests import once
from tests.support.clock import Clock
from tests.support.core import Core


@BOTH
async def test_key_then_the_same_key(core: Core, session: Session, how: str) -> None:
    first, second = await pair(session)
    transaction = await begin(first)
    _, job, _ = await once(first)
    asking = await step(core.db, second, once(second))
    assert asking.waits
    await transaction.end(how)
    verdict, found, _ = await asking
    assert (verdict, found == job) == (("joined", True) if how == "commit" else ("created", False))


@BOTH
async def test_cancel_then_join(core: Core, session: Session, how: str) -> None:
    """Either the job is joined and its end is seen, or the key begins anew; never neither."""
    first, second = await pair(session)
    _, job, _ = await once(core)
    transaction = await begin(first)
    await first.cancel("free", job)
    joining = await step(core.db, second, once(second))
    assert not joining.waits
    assert (await joining)[:2] == ("joined", job)
    await transaction.end(how)
    verdict, found, _ = await once(second)
    assert (verdict, found == job) == (("created", False) if how == "commit" else ("joined", True))


@BOTH
async def test_prune_then_join(core: Core, session: Session, clock: Clock, how: str) -> None:
    first, second = await pair(session)
    await core.set("free", keep_done="1 hour")
    _, job, _ = await once(core)
    (claimed,) = await core.claim("free")
    await core.finish(claimed)
    await clock.advance(7200)
    transaction = await begin(first)
    assert await first.call("prune", max_jobs=10) == 1
    assert await once(second) == ("replayed", job, "done")
    await transaction.end(how)
    state = "pruned" if how == "commit" else "done"
    assert await once(second) == ("replayed", job, state)


@BOTH
async def test_purge_of_a_key_then_its_request(
    core: Core, session: Session, clock: Clock, how: str
) -> None:
    first, second = await pair(session)
    _, job, _ = await once(core)
    await clock.advance(25 * 3600)
    transaction = await begin(first)
    assert await first.call("requests_purge", max_rows=10) == 1
    asking = await step(core.db, second, once(second))
    assert asking.waits
    await transaction.end(how)
    verdict, found, _ = await asking
    assert verdict == "created"
    assert found != job


@BOTH
async def test_request_then_purge_of_its_key(
    core: Core, session: Session, clock: Clock, how: str
) -> None:
    first, second = await pair(session)
    await once(core)
    await clock.advance(25 * 3600)
    transaction = await begin(first)
    await once(first)
    assert await second.call("requests_purge", max_rows=10) == 0
    await transaction.end(how)
    assert await second.call("requests_purge", max_rows=10) == (0 if how == "commit" else 1)


@BOTH
async def test_two_that_renew_an_expired_key(
    core: Core, session: Session, clock: Clock, how: str
) -> None:
    """The second one sees what the first has made of it: one job, not two."""
    first, second = await pair(session)
    _, old, _ = await once(core)
    await clock.advance(25 * 3600)
    transaction = await begin(first)
    verdict, job, _ = await once(first)
    assert verdict == "created"
    asking = await step(core.db, second, once(second))
    assert asking.waits
    await transaction.end(how)
    verdict, found, _ = await asking
    assert (verdict, found == job) == (("joined", True) if how == "commit" else ("created", False))
    assert found != old


async def test_two_that_found_the_same_expired_key_make_one_job(
    core: Core, session: Session, clock: Clock
) -> None:
    """Both have seen it expired before either has renewed it."""
    holder, (first, second) = await session(), await pair(session)
    await once(core)
    await clock.advance(25 * 3600)
    transaction = await begin(holder)
    await holder.db.execute("select from makeready.requests for update")
    one = await step(core.db, first, once(first))
    other = await step(core.db, second, once(second))
    assert one.waits
    assert other.waits
    await transaction.end("commit")
    answers = await asyncio.gather(one, other)
    assert sorted(verdict for verdict, _, _ in answers) == ["created", "joined"]
    assert len({job for _, job, _ in answers}) == 1


@BOTH
async def test_register_then_register_of_a_new_name(
    core: Core, session: Session, how: str
) -> None:
    first, second = await session(), await session()
    transaction = await begin(first)
    await first.register(uuid4(), instance="a")
    registering = await step(core.db, second, second.register(uuid4(), instance="a"))
    assert registering.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Conflict):
            await registering
    else:
        assert await registering == 0


@BOTH
async def test_two_that_take_over_from_a_dead_process(
    core: Core, session: Session, clock: Clock, how: str
) -> None:
    """The second one must not shoot the first, which is alive by now."""
    first, second = await session(), await session()
    old = await core.worker(instance="a")
    await core.enqueue("free")
    await core.claim("free", 1, old)
    await clock.advance(60)
    heir, rival = uuid4(), uuid4()
    transaction = await begin(first)
    assert await first.register(heir, instance="a") == 1
    registering = await step(core.db, second, second.register(rival, instance="a"))
    assert registering.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises((Conflict, asyncpg.SerializationError)):
            await registering
        with pytest.raises(Conflict):
            await second.register(rival, instance="a")
        assert await owner(core) == heir
        assert len(await core.claim("free", 1, heir)) == 1
    else:
        assert await registering == 1
        assert await owner(core) == rival


@BOTH
async def test_a_late_beat_then_a_takeover(
    core: Core, session: Session, clock: Clock, how: str
) -> None:
    """Who beats at the last moment is alive: it is not struck off by what was read before."""
    first, second = await session(), await session()
    old = await core.worker(instance="a")
    await clock.advance(60)
    transaction = await begin(first)
    await first.beat(old)
    registering = await step(core.db, second, second.register(uuid4(), instance="a"))
    assert registering.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Conflict):
            await registering
    else:
        assert await registering == 0


async def test_an_heir_judges_what_the_row_says_once_it_is_free(
    core: Core, session: Session, clock: Clock
) -> None:
    """The incumbent had its row locked before it beat: what was read meanwhile proves nothing."""
    first, second = await session(), await session()
    old = await core.worker(instance="a")
    await clock.advance(60)
    transaction = await begin(first)
    await first.db.execute("select from makeready.workers for update")
    registering = await step(core.db, second, second.register(uuid4(), instance="a"))
    assert registering.waits
    await first.beat(old)
    await transaction.end("commit")
    with pytest.raises(Conflict):
        await registering
    assert await owner(core) == old


async def test_of_two_heirs_that_wait_for_one_row_one_gets_the_name(
    core: Core, session: Session, clock: Clock
) -> None:
    """Both found the dead process before either had taken its place."""
    holder, first, second = await session(), await session(), await session()
    await core.worker(instance="a")
    await clock.advance(60)
    transaction = await begin(holder)
    await holder.db.execute("select from makeready.workers for update")
    one = await step(core.db, first, first.register(uuid4(), instance="a"))
    other = await step(core.db, second, second.register(uuid4(), instance="a"))
    assert one.waits
    assert other.waits
    await transaction.end("commit")
    answers = await asyncio.gather(one, other, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [type(answer) for answer in refused] in ([Conflict], [asyncpg.SerializationError])


async def owner(core: Core) -> UUID:
    """Who has the name."""
    worker: UUID = await core.db.fetchval("select id from makeready.workers where instance = 'a'")
    return worker


@BOTH
async def test_adopt_then_mark(core: Core, session: Session, how: str) -> None:
    first, second = await session(), await session()
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    transaction = await begin(first)
    await first.call("file_adopt", file=file, reference=uuid4())
    assert await mark(second) == []
    await transaction.end(how)
    assert await mark(second) == ([] if how == "commit" else [file])


@BOTH
async def test_mark_then_adopt(core: Core, session: Session, how: str) -> None:
    first, second = await session(), await session()
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    transaction = await begin(first)
    assert await mark(first) == [file]
    adopting = await step(core.db, second, second.call("file_adopt", file=file, reference=uuid4()))
    assert adopting.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(Conflict):
            await adopting
    else:
        await adopting
        assert await mark(core) == []


@BOTH
async def test_adopt_then_release_of_the_other_reference(
    core: Core, session: Session, how: str
) -> None:
    """The last reference is counted behind the file's row lock."""
    first, second = await session(), await session()
    reference = uuid4()
    file = await store(core, reference=reference)
    transaction = await begin(first)
    await first.call("file_adopt", file=file, reference=uuid4())
    releasing = await step(core.db, second, second.call("file_release", reference=reference))
    assert releasing.waits
    await transaction.end(how)
    assert await releasing == (0 if how == "commit" else 1)
    assert await mark(core) == ([] if how == "commit" else [file])


async def test_two_that_release_the_last_two_references(core: Core, session: Session) -> None:
    first, second = await session(), await session()
    one, two = uuid4(), uuid4()
    file = await store(core, reference=one)
    await core.call("file_adopt", file=file, reference=two)
    transaction = await begin(first)
    assert await first.call("file_release", reference=one) == 0
    releasing = await step(core.db, second, second.call("file_release", reference=two))
    assert releasing.waits
    await transaction.end("commit")
    assert await releasing == 1
    assert await mark(core) == [file]
