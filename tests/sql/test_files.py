"""Files: stored once, kept while anything refers to them, deleted in two phases."""

from __future__ import annotations

import hashlib
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready.errors import Conflict
from tests.sql.conftest import Session
from tests.support.clock import Clock
from tests.support.core import Core, seconds


async def store(core: Core, key: str = "a.pdf", reference: UUID | None = None) -> UUID:
    """A stored object with its first reference."""
    file: UUID = await core.call(
        "file_store",
        bucket_name="b",
        object_name=key,
        media_type="application/pdf",
        byte_count=len(key),
        hash_sha256=hashlib.sha256(key.encode()).digest(),
        etag_value="e",
        reference=reference or uuid4(),
    )
    return file


async def mark(core: Core, count: int = 10, grace: float = 0) -> list[UUID]:
    """The first phase; ids."""
    rows = await core.rows("files_purge_mark", max_files=count, grace=seconds(grace))
    return [row["file"] for row in rows]


async def rows_left(core: Core) -> int:
    """How many files are known."""
    number: int = await core.db.fetchval("select count(*) from makeready.files")
    return number


async def test_storing_the_same_key_again_is_the_same_file(core: Core) -> None:
    """A retry after a half-done store finds its own row."""
    assert await store(core) == await store(core)
    assert await rows_left(core) == 1


async def test_a_file_is_kept_while_anything_refers_to_it(core: Core) -> None:
    one, two = uuid4(), uuid4()
    file = await store(core, reference=one)
    await core.call("file_adopt", file=file, reference=two)
    assert await core.call("file_release", reference=one) == 0
    assert await mark(core) == []
    assert await core.call("file_release", reference=two) == 1
    assert await mark(core) == [file]


async def test_a_file_that_nobody_needs_goes_in_two_phases(core: Core) -> None:
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    (row,) = await core.rows("files_purge_mark", max_files=10, grace=seconds(0))
    assert (row["file"], row["bucket_name"], row["object_name"]) == (file, "b", "a.pdf")
    assert await rows_left(core) == 1
    assert await core.call("files_purged", file_ids=[file]) == 1
    assert await rows_left(core) == 0


async def test_files_of_one_bucket_can_be_asked_for(core: Core) -> None:
    """Those of others are neither marked nor counted against the limit."""
    for bucket in ("other", "other", "b"):
        reference = uuid4()
        await store(core, key=f"{reference}.pdf", reference=reference)
        await core.db.execute(
            "update makeready.files set bucket = $1 where object_key = $2",
            bucket,
            f"{reference}.pdf",
        )
        await core.call("file_release", reference=reference)
    facts = {"max_files": 2, "grace": seconds(0)}
    rows = await core.rows("files_purge_mark", **facts, in_bucket="b")
    assert [row["bucket_name"] for row in rows] == ["b"]
    rows = await core.rows("files_purge_mark", **facts)
    assert [row["bucket_name"] for row in rows] == ["other", "other"]


async def test_the_grace_time_is_kept(core: Core, clock: Clock) -> None:
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    assert await mark(core, grace=600) == []
    await clock.advance(601)
    assert await mark(core, grace=600) == [file]


async def test_a_file_adopted_again_in_time_stays(core: Core) -> None:
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    await core.call("file_adopt", file=file, reference=uuid4())
    assert await mark(core) == []


async def test_a_file_stored_again_in_time_stays(core: Core) -> None:
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    assert await store(core) == file
    assert await mark(core) == []
    assert await core.db.fetchval("select unused_at from makeready.files") is None


async def test_a_file_marked_for_deletion_is_not_adopted(core: Core) -> None:
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    await mark(core)
    with pytest.raises(Conflict) as refusal:
        await core.call("file_adopt", file=file, reference=uuid4())
    assert refusal.value.details["reason"] == "purging"
    with pytest.raises(Conflict):
        await store(core)


async def test_an_unknown_file_is_not_adopted(core: Core) -> None:
    with pytest.raises(Conflict):
        await core.call("file_adopt", file=uuid4(), reference=uuid4())


async def test_a_marked_file_is_handed_out_again_when_its_process_died(
    core: Core, clock: Clock
) -> None:
    reference = uuid4()
    file = await store(core, reference=reference)
    await core.call("file_release", reference=reference)
    assert await mark(core) == [file]
    assert await mark(core) == []
    await clock.advance(301)
    assert await mark(core) == [file]


async def test_an_unmarked_file_cannot_be_purged(core: Core) -> None:
    file = await store(core)
    assert await core.call("files_purged", file_ids=[file]) == 0
    assert await rows_left(core) == 1


async def test_marking_is_bounded_and_takes_the_oldest(core: Core, clock: Clock) -> None:
    files = []
    for key in ("a", "b", "c"):
        reference = uuid4()
        files.append(await store(core, key, reference))
        await core.call("file_release", reference=reference)
        await clock.advance(1)
    assert set(await mark(core, 2)) == set(files[:2])
    assert await mark(core, 2) == files[2:]


async def test_two_that_mark_at_once_share_no_file(core: Core, session: Session) -> None:
    for key in ("a", "b"):
        reference = uuid4()
        await store(core, key, reference)
        await core.call("file_release", reference=reference)
    other = await session()
    async with other.db.transaction():
        first = await mark(other, 1)
        assert set(first).isdisjoint(await mark(core, 2))


async def test_one_reference_may_hold_several_files(core: Core) -> None:
    reference = uuid4()
    await store(core, "a", reference)
    await store(core, "b", reference)
    await store(core, "c")
    assert await core.call("file_release", reference=reference) == 2


async def test_a_hash_must_be_a_hash(core: Core) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="files_sha256_is_32_bytes"):
        await core.db.execute(
            "select makeready.file_store('b', 'k', 't', 1, 'short', 'e', gen_random_uuid())"
        )
