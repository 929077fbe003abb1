"""Bundles: one PDF and one ZIP of a pack, made once, of what the pack has now. Proves RND-011."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import leases, library, printing, render
from makeready.errors import LeaseLost, NotFound
from makeready.leases import Claimed
from tests.support.database import Connect
from tests.support.rendering import Press, stored


async def bundled(press: Press, user: UUID, *docs: str) -> UUID:
    """A bundled pack whose documents are queued."""
    pack = await press.pack(user, *docs, bundled=True)
    await render.render_pack(press.db, user, pack)
    return pack


async def publish(press: Press, claimed: Claimed, verdict: str = "ok") -> None:
    found = await printing.publish_bundle(
        press.db,
        claimed.lease,
        stored(claimed, f"{claimed.lease.token}.pdf"),
        stored(claimed, f"{claimed.lease.token}.zip"),
        {"documents": []},
    )
    assert found == verdict


async def facts(press: Press, user: UUID, pack: UUID) -> library.PackFacts:
    return await library.pack(press.db, user, pack)


async def status(press: Press, user: UUID, pack: UUID) -> str:
    return (await facts(press, user, pack)).bundle_status


async def test_who_ends_the_last_document_asks_for_the_bundle(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice", "letter")
    await press.publish(await press.one())
    assert not press.bundles
    assert await status(press, user, pack) == "queued"
    await press.publish(await press.one())
    claimed = await press.bundle()

    parts = await printing.bundle_parts(press.db, claimed.job.id)
    assert [(part.doc_id, part.title, part.language) for part in parts] == [
        ("invoice", "Счёт", "ru"),
        ("letter", "Счёт", "ru"),
    ]
    await publish(press, claimed)
    found = await facts(press, user, pack)
    assert (found.bundle_status, found.open_count, found.bundle_error) == ("ready", 0, None)
    assert found.pack_file_id is not None
    assert found.zip_file_id is not None
    kinds = [row.kind for row in await library.files(press.db, user, limit=9)]
    assert sorted(kinds) == ["invoice_pdf", "letter_pdf", "pack_pdf", "pack_zip"]
    file = await library.file(press.db, user, found.zip_file_id)
    assert file.filename == "pack.zip"


async def test_a_failed_document_is_left_out_of_the_bundle(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice", "letter")
    await press.publish(await press.one())
    await press.fail(await press.one())
    claimed = await press.bundle()

    parts = await printing.bundle_parts(press.db, claimed.job.id)
    assert [part.doc_id for part in parts] == ["invoice"]
    assert await status(press, user, pack) == "queued"


async def test_without_a_ready_document_there_is_no_bundle(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    await press.fail(await press.one())

    assert not await press.claim()
    assert not press.bundles
    assert await status(press, user, pack) == "none"


async def test_a_single_print_has_no_bundle(press: Press) -> None:
    await press.db.fetchval("select makeready.render_enqueue('invoice', '{}')")
    await press.publish(await press.one())

    assert not await press.claim()
    assert not press.bundles


async def test_two_that_end_the_last_documents_at_once_ask_for_one_bundle(
    press: Press, connect: Connect
) -> None:
    user = await press.user()
    for _ in range(5):
        pack = await bundled(press, user, "invoice", "letter", "report")
        held = await press.claim(3)
        sessions = [Press(await connect()) for _ in held]
        await asyncio.gather(
            *(one.publish(claimed) for one, claimed in zip(sessions, held, strict=True))
        )
        count = await press.db.fetchval(
            "select count(*) from makeready.render_bundles where pack_id = $1", pack
        )
        assert count == 1
        await publish(press, await press.bundle())


async def test_a_bundle_of_a_pack_that_is_rendered_again_publishes_nothing(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    await press.publish(await press.one())
    stale = await press.bundle()
    assert await printing.bundle_parts(press.db, stale.job.id)
    await press.job_of(user, pack, "invoice")

    await publish(press, stale, "superseded")
    assert await printing.bundle_parts(press.db, stale.job.id) == []
    found = await facts(press, user, pack)
    assert (found.bundle_status, found.pack_file_id) == ("queued", None)
    await press.publish(await press.one())
    await publish(press, await press.bundle())
    assert await status(press, user, pack) == "ready"


async def test_a_later_bundle_supersedes_one_that_is_not_made_yet(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    await press.publish(await press.one())
    early = await press.bundle()
    await press.rendered(user, pack, "invoice")
    late = await press.bundle()

    assert await printing.bundle_parts(press.db, early.job.id) == []
    assert await printing.bundle_parts(press.db, late.job.id)
    await publish(press, late)
    await publish(press, early, "superseded")
    assert await status(press, user, pack) == "ready"


async def test_the_files_of_a_bundle_hide_while_they_are_older_than_the_pack(
    press: Press,
) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    await press.publish(await press.one())
    await publish(press, await press.bundle())
    before = await facts(press, user, pack)
    await press.job_of(user, pack, "invoice")
    assert (await facts(press, user, pack)).zip_file_id is None
    await press.fail(await press.one())  # nothing is ready now, so there is nothing to bundle

    after = await facts(press, user, pack)
    assert before.zip_file_id is not None
    assert (after.bundle_status, after.zip_file_id) == ("none", None)


async def test_a_bundle_is_published_once(press: Press) -> None:
    user = await press.user()
    await bundled(press, user, "invoice")
    await press.publish(await press.one())
    claimed = await press.bundle()
    await publish(press, claimed)
    await publish(press, claimed, "repeat")

    await press.db.execute(
        "update makeready.jobs set final_lease = gen_random_uuid() where id = $1", claimed.job.id
    )
    with pytest.raises(LeaseLost):
        await publish(press, claimed)
    kinds = "select count(*) from makeready.artifacts where kind like 'pack%'"
    assert await press.db.fetchval(kinds) == 2


async def test_a_bundle_that_fails_says_why_and_can_be_retried(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    await press.publish(await press.one())
    claimed = await press.bundle()
    await press.fail(claimed, code="BUNDLE_TOO_LARGE")
    failed = await facts(press, user, pack)
    assert (failed.bundle_status, failed.bundle_error) == ("failed", "BUNDLE_TOO_LARGE: so")
    alert = "select count(*) from makeready.alerts where event = 'render_job_failed'"
    assert await press.db.fetchval(alert) == 1

    await press.db.execute("select makeready.retry('render', $1)", claimed.job.id)
    assert await status(press, user, pack) == "queued"
    await publish(press, await press.bundle())
    assert await status(press, user, pack) == "ready"


async def test_a_retried_bundle_of_a_pack_that_has_a_later_one_is_cancelled(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    await press.publish(await press.one())
    claimed = await press.bundle()
    await press.fail(claimed)
    await press.rendered(user, pack, "invoice")
    await publish(press, await press.bundle())
    await press.db.execute("select makeready.retry('render', $1)", claimed.job.id)

    state = await press.db.fetchval(
        "select state from makeready.jobs where id = $1", claimed.job.id
    )
    assert state == "cancelled"
    assert await status(press, user, pack) == "ready"


async def test_a_retried_document_brings_a_bundle_with_it(press: Press) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice", "letter")
    await press.publish(await press.one())
    held = await press.one()
    await press.fail(held)
    await publish(press, await press.bundle())
    await press.db.execute("select makeready.retry('render', $1)", held.job.id)
    assert (await facts(press, user, pack)).pack_file_id is None
    await press.publish(await press.one())

    claimed = await press.bundle()
    assert len(await printing.bundle_parts(press.db, claimed.job.id)) == 2


@pytest.mark.parametrize(
    ("shut", "opened"),
    [
        ("queue_set('render', 'max_open', '1')", "queue_set('render', 'max_open', null)"),
        ("queue_close('render')", "queue_open('render')"),
    ],
)
async def test_a_full_or_closed_queue_only_delays_the_bundle(
    press: Press, shut: str, opened: str
) -> None:
    user = await press.user()
    pack = await bundled(press, user, "invoice")
    claimed = await press.one()
    await press.db.fetchval("select makeready.enqueue('render')")  # a stranger: the queue is full
    await press.db.execute(f"select makeready.{shut}")
    await press.publish(claimed)
    assert await press.db.fetchval("select makeready.render_bundles_enqueue(10)") == 0
    assert await status(press, user, pack) == "queued"

    await press.db.execute(f"select makeready.{opened}")
    assert await press.db.fetchval("select makeready.render_bundles_enqueue(10)") == 1
    stranger, *_ = await leases.claim(press.db, ["render"], await _worker(press), 1)
    await press.fail(stranger)
    await publish(press, await press.bundle())


async def _worker(press: Press) -> UUID:
    assert await press.claim(0) == []
    row = await press.db.fetchval("select id from makeready.workers limit 1")
    return UUID(str(row))


async def test_a_foreign_pack_is_not_there(press: Press) -> None:
    user, other = await press.user(), await press.user("Борис")
    pack = await bundled(press, user, "invoice")
    for unknown in (pack, uuid4()):
        with pytest.raises(NotFound):
            await facts(press, other, unknown)


async def test_one_bundle_of_a_pack_is_open_at_most(press: Press) -> None:
    user = await press.user()
    await bundled(press, user, "invoice")
    await press.publish(await press.one())
    with pytest.raises(asyncpg.UniqueViolationError, match="render_bundles_one_open"):
        await press.db.execute(
            "insert into makeready.render_bundles (pack_id, state, upto_seq, created_at)"
            " select pack_id, state, upto_seq, created_at from makeready.render_bundles"
        )
