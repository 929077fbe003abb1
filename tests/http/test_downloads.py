"""Downloads over a real socket: whole, in ranges, resumed, broken off, abandoned.

Proves PSM-032.
"""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from makeready.archive import Archive
from makeready.read_ahead import READ_BYTES
from tests.support.downloading import Shelf, offering, shelf
from tests.support.service import NO_TLS, error_code
from tests.support.waiting import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    shelf: Shelf
    archive: Archive
    url: str
    client: httpx2.AsyncClient
    whole: bytes

    async def get(self, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(self.url, headers=named)


@pytest.fixture
async def offer() -> AsyncIterator[Offer]:
    """Twelve objects of 150 kB."""
    objects = shelf(12, 150_000)
    archive = objects.archive()
    async with (
        offering(objects, archive) as url,
        httpx2.AsyncClient(verify=NO_TLS, timeout=15) as client,
    ):
        whole = (await client.get(url)).content
        objects.asked.clear()
        yield Offer(shelf=objects, archive=archive, url=url, client=client, whole=whole)


async def test_an_archive_comes_whole_with_its_length_and_names_psm_032(offer: Offer) -> None:
    answer = await offer.get()

    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{offer.archive.etag}"'
    assert "filename*=UTF-8''%D0%A0%D0%B5%D1%81" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        assert found.namelist()[3] == "Ресторан «Ёлки»/Стол № 0003.pdf"
        assert found.read(found.namelist()[3]) == offer.shelf.objects["Стол № 0003.pdf"]


async def test_head_tells_the_same_and_reads_nothing(offer: Offer) -> None:
    whole = await offer.get()
    offer.shelf.asked.clear()
    answer = await offer.client.head(offer.url, headers={"Range": "bytes=0-9"})

    assert answer.status_code == 200
    assert answer.content == b""
    assert offer.shelf.asked == []
    differing = {"date", "x-request-id"}
    assert {k: v for k, v in answer.headers.items() if k not in differing} == {
        k: v for k, v in whole.headers.items() if k not in differing
    }


async def test_random_ranges_equal_slices_of_the_whole_psm_032(offer: Offer) -> None:
    chance = random.Random(5)
    size = len(offer.whole)
    for _ in range(40):
        first = chance.randrange(size)
        last = min(first + chance.choice([0, 1, 99, 70_000, 400_000, size]), size - 1)
        answer = await offer.get(Range=f"bytes={first}-{last}")
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(last - first + 1)
        assert answer.content == offer.whole[first : last + 1]


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=10-", 10, -1),
        ("bytes=-300000", -300_000, -1),
        ("bytes=-999999999", 0, -1),
        ("bytes=5-999999999", 5, -1),
        ("BYTES= 5-5", 5, 5),
    ],
)
async def test_each_way_to_ask_for_a_range_is_understood(
    offer: Offer, wanted: str, first: int, last: int
) -> None:
    answer = await offer.get(Range=wanted)

    assert answer.status_code == 206
    assert answer.content == offer.whole[first:][: None if last < 0 else last - first + 1]


@pytest.mark.parametrize(
    "odd",
    ["bytes=", "bytes=-", "bytes=9-3", "bytes=0-1,5-6", "pages=1-2", "bytes=a-b",
     "bytes=99999999999999999999999-", "x"],
)  # fmt: skip
async def test_what_is_no_single_range_is_let_be(offer: Offer, odd: str) -> None:
    answer = await offer.get(Range=odd)

    assert answer.status_code == 200
    assert answer.content == offer.whole


async def test_a_range_outside_is_416_with_the_size_psm_032(offer: Offer) -> None:
    size = len(offer.whole)
    for wanted in (f"bytes={size}-", "bytes=99999999999-", "bytes=-0"):
        answer = await offer.get(Range=wanted)
        assert answer.status_code == 416
        assert error_code(answer) == "range_not_satisfiable"
        assert answer.headers["content-range"] == f"bytes */{size}"


