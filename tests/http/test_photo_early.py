"""Photos that are refused while they come: at once, in words that reach whoever is sending."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from makeready_http import early_answers, photo_places, photo_upload
from makeready_http.bodies import Pace
from tests.support.intake import (
    PASSWORD,
    PATH,
    RIGHT,
    WRONG,
    Answer,
    Booth,
    Intake,
    booth,
    posted,
)
from tests.support.pictures import field, file, form, photo
from tests.support.waiting import until

ENDLESS = 300 << 20


async def begun(intake: Intake, start: bytes, *lines: str) -> Answer:
    """The answer to a body that begins so and never ends."""
    async with booth(intake) as client:
        await client.head(*lines, length=ENDLESS)
        if "Expect: 100-continue" in lines:
            assert await client.continued()
        await client.send(start)
        answer = await client.answer()
        assert answer.headers["connection"] == "close"
        return answer


@pytest.mark.parametrize("lines", [(), ("Expect: 100-continue",)], ids=["sends", "asks"])
async def test_a_wrong_password_ends_the_upload_where_it_stands(
    intake: Intake, lines: tuple[str, ...]
) -> None:
    answer = await begun(intake, form(WRONG, file(photo()))[:300], *lines)

    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert answer.details == {"field": "password"}


async def test_ing_016_a_wrong_password_after_the_photo_ends_it_too(intake: Intake) -> None:
    # ING-016
    answer = await begun(intake, form(file(photo()), WRONG)[:-4] + b"\r\n")

    assert (answer.status, intake.tried, intake.taken) == (401, ["wrong"], [])


async def test_a_wrong_password_is_told_before_a_wrong_type(intake: Intake) -> None:
    other = file(b"GIF89a" + bytes(200))
    assert (await posted(intake, form(WRONG, other))).status == 401
    assert (await posted(intake, form(other, WRONG))).status == 415


async def test_ing_007_a_wrong_type_ends_the_upload_where_it_stands(intake: Intake) -> None:
    answer = await begun(intake, form(RIGHT, file(b"%PDF-1.7" + bytes(200)))[:-50])

    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert answer.details["detected"] == "application/pdf"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_bytes": 1000}, (413, "payload_too_large")),
        ({"min_free_bytes": 1 << 60}, (503, "queue_unavailable")),
    ],
)
async def test_ing_015_who_asks_first_is_refused_before_a_byte(
    intake: Intake, limits: dict[str, int], expected: tuple[int, str]
) -> None:
    intake.limit(**limits)
    async with booth(intake) as client:
        await client.head("Expect: 100-continue", length=ENDLESS)
        answer = await client.answer()

        assert not answer.continued
        assert (answer.status, answer.code) == expected
        assert answer.headers["connection"] == "close"
        assert await client.is_closed()
    if answer.status == 413:
        assert answer.details == {"max_bytes": 1000, "received_bytes": ENDLESS}
    else:
        assert answer.details == {"reason": "disk"}
        assert int(answer.headers["retry-after"]) >= 1


async def test_ing_011_what_is_no_form_is_refused_before_a_byte(intake: Intake) -> None:
    # ING-011
    async with booth(intake) as client:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        await client.send(f"{head}Content-Length: {ENDLESS}\r\nExpect: 100-continue\r\n\r\n")
        answer = await client.answer()

    assert (answer.status, answer.code, answer.continued) == (400, "invalid_request", False)
    assert answer.details == {"field": "Content-Type", "reason": "multipart"}


async def test_who_sends_first_and_reads_later_gets_the_answer(intake: Intake) -> None:
    body = form(WRONG, file(photo() + bytes(12 << 20)))
    answer = await posted(intake, body)

    assert (answer.status, answer.headers["connection"]) == (401, "close")


async def test_who_never_stops_sending_is_cut_off(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_answers, "DRAIN_BYTES", 1 << 20)
    monkeypatch.setattr(early_answers, "DRAIN_S", 60)
    async with booth(intake) as client:
        await client.head(length=ENDLESS)
        await client.send(form(WRONG, file(photo()))[:300])
        assert (await client.answer()).status == 401

        async def sent() -> None:
            for _ in range(200):
                await client.send(bytes(1 << 20))

        with pytest.raises(ConnectionError):
            await sent()


async def test_the_drain_ends_in_time(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_answers, "DRAIN_S", 0.1)
    async with booth(intake) as client:
        await client.head(length=ENDLESS)
        await client.send(form(WRONG, file(photo()))[:300])
        assert (await client.answer()).status == 401
        assert await client.is_closed()


@pytest.mark.parametrize("expect", [(), ("-H", "Expect: 100-continue")], ids=["sends", "asks"])
@pytest.mark.parametrize(
    ("password", "limit", "expected"),
    [(PASSWORD, 2 << 30, 415), ("x", 2 << 30, 401), ("x", 9, 413)],
)
async def test_curl_reads_every_refusal(  # noqa: PLR0917 -- a table's columns
    intake: Intake,
    tmp_path: Path,
    expect: tuple[str, ...],
    password: str,
    limit: int,
    expected: int,
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    intake.limit(max_bytes=limit)
    large = tmp_path / "large.jpg"
    with large.open("wb") as made:
        made.truncate(64 << 20)
    url = f"http://127.0.0.1:{intake.port}{PATH}"
    parts = ("-F", f"password={password}", "-F", f"fileToUpload=@{large}")
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-o", str(tmp_path / "answer"), "-w", "%{http_code} %{size_upload}"),
        *(*expect, *parts, url),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)

    code, sent = out.decode().split()
    assert (process.returncode, int(code)) == (0, expected)
    if expect and expected == 413:
        assert int(sent) == 0


@pytest.mark.parametrize(
    ("pace", "pieces"),
    [
        (Pace(first_s=0.2, bytes_per_s=1 << 20, silence_s=5), 0),
        (Pace(first_s=0.2, bytes_per_s=1 << 20, silence_s=5), 1),
        (Pace(first_s=5, bytes_per_s=1, silence_s=0.2), 3),
    ],
    ids=["nothing", "too little", "silence"],
)
async def test_a_body_that_comes_too_slowly_is_a_timeout(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, pace: Pace, pieces: int
) -> None:
    monkeypatch.setattr(photo_upload, "PACE", pace)
    start = form(RIGHT, file(photo()))[:-50]
    async with booth(intake) as client:
        await client.head(length=ENDLESS)
        for number in range(pieces):
            await client.send(start[number * 100 : number * 100 + 100])
        answer = await client.answer()

    assert (answer.status, answer.code) == (408, "upload_timeout")
    assert answer.headers["connection"] == "close"


async def test_a_drip_is_a_timeout(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_upload, "PACE", Pace(first_s=0.3, bytes_per_s=1000, silence_s=5))
    async with booth(intake) as client, anyio.create_task_group() as tasks:
        await client.head(length=ENDLESS)
        await client.send(form(RIGHT, field("status", ""))[:-40])

        async def drip() -> None:
            while True:
                await client.send(b"x")
                await anyio.sleep(0.02)

        tasks.start_soon(drip)
        answer = await client.answer()
        tasks.cancel_scope.cancel()

    assert answer.status == 408


async def test_a_client_that_goes_away_leaves_nothing(intake: Intake) -> None:
    async with booth(intake) as client:
        await client.head(length=ENDLESS)
        await client.send(form(RIGHT, file(photo()))[:-50] + bytes(3 << 20))
        await until(lambda: intake.open_files() == 1, what="the upload")
        client.reset()
    await until(lambda: intake.open_files() == 0, what="its end")


@asynccontextmanager
async def all_places(intake: Intake, start: bytes) -> AsyncIterator[list[Booth]]:
    """As many clients as there are places have begun a form so."""
    limit = photo_places.UPLOADS_AT_ONCE
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(booth(intake)) for _ in range(limit)]
        for number, client in enumerate(clients, 1):
            await client.head(length=ENDLESS)
            await client.send(start)
            await until(partial(_are_open, intake, number), what="an upload")
        yield clients


def _are_open(intake: Intake, count: int) -> bool:
    return intake.open_files() == count


async def test_ing_073_only_so_many_photos_come_in_at_a_time(intake: Intake) -> None:
    # ING-073
    async with all_places(intake, form(RIGHT)[:20]), booth(intake) as late:
        await late.head("Expect: 100-continue", length=1000)
        answer = await late.answer()

    assert (answer.status, answer.code, answer.continued) == (429, "queue_busy", False)
    limit = photo_places.UPLOADS_AT_ONCE
    assert answer.details == {"reason": "limit", "in_flight": limit, "limit": limit}
    assert int(answer.headers["retry-after"]) >= 1
    await until(lambda: intake.open_files() == 0, what="free places")
    assert (await posted(intake, form(RIGHT, file(photo())))).status == 200


async def test_who_has_shown_no_password_yields_its_place(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_places, "STRANGER_S", 0)
    async with all_places(intake, form(RIGHT)[:20]) as strangers:
        assert (await posted(intake, form(RIGHT, file(photo())))).status == 200
        answer = await strangers[0].answer()

    assert (answer.status, answer.code) == (408, "upload_timeout")


async def test_who_has_shown_a_password_keeps_its_place(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_places, "STRANGER_S", 0)
    async with all_places(intake, form(RIGHT, file(photo()))[:-50]):
        await until(lambda: len(intake.tried) == photo_places.UPLOADS_AT_ONCE)
        assert (await posted(intake, form(RIGHT, file(photo())))).status == 429
