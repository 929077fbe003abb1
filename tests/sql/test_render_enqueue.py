"""What a render brings into the queue: data in tables, a job without them; also by SQL alone."""

from __future__ import annotations

import json

import pytest

from makeready import library, printing, render
from makeready.errors import NotFound, Rejected
from tests.support.rendering import Press


async def test_sql_enqueues_in_its_own_transaction(press: Press) -> None:
    call = "select makeready.render_enqueue(document => 'invoice', data => '{\"number\": 7}')"
    transaction = press.db.transaction()
    await transaction.start()
    await press.db.fetchval(call)
    await transaction.rollback()
    assert await press.claim(5) == []
    job = await press.db.fetchval(call)

    claimed = await press.one()
    assert claimed.job.id == job
    wanted = await printing.input_of(press.db, job)
    assert wanted is not None
    assert (wanted.doc_id, wanted.language, wanted.data) == ("invoice", "ru", {"number": 7})
    assert await press.publish(claimed) == "ok"


async def test_sql_enqueues_for_a_user_under_a_key(press: Press) -> None:
    user = await press.user()
    call = (
        "select makeready.render_enqueue(document => 'letter', data => '{}', language => 'en',"
        " for_user => $1, request_key => 'k', rank => 5, wake => true)"
    )
    job = await press.db.fetchval(call, user)

    assert await press.db.fetchval(call, user) == job
    found = await library.job(press.db, user, job)
    assert (found.doc_id, found.status) == ("letter", "queued")
    assert [row.language for row in await library.packs(press.db, user, limit=5)] == ["en"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("document => 'nothing', data => '{}'", NotFound),
        ("document => null, data => '{}'", NotFound),
        ("document => 'invoice', data => '[]'", Rejected),
        ("document => 'invoice', data => null", Rejected),
        ("document => 'invoice', data => '{}', language => 'de'", Rejected),
        ("document => 'invoice', data => '{}', language => null", Rejected),
    ],
)
async def test_sql_refuses_what_cannot_be_printed(
    press: Press, arguments: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await press.db.execute(f"select makeready.render_enqueue({arguments})")
    assert await press.db.fetchval("select count(*) from makeready.packs") == 0


async def test_the_payload_of_a_job_names_the_document_and_carries_no_data(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")
    payload = await press.db.fetchval("select payload from makeready.jobs where id = $1", job)

    expected = {"pack_id": str(pack), "doc_id": "invoice", "language": "ru"}
    assert json.loads(payload) == expected


async def test_too_much_data_is_refused_with_the_bound(press: Press) -> None:
    user = await press.user()
    data = {"invoice": {"text": "x" * (17 << 20)}}
    with pytest.raises(Rejected) as raised:
        await render.pack_create(press.db, user, data, language="ru")

    assert raised.value.details["code"] == "payload_too_large"
    assert raised.value.details["max_bytes"] == 16 << 20


async def test_a_user_with_many_documents_does_not_starve_another(press: Press) -> None:
    many, few = await press.user(), await press.user("Борис")
    for _ in range(20):
        await render.render_pack(press.db, many, await press.pack(many))
    await render.render_pack(press.db, few, await press.pack(few))
    claimed = await press.claim(6)

    assert sorted(c.job.owner for c in claimed) == sorted([str(many)] * 3 + [str(few)] * 3)
