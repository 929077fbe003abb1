"""Packs, and what a call that renders one or all of its documents does.
Proves RND-001, RND-002, RND-003, RND-004, RND-005, RND-006, RND-017.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest

from makeready import library, printing, render
from makeready.errors import Conflict, NotFound, Rejected
from makeready.storage import ObjectFacts
from tests.support.clock import Clock
from tests.support.database import Connect
from tests.support.rendering import DOCS, Press


async def jobs_of(db: asyncpg.Connection, pack: UUID) -> list[str]:
    rows = await db.fetch(
        "select payload ->> 'doc_id' from makeready.jobs where batch = $1 order by turn", pack
    )
    return [row[0] for row in rows]


async def test_a_pack_renders_one_job_a_document_rnd_001(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user)

    found = await render.render_pack(press.db, user, pack)
    assert (found.jobs_created, found.jobs_skipped) == (3, 0)
    assert await jobs_of(press.db, pack) == list(DOCS)
    assert await press.states(user, pack) == ["queued"] * 3
    assert await press.open_count(pack) == 3


async def test_jobs_and_renders_commit_or_vanish_together_rnd_017(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user)
    transaction = press.db.transaction()
    await transaction.start()
    await render.render_pack(press.db, user, pack)
    await transaction.rollback()

    assert await jobs_of(press.db, pack) == []
    assert await press.states(user, pack) == ["none"] * 3  # RND-010
    assert await press.open_count(pack) == 0


async def test_a_second_call_makes_nothing_new_rnd_003(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user)
    await press.rendered(user, pack, "invoice")
    await press.job_of(user, pack, "letter")
    first = await render.render_pack(press.db, user, pack)
    second = await render.render_pack(press.db, user, pack)

    assert (first.jobs_created, first.jobs_skipped) == (1, 2)
    assert (second.jobs_created, second.jobs_skipped) == (0, 3)
    assert second.job_ids == ()


async def test_a_failed_document_is_rendered_again_rnd_003(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    await press.fail(await press.one())

    assert (await render.render_pack(press.db, user, pack)).jobs_created == 1


async def test_only_enabled_documents_are_taken_rnd_002(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user)
    await press.db.execute(
        "update makeready.document_types set enabled_by_staff = false where id = 'letter'"
    )
    found = await render.render_pack(press.db, user, pack)

    assert await jobs_of(press.db, pack) == ["invoice", "report"]
    assert (found.jobs_created, found.jobs_skipped) == (2, 0)
    state = await press.document(user, pack, "letter")
    assert (state.status, state.is_enabled) == ("none", False)


async def test_staff_may_enable_what_is_shipped_disabled_rnd_002(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.sync(*DOCS, enabled=False)
    with pytest.raises(Rejected):
        await press.job_of(user, pack, "invoice")
    await press.db.execute("update makeready.document_types set enabled_by_staff = true")

    await press.job_of(user, pack, "invoice")
    await press.sync("letter")  # a version that cannot print invoices
    with pytest.raises(Rejected):
        await press.job_of(user, pack, "invoice")


async def test_an_empty_registry_is_an_error_rnd_004(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user)
    await press.db.execute("update makeready.document_types set version = ''")

    with pytest.raises(Conflict) as raised:
        await render.render_pack(press.db, user, pack)
    assert raised.value.details["reason"] == "no_documents"


async def test_a_registry_is_not_emptied_by_an_empty_list(press: Press) -> None:
    for types in (None, "[]"):
        with pytest.raises(Rejected):
            await press.db.fetchval("select makeready.render_types_sync($1::text::jsonb)", types)


async def test_foreign_packs_are_not_there_rnd_004(press: Press) -> None:
    owner, stranger = await press.user(), await press.user("Борис")
    pack = await press.pack(owner)

    for user, wanted in ((stranger, pack), (owner, uuid4())):
        for call in (
            render.render_pack(press.db, user, wanted),
            render.render_document(press.db, user, wanted, "invoice"),
            library.documents(press.db, user, wanted),
        ):
            with pytest.raises(NotFound) as raised:
                await call
            assert raised.value.details == {"code": "pack_not_found", "pack_id": str(wanted)}
    assert await jobs_of(press.db, pack) == []


async def test_one_document_is_always_rendered_anew_rnd_005(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    first = await press.rendered(user, pack, "invoice")
    second = await press.rendered(user, pack, "invoice")

    assert first != second
    rows = await press.db.fetch("select stored_id from makeready.artifact_files")
    assert len({row[0] for row in rows}) == 2


@pytest.mark.parametrize("wanted", ["nothing", "letter"])
async def test_a_document_that_the_pack_lacks_is_not_found_rnd_005(
    press: Press, wanted: str
) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")

    with pytest.raises(NotFound) as raised:
        await press.job_of(user, pack, wanted)
    assert raised.value.details["code"] == "document_not_found"


async def test_a_disabled_document_is_refused_rnd_005(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.sync(*DOCS, enabled=False)

    with pytest.raises(Rejected) as raised:
        await press.job_of(user, pack, "invoice")
    assert raised.value.details["reason"] == "document_disabled"
    assert raised.value.details["code"] == "invalid_request"


async def test_a_document_that_is_open_is_refused_with_its_job_rnd_006(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    for _ in range(2):
        with pytest.raises(Conflict) as raised:
            await press.job_of(user, pack, "invoice")
        assert raised.value.details["code"] == "already_in_progress"
        assert raised.value.details["job_id"] == str(job)
        await press.claim()  # queued the first time, running the second


async def test_the_same_key_gets_the_same_job_rnd_006(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice", "letter")

    async def call(key: str, doc: str = "invoice") -> render.DocumentRender:
        return await render.render_document(press.db, user, pack, doc, request_key=key)

    first = await call("k1")
    again = await call("k1")
    assert (first.is_new, again.is_new) == (True, False)
    assert first.job_id == again.job_id
    with pytest.raises(Rejected) as raised:
        await call("k1", "letter")
    assert raised.value.details["code"] == "idempotency_mismatch"
    with pytest.raises(Conflict):
        await call("k2")
    await press.publish(await press.one())
    assert (await call("k1")).job_id == first.job_id  # also when it has ended
    assert (await call("k2")).is_new  # the refused call had kept no key


async def test_the_same_key_answers_for_a_pack_as_the_first_time(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user)
    await press.rendered(user, pack, "report")
    first = await render.render_pack(press.db, user, pack, request_key="k")
    await press.publish(await press.one())

    assert first.is_new
    replayed = await render.render_pack(press.db, user, pack, request_key="k")
    assert replayed == replace(first, is_new=False)
    assert (first.jobs_created, first.jobs_skipped) == (2, 1)
    await press.db.execute("update makeready.document_types set enabled_by_staff = false")
    replayed = await render.render_pack(press.db, user, pack, request_key="k")
    assert (replayed.is_new, replayed.job_ids) == (False, first.job_ids)


async def test_the_same_key_makes_one_pack(press: Press) -> None:
    user, other = await press.user(), await press.user("Борис")
    first = await press.pack(user, "invoice", request_key="k")

    assert await press.pack(user, "invoice", request_key="k") == first
    assert await press.pack(other, "invoice", request_key="k") != first
    with pytest.raises(Rejected) as raised:
        await press.pack(user, "invoice", "letter", request_key="k")
    assert raised.value.details["code"] == "idempotency_mismatch"


async def test_two_calls_at_once_create_each_job_once_rnd_003(
    press: Press, connect: Connect
) -> None:
    user = await press.user()
    pack = await press.pack(user)
    sessions = [await connect() for _ in range(8)]
    found = await asyncio.gather(*(render.render_pack(s, user, pack) for s in sessions))

    assert sorted(call.jobs_created for call in found) == [0] * 7 + [3]
    assert await press.open_count(pack) == 3


async def test_of_two_regenerations_at_once_one_is_refused_rnd_006(
    press: Press, connect: Connect
) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    sessions = [await connect() for _ in range(8)]
    found = await asyncio.gather(
        *(render.render_document(s, user, pack, "invoice") for s in sessions),
        return_exceptions=True,
    )

    made = [call for call in found if isinstance(call, render.DocumentRender)]
    refused = [call for call in found if isinstance(call, Conflict)]
    assert (len(made), len(refused)) == (1, 7)
    assert {call.details["job_id"] for call in refused} == {str(made[0].job_id)}


async def test_a_pack_stays_in_its_own_users_session(press: Press) -> None:
    user, other = await press.user(), await press.user("Борис")
    session = await press.db.fetchval("select makeready.session_create($1)", user)
    pack = await press.pack(user, session=session)

    rows = await library.packs(press.db, user, limit=5)
    assert [(row.pack_id, row.session_id) for row in rows] == [(pack, session)]
    with pytest.raises(NotFound) as raised:
        await press.pack(other, session=session)
    assert raised.value.details["code"] == "session_not_found"


async def test_syncing_the_registry_writes_only_what_changed(press: Press) -> None:
    assert await press.sync(*DOCS) == 0
    assert await press.sync(*DOCS, version="v2") == 3
    assert await press.sync("invoice", version="v2") == 2
    assert await press.sync(*DOCS, version="v2") == 2


async def test_lists_are_paged_by_key_newest_first(press: Press, clock: Clock) -> None:
    user = await press.user()
    packs = []
    for _ in range(5):
        packs.append(await press.pack(user, "invoice"))
        await press.rendered(user, packs[-1], "invoice")
        await clock.advance(1)
    first = await library.packs(press.db, user, limit=3)
    rest = await library.packs(press.db, user, limit=3, older_than=first[-1].pack_id)
    assert [row.pack_id for row in [*first, *rest]] == packs[::-1]

    newest = await library.files(press.db, user, limit=2)
    older = await library.files(press.db, user, limit=9, older_than=newest[-1].file_id)
    assert [row.pack_id for row in [*newest, *older]] == packs[::-1]  # RND-030


async def test_the_roles_reach_the_slice_through_its_functions_only(
    press: Press, connect: Connect
) -> None:
    user = await press.user()
    http, worker = await connect("makeready_http"), await connect("makeready_worker")
    made = await render.pack_create(http, user, {"invoice": {}}, language="ru")
    await render.render_pack(http, user, made.pack_id)
    await library.documents(http, user, made.pack_id)
    await library.files(http, user, limit=1)
    claimed = await press.one()
    assert await printing.input_of(worker, claimed.job.id) is not None

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await printing.publish(http, claimed.lease, _any_object(), {})
    for session in (http, worker):
        for table in ("packs", "pack_documents", "artifacts", "artifact_files", "render_jobs"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(f"delete from makeready.{table}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute("select makeready.render_documents($1, $2)", user, made.pack_id)


def _any_object() -> ObjectFacts:
    return ObjectFacts(bucket="b", key="k", byte_count=1, etag="e", sha256=bytes(32))
