"""One attempt at a receiver that does what receivers do."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from makeready_workers.posting import Answer, PostFailed, open_poster, retry_after
from tests.support.receiver import break_off, endless, hang, receiving, status

SHORT_S = 0.3


async def post(url: str, *, private: bool = True, timeout_s: float = 5.0) -> Answer:
    async with open_poster(private=private) as poster:
        return await poster.post(url, '{"a": 1}', {"x-a": "b"}, timeout_s=timeout_s)


async def failure(url: str, **options: Any) -> str:
    with pytest.raises(PostFailed) as raised:
        await post(url, **options)
    assert "secret" not in str(raised.value)  # RND-029: nothing of the URL
    assert raised.value.__cause__ is None
    return raised.value.code


async def test_a_message_arrives_whole() -> None:
    async with receiving() as receiver:
        answer = await post(receiver.url)
    (request,) = receiver.requests
    assert (answer.status, answer.is_taken) == (204, True)
    assert (request.path, request.message) == ("/hook?key=url-secret", {"a": 1})
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-a"] == "b"


async def test_no_redirect_is_followed() -> None:
    async with receiving() as inner, receiving() as outer:
        outer.script = [status(307, Location=inner.url)]
        answer = await post(outer.url)
    assert (answer.status, answer.is_taken) == (307, False)
    assert inner.requests == []


async def test_a_body_without_end_is_not_read() -> None:
    async with receiving() as receiver:
        receiver.script = [endless]
        assert (await post(receiver.url)).status == 200


async def test_who_says_nothing_is_left() -> None:
    async with receiving() as receiver:
        receiver.script = [hang, break_off]
        assert await failure(receiver.url, timeout_s=SHORT_S) == "TIMEOUT"
        assert await failure(receiver.url) == "NO_ANSWER"
    assert await failure(receiver.url) == "NO_CONNECTION"
    assert await failure("https://nobody.invalid/secret") == "NO_ADDRESS"


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1"]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with receiving(context) as receiver:
        assert await failure(receiver.url) == "TLS_ERROR"
    assert receiver.requests == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]"],  # noqa: S104
)
async def test_nothing_of_ones_own_network_is_reached(host: str) -> None:
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        code = await failure(f"http://{host}:{port}/secret", private=False)
    # Odd spellings are no URL to our client, or no name to some resolvers.
    assert code in {"ADDRESS_REFUSED", "NO_ADDRESS", "INVALID_URL"}
    assert receiver.requests == []


@pytest.mark.parametrize("mapped", ["::ffff:127.0.0.1", "::ffff:7f00:1"])
async def test_an_address_in_disguise_is_not_reached(mapped: str) -> None:
    assert await failure(f"http://[{mapped}]:9/secret", private=False) == "ADDRESS_REFUSED"


async def test_a_name_that_leads_elsewhere_the_second_time_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is judged is the address that is connected to, not an answer of the resolver."""
    answers = ["93.184.216.34", "127.0.0.1"]
    asked: list[str] = []

    async def getaddrinfo(_: object, host: str, port: int, **__: object) -> list[Any]:
        asked.append(host)
        place = (answers[min(len(asked), 2) - 1], port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]

    loop = asyncio.get_running_loop()
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        monkeypatch.setattr(type(loop), "getaddrinfo", getaddrinfo)
        await loop.getaddrinfo("rebind.example", 80)  # a check in advance would have passed
        url = f"http://rebind.example:{port}/secret"
        assert await failure(url, private=False) == "ADDRESS_REFUSED"
    assert len(asked) == 2
    assert receiver.requests == []


def test_a_wish_for_later_is_read_in_both_forms() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    assert retry_after("120") == 120
    assert retry_after(in_a_minute) == pytest.approx(60, abs=2)
    assert retry_after("99999999999") == 24 * 3600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for text in (None, "", "soon", "-5", "1.5"):
        assert retry_after(text) is None
