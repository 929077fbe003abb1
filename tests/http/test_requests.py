"""Request ids and log lines.

Proves RND-029, RND-043.
"""

from __future__ import annotations

import io
import json
from uuid import UUID

import pytest
import structlog
from structlog.testing import capture_logs

from makeready.config import Settings
from makeready.log import configure_logging
from makeready.storage import Storage
from tests.support.rendering import Press
from tests.support.service import Person, Service, error_code


async def test_a_request_id_is_accepted_and_returned_rnd_043(service: Service) -> None:
    answer = await service.client.get("/health/live", headers={"X-Request-Id": "abc-1.2:3"})

    assert answer.headers["x-request-id"] == "abc-1.2:3"


@pytest.mark.parametrize("odd", ["", "a b", "x" * 129, "ключ"])
async def test_an_odd_request_id_is_replaced_rnd_043(service: Service, odd: str) -> None:
    answer = await service.client.get("/nothing", headers=[(b"X-Request-Id", odd.encode())])

    assert str(UUID(answer.headers["x-request-id"])) != odd


async def test_every_line_of_a_request_carries_its_id_rnd_043(anna: Person) -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    try:
        pack = await anna.pack("invoice")
        await anna.post(f"/packs/{pack}/render", headers={"X-Request-Id": "mine"})
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    mine = [line for line in lines if line.get("request_id") == "mine"]
    assert [line["event"] for line in mine] == [
        "request_received",
        "render_pack_requested",
        "render_jobs_enqueued",
        "request_finished",
    ]
    assert all({"event", "level", "ts", "request_id"} <= set(line) for line in mine)  # RND-042


async def test_no_line_has_a_link_a_token_or_a_secret_rnd_029(
    anna: Person, press: Press, storage: Storage, settings: Settings
) -> None:
    with capture_logs() as lines:
        pack = await anna.pack("invoice")
        await anna.post(f"/packs/{pack}/render?token=query-secret")
        await press.print_next(storage)
        (row,) = (await anna.get("/me/files")).json()["files"]
        link = (await anna.get(f"/files/{row['file_id']}/download")).json()["url"]
    told = repr(lines)

    assert settings.s3_secret_key is not None
    for secret in (link, "X-Amz", "Signature=", anna.secret, settings.s3_secret_key.reveal()):
        assert secret not in told
    assert "query-secret" not in told
    events = {line["event"] for line in lines}
    assert {"s3_upload_ok", "s3_presign_ok", "file_presigned"} <= events  # RND-041


async def test_a_session_is_begun_once_a_key(anna: Person) -> None:
    key = {"Idempotency-Key": "s-1"}
    first = await anna.post("/sessions", json={"profession_query": "бариста"}, headers=key)
    again = await anna.post("/sessions", json={"profession_query": "бариста"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await anna.post("/sessions", json={"profession_query": "повар"}, headers=key)
    assert error_code(other) == "idempotency_mismatch"
    fresh = await anna.post("/sessions", json={"profession_query": "бариста"})
    assert fresh.json()["session_id"] != first.json()["session_id"]
