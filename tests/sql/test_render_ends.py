"""How a render ends, and what its owner sees before, meanwhile and ever after.

Proves RND-008, RND-010, RND-011, RND-012, RND-013, RND-014, RND-025, RND-026, RND-028.
"""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import leases, library, printing, render
from makeready.errors import LeaseLost, NotFound
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.rendering import DOCS, Press


async def count(db: asyncpg.Connection, table: str) -> int:
    found: int = await db.fetchval(f"select count(*) from makeready.{table}")
    return found


async def test_a_document_goes_from_none_to_ready_rnd_012(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    seen = await press.states(user, pack)
    await press.job_of(user, pack, "invoice")
    seen = [*seen, *await press.states(user, pack)]
    claimed = await press.one()
    seen = [*seen, *await press.states(user, pack)]
    assert await press.publish(claimed) == "ok"
    seen = [*seen, *await press.states(user, pack)]

    assert seen == ["none", "queued", "rendering", "ready"]
    assert await press.open_count(pack) == 0
    ready = await press.document(user, pack, "invoice")
    assert ready.file_id is not None
    assert ready.last_good_file_id == ready.file_id
    assert (ready.attempts, ready.last_error) == (1, None)


async def test_a_retry_goes_back_to_queued_and_shows_its_error_rnd_012(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    await press.fail(await press.one(), "retry", "RENDER_CRASHED")

    state = await press.document(user, pack, "invoice")
    assert (state.status, state.attempts) == ("queued", 1)
    assert state.last_error == "RENDER_CRASHED: so"
    assert await press.open_count(pack) == 1


async def test_five_failed_attempts_are_failed_rnd_014(press: Press, clock: Clock) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    for attempt in range(1, 6):
        claimed = await press.one()
        assert claimed.job.attempt == attempt
        await press.fail(claimed, "retry", "RENDER_CRASHED")
        await clock.advance(61)  # above the longest pause
        await press.db.fetchval("select makeready.chore_run('promote')")

    state = await press.document(user, pack, "invoice")
    assert (state.status, state.attempts) == ("failed", 5)
    assert state.last_error == "RENDER_CRASHED: so"
    assert await press.open_count(pack) == 0


async def test_a_document_that_cannot_be_rendered_fails_at_once_rnd_014(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    await press.fail(await press.one(), "fatal", "TEMPLATE_ERROR")

    state = await press.document(user, pack, "invoice")
    assert (state.status, state.attempts, state.file_id) == ("failed", 1, None)


async def test_a_failed_render_still_offers_the_last_good_file_rnd_010(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    good = await press.rendered(user, pack, "invoice")
    await press.job_of(user, pack, "invoice")
    assert (await press.document(user, pack, "invoice")).last_good_file_id == good
    await press.fail(await press.one())

    state = await press.document(user, pack, "invoice")
    assert (state.status, state.file_id, state.last_good_file_id) == ("failed", None, good)


async def test_the_latest_render_is_the_last_one_entered_rnd_008_rnd_011(
    press: Press, clock: Clock
) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    first = await press.rendered(user, pack, "invoice")
    await clock.advance(-3600)  # a clock that was set back must not bring the old one to the top
    second = await press.rendered(user, pack, "invoice")
    assert second != first
    await press.db.execute("update makeready.pack_documents set created_at = '2026-01-01'")

    assert (await press.document(user, pack, "invoice")).file_id == second


async def test_a_late_success_of_an_older_render_changes_nothing_rnd_008(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    first = await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    await press.fail(claimed)
    second = await press.rendered(user, pack, "invoice")
    with pytest.raises(LeaseLost):
        await press.publish(claimed)

    found = await library.job(press.db, user, first)
    assert found.status == "failed"
    assert (await press.document(user, pack, "invoice")).file_id == second


async def test_publishing_links_artifact_file_and_job_rnd_025(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    await press.publish(await press.one(), facts={"pages": 3, "type_version": "v9"})

    row = await press.db.fetchrow("select kind, format, meta from makeready.artifacts")
    assert row is not None
    assert (row["kind"], row["format"]) == ("invoice_pdf", "pdf")
    assert json.loads(row["meta"]) == {
        "pages": 3, "render_job_id": str(job), "pack_id": str(pack), "doc_id": "invoice",
        "language": "ru", "layout": "invoice", "type_version": "v9",
    }  # fmt: skip
    (line,) = await library.files(press.db, user, limit=9)
    assert (line.doc_id, line.kind, line.content_type) == (
        "invoice",
        "invoice_pdf",
        "application/pdf",
    )
    result = json.loads(
        await press.db.fetchval("select result from makeready.jobs where id = $1", job)
    )
    assert UUID(result["file_id"]) == line.file_id


async def test_a_lost_lease_publishes_nothing(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    lost = await press.one()
    await press.db.execute("select makeready.job_evict('render', $1)", lost.job.id)
    with pytest.raises(LeaseLost):
        await press.publish(lost)
    assert await count(press.db, "artifacts") == 0
    assert await count(press.db, "files") == 0
    held = await press.one()

    assert await press.publish(held) == "ok"
    with pytest.raises(LeaseLost):
        await press.publish(lost)
    assert await count(press.db, "artifacts") == 1


async def test_publishing_twice_is_one_publication_rnd_026(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()

    assert await press.publish(claimed) == "ok"
    assert await press.publish(claimed) == "repeat"
    for table in ("artifacts", "artifact_files", "files", "file_references"):
        assert await count(press.db, table) == 1
    assert await press.open_count(pack) == 0


async def test_a_retry_after_a_half_done_store_succeeds_rnd_026(press: Press) -> None:
    # The object and its row are there already, from a transaction that somehow went half-way.
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    await press.db.execute(
        "select makeready.file_store('bucket', $1, 'application/pdf', 1, $2, 'old', $3)",
        "renders/x.pdf",
        bytes(32),
        uuid4(),
    )

    assert await press.publish(claimed, key="renders/x.pdf") == "ok"
    assert await count(press.db, "files") == 1
    assert await press.db.fetchval("select etag from makeready.files") == "e"


async def test_a_publication_that_fails_half_way_ends_nothing(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    await press.db.execute(
        "alter table makeready.artifacts add constraint artifacts_full check (false)"
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await press.publish(claimed)
    await press.db.execute("alter table makeready.artifacts drop constraint artifacts_full")

    assert await press.states(user, pack) == ["rendering"]
    assert await count(press.db, "files") == 0
    assert await press.publish(claimed) == "ok"


async def test_a_job_without_a_document_is_refused_at_the_end(press: Press) -> None:
    await press.db.execute("select makeready.enqueue('render')")
    claimed = await press.one()

    assert await printing.input_of(press.db, claimed.job.id) is None
    with pytest.raises(NotFound):
        await press.publish(claimed)


async def test_pruning_jobs_changes_nothing_that_is_seen(press: Press, clock: Clock) -> None:
    user = await press.user()
    pack = await press.pack(user)
    await press.rendered(user, pack, "invoice")
    await press.job_of(user, pack, "letter")
    await press.fail(await press.one())
    before = await library.documents(press.db, user, pack)
    before_files = await library.files(press.db, user, limit=9)
    await clock.advance(400 * 24 * 3600)
    await press.db.execute("select makeready.chore_run('prune')")
    assert await count(press.db, "render_jobs") == 0

    assert await library.documents(press.db, user, pack) == before
    assert await library.files(press.db, user, limit=9) == before_files
    assert (await render.render_pack(press.db, user, pack)).jobs_created == 2


async def test_a_claim_a_retry_and_a_success_fire_no_trigger(press: Press) -> None:
    await press.db.execute(
        "create or replace function makeready.render_job_turned() returns trigger"
        " language plpgsql as $$ begin raise 'fired'; end $$"
    )
    user = await press.user()
    pack = await press.pack(user, "invoice", "letter")
    await press.job_of(user, pack, "invoice")
    await press.job_of(user, pack, "letter")
    claimed = await press.one()
    await press.publish(claimed)
    again = await press.one()
    await press.fail(again, "retry")

    assert await press.states(user, pack) == ["ready", "queued"]


async def test_files_are_only_their_owners_rnd_028(press: Press) -> None:
    owner, stranger = await press.user(), await press.user("Борис")
    pack = await press.pack(owner, "invoice")
    file_id = await press.rendered(owner, pack, "invoice")
    job = (await press.document(owner, pack, "invoice")).job_id
    assert job is not None

    found = await library.file(press.db, owner, file_id)
    assert found.filename == "invoice.pdf"
    with pytest.raises(NotFound):
        await library.file(press.db, stranger, file_id)
    with pytest.raises(NotFound):
        await library.file(press.db, owner, uuid4())
    assert await library.files(press.db, stranger, limit=9) == []
    assert await library.packs(press.db, stranger, limit=9) == []
    with pytest.raises(NotFound):  # RND-037
        await library.job(press.db, stranger, job)


async def test_ownership_is_read_from_the_session_rnd_028(press: Press) -> None:
    owner, heir = await press.user(), await press.user("Борис")
    pack = await press.pack(owner, "invoice")
    file_id = await press.rendered(owner, pack, "invoice")
    await press.db.execute("update makeready.sessions set user_id = $1", heir)

    await library.file(press.db, heir, file_id)
    with pytest.raises(NotFound):
        await library.file(press.db, owner, file_id)
    assert [row.pack_id for row in await library.packs(press.db, heir, limit=9)] == [pack]
    assert await library.packs(press.db, owner, limit=9) == []


async def test_a_pack_of_nobody_belongs_to_nobody(press: Press) -> None:
    user = await press.user()
    await press.db.execute("select makeready.render_enqueue('invoice', '{}')")
    await press.publish(await press.one())

    assert await library.files(press.db, user, limit=9) == []
    file_id = await press.db.fetchval("select id from makeready.artifact_files")
    with pytest.raises(NotFound):
        await library.file(press.db, user, file_id)


async def test_many_ends_of_one_pack_at_once_count_it_down_to_nothing(
    press: Press, connect: Connect
) -> None:
    user = await press.user()
    pack = await press.pack(user)
    await render.render_pack(press.db, user, pack)
    claimed = await press.claim(3)
    sessions = [Press(await connect()) for _ in DOCS]

    async def end(place: int) -> None:
        if place == 1:
            await sessions[place].fail(claimed[place])
        else:
            await sessions[place].publish(claimed[place])

    await asyncio.gather(*(end(place) for place in range(3)))

    assert await press.open_count(pack) == 0
    assert sorted(await press.states(user, pack)) == ["failed", "ready", "ready"]


async def test_a_second_worker_gets_nothing_rnd_013(press: Press, connect: Connect) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    other = Press(await connect())

    assert len(await press.claim(4)) == 1
    assert await other.claim(4) == []


async def test_a_failure_without_words_is_told_by_its_state(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()

    assert await leases.fail(press.db, claimed.lease, "fatal", {}) == "dead"
    state = await press.document(user, pack, "invoice")
    assert state.last_error == "dead: the job was dead"
