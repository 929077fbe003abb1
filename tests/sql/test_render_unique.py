"""What the tables refuse by themselves, whoever writes to them."""

from __future__ import annotations

import json
from uuid import uuid4

import asyncpg
import pytest

from tests.support.rendering import Press


async def test_a_document_has_one_open_render_at_most_rnd_006(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice", "letter")
    await press.rendered(user, pack, "invoice")
    job = await press.job_of(user, pack, "invoice")  # beside one that has ended
    text = (
        "insert into makeready.pack_documents"
        " (pack_id, doc_id, job_id, call_id, state, layout, type_version, created_at)"
        " select pack_id, $2, gen_random_uuid(), call_id, state, layout, type_version, created_at"
        " from makeready.pack_documents where job_id = $1"
    )
    with pytest.raises(asyncpg.UniqueViolationError) as raised:
        await press.db.execute(text, job, "invoice")

    assert raised.value.constraint_name == "pack_documents_one_open"
    await press.db.execute(text, job, "letter")  # the other document is free


async def test_a_job_has_one_artifact_at_most_rnd_026(press: Press) -> None:
    user = await press.user()
    pack = await press.pack(user, "invoice")
    await press.rendered(user, pack, "invoice")
    text = (
        "insert into makeready.artifacts (id, session_id, kind, format, meta, created_at)"
        " select gen_random_uuid(), session_id, kind, format, meta || $1::text::jsonb, created_at"
        " from makeready.artifacts"
    )
    with pytest.raises(asyncpg.UniqueViolationError) as raised:
        await press.db.execute(text, '{"pages": 2}')

    assert raised.value.constraint_name == "artifacts_one_per_render_job"
    await press.db.execute(text, json.dumps({"render_job_id": str(uuid4())}))
