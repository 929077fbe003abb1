"""Shipped document types: what a release says, and what staff lay over it.
Proves RND-002, RND-018, RND-045.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from makeready import render
from makeready.documents import register
from makeready.errors import NotFound, Rejected
from makeready.render import ShippedType
from tests.support.database import Connect
from tests.support.rendering import Press
from tests.support.versions import publish, sample_design, versions_of


def shipped(doc: str, version: str, **changes: Any) -> ShippedType:
    design = sample_design(title=version)
    facts: dict[str, Any] = {"title_ru": version, "title_en": version, "tier": "free"}
    facts |= {"enabled": True, "design": design} | changes
    return ShippedType(id=doc, version=version, **facts)


async def sync(press: Press, *types: ShippedType, release: str = "0.1.0") -> int:
    return await render.sync_types(press.db, types, release=release)


async def in_force(press: Press, doc: str) -> str:
    return (await register.document(press.db, doc)).version


async def test_a_release_puts_its_versions_in_force_and_keeps_the_old_ones_rnd_018(
    press: Press,
) -> None:
    assert await sync(press, shipped("note", "a")) == 4  # the three of the fixture are gone
    assert await sync(press, shipped("note", "a")) == 0
    assert await sync(press, shipped("note", "b"), release="0.2.0") == 1
    assert await in_force(press, "note") == "b"
    assert await versions_of(press.db, "note") == [
        (1, "shipped", "a", "retired"),
        (2, "shipped", "b", "published"),
    ]


async def test_an_old_process_sets_nothing_back(press: Press) -> None:
    await sync(press, shipped("note", "new"), shipped("added", "new"), release="0.10.0")
    for release in ("0.9.3", "0.9", ""):
        assert await sync(press, shipped("note", "old"), release=release) == 0
    without_release = json.dumps(
        [{"id": "note", "title_ru": "x", "title_en": "x", "version": "x"}]
    )
    await press.db.execute("select makeready.render_types_sync($1::text::jsonb)", without_release)
    assert await in_force(press, "note") == "new"
    assert await in_force(press, "added") == "new"

    await press.db.execute("select makeready.document_types_downgrade('0.10 prints nothing')")
    await sync(press, shipped("note", "old"), release="0.9.3")
    assert await in_force(press, "note") == "old"
    assert await in_force(press, "added") == ""


async def test_what_is_shipped_no_more_cannot_be_rendered(press: Press) -> None:
    await sync(press, shipped("note", "a"), shipped("other", "a"))
    await sync(press, shipped("other", "a"))
    row = await register.document(press.db, "note")
    assert (row.version, row.may_render, row.is_shipped) == ("", False, False)
    await sync(press, shipped("note", "a"), shipped("other", "a"))
    assert await in_force(press, "note") == "a"


async def test_what_staff_published_stays_in_force_whatever_is_shipped_rnd_045(
    press: Press,
) -> None:
    await sync(press, shipped("note", "a"))
    number = await publish(press, "note", sample_design(title="ours"))
    ours = await in_force(press, "note")
    await sync(press, shipped("note", "b"), release="0.2.0")

    row = await register.document(press.db, "note")
    assert (row.version, row.shipped_version, row.title_en) == (ours, "b", "ours")
    alerts = await press.db.fetch("select event, context from makeready.alerts")
    assert [row["event"] for row in alerts] == ["shipped_type_waits"]
    assert json.loads(alerts[0]["context"]) == {"doc_id": "note", "shipped": "b", "in_force": ours}
    await sync(press, shipped("note", "b"), release="0.2.0")
    assert await press.db.fetchval("select count(*) from makeready.alerts") == 1

    await press.db.execute("select makeready.document_rollback('note')")
    assert await in_force(press, "note") == "b"  # not what an older release had
    assert await versions_of(press.db, "note") == [
        (1, "shipped", "a", "retired"),
        (number, "staff", ours, "retired"),
        (3, "shipped", "b", "published"),
    ]
    await sync(press, shipped("note", "c"), release="0.3.0")
    assert await in_force(press, "note") == "c"


async def test_staff_may_go_back_to_what_is_shipped_by_publishing_it(press: Press) -> None:
    await sync(press, shipped("note", "a"))
    await publish(press, "note", sample_design(title="ours"))
    await sync(press, shipped("note", "b"), release="0.2.0")
    await press.db.execute("select makeready.document_publish('note', 3)")
    assert await in_force(press, "note") == "b"
    with pytest.raises(Rejected, match="does not ship it"):
        await press.db.execute("select makeready.document_publish('note', 1)")


async def test_a_type_of_staff_that_is_shipped_later_stays_theirs(press: Press) -> None:
    await sync(press, shipped("other", "a"))
    await publish(press, "note", sample_design(title="ours"))
    ours = await in_force(press, "note")
    await sync(press, shipped("other", "a"), shipped("note", "b"), release="0.2.0")
    assert await in_force(press, "note") == ours
    with pytest.raises(Rejected, match="no version to go back to"):
        await press.db.execute("select makeready.document_rollback('note')")
    await sync(press, shipped("other", "a"), release="0.3.0")
    assert await in_force(press, "note") == ours


async def test_releases_that_speak_at_once_leave_one_version_in_force(
    press: Press, connect: Connect
) -> None:
    sessions = [await connect() for _ in range(4)]
    await asyncio.gather(
        *(
            render.sync_types(session, [shipped("note", f"v{place}")], release=f"0.{place}.0")
            for place, session in enumerate(sessions, start=1)
        )
    )
    assert await in_force(press, "note") == "v4"
    found = await versions_of(press.db, "note")
    assert [row[2] for row in found if row[3] == "published"] == ["v4"]


async def test_staff_lay_over_what_the_version_says_rnd_045(press: Press) -> None:
    await register.overlay_set(press.db, "invoice", {"title": "Bill", "enabled": False})
    await register.overlay_set(press.db, "invoice", {"tier": "paid"}, note="from May on")
    row = await register.document(press.db, "invoice")
    assert (row.title("ru"), row.title("en"), row.may_render) == ("Bill", "Bill", False)
    assert (row.tier, row.tier_by_staff) == ("free", "paid")
    user = await press.user()
    pack = await press.pack(user, "invoice")
    assert (await press.document(user, pack, "invoice")).title == "Bill"

    await register.overlay_set(press.db, "invoice", {"title": None, "enabled": None})
    row = await register.document(press.db, "invoice")
    assert (row.title("en"), row.may_render, row.tier_by_staff) == ("Title", True, "paid")
    lines = await press.db.fetch(
        "select before, after, reason from makeready.audit_log"
        " where target = 'invoice' order by id"
    )
    assert [json.loads(line["after"])["tier"] for line in lines] == [None, "paid", "paid"]
    assert lines[1]["reason"] == "from May on"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tier": "gold"}, "invalid_tier"),
        ({"tier": ""}, "invalid_tier"),
        ({"enabled": "yes"}, None),
        ({"title": ""}, None),
        ({"title": "x" * 201}, None),
        ({"colour": "red"}, None),
        ([], None),
    ],
)
async def test_what_is_no_overlay_is_refused_rnd_045(
    press: Press, changes: Any, reason: str | None
) -> None:
    with pytest.raises(Rejected) as raised:
        await register.overlay_set(press.db, "invoice", changes)
    assert raised.value.details.get("reason") == reason
    with pytest.raises(NotFound):
        await register.overlay_set(press.db, "nothing", {"tier": "free"})


async def test_nobody_but_staff_paths_may_write_versions(press: Press, connect: Connect) -> None:
    """The worker reads designs and says that it fell back; it makes and publishes nothing."""
    worker = await connect("makeready_worker")
    await worker.fetch("select * from makeready.document_design('invoice', 'v1')")
    for call in (
        "makeready.document_draft('invoice', '{}')",
        "makeready.document_publish('invoice', 1)",
        "makeready.document_rollback('invoice')",
        "makeready.document_overlay_set('invoice', '{}')",
        "makeready.document_type_ship('{}', '{}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(f"select {call}")
    assert await in_force(press, "invoice") == "v1"
