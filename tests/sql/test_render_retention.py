"""What is kept of renders, and what is used again. Proves RND-010, RND-025."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready import library, printing, render
from makeready.errors import Conflict, Gone, Rejected
from tests.sql.test_render_contents import archive
from tests.support.clock import Clock
from tests.support.rendering import Press, stored

FINGERPRINT = "f" * 64
PRINT = {"pages": 1, "fingerprint": FINGERPRINT}


async def retention(press: Press) -> int:
    count: int = await press.db.fetchval("select makeready.render_retention(100)")
    return count


async def policy(press: Press, **values: Any) -> None:
    await press.db.execute(
        "select makeready.render_policy_set($1, $2)", values.get("files"), values.get("sources")
    )


async def purged(press: Press) -> set[str]:
    """What the purge takes now."""
    rows = await press.db.fetch(
        "select object_name from makeready.files_purge_mark(100, interval '0')"
    )
    return {row[0] for row in rows}


async def test_the_newest_files_of_a_document_stay(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice", "letter")
    await policy(press, files=2)
    other = await press.rendered(user, pack, "letter")
    files = [await press.rendered(user, pack, "invoice") for _ in range(4)]
    assert await retention(press) == 1
    assert await retention(press) == 0  # the pack is not looked at again

    for file in files[:2]:
        with pytest.raises(Gone) as raised:
            await library.file(press.db, user, file)
        assert raised.value.details["file_id"] == str(file)
    for file in (*files[2:], other):
        await library.file(press.db, user, file)
    assert len(await library.files(press.db, user, limit=9)) == 3
    assert len(await purged(press)) == 2


async def test_the_last_good_file_stays_whatever_fails_after_it_rnd_010(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await policy(press, files=1)
    first = await press.rendered(user, pack, "invoice")
    last = await press.rendered(user, pack, "invoice")
    for _ in range(3):
        await press.job_of(user, pack, "invoice")
        await press.fail(await press.one())
    await retention(press)

    assert (await press.document(user, pack, "invoice")).last_good_file_id == last
    await library.file(press.db, user, last)
    with pytest.raises(Gone):
        await library.file(press.db, user, first)


async def test_a_lower_number_takes_effect_for_what_is_there(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    files = [await press.rendered(user, pack, "invoice") for _ in range(4)]
    await retention(press)
    assert len(await library.files(press.db, user, limit=9)) == 4
    await policy(press, files=1)
    await retention(press)

    assert [row.file_id for row in await library.files(press.db, user, limit=9)] == files[3:]
    audited = "select count(*) from makeready.audit_log where action = 'render_policy_set'"
    assert await press.db.fetchval(audited) == 1


@pytest.mark.parametrize("values", [{"files": 0}, {"sources": timedelta(seconds=1)}])
async def test_a_policy_that_keeps_nothing_is_refused(
    press: Press, values: dict[str, Any]
) -> None:
    with pytest.raises(Rejected):
        await policy(press, **values)


async def test_bytes_that_another_file_refers_to_stay(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await policy(press, files=1)
    for _ in range(2):
        await press.job_of(user, pack, "invoice")
        await press.publish(await press.one(), key="renders/shared.pdf")
    await retention(press)

    assert len(await library.files(press.db, user, limit=9)) == 1
    assert await purged(press) == set()


async def test_thumbnails_go_with_their_file(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await policy(press, files=1)
    keys = []
    for _ in range(2):
        await press.job_of(user, pack, "invoice")
        claimed = await press.one()
        keys.append(f"{claimed.job.id}.jpg")
        await printing.publish(
            press.db, claimed.lease, stored(claimed), PRINT, stored(claimed, keys[-1])
        )
    await retention(press)
    gone = await purged(press)

    assert keys[0] in gone
    assert keys[1] not in gone


async def test_sources_stay_until_their_time_is_over_and_no_render_needs_them(
    press: Press, clock: Clock
) -> None:
    await press.sync("invoice", "html")
    user = await press.user()
    stored_at = archive()
    made = await render.render_html(press.db, user, {}, stored_at, content_id=uuid4())
    assert await retention(press) == 0
    await clock.advance(8 * 24 * 3600)
    assert await retention(press) == 0  # it is queued still
    await press.publish(await press.one())
    assert await retention(press) == 1

    assert await purged(press) == {stored_at.key}
    with pytest.raises(Gone):
        await press.job_of(user, made.pack_id, "html")


async def reusable(press: Press, job: UUID, fingerprint: str = FINGERPRINT) -> bool:
    return await printing.reusable(press.db, job, fingerprint) is not None


async def printed(press: Press, user: UUID) -> str:
    """Has something printed with the fingerprint; the key of its object."""
    pack = await press.pack(user, "invoice")
    await render.render_pack(press.db, user, pack)
    claimed = await press.one()
    await press.publish(claimed, facts=PRINT)
    return stored(claimed).key


async def queued(press: Press, user: UUID) -> UUID:
    """The job of another pack with the same document."""
    pack = await press.pack(user, "invoice")
    return (await render.render_pack(press.db, user, pack)).job_ids[0]


async def test_equal_content_of_the_same_user_is_used_again_rnd_025(press: Press) -> None:
    user = await press.user()
    key = await printed(press, user)
    job = await queued(press, user)
    found = await printing.reusable(press.db, job, FINGERPRINT)
    assert found is not None
    assert found.stored.key == key
    claimed = await press.one()
    await printing.publish(press.db, claimed.lease, found.stored, {"pages": 1})

    assert len(await library.files(press.db, user, limit=9)) == 2
    assert await press.db.fetchval("select count(*) from makeready.files") == 1
    assert not await reusable(press, job, "0" * 64)


async def test_what_was_deleted_meanwhile_is_not_published_again(press: Press) -> None:
    """Found, then let go and purged before the job ends: its row must not come back without it."""
    user = await press.user()
    await printed(press, user)
    job = await queued(press, user)
    found = await printing.reusable(press.db, job, FINGERPRINT)
    assert found is not None
    await press.db.execute(
        "select makeready.render_file_release(id) from makeready.artifact_files"
    )
    assert await purged(press) == {found.stored.key}
    await press.db.execute("select makeready.files_purged(array_agg(id)) from makeready.files")
    claimed = await press.one()
    facts = {"pages": 1, "reused": True}
    with pytest.raises(Conflict):
        await printing.publish(press.db, claimed.lease, found.stored, facts)
    assert await press.db.fetchval("select count(*) from makeready.files") == 0
    assert await printing.publish(press.db, claimed.lease, stored(claimed), PRINT) == "ok"


async def test_what_others_had_printed_is_never_used(press: Press) -> None:
    user, other = await press.user(), await press.user("Борис")
    await printed(press, user)

    assert not await reusable(press, await queued(press, other))


async def test_a_document_that_is_rendered_anew_is_printed_rnd_005(press: Press) -> None:
    user = await press.user()
    await printed(press, user)
    pack = await press.pack(user, "invoice")

    assert not await reusable(press, await press.job_of(user, pack, "invoice"))


async def test_what_is_being_deleted_or_released_is_not_used(press: Press) -> None:
    user = await press.user()
    await printed(press, user)
    job = await queued(press, user)
    assert await reusable(press, job)
    await press.db.execute("update makeready.files set purging_at = now()")
    assert not await reusable(press, job)
    await press.db.execute("update makeready.files set purging_at = null")
    await press.db.execute(
        "select makeready.render_file_release(id) from makeready.artifact_files"
    )
    assert not await reusable(press, job)
