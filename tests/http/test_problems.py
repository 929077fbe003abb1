"""The one envelope: every refusal, whoever makes it."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from makeready import library, render
from makeready.errors import Busy, Closed, Conflict, Gone, LeaseLost, NotFound, Rejected
from makeready.stamping import HelperLost, StampingTimeout
from makeready.storage_errors import ObjectMissing
from makeready_http.problems import STATUS_OF, refusal_of
from tests.support.service import Person, Service, error_code, pack_body


def error_of(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert set(found) <= {"code", "message", "details"}
    assert STATUS_OF[found["code"]] == answer.status_code
    return found


async def send_raw(service: Service, head: str, body: bytes = b"") -> tuple[str, bytes]:
    """One request as typed; the head and the body of the answer."""
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        await writer.drain()
        found = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        length = re.search(rb"content-length: (\d+)", found.lower())
        rest = await asyncio.wait_for(reader.readexactly(int(length[1]) if length else 0), 5)
        return found.decode(), rest
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("path", ["/", "/nothing", "/packs/", "/mee", "/health/live/", "/%00"])
async def test_an_unknown_route_is_told_apart(service: Service, path: str) -> None:
    answer = await service.client.get(path)

    assert error_of(answer)["code"] == "route_not_found"


async def test_a_wrong_method_names_the_right_ones(service: Service) -> None:
    answer = await service.client.delete("/packs")

    assert error_of(answer)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"\xff\xfe", "json"),
        (b'{"a": NaN}', "json"),
        (b'{"a": 1e999}', "json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "json"),
        (b"[" * 100_000, "json"),
        (b'{"documents": {"invoice": {"a": "\xed\xa0\x80"}}}', "json"),
        (b'{"\xed\xa0\x80": 1}', "json"),
        ('{"a": 1}'.encode("utf-16"), "json"),
        (b"[]", "type"),
        (b'"text"', "type"),
        (rb'{"documents": {"invoice": {"a": "\u0000"}}}', "text"),
        (rb'{"documents": {"invoice": {"a": ["\ud800"]}}}', "text"),
        (rb'{"\u0000": 1}', "text"),
    ],
)
async def test_a_body_that_cannot_be_read_says_why(anna: Person, body: bytes, reason: str) -> None:
    answer = await anna.post("/packs", content=body)
    found = error_of(answer)

    assert found["code"] == "invalid_request"
    assert found["details"] == {"field": "body", "reason": reason}


async def test_escapes_that_are_plain_text_pass(anna: Person) -> None:
    answer = await anna.post("/packs", content=rb'{"documents": {"invoice": {"a": "\\u0000"}}}')

    assert error_of(answer)["code"] == "validation_failed"


@pytest.mark.parametrize("key", ["", "a b", "ключ".encode().decode("latin-1"), "x" * 256])
async def test_an_idempotency_key_has_a_form(anna: Person, key: str) -> None:
    answer = await anna.post(
        "/packs",
        json=pack_body("invoice"),
        headers=[(b"Idempotency-Key", key.encode("latin-1"))],
    )

    assert error_of(answer)["details"] == {"field": "Idempotency-Key", "reason": "format"}


async def test_a_body_too_large_is_refused_before_it_is_sent(
    service: Service, anna: Person
) -> None:
    head, body = await send_raw(
        service,
        f"POST /packs HTTP/1.1\nHost: x\nAuthorization: Bearer {anna.secret}\n"
        "Content-Length: 900000000\nExpect: 100-continue",
    )

    assert head.startswith("HTTP/1.1 413")
    assert "connection: close" in head.lower()
    found = json.loads(body)["error"]
    assert found["code"] == "payload_too_large"
    assert found["details"] == {"max_bytes": 8 << 20, "received_bytes": 900_000_000}


async def test_a_body_of_undeclared_length_is_cut_at_the_limit(anna: Person) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b" " * (1 << 20)

    answer = await anna.post("/packs", content=endless())

    assert error_of(answer)["code"] == "payload_too_large"
    assert answer.json()["error"]["details"]["received_bytes"] > 8 << 20


async def test_a_defect_answers_with_an_id_and_no_trace(
    anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(library, "packs", broken)
    with capture_logs() as lines:
        answer = await anna.get("/me/packs", headers={"X-Request-Id": "my-id"})
    found = error_of(answer)

    assert found["code"] == "internal_error"
    assert found["details"] == {"correlation_id": "my-id"}
    assert "ZeroDivisionError" not in answer.text
    assert "secret" not in answer.text
    (line,) = [line for line in lines if line["event"] == "request_error"]
    assert isinstance(line["exc_info"], ZeroDivisionError)
    ends = [line for line in lines if line["event"] == "request_finished"]
    assert [line["status"] for line in ends] == [500]


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.AdminShutdownError("bye"),
        asyncpg.QueryCanceledError("statement timeout"),
        asyncpg.LockNotAvailableError("lock timeout"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.InterfaceError("closed"),
    ],
)
async def test_a_database_that_is_away_is_503_with_a_time(
    anna: Person, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(library, "packs", away)
    answer = await anna.get("/me/packs")

    assert error_of(answer)["code"] == "queue_unavailable"
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "fault", [asyncpg.DeadlockDetectedError("circle"), asyncpg.SerializationError("purged")]
)
async def test_a_write_that_was_rolled_back_is_repeated(
    anna: Person, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    pack = await anna.pack("invoice")
    faults = [fault, fault]
    real = render.render_pack

    async def unlucky(*args: Any, **options: Any) -> render.PackRender:
        if faults:
            raise faults.pop()
        return await real(*args, **options)

    monkeypatch.setattr(render, "render_pack", unlucky)
    assert (await anna.post(f"/packs/{pack}/render")).json()["jobs_created"] == 1

    faults += [fault] * 3
    assert error_of(await anna.post(f"/packs/{pack}/render"))["code"] == "queue_unavailable"


async def test_a_killed_connection_costs_one_request_at_most(
    anna: Person, db: asyncpg.Connection
) -> None:
    assert (await anna.get("/me/packs")).status_code == 200
    await db.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"  # waits for its end
        " where datname = current_database() and application_name like 'makeready pool%'"
    )
    statuses = [(await anna.get("/me/packs")).status_code for _ in range(3)]

    assert set(statuses[:1]) <= {200, 503}
    assert statuses[1:] == [200, 200]


async def test_a_closed_queue_is_unavailable(anna: Person, db: asyncpg.Connection) -> None:
    pack = await anna.pack("invoice")
    await db.execute("select makeready.queue_close('render', 'moving house')")
    answer = await anna.post(f"/packs/{pack}/render")

    assert error_of(answer)["code"] == "queue_unavailable"
    assert answer.headers["retry-after"]


async def test_a_full_queue_is_busy_and_says_how_full(
    anna: Person, db: asyncpg.Connection
) -> None:
    pack = await anna.pack("invoice", "letter")
    await db.execute("select makeready.queue_set('render', 'max_open', '1')")
    answer = await anna.post(f"/packs/{pack}/render")
    details = error_of(answer)["details"]

    assert error_code(answer) == "queue_busy"
    assert (details["reason"], details["in_flight"], details["limit"]) == ("limit", 0, 1)
    assert int(answer.headers["retry-after"]) >= 1
    rows = (await anna.get(f"/packs/{pack}/documents")).json()["documents"]
    assert [row["status"] for row in rows] == ["none", "none"]


def test_every_class_of_ours_has_a_code() -> None:
    expected = [
        (NotFound("x"), "job_not_found"),
        (NotFound("x", details={"code": "pack_not_found"}), "pack_not_found"),
        (NotFound("x", details={"code": "made_up"}), "job_not_found"),
        (Conflict("x"), "conflict"),
        (Gone("x"), "result_expired"),
        (Rejected("x"), "validation_failed"),
        (Busy("x"), "queue_busy"),
        (ObjectMissing("x"), "storage_unavailable"),
        (HelperLost("x"), "queue_unavailable"),
        (StampingTimeout("x"), "queue_unavailable"),
        (LeaseLost("x"), "internal_error"),
        (KeyError("x"), "internal_error"),
    ]
    found = [(error, refusal_of(error, "id").code) for error, _ in expected]

    assert found == expected


def test_ing_076_what_is_answered_needs_no_load_but_what_was_counted() -> None:
    counted = {"reason": "deadline", "in_flight": 9, "limit": 12, "retry_after_s": 6.2}
    refusal = refusal_of(Busy("x", details={**counted}), "id")

    assert (refusal.status, refusal.code) == (429, "queue_busy")
    assert refusal.headers == {"Retry-After": "7"}
    assert counted.items() <= refusal.details.items()
    assert refusal_of(Closed("x"), "id").status == 503


def test_a_full_disk_of_the_service_is_not_the_fault_of_the_database() -> None:
    refusal = refusal_of(OSError(errno.ENOSPC, "No space left on device"), "id")
    assert (refusal.code, "temporary files" in refusal.message) == ("queue_unavailable", True)
    assert "database" in refusal_of(ConnectionRefusedError(), "id").message


def test_a_full_disk_is_told() -> None:
    refusal = refusal_of(asyncpg.DiskFullError("no space left"), "id")

    assert (refusal.code, refusal.message) == (
        "queue_unavailable",
        "The disk of the database is full.",
    )


def test_a_key_of_storage_is_told_to_nobody() -> None:
    refusal = refusal_of(ObjectMissing("get renders/secret.pdf: …"), "id")

    assert "secret" not in repr(refusal)


def test_a_file_out_of_reach_is_not_the_databases_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as gone:
        (tmp_path / "unmounted" / "photo").open("rb")
    refusal = refusal_of(gone.value, "id")
    assert (refusal.status, refusal.code) == (503, "storage_unavailable")
    assert "Retry-After" in refusal.headers

    # A socket of the database lies in a folder too, and its error names none.
    with socket.socket(socket.AF_UNIX) as line, pytest.raises(FileNotFoundError) as away:
        line.connect(str(tmp_path / "s"))
    assert refusal_of(away.value, "id").code == "queue_unavailable"
    full = OSError(errno.ENOSPC, "No space left on device", "photo")
    assert refusal_of(full, "id").code == "queue_unavailable"
