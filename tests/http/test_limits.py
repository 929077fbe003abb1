"""Callers that send too much, too slowly, or what was made to take long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from makeready.documents import foreign
from makeready_http import bodies, operations, protocol
from makeready_http import render as render_routes
from makeready_http.services import HEAVY, Services, services_of
from tests.support.service import Person, Service, pack_body
from tests.support.waiting import until

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """The next answer: status, headers, body."""
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, json.loads(body)

    async def is_closed(self) -> bool:
        """Waits for the end; False when something else comes."""
        try:
            return await asyncio.wait_for(self._reader.read(), 10) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def line_to(service: Service) -> AsyncIterator[Line]:
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits for tests."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(protocol, "REST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(bodies, "TIMEOUT_S", 0.3)


def post(anna: Person, *fields: str) -> bytes:
    """The head of a POST /packs."""
    lines = ["POST /packs HTTP/1.1", "Host: x", f"Authorization: Bearer {anna.secret}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("piece", [b"", b"{"])
async def test_a_body_that_stays_away_is_a_timeout(
    service: Service, anna: Person, piece: bytes
) -> None:
    async with line_to(service) as line:
        await line.send(post(anna, "Content-Length: 100") + piece)
        status, headers, body = await line.answer()

        assert (status, body["error"]["code"]) == (408, "upload_timeout")
        assert body["error"]["details"] == {"received_bytes": len(piece)}
        assert headers["connection"] == "close"
        assert headers["x-request-id"]
        assert await line.is_closed()


@pytest.mark.usefixtures("hasty")
async def test_a_body_that_drips_is_a_timeout(service: Service, anna: Person) -> None:
    for _ in range(5):
        # Who goes on sending to a closed line is told so, at times before the answer is read.
        with contextlib.suppress(ConnectionError):
            status, body = await _dripped(service, anna)
            break

    assert (status, body["error"]["code"]) == (408, "upload_timeout")


async def _dripped(service: Service, anna: Person) -> tuple[int, Any]:
    async with line_to(service) as line:
        await line.send(post(anna, "Transfer-Encoding: chunked"))

        async def drip() -> None:
            while True:
                await line.send(b"1\r\n \r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        try:
            status, _, body = await line.answer()
        finally:
            dripping.cancel()
        return status, body


@pytest.mark.usefixtures("hasty")
async def test_a_slow_body_of_a_fair_rate_has_its_time(
    service: Service, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BYTES_PER_S", 100)
    raw = json.dumps(pack_body("invoice")).encode()
    async with line_to(service) as line:
        await line.send(post(anna, f"Content-Length: {len(raw)}"))
        for start in range(0, len(raw), len(raw) // 6):
            await line.send(raw[start : start + len(raw) // 6])
            await asyncio.sleep(0.1)

        assert (await line.answer())[0] == 201


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("piece", [b"", b"G", GET, b"\r\n", GET + b"X: " + b"a" * 1000])
async def test_a_head_that_does_not_end_is_closed_in_time(service: Service, piece: bytes) -> None:
    async with line_to(service) as line:
        with capture_logs() as lines:
            await line.send(piece)
            assert await line.is_closed()

    assert {"event": "connection_closed", "reason": "timeout", "log_level": "info"} in lines


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("piece", [GET, b"\r\n"])
async def test_a_second_head_that_does_not_end_is_closed_in_time(
    service: Service, piece: bytes
) -> None:
    async with line_to(service) as line:
        await line.send(GET + b"\r\n")
        assert (await line.answer())[0] == 200
        await line.send(piece)
        assert await line.is_closed()


@pytest.mark.notified
@pytest.mark.usefixtures("hasty")
async def test_the_next_head_may_wait_while_a_request_is_served(
    service: Service, anna: Person
) -> None:
    pack = await anna.pack("invoice")
    head = f"POST /packs/{pack}/render HTTP/1.1\r\nHost: x\r\nPrefer: wait=1\r\n"
    head += f"Authorization: Bearer {anna.secret}\r\nContent-Length: 0\r\n\r\n"
    async with line_to(service) as line:
        await line.send(head.encode() + GET)
        assert (await line.answer())[0] == 202  # a second later
        await line.send(b"\r\n")
        assert (await line.answer())[0] == 200


@pytest.mark.usefixtures("hasty")
async def test_the_rest_of_a_body_after_its_answer_is_not_read_for_ever(service: Service) -> None:
    patience_s = 8.0  # below the ten seconds of a service that is not hasty
    async with line_to(service) as line:
        await line.send(b"POST /packs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert (await line.answer())[0] == 401
        started = time.monotonic()
        while time.monotonic() < started + patience_s:
            try:
                await line.send(b" ")
            except ConnectionError:
                break
            await asyncio.sleep(0.05)

        assert time.monotonic() < started + patience_s


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"a" * (1 << 20),  # does not end
        GET + b"X: " + b"a" * (1 << 17) + b"\r\n\r\n",
        GET + b"".join(b"X%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
        b"GET /" + b"a" * (1 << 17) + b" HTTP/1.1\r\n\r\n",
        b"\r\n" * (1 << 16),
    ],
)
async def test_a_head_too_large_is_refused_and_closed(service: Service, head: bytes) -> None:
    async with line_to(service) as line:
        sending = asyncio.create_task(line.send(head))
        status, headers, body = await line.answer()
        await asyncio.gather(sending, return_exceptions=True)

        assert (status, body["error"]["code"]) == (400, "invalid_request")
        assert body["error"]["details"] == {"field": "head", "reason": "headers_too_large"}
        assert (headers["connection"], len(headers["x-request-id"])) == ("close", 36)
        assert await line.is_closed()


async def test_a_head_within_the_limit_is_served(service: Service) -> None:
    async with line_to(service) as line:
        await line.send(GET + b"X: " + b"a" * 60_000 + b"\r\n\r\n")

        assert (await line.answer())[0] == 200


async def test_fields_after_a_chunked_body_have_the_same_limit(
    service: Service, anna: Person
) -> None:
    async with line_to(service) as line:
        await line.send(post(anna, "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\nX: ")
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(1000):
                await line.send(b"a" * (1 << 17))
                await asyncio.sleep(0.01)


async def test_what_is_no_request_is_told_so_in_the_envelope(service: Service) -> None:
    async with line_to(service) as line:
        await line.send(b"\x16\x03\x01 hello\r\n\r\n")
        status, headers, body = await line.answer()

        assert (status, headers["connection"]) == (400, "close")
        assert body["error"]["details"] == {"field": "head", "reason": "http"}
        assert await line.is_closed()


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"documents": {"invoice": {"lines": [1] * 1_300_000}}},
        lambda: {"documents": {"invoice": {"lines": [{}] * 900_000}}},
        lambda: {f"k{n}": 1 for n in range(300_000)},
        lambda: {"k" * 4_000_000: 1},
        lambda: {"documents": {f"k{n}": 1 for n in range(300_000)}},
        lambda: {"documents": {"k" * 4_000_000: {}}},
        lambda: {"documents": {}, "session_id": "k" * 4_000_000, "language": "k" * 1_000_000},
    ],
)
async def test_a_hostile_body_is_answered_within_a_second_and_briefly(
    anna: Person, make: Callable[[], Any]
) -> None:
    raw = json.dumps(make(), separators=(",", ":")).encode()
    started = time.process_time()
    found = await anna.post("/packs", content=raw)
    took_s = time.process_time() - started

    assert found.status_code in {404, 422}
    assert len(found.content) < 60_000
    assert took_s < 2  # ours and the client's


async def test_others_are_served_while_a_large_body_is_checked(
    service: Service, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: list[int] = []
    most = [0]
    asked: list[Services] = []
    has_begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def check(*_: Any) -> None:
        under_way.append(1)
        loop.call_soon_threadsafe(has_begun.set)
        most[0] = max(most[0], len(under_way))
        assert go_on.wait(10)
        under_way.pop()

    def services_noted(request: Request) -> Services:
        asked.append(services_of(request))
        return asked[-1]

    monkeypatch.setattr(foreign, "check_data", check)
    monkeypatch.setattr(operations, "services_of", services_noted)
    async with asyncio.TaskGroup() as tasks:
        heavy = [tasks.create_task(anna.pack("invoice")) for _ in range(6)]
        await has_begun.wait()
        assert (await service.client.get("/health/live")).status_code == 200
        assert not any(task.done() for task in heavy)
        await until(lambda: most[0] == 2, what="the second check")
        await until(lambda: asked[0].bodies.statistics().tasks_waiting == 4, what="the others")
        go_on.set()

    assert most[0] == 2


async def test_an_unknown_session_is_a_problem_of_the_body(anna: Person, boris: Person) -> None:
    pack = await boris.pack("invoice")
    rows = (await boris.get("/me/packs")).json()["packs"]
    assert rows[0]["pack_id"] == pack
    for session in (rows[0]["session_id"], "0198c0de-0000-7000-8000-000000000000"):
        found = await anna.post("/packs", json=pack_body("invoice") | {"session_id": session})
        error = found.json()["error"]

        assert (found.status_code, error["code"]) == (422, "validation_failed")
        (problem,) = error["details"]
        assert (problem["code"], problem["path"]) == ("unknown_session", "session_id")


async def test_few_large_bodies_are_in_memory_at_a_time(
    anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = 0, 0
    make = render_routes._made

    async def counted(*arguments: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)  # lets the others come, if they may
        try:
            return await make(*arguments)
        finally:
            at_once -= 1

    monkeypatch.setattr(render_routes, "_made", counted)
    bodies = [pack_body("letter") for _ in range(8)]
    answers = await asyncio.gather(*(anna.post("/packs", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {201}
    assert most == HEAVY
