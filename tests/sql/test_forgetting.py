"""Packs and people that go, by a function or by hand: what was theirs goes, and nothing else."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready import evidence, people, printing, render
from makeready.errors import NotFound
from makeready.leases import Claimed
from makeready.storage import ObjectFacts
from tests.sql.conftest import Session
from tests.sql.interleave import BOTH, Open, Step, begin, step
from tests.sql.test_render_contents import archive
from tests.sql.test_render_evidence import archive as seen
from tests.support.core import Core, plain
from tests.support.hooks import endpoint
from tests.support.rendering import Press, stored
from tests.support.waiting import until

PHONE = "+79161234567"
NAME = "Анна Петрова"
SHARED = "renders/shared.pdf"
BY = pytest.mark.parametrize("by", ["function", "hand"])


async def references(press: Press) -> int:
    count: int = await press.db.fetchval("select count(*) from makeready.file_references")
    return count


async def purged(press: Press) -> set[str]:
    """What the purge takes now."""
    rows = await press.db.fetch(
        "select object_name from makeready.files_purge_mark(100, interval '0')"
    )
    return {row[0] for row in rows}


async def printed(press: Press, user: UUID, *, key: str | None = None) -> tuple[UUID, set[str]]:
    """A pack of one document with a thumbnail, a bundle and evidence; all its objects."""
    pack = await press.pack(user, "invoice", bundled=True)
    await render.render_pack(press.db, user, pack)
    claimed = await press.one()
    await evidence.keep(press.db, claimed.lease, "TIMEOUT", seen(claimed))
    thumbnail = stored(claimed, f"{claimed.lease.token}.jpg")
    pdf = stored(claimed, key)
    await printing.publish(press.db, claimed.lease, pdf, {"pages": 1}, thumbnail)
    bundle = await press.bundle()
    await evidence.keep(press.db, bundle.lease, "TIMEOUT", seen(bundle))
    made = files_of(bundle)
    await printing.publish_bundle(press.db, bundle.lease, *made, {"documents": []})
    kept = [pdf, thumbnail, *made, seen(claimed), seen(bundle)]
    return pack, {each.key for each in kept}


def files_of(claimed: Claimed) -> tuple[ObjectFacts, ObjectFacts]:
    name = claimed.lease.token
    return stored(claimed, f"{name}.pdf"), stored(claimed, f"{name}.zip")


async def html(press: Press, user: UUID) -> str:
    """HTML of a user's own that waits to be printed; where its sources lie."""
    await press.sync("invoice", "letter", "html")
    sources = archive()
    await render.render_html(press.db, user, {}, sources, content_id=uuid4())
    return sources.key


async def forget(press: Press, what: str, which: UUID, by: str) -> None:
    if by == "hand":
        await press.db.execute(f"delete from makeready.{what}s where id = $1", which)
        return
    name = {"user": "user_forget", "pack": "render_pack_forget"}[what]
    await press.db.execute(f"select makeready.{name}($1, 'as asked')", which)


@BY
async def test_all_files_of_a_user_go_and_those_of_others_stay(press: Press, by: str) -> None:
    user, other = await press.user(NAME), await press.user("Борис")
    _, own = await printed(press, user, key=SHARED)
    _, others = await printed(press, other, key=SHARED)
    await press.db.execute(
        "select makeready.debug_file_publish($1, null, 'bucket', 'debug/test.pdf',"
        " 'application/pdf', 1, sha256('x'), 'e')",
        user,
    )
    own |= {"debug/test.pdf", await html(press, user)}
    before = await references(press)
    await forget(press, "user", user, by)

    assert await purged(press) == own - {SHARED}
    assert await references(press) == before - len(own)
    assert len(others) == 6
    await forget(press, "user", other, by)
    assert await purged(press) == others
    assert await references(press) == 0


@BY
async def test_all_files_of_a_pack_go_and_those_of_its_owner_s_others_stay(
    press: Press, by: str
) -> None:
    user = await press.user()
    pack, own = await printed(press, user, key=SHARED)
    kept, _ = await printed(press, user, key=SHARED)
    await forget(press, "pack", pack, by)

    assert await purged(press) == own - {SHARED}
    assert await press.states(user, kept) == ["ready"]
    left = "select distinct (meta ->> 'pack_id')::uuid from makeready.artifacts"
    assert await press.db.fetchval(left) == kept


