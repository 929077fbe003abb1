"""Versions of document types in SQL: what may follow on what, and who wins a race (RND-045)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from makeready import printing
from makeready.documents import register, versions
from makeready.errors import Conflict, NotFound, Rejected
from tests.support.database import Connect
from tests.support.rendering import Press
from tests.support.versions import (
    checked,
    drafted,
    hash_of,
    publish,
    sample_design,
    tried,
    versions_of,
)


async def state(press: Press, number: int, doc: str = "note") -> str:
    row, _ = await versions.version(press.db, doc, number)
    return row.state


async def test_the_first_draft_makes_the_type_which_prints_nothing_yet(press: Press) -> None:
    assert await drafted(press, "note") == 1
    row = await register.document(press.db, "note")
    assert (row.version, row.may_render, row.drafts, row.is_shipped) == ("", False, 1, False)
    user = await press.user()
    pack = await press.pack(user, "note")
    with pytest.raises(Rejected, match="disabled"):
        await press.job_of(user, pack, "note")


async def test_a_version_goes_its_way_and_its_content_goes_into_the_registry(press: Press) -> None:
    number = await drafted(press, "note", sample_design(title="Заметка", tier="paid"))
    assert await state(press, number) == "draft"
    await checked(press, "note", number)
    assert await state(press, number) == "valid"
    await tried(press, "note", number)
    await versions.publish(press.db, "note", number, note="first")
    assert await state(press, number) == "published"
    row = await register.document(press.db, "note")
    assert (row.title("ru"), row.tier, row.may_render) == ("Заметка", "paid", True)
    assert row.version == await hash_of(press.db, "note", number)
    await versions.publish(press.db, "note", number)  # again: as it is


async def test_problems_make_it_invalid_and_a_change_makes_it_a_draft_again(press: Press) -> None:
    number = await drafted(press, "note")
    problem = {"code": "missing_field", "path": "words", "message": "words is missing", "hint": ""}
    await checked(press, "note", number, [problem])
    row, _ = await versions.version(press.db, "note", number)
    assert (row.state, row.problems) == ("invalid", [problem])
    await versions.update(press.db, "note", number, sample_design(title="b"), [])
    row, _ = await versions.version(press.db, "note", number)
    assert (row.state, row.problems, row.checked_at) == ("draft", [], None)


@pytest.mark.parametrize("upto", ["draft", "invalid", "valid", "failed", "other", "checked again"])
async def test_only_what_was_checked_and_tried_is_published(press: Press, upto: str) -> None:
    number = await drafted(press, "note")
    if upto == "invalid":
        await checked(press, "note", number, [{"code": "x"}])
    elif upto != "draft":
        await checked(press, "note", number)
    if upto == "failed":
        seen = await hash_of(press.db, "note", number)
        await versions.trial(press.db, "note", number, seen=seen, language="en", data={})
        await press.fail(await press.one())
    elif upto == "other":  # a worker that printed something else in its place
        await tried(press, "note", number, type_version="something else")
    elif upto == "checked again":  # by a release that finds more
        await tried(press, "note", number)
        await checked(press, "note", number, [{"code": "x"}])
    with pytest.raises(Rejected) as raised:
        await versions.publish(press.db, "note", number)
    assert raised.value.details["reason"] == "publish_forbidden"
    assert (await register.document(press.db, "note")).version == ""


async def test_a_check_and_a_trial_count_for_the_content_that_they_saw(press: Press) -> None:
    number = await drafted(press, "note")
    seen = await hash_of(press.db, "note", number)
    await versions.update(press.db, "note", number, sample_design(title="b"), [])
    with pytest.raises(Conflict) as raised:
        await versions.checked(press.db, "note", number, seen, [])
    assert raised.value.details["code"] == "stale_version"
    await checked(press, "note", number)
    with pytest.raises(Conflict):
        await versions.trial(press.db, "note", number, seen=seen, language="en", data={})
    await tried(press, "note", number)
    with pytest.raises(Conflict) as raised:
        await versions.publish(press.db, "note", number, expected=seen)
    assert raised.value.details["hash"] == await hash_of(press.db, "note", number)


async def test_what_was_in_force_never_changes(press: Press) -> None:
    first = await publish(press, "note", sample_design(title="a"))
    second = await publish(press, "note", sample_design(title="b"))
    for number in (first, second):
        with pytest.raises(Conflict) as raised:
            await versions.update(press.db, "note", number, sample_design(), [])
        assert raised.value.details["reason"] == "not_a_draft"
        await checked(press, "note", number, [{"code": "too late"}])
    assert [row[3] for row in await versions_of(press.db, "note")] == ["retired", "published"]


async def test_a_draft_is_thrown_away_and_its_assets_with_it(press: Press) -> None:
    digest = "ab" * 32
    design = sample_design(assets={"a.png": {"sha256": digest}})
    upload: dict[str, Any] = {"bucket": "bucket", "key": "types/note/a", "size_bytes": 1}
    upload |= {"media_type": "image/png", "sha256": digest, "etag": "e"}
    number = await versions.draft(press.db, "note", design, [upload])
    other = await versions.draft(press.db, "note", design, [])
    await versions.discard(press.db, "note", number, note="a mistake")
    assert [row[0] for row in await versions_of(press.db, "note")] == [other]
    unused = "select count(*) from makeready.files where unused_at is not null"
    assert await press.db.fetchval(unused) == 0
    with pytest.raises(Conflict):
        await versions.discard(press.db, "note", other, expected="0" * 32)
    await versions.discard(press.db, "note", other)
    assert await press.db.fetchval(unused) == 1

    audited = "select target, reason from makeready.audit_log where action = 'document_discard'"
    rows = await press.db.fetch(audited)
    assert [tuple(row) for row in rows] == [("note", "a mistake"), ("note", None)]
    with pytest.raises(NotFound):
        await versions.discard(press.db, "note", other)


async def test_what_was_in_force_is_not_thrown_away(press: Press) -> None:
    first = await publish(press, "note", sample_design(title="a"))
    second = await publish(press, "note", sample_design(title="b"))
    for number in (first, second):
        with pytest.raises(Conflict) as raised:
            await versions.discard(press.db, "note", number)
        assert raised.value.details["reason"] == "not_a_draft"


async def test_a_trial_of_a_draft_that_was_thrown_away_finds_nothing_to_print(
    press: Press,
) -> None:
    number = await drafted(press, "note")
    await checked(press, "note", number)
    seen = await hash_of(press.db, "note", number)
    await versions.trial(press.db, "note", number, seen=seen, language="en", data={})
    await versions.discard(press.db, "note", number)
    assert await versions_of(press.db, "note") == []
    wanted = await printing.input_of(press.db, (await press.one()).job.id)
    assert wanted is not None
    assert (wanted.type_version, wanted.is_trial) == (seen, True)
    design = "select count(*) from makeready.document_design('note', $1)"
    assert await press.db.fetchval(design, seen) == 0


async def test_rollbacks_go_back_step_by_step(press: Press) -> None:
    for title in "abc":
        await publish(press, "note", sample_design(title=title))
    assert await versions.rollback(press.db, "note") == 2
    assert await versions.rollback(press.db, "note") == 1
    with pytest.raises(Rejected) as raised:
        await versions.rollback(press.db, "note")
    assert raised.value.details["reason"] == "no_rollback"
    await versions.publish(press.db, "note", 3)  # valid and tried as it was
    assert await versions.rollback(press.db, "note") == 1  # 2 was taken back
    assert (await register.document(press.db, "note")).title("en") == "a"


async def test_a_trial_prints_for_nobody_what_it_names_rnd_018(press: Press) -> None:
    await publish(press, "note", sample_design(title="a"))
    number = await drafted(press, "note", sample_design(title="b"))
    await checked(press, "note", number)
    seen = await hash_of(press.db, "note", number)
    job = await versions.trial(
        press.db, "note", number, seen=seen, language="en", data={"text": "x"}
    )
    row = await press.db.fetchrow("select * from makeready.render_input($1)", job)
    assert row is not None
    assert (row["layout"], row["type_version"], row["is_trial"]) == ("note", seen, True)
    owner = await press.db.fetchval("select owner from makeready.jobs where id = $1", job)
    assert owner == ""
    found = await versions.trial_state(press.db, job)
    assert (found.status, found.file_id) == ("queued", None)


async def test_a_render_prints_what_was_in_force_when_it_was_asked_for_rnd_018(
    press: Press,
) -> None:
    await publish(press, "note", sample_design(title="a"))
    old = (await register.document(press.db, "note")).version
    user = await press.user()
    pack = await press.pack(user, "note")
    job = await press.job_of(user, pack, "note")
    number = await drafted(press, "note", sample_design(title="b"))
    await checked(press, "note", number)
    claimed = await press.one()
    assert claimed.job.id == job
    await tried(press, "note", number)
    await versions.publish(press.db, "note", number)
    row = await press.db.fetchrow("select * from makeready.render_input($1)", job)
    assert row is not None
    assert (row["type_version"], row["is_trial"]) == (old, False)
    design = await press.db.fetchval(
        "select design::text from makeready.document_design('note', $1)", old
    )
    assert json.loads(design)["titles"]["en"] == "a"


async def both(
    connect: Connect, *calls: Callable[[asyncpg.Connection], Awaitable[object]]
) -> list[object]:
    sessions = [await connect() for _ in calls]
    return await asyncio.gather(
        *(call(session) for call, session in zip(calls, sessions, strict=True)),
        return_exceptions=True,
    )


async def test_of_two_publishes_at_once_one_version_is_in_force(
    press: Press, connect: Connect
) -> None:
    numbers = []
    for title in "ab":
        numbers.append(await drafted(press, "note", sample_design(title=title)))
        await checked(press, "note", numbers[-1])
        await tried(press, "note", numbers[-1])
    found = await both(
        connect,
        *(
            lambda session, number=number: versions.publish(session, "note", number)
            for number in numbers
        ),
    )
    assert found == [None, None]
    rows = await versions_of(press.db, "note")
    assert sorted(row[3] for row in rows) == ["published", "retired"]
    (winner,) = [row[2] for row in rows if row[3] == "published"]
    assert (await register.document(press.db, "note")).version == winner


async def test_a_change_and_a_publish_at_once_never_publish_what_was_not_tried(
    press: Press, connect: Connect
) -> None:
    for turn in range(6):
        doc = f"note{turn}"
        number = await drafted(press, doc)
        await checked(press, doc, number)
        await tried(press, doc, number)
        seen = await hash_of(press.db, doc, number)
        await both(
            connect,
            lambda s, d=doc, n=number: versions.publish(s, d, n),  # type: ignore[misc]
            lambda s, d=doc, n=number: versions.update(  # type: ignore[misc]
                s, d, n, sample_design(title="changed"), []
            ),
        )
        row, _ = await versions.version(press.db, doc, number)
        assert (row.state, row.hash == seen) in {("published", True), ("draft", False)}


async def test_drafts_made_at_once_get_numbers_of_their_own(
    press: Press, connect: Connect
) -> None:
    found = await both(
        connect,
        *[lambda s: versions.draft(s, "note", sample_design(), [])] * 5,
    )
    assert sorted(found) == [1, 2, 3, 4, 5]  # type: ignore[type-var]
    assert len(await versions_of(press.db, "note")) == 5


@pytest.mark.parametrize("design", ["null", "[]", '"text"'])
async def test_what_is_no_design_is_refused(press: Press, design: str) -> None:
    with pytest.raises(Rejected):
        await press.db.execute("select makeready.document_draft('note', $1::text::jsonb)", design)
    with pytest.raises(Rejected) as raised:
        await press.db.execute("select makeready.document_draft('No Name', '{}')")
    assert raised.value.details["reason"] == "unsupported_key"
    huge = json.dumps({"sources": {"a.j2": "x" * 5_000_000}})
    with pytest.raises(Rejected) as raised:
        await press.db.execute("select makeready.document_draft('note', $1::text::jsonb)", huge)
    assert raised.value.details["code"] == "payload_too_large"
    with pytest.raises(NotFound):
        await versions.rollback(press.db, "note")


async def test_a_fallback_is_told_once_a_version_and_day(press: Press, connect: Connect) -> None:
    async def tell(session: asyncpg.Connection, version: str = "v1") -> bool:
        told: bool = await session.fetchval(
            "select makeready.document_fallback('invoice', $1, 'gone')", version
        )
        return told

    assert sorted(map(bool, await both(connect, *[tell] * 4))) == [False] * 3 + [True]
    assert await tell(press.db, "v2")
    assert (
        await press.db.fetchval(
            "select count(*) from makeready.alerts where event = 'bad_config_fallback'"
        )
        == 2
    )
