"""Links to results: where they may lead, and what may be there."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from makeready_workers.providers import fetching
from makeready_workers.providers.base import Image, ProviderFailed
from makeready_workers.providers.fetching import fetched
from makeready_workers.providers.turbotext import Turbotext
from tests.support.provider_server import (
    Behaviour,
    cut_off,
    drip,
    endless,
    expired,
    ok,
    picture,
    redirect,
    refuse,
    wrong_type,
)
from tests.support.providing import Desk, desk, meaning

RESULT = Image(content=picture(), media_type="image/jpeg")
HERE = ("127.0.0.1",)


@pytest.fixture
async def there(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(fetching, "PAUSE_S", 0.01)
    async with desk("turbotext", Turbotext()) as found:
        yield found


def link(there: Desk, rest: str = "/files/result.jpg?signature=of-a-link") -> str:
    return f"{there.server.url}{rest}"


async def failure(there: Desk, at: str, *, hosts: Any = HERE, **call: Any) -> ProviderFailed:
    with pytest.raises(ProviderFailed) as raised:
        await fetched(there.call(download_hosts=list(hosts), **call), at, ())
    assert "signature" not in str(raised.value)
    assert "://" not in str(raised.value).replace("https://", "", 1)  # a hint may begin so
    return raised.value


async def test_an_image_is_what_its_bytes_say(there: Desk) -> None:
    there.server.will(
        ok(picture("image/png"), "application/octet-stream"),
        ok(picture("image/webp"), "image/jpeg"),
        stage="download",
    )
    first = await fetched(there.call(), link(there), HERE)
    assert first.media_type == "image/png"
    assert (await fetched(there.call(), link(there), HERE)).media_type == "image/webp"
    assert all("authorization" not in each.headers for each in there.server.asked)


@pytest.mark.parametrize(
    ("at", "hosts"),
    [
        ("https://elsewhere.example/a.jpg", ["cdn.example"]),
        ("https://cdn.example.evil.example/a.jpg", ["cdn.example"]),
        ("https://evilcdn.example/a.jpg", ["*.cdn.example", "cdn.example"]),
        ("https://cdn.example/a.jpg", ["*.cdn.example"]),
        ("http://cdn.example/a.jpg", ["cdn.example"]),
        ("ftp://cdn.example/a.jpg", ["cdn.example"]),
        ("file:///etc/passwd", ["cdn.example"]),
        ("https://user:word@cdn.example/a.jpg", ["cdn.example"]),
        ("https://127.0.0.1/a.jpg", ["127.0.0.1"]),
        ("https://2130706433/a.jpg", ["2130706433"]),
        ("https://[::1]/a.jpg", ["::1"]),
        ("https://localhost/a.jpg", ["localhost"]),
        ("https:///a.jpg", [""]),
        ("https://[cdn.example/a.jpg", ["cdn.example"]),
        ("", ["cdn.example"]),
        (f"https://cdn.example/{'a' * 2000}", ["cdn.example"]),
    ],
)
async def test_a_link_has_to_lead_where_it_may(there: Desk, at: str, hosts: list[str]) -> None:
    failed = await failure(there, at, hosts=hosts, allows_private=False)
    assert meaning(failed) == ("invalid_response", False, False)


async def test_a_name_that_leads_into_ones_own_network_is_not_followed(
    there: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(_: object, __: str, port: int, **___: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo)
    port = there.server.url.rpartition(":")[2]
    at = f"https://cdn.example:{port}/a.jpg"
    failed = await failure(there, at, hosts=["*.example"], allows_private=False)
    assert meaning(failed) == ("upstream", False, False)
    assert str(failed) == "its address is not public"
    assert there.server.asked == []


async def test_what_a_cloud_tells_its_machine_is_never_fetched(there: Desk) -> None:
    failed = await failure(there, "http://169.254.169.254/latest", hosts=["169.254.169.254"])
    assert str(failed) == "its address is not public"


async def test_redirects_are_few_and_each_is_looked_at(there: Desk) -> None:
    there.server.will(redirect("/files/other.jpg"), redirect("b.jpg", 307), stage="download")
    assert await fetched(there.call(), link(there), HERE) == RESULT
    assert [each.path for each in there.server.asked[1:]] == ["/files/other.jpg", "/files/b.jpg"]
    for to in ("https://elsewhere.example/a.jpg?signature=1", "ftp://127.0.0.1/a", "//[", ""):
        there.server.will(*[redirect(to)] * 4, stage="download")
        failed = await failure(there, link(there))
        assert meaning(failed) == ("invalid_response", False, False)
        there.server.forget()
    there.server.will(*[redirect("/files/on.jpg")] * 4, stage="download")
    assert str(await failure(there, link(there))) == "the link to its result leads on and on"


WAYS: list[tuple[Behaviour, tuple[str, bool, bool]]] = [
    (expired(), ("upstream", True, False)),
    (refuse(404), ("upstream", True, False)),
    (refuse(500), ("upstream", True, False)),
    (refuse(401), ("upstream", False, False)),
    (ok(b""), ("invalid_response", False, False)),
    (ok(gzip.compress(picture())), ("invalid_response", False, False)),
    (wrong_type(), ("invalid_response", False, False)),
    (endless(), ("invalid_response", False, False)),
    (cut_off(), ("upstream", True, False)),
    (drip(), ("upstream", True, False)),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_what_is_there_may_be_none(
    there: Desk, way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "IMAGE_MAX_BYTES", 1 << 20)
    behaviour, expected = WAYS[way]
    there.server.will(*[behaviour] * 3, stage="download")
    seconds = 0.1 if way == len(WAYS) - 1 else 30  # only the drip is to be too slow
    assert meaning(await failure(there, link(there), request_timeout_s=seconds)) == expected