async def test_a_range_of_other_bytes_gets_the_whole(offer: Offer) -> None:
    tag = offer.archive.etag
    assert (await offer.get(Range="bytes=5-9", If_Range=f'"{tag}"')).status_code == 206
    for other in ('"another"', f'W/"{tag}"', "Sun, 01 Mar 2026 12:30:00 GMT", tag):
        answer = await offer.get(Range="bytes=5-9", If_Range=other)
        assert answer.status_code == 200, other
        assert answer.content == offer.whole
    assert (await offer.get(If_Range='"another"')).status_code == 200


async def test_who_has_it_is_told_so(offer: Offer) -> None:
    tag = offer.archive.etag
    for known in (f'"{tag}"', f'W/"{tag}"', f'"other", "{tag}"', "*"):
        answer = await offer.get(If_None_Match=known, Range="bytes=0-5")
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{tag}"'
    assert offer.shelf.asked == []
    assert (await offer.get(If_None_Match='"other"')).status_code == 200


async def test_only_the_objects_of_a_range_are_read_and_of_them_only_its_bytes(
    offer: Offer,
) -> None:
    await offer.get(Range="bytes=200000-400000")

    assert [span.key for span in offer.shelf.asked] == [
        "Стол № 0001.pdf",
        "Стол № 0002.pdf",
    ]
    assert sum(span.byte_count for span in offer.shelf.asked) < 200_001
    assert all(span.byte_count <= READ_BYTES for span in offer.shelf.asked)


async def test_an_object_that_is_gone_breaks_the_connection_off(offer: Offer) -> None:
    """Half an archive must not look like a whole one."""
    del offer.shelf.objects["Стол № 0007.pdf"]
    received = bytearray()

    async def receive() -> None:
        async with offer.client.stream("GET", offer.url) as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_raw():
                received.extend(chunk)

    with capture_logs() as logs, pytest.raises(httpx2.RemoteProtocolError):
        await receive()
    assert bytes(received) == offer.whole[: len(received)]
    assert len(received) > 7 * 150_000  # all that there was
    (line,) = [line for line in logs if line["event"] == "download_finished"]
    assert (line["sent_bytes"], line["is_whole"]) == (len(received), False)


async def test_a_client_that_goes_away_ends_all_reads(offer: Offer) -> None:
    offer.shelf.objects.update({"Стол № 0000.pdf": bytes(4 << 20)})
    offer.shelf.pause = asyncio.Event()
    archive = offer.shelf.archive()
    async with offering(offer.shelf, archive) as url:
        async with offer.client.stream("GET", url) as answer:
            await anext(answer.aiter_raw())
            assert offer.shelf.open > 0
        await until(lambda: offer.shelf.open == 0, what="the end of all reads")


async def test_curl_resumes_what_broke_off_psm_032(offer: Offer, tmp_path: Path) -> None:
    curl, unzip = shutil.which("curl"), shutil.which("unzip")
    if curl is None:
        pytest.skip("curl is not installed")
    path = tmp_path / "архив.zip"

    async def run(*command: str) -> int:
        process = await asyncio.create_subprocess_exec(*command)
        return await process.wait()

    first = [curl, "-sS", "-r", "0-700000", "-o", str(path), offer.url]
    assert await run(*first) == 0
    assert path.stat().st_size == 700_001
    assert await run(curl, "-sS", "-C", "-", "-o", str(path), offer.url) == 0
    assert path.read_bytes() == offer.whole
    if unzip is not None:
        assert await run(unzip, "-tqq", str(path)) == 0

    gone = offer.shelf.objects.pop("Стол № 0009.pdf")
    path.unlink()
    assert await run(curl, "-s", "-o", str(path), offer.url) == 18  # shorter than was said
    offer.shelf.objects["Стол № 0009.pdf"] = gone
    assert await run(curl, "-sS", "-C", "-", "-o", str(path), offer.url) == 0
    assert path.read_bytes() == offer.whole