async def test_assets_of_a_deleted_document_type_go(press: Press) -> None:
    draft = (
        "select id from makeready.document_draft('poster', $1::text::jsonb, $2::text::jsonb)",
        '{"assets": {"a.png": {"sha256": "' + "ab" * 32 + '"}}}',
        '[{"bucket": "bucket", "key": "types/poster/a", "media_type": "image/png",'
        ' "size_bytes": 1, "sha256": "' + "ab" * 32 + '", "etag": "e"}]',
    )
    await press.db.execute(*draft)
    assert await references(press) == 1
    await press.db.execute("delete from makeready.document_types where id = 'poster'")
    assert await purged(press) == {"types/poster/a"}


async def test_nothing_in_the_database_names_who_was_forgotten(press: Press) -> None:
    user = await people.user_create(press.db, NAME, phone=PHONE)
    await people.token_create(press.db, user, purpose=NAME)
    await people.code_request(press.db, PHONE, b"m" * 32, client="192.0.2.1")
    await people.session_begin(press.db, user, NAME, request_key="k")
    await endpoint(press.db, user)
    pack = await press.pack(user, "invoice", "letter", request_key="p")
    await render.render_pack(press.db, user, pack)
    first, _ = await press.claim(2)
    await press.db.execute(
        "select makeready.fail('render', $1, $2, 'fatal', $3::text::jsonb)",
        first.job.id,
        first.lease.token,
        '{"code": "DATA_INVALID", "message": "' + NAME + '"}',
    )
    assert await press.db.fetchval("select makeready.user_forget($1, 'as asked')", user) == 1

    told = {"audit_log": "the bare id", "jobs": "whose turn it was, until they are pruned"}
    for table in await tables(press):
        for word in (NAME, PHONE, str(user)):
            if word == str(user) and (table in told or table.endswith("_jobs")):
                continue
            text = f"select count(*) from makeready.{table} t where t::text like '%' || $1 || '%'"
            assert await press.db.fetchval(text, word) == 0, (table, word)
    last = await press.db.fetchrow("select * from makeready.audit_log order by id desc limit 1")
    assert last is not None
    assert (last["action"], last["target"], last["reason"]) == (
        "user_forget",
        str(user),
        "as asked",
    )
    assert plain(last["after"]) == {"packs": 1}


async def tables(press: Press) -> list[str]:
    rows = await press.db.fetch(
        "select relname::text from pg_class where relnamespace = 'makeready'::regnamespace"
        " and relkind in ('r', 'p')"
    )
    return [row[0] for row in rows]


async def test_jobs_of_a_forgotten_pack_end_and_publish_nothing(press: Press, core: Core) -> None:
    user = await press.user()
    await endpoint(press.db, user, "render.failed", "pack.done")
    pack, other = await press.pack(user, "invoice", "letter"), await press.pack(user, "invoice")
    await render.render_pack(press.db, user, pack)
    claimed = await press.one()
    await render.render_pack(press.db, user, other)
    await forget(press, "pack", pack, "function")

    assert sorted(await states(core, pack)) == ["cancelled", "running"]
    with pytest.raises(NotFound):
        await press.publish(claimed)
    with pytest.raises(NotFound):
        await evidence.keep(press.db, claimed.lease, "TIMEOUT", seen(claimed))
    assert await press.fail(claimed) == "cancelled"
    assert await references(press) == 0
    assert await core.db.fetchval("select count(*) from makeready.webhook_deliveries") == 0
    assert await core.db.fetchval("select count(*) from makeready.alerts") == 0
    assert await press.states(user, other) == ["queued"]
    row = await core.db.fetchrow(
        "select * from makeready.audit_log where action = 'render_pack_forget'"
    )
    assert row is not None
    assert (row["target"], row["reason"]) == (str(pack), "as asked")


async def states(core: Core, pack: UUID) -> list[str]:
    rows = await core.db.fetch("select state from makeready.jobs where batch = $1", pack)
    return [row[0] for row in rows]


