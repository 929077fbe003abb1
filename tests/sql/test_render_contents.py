"""Documents with content of their own: sections, HTML, trials of what is not published.
Proves RND-006, RND-009, RND-018, RND-020.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid4

import pytest

from makeready import library, printing, render
from makeready.errors import Conflict, Gone, NotFound, Rejected
from makeready.storage import ObjectFacts
from tests.support.rendering import DOCS, Press

LAYOUTS = ("sections", "html")


@pytest.fixture(autouse=True)
async def _layouts(press: Press) -> None:
    await press.sync(*DOCS, *LAYOUTS)


async def own(
    press: Press, user: UUID | None, pack: UUID | None = None, **options: Any
) -> render.OwnRender:
    options = {"layout": "sections", "language": "ru", "title": "Заголовок"} | options
    return await render.render_own(
        press.db, user, options.pop("doc", "letter"), {"text": "свой"}, pack=pack, **options
    )


def archive() -> ObjectFacts:
    return ObjectFacts(
        bucket="bucket",
        key=f"sources/{uuid4()}.zip",
        byte_count=3,
        etag="e",
        media_type="application/zip",
        sha256=hashlib.sha256(b"zip").digest(),
    )


async def html(press: Press, user: UUID, **options: Any) -> render.OwnRender:
    options = {"language": "ru", "title": None, "content_id": uuid4()} | options
    stored = options.pop("stored", None) or archive()
    return await render.render_html(press.db, user, {"options": {}}, stored, **options)


async def test_own_content_is_printed_by_its_layout_rnd_020(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    made = await own(press, user, pack)

    assert made.is_new
    assert made.pack_id == pack
    wanted = await printing.input_of(press.db, made.job_id)
    assert wanted is not None
    assert (wanted.doc_id, wanted.layout, wanted.type_version) == ("letter", "sections", "v1")
    assert wanted.data == {"text": "свой"}
    assert (wanted.bucket, wanted.key) == (None, None)
    assert wanted.may_reuse


async def test_the_data_of_the_pack_is_printed_by_its_own_type(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    job = await press.job_of(user, pack, "invoice")

    wanted = await printing.input_of(press.db, job)
    assert wanted is not None
    assert (wanted.layout, wanted.type_version, wanted.data) == ("invoice", "v1", {"number": 0})
    assert not wanted.may_reuse  # RND-005: rendering one document anew prints it


async def test_a_document_with_own_content_is_listed_after_those_of_the_pack_rnd_009(
    press: Press,
) -> None:
    user = await press.user()
    pack = await press.pack(user, "report")
    await own(press, user, pack)
    await own(press, user, pack, doc="invoice", title=None)

    found = await library.documents(press.db, user, pack)
    assert [(state.doc_id, state.title, state.status) for state in found] == [
        ("report", "Счёт", "none"),
        ("letter", "Заголовок", "queued"),
        ("invoice", "Счёт", "queued"),
    ]


async def test_the_newest_content_is_what_is_printed_again(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "letter")
    made = await own(press, user, pack)
    await press.publish(await press.one())
    again = await press.job_of(user, pack, "letter")

    first, second = [await printing.input_of(press.db, job) for job in (made.job_id, again)]
    assert first is not None
    assert second is not None
    assert (second.layout, second.data) == (first.layout, first.data)
    assert len(await library.documents(press.db, user, pack)) == 1


async def test_a_failed_document_with_own_content_is_rendered_with_its_pack(press: Press) -> None:
    user = await press.user()
    pack = (await own(press, user)).pack_id
    await press.fail(await press.one())
    found = await render.render_pack(press.db, user, pack)

    wanted = await printing.input_of(press.db, found.job_ids[0])
    assert wanted is not None
    assert wanted.layout == "sections"


async def test_a_pinned_version_stays_pinned_rnd_018(press: Press) -> None:
    user = await press.user()
    await press.sync("letter", enabled=False)  # a draft: nobody else can print it
    made = await own(press, user, layout="letter", version="draft-7")
    wanted = await printing.input_of(press.db, made.job_id)

    assert wanted is not None
    assert (wanted.layout, wanted.type_version) == ("letter", "draft-7")


async def test_one_render_of_a_document_at_a_time_rnd_006(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "letter")
    first = await own(press, user, pack)
    with pytest.raises(Conflict) as raised:
        await own(press, user, pack)

    assert raised.value.details["job_id"] == str(first.job_id)
    assert await press.open_count(pack) == 1


async def test_a_foreign_pack_takes_no_content(press: Press) -> None:
    user, other = await press.user(), await press.user("Борис")
    pack = await press.pack(other)
    for options in ({}, {"session": uuid4()}):
        with pytest.raises(NotFound):
            await own(press, user, pack, **options)
    with pytest.raises(NotFound):  # the pack is of another session
        await own(press, other, pack, session=uuid4())


async def test_a_disabled_layout_prints_nothing(press: Press) -> None:
    user = await press.user()
    await press.db.execute(
        "update makeready.document_types set enabled_by_staff = false where id = any ($1)",
        list(LAYOUTS),
    )
    with pytest.raises(Rejected):
        await own(press, user)
    with pytest.raises(Rejected):
        await html(press, user)
    assert await press.db.fetchval("select count(*) from makeready.packs") == 0
    assert await press.db.fetchval("select count(*) from makeready.files") == 0


async def test_the_same_request_is_the_same_render(press: Press) -> None:
    user = await press.user()
    first = await own(press, user, request_key="k")
    again = await own(press, user, request_key="k")
    with pytest.raises(Rejected) as raised:
        await own(press, user, request_key="k", title="Другой")

    assert (again.is_new, again.job_id, again.pack_id) == (False, first.job_id, first.pack_id)
    assert raised.value.details["code"] == "idempotency_mismatch"


async def test_html_is_printed_from_its_archive(press: Press) -> None:
    user = await press.user()
    stored = archive()
    made = await html(press, user, stored=stored)
    wanted = await printing.input_of(press.db, made.job_id)

    assert wanted is not None
    assert (wanted.doc_id, wanted.layout, wanted.key) == ("html", "html", stored.key)
    assert wanted.data == {"options": {}}


async def test_a_repeated_upload_is_not_referred_to(press: Press) -> None:
    user = await press.user()
    body = hashlib.sha256(b"body").digest()
    first = await html(press, user, request_key="k", body_hash=body)
    again = await html(press, user, request_key="k", body_hash=body)

    assert (again.is_new, again.job_id) == (False, first.job_id)
    assert await press.db.fetchval("select count(*) from makeready.files") == 1


async def test_html_without_its_sources_cannot_be_printed_again(press: Press) -> None:
    user = await press.user()
    made = await html(press, user)
    await press.publish(await press.one())
    await press.db.execute("update makeready.render_contents set sources_id = null")

    with pytest.raises(Gone):
        await press.job_of(user, made.pack_id, "html")
    assert (await render.render_pack(press.db, user, made.pack_id)).jobs_created == 0
