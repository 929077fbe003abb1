"""Photos over a real socket: taken whole or refused early, and then nothing is left of them."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from makeready_http import early_answers, photo_upload
from makeready_http.inputs import Pace
from makeready_http.photo_upload import received_photo
from tests.support.intake import PASSWORD, PATH, Answer, Intake, booth, posted, taking_in
from tests.support.pictures import (
    BOUNDARY,
    CAPTURED,
    booth_form,
    field,
    file,
    form,
    photo,
)
from tests.support.waiting import until

SHA1 = hashlib.new("sha1", photo(), usedforsecurity=False).hexdigest()
RIGHT, WRONG = field("password", PASSWORD), field("password", "wrong")
ENDLESS = 300 << 20


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Intake]:
    async with taking_in(tmp_path / "media") as running:
        yield running
        # ING-020: however a request has ended, nothing of it is left.
        assert running.left() == []
        await until(lambda: running.open_files() == 0, what="the end of all uploads")


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


async def test_ing_001_a_photo_is_taken_as_a_booth_sends_it(intake: Intake) -> None:
    # ING-012, ING-014, ING-015: captured fields in captured order; the hash is none of the file.
    answer = await posted(intake, booth_form(photo(), PASSWORD), "Expect: 100-continue")

    assert answer.status == 200
    assert answer.continued
    assert intake.taken == [photo()]
    assert answer.body == {
        "media_type": "image/jpeg",
        "size_bytes": len(photo()),
        "sha256": hashlib.sha256(photo()).hexdigest(),
        "size": [64, 48],
        "orientation": 1,
        "name": "IMG_0003.JPG",
        "fields": dict(CAPTURED),
        "declared_type": "image/jpeg",
        "ignored_files": 0,
        "hash_matches": False,
    }
    assert intake.tried == [PASSWORD]


@pytest.mark.parametrize("kind", ["image/png", "image/webp", "image/heic"])
async def test_ing_016_the_password_may_come_after_the_photo(intake: Intake, kind: str) -> None:
    # ING-007: whatever its type is said to be.
    answer = await posted(intake, form(file(photo(kind)), RIGHT, field("late", "1")))

    assert (answer.status, answer.body["media_type"]) == (200, kind)
    assert answer.body["fields"] == {"late": "1"}


async def test_a_body_in_chunks_is_taken(intake: Intake) -> None:
    body = form(RIGHT, file(photo()))
    async with booth(intake) as client:
        await client.head()
        for start in range(0, len(body), 100):
            piece = body[start : start + 100]
            await client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).status == 200

    assert intake.taken == [photo()]


@pytest.mark.parametrize(
    ("stated", "matches"),
    [
        (SHA1, True),
        (SHA1.upper(), True),
        ("0" * 40, False),
        (hashlib.sha256(photo()).hexdigest(), True),
        ("0" * 64, False),
        ("what?", None),
    ],
)
async def test_ing_014_a_hash_never_rejects(
    intake: Intake, stated: str, matches: bool | None
) -> None:
    with capture_logs() as logs:
        answer = await posted(intake, form(field("hash", stated), RIGHT, file(photo())))

    assert (answer.status, answer.body["hash_matches"]) == (200, matches)
    warned = [each["log_level"] for each in logs if each["event"] == "photo_hash_differs"]
    assert warned == (["warning"] if matches is False else [])


async def test_ing_013_other_files_are_ignored_and_logged(intake: Intake) -> None:
    raw = file(b"II*\0" + bytes(1000), media_type="image/x-canon-cr2")
    with capture_logs() as logs:
        answer = await posted(intake, form(RIGHT, raw, file(photo()), file(photo("image/png"))))

    assert (answer.status, answer.body["ignored_files"]) == (200, 2)
    assert intake.taken == [photo()]
    assert [each["count"] for each in logs if each["event"] == "photo_files_ignored"] == [2]


@pytest.mark.parametrize("lines", [(), ("Expect: 100-continue",)], ids=["sends", "asks"])
async def test_a_wrong_password_ends_the_upload_where_it_stands(
    intake: Intake, lines: tuple[str, ...]
) -> None:
    answer = await begun(intake, form(WRONG, file(photo()))[:300], *lines)

    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert answer.details == {"field": "password"}


async def test_ing_016_a_wrong_password_after_the_photo_ends_it_too(intake: Intake) -> None:
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
    ("body", "field_name", "reason"),
    [
        (form(file(photo())), "password", "missing"),
        (form(RIGHT), "fileToUpload", "missing"),
        (form(RIGHT, file(b"")), "fileToUpload", "invalid_payload"),
        (form(RIGHT, file(photo()))[:-4], "body", "multipart"),
        (b"{}", "body", "multipart"),
    ],
)
async def test_ing_011_what_is_missing_or_broken_is_told(
    intake: Intake, body: bytes, field_name: str, reason: str
) -> None:
    answer = await posted(intake, body)

    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.details == {"field": field_name, "reason": reason}


async def test_ing_009_a_file_over_the_limit_is_refused_while_it_comes(intake: Intake) -> None:
    # ING-010: the limit is the slot's, where that is lower.
    intake.limit(max_bytes=1000)
    body = form(RIGHT, file(photo() + bytes(3 << 20)))
    async with booth(intake) as client:
        await client.head()
        await client.send(b"%x\r\n%s\r\n" % (len(body), body))
        answer = await client.answer()

    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert answer.details["max_bytes"] == 1000
    assert answer.details["received_bytes"] > 1000


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


async def test_ing_073_only_so_many_photos_come_in_at_a_time(intake: Intake) -> None:
    async with anyio.create_task_group() as tasks:
        waiting = []
        done = anyio.Event()

        async def hold() -> None:
            async with booth(intake) as client:
                await client.head(length=ENDLESS)
                await client.send(form(RIGHT)[:20])
                waiting.append(client)
                await done.wait()

        for _ in range(photo_upload.UPLOADS_AT_ONCE):
            tasks.start_soon(hold)
        await until(lambda: intake.open_files() == photo_upload.UPLOADS_AT_ONCE)
        async with booth(intake) as late:
            await late.head("Expect: 100-continue", length=1000)
            answer = await late.answer()
        done.set()

    assert (answer.status, answer.code, answer.continued) == (429, "queue_busy", False)
    limit = photo_upload.UPLOADS_AT_ONCE
    assert answer.details == {"reason": "limit", "in_flight": limit, "limit": limit}
    assert int(answer.headers["retry-after"]) >= 1
    await until(lambda: intake.open_files() == 0, what="free places")
    assert (await posted(intake, form(RIGHT, file(photo())))).status == 200


async def test_a_bomb_is_refused_by_its_header(intake: Intake) -> None:
    intake.limit(max_pixels=64 * 48 - 1)
    answer = await posted(intake, form(RIGHT, file(photo())))

    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert answer.details == {"max_pixels": 64 * 48 - 1, "pixels": 64 * 48}


@pytest.mark.parametrize(
    "content",
    [b"\xff\xd8\xff" + b"<script>alert(1)</script>" * 9, photo("image/png", frames=2)],
    ids=["script", "animation"],
)
async def test_what_only_begins_like_a_photo_is_refused(intake: Intake, content: bytes) -> None:
    answer = await posted(intake, form(RIGHT, file(content)))

    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert answer.details["detected"] in {"image/jpeg", "image/png"}


async def test_ing_040_the_disk_never_holds_the_loop(intake: Intake) -> None:
    # A disk that takes its time: others are served meanwhile.
    stuck, go_on = threading.Event(), threading.Event()
    store = intake.store

    class Slow:
        """A file whose writes wait."""

        def __init__(self, real: IO[bytes]) -> None:
            self._real = real

        def write(self, data: bytes) -> int:
            stuck.set()
            assert go_on.wait(20)
            return self._real.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    class SlowStore:
        """A folder on that disk."""

        free_bytes = store.free_bytes

        @asynccontextmanager
        async def spool(self) -> AsyncIterator[Any]:
            async with store.spool() as real:
                yield Slow(real)

    intake.store = SlowStore()  # type: ignore[assignment]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(posted, intake, form(RIGHT, file(photo())))
        await until(stuck.is_set, what="a write")
        intake.store = store
        assert (await posted(intake, form(RIGHT, file(photo())))).status == 200
        go_on.set()
    assert len(intake.taken) == 2


async def test_a_disk_that_fills_up_is_told(intake: Intake) -> None:
    store = intake.store

    class Full:
        """A folder without room."""

        free_bytes = store.free_bytes

        @asynccontextmanager
        async def spool(self) -> AsyncIterator[Any]:
            class File:
                def write(self, _: bytes) -> int:
                    raise OSError(errno.ENOSPC, "No space left on device")

            yield File()

    intake.store = Full()  # type: ignore[assignment]
    answer = await posted(intake, form(RIGHT, file(photo() + bytes(2 << 20))))

    assert (answer.status, answer.code) == (503, "queue_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def test_ing_009_memory_holds_a_batch_whatever_the_size(intake: Intake) -> None:
    piece, count = bytes(256 << 10), 256

    def messages() -> Iterator[dict[str, Any]]:
        head = form(RIGHT, file(photo()))
        end = f"\r\n--{BOUNDARY}--\r\n".encode()
        yield {"type": "http.request", "body": head[: -len(end)], "more_body": True}
        for _ in range(count):
            yield {"type": "http.request", "body": piece, "more_body": True}
        yield {"type": "http.request", "body": end, "more_body": False}

    coming = messages()

    async def receive() -> dict[str, Any]:
        return next(coming)

    content_type = f"multipart/form-data; boundary={BOUNDARY}".encode()
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}
    tracemalloc.start()
    try:
        async with received_photo(
            Request(scope, receive),
            store=intake.store,
            door=intake.door,
            check_password=intake.check,
        ) as found:
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found.size_bytes == len(photo()) + count * len(piece)
    assert peak < 6 << 20