@BOTH
async def test_a_document_that_is_published_at_this_moment_goes_too(
    press: Press, session: Session, how: str
) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    first, second = await session(), await session()
    transaction = await begin(first)
    await Press(first.db).publish(claimed)
    forgetting = second.call("user_forget", person=user, because="as asked")
    call = await step(press.db, second, forgetting)
    assert call.waits
    await transaction.end(how)
    await call
    assert await references(press) == 0
    assert await press.db.fetchval("select count(*) from makeready.artifacts") == 0


@BOTH
async def test_what_is_published_while_its_owner_is_forgotten_waits_and_is_refused(
    press: Press, session: Session, how: str
) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.job_of(user, pack, "invoice")
    claimed = await press.one()
    first, second = await session(), await session()
    transaction = await begin(first)
    await first.call("user_forget", person=user)
    call = await step(press.db, second, Press(second.db).publish(claimed))
    assert call.waits
    await transaction.end(how)
    if how == "commit":
        with pytest.raises(NotFound):
            await call
    else:
        assert await call == "ok"
    assert await references(press) == (0 if how == "commit" else 1)


async def half_forgotten(
    press: Press, session: Session, user: UUID, asked: Open | None = None
) -> tuple[Open, Step]:
    """A user whose packs are gone, but not their files: those are held until this is ended.

    `asked` ends once it is waited for.
    """
    holder, forgetter = await session(), await session()
    held = await begin(holder)
    await holder.db.execute("select from makeready.files for update")
    call = await step(press.db, forgetter, forgetter.call("user_forget", person=user))
    assert call.waits
    if asked is not None:
        await asked.end("commit")

    async def waits_for_files() -> bool:
        blocked: bool = await press.db.fetchval(
            "select $1 = any (pg_blocking_pids($2))",
            holder.db.get_server_pid(),
            forgetter.db.get_server_pid(),
        )
        return blocked

    await until(waits_for_files, what="a user who is being forgotten")
    return held, call


@pytest.mark.parametrize("how", ["again", "in a session", "anew", "a session"])
async def test_what_is_asked_for_while_its_user_is_forgotten_waits_and_is_refused(
    press: Press, session: Session, how: str
) -> None:
    user = await press.user()
    begun, _ = await people.session_begin(press.db, user, "")
    pack, _ = await printed(press, user)
    await render.render_pack(press.db, user, pack, request_key="k")
    held, forgetting = await half_forgotten(press, session, user)
    asker = await session()
    other = Press(asker.db)
    asking = {
        "again": lambda: render.render_pack(other.db, user, pack, request_key="k"),
        "in a session": lambda: other.pack(user, "invoice", session=begun),
        "anew": lambda: other.pack(user, "invoice"),
        "a session": lambda: people.session_begin(other.db, user, "", request_key="s"),
    }
    call = await step(press.db, asker, asking[how]())
    assert call.waits
    await held.end("commit")
    assert await forgetting == 1
    with pytest.raises(NotFound):
        await call


async def test_what_was_asked_for_just_before_and_ends_just_now_is_refused(
    press: Press, session: Session
) -> None:
    user = await press.user()
    pack, _ = await printed(press, user)
    asker, ender = await session(), await session()
    asked = await begin(asker)
    await render.render_document(asker.db, user, pack, "invoice", request_key="k")
    held, forgetting = await half_forgotten(press, session, user, asked)
    claimed = await press.one()
    call = await step(press.db, ender, Press(ender.db).publish(claimed))
    assert call.waits
    await held.end("commit")
    assert await forgetting == 1
    with pytest.raises(NotFound):
        await call
    assert await press.db.fetchval("select count(*) from makeready.requests") == 0


@pytest.mark.parametrize("what", ["user", "pack"])
async def test_what_is_unknown_cannot_be_forgotten(press: Press, what: str) -> None:
    with pytest.raises(NotFound):
        await forget(press, what, uuid4(), "function")


async def test_a_forgotten_number_may_come_back_as_somebody_new(press: Press) -> None:
    user = await people.user_create(press.db, NAME, phone=PHONE)
    await forget(press, "user", user, "function")
    again: Any = await people.user_create(press.db, NAME, phone=PHONE)
    assert again != user
