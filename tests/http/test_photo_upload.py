"""Photos over a real socket: taken whole, or refused, and then nothing is left of them."""

from __future__ import annotations

import errno
import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from typing import IO, Any

import anyio
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from makeready import media_folder
from makeready.media import MediaStore
from makeready_http.photo_upload import received_photo
from tests.support.intake import PASSWORD, RIGHT, Intake, booth, posted
from tests.support.pictures import BOUNDARY, CAPTURED, booth_form, field, file, form, photo
from tests.support.waiting import until

SHA1 = hashlib.new("sha1", photo(), usedforsecurity=False).hexdigest()


async def test_ing_001_a_photo_is_taken_as_a_booth_sends_it(intake: Intake) -> None:
    # ING-012, ING-014, ING-015: captured fields in captured order; the hash is none of the file.
    # ING-001
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
    # ING-016
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
    # ING-013
    raw = file(b"II*\0" + bytes(1000), media_type="image/x-canon-cr2")
    with capture_logs() as logs:
        answer = await posted(intake, form(RIGHT, raw, file(photo()), file(photo("image/png"))))

    assert (answer.status, answer.body["ignored_files"]) == (200, 2)
    assert intake.taken == [photo()]
    assert [each["count"] for each in logs if each["event"] == "photo_files_ignored"] == [2]


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
    # ING-011
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


class SlowFile:
    """A file whose writes wait."""

    def __init__(self, real: IO[bytes]) -> None:
        self.real = real
        self.stuck, self.go_on = threading.Event(), threading.Event()

    def write(self, data: bytes) -> int:
        self.stuck.set()
        assert self.go_on.wait(20)
        return self.real.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class SlowStore:
    """A folder on a disk that takes its time."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store
        self.files: list[SlowFile] = []

    def nameless(self, room: int) -> Any:
        self.files.append(SlowFile(self._store.nameless(room)))
        return self.files[-1]

    def is_stuck(self) -> bool:
        return bool(self.files) and self.files[0].stuck.is_set()


async def test_ing_040_the_disk_never_holds_the_loop(intake: Intake) -> None:
    # Others are served meanwhile.
    store, slow = intake.store, SlowStore(intake.store)
    intake.store = slow  # type: ignore[assignment]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(posted, intake, form(RIGHT, file(photo())))
        await until(slow.is_stuck, what="a write")
        intake.store = store
        assert (await posted(intake, form(RIGHT, file(photo())))).status == 200
        slow.files[0].go_on.set()
    assert len(intake.taken) == 2


async def test_the_file_stays_open_as_long_as_it_is_written(intake: Intake) -> None:
    slow = SlowStore(intake.store)
    intake.store = slow  # type: ignore[assignment]
    async with booth(intake) as client:
        await client.head(length=10 << 20)
        await client.send(form(RIGHT, file(photo() + bytes(1 << 20))))
        await until(slow.is_stuck, what="a write")
        client.reset()
    await anyio.sleep(0.1)
    assert not slow.files[0].real.closed

    slow.files[0].go_on.set()
    await until(lambda: slow.files[0].real.closed, what="its end")
    assert intake.taken == []


async def test_a_small_photo_leaves_the_room_that_is_kept(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake.limit(min_free_bytes=1 << 20)
    body = form(RIGHT, file(photo()))
    monkeypatch.setattr(media_folder, "free_bytes", lambda _: (1 << 20) + len(photo()) - 1)
    refused = await posted(intake, body)
    monkeypatch.setattr(media_folder, "free_bytes", lambda _: (1 << 20) + len(photo()))

    assert (refused.status, refused.details) == (503, {"reason": "disk"})
    assert (await posted(intake, body)).status == 200


async def test_a_disk_that_fills_up_is_told(intake: Intake) -> None:

    class Full:
        """A folder without room."""

        def nameless(self, _: int) -> Any:
            class File:
                def write(self, _: bytes) -> int:
                    raise OSError(errno.ENOSPC, "No space left on device")

                def close(self) -> None:
                    return

            return File()

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
            limits=intake.door,
            check_password=intake.check,
        ) as found:
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found.size_bytes == len(photo()) + count * len(piece)
    assert peak < 6 << 20
