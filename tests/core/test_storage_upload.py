"""Files that are stored piece by piece: whole, or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from botocore.exceptions import EndpointConnectionError

from makeready import storage_upload
from makeready.config import Settings
from makeready.storage import ObjectFacts, Storage, open_storage
from makeready.storage_errors import StorageUnavailable
from makeready.storage_upload import PIECE_BYTES, PIECES_AT_ONCE, put_file
from tests.support.objectstore import S3
from tests.support.waiting import until


@pytest.fixture
async def storage(settings: Settings, s3: S3) -> AsyncIterator[Storage]:
    assert settings.s3_bucket == s3.bucket
    async with open_storage(settings) as opened:
        yield opened
        await opened.delete([facts.key async for facts in opened.listing()])


async def put(storage: Storage, body: bytes) -> Any:
    return await put_file(
        storage,
        "a/b.zip",
        io.BytesIO(body),
        size=len(body),
        sha256=hashlib.sha256(body).digest(),
        media_type="application/zip",
    )


async def under_way(storage: Storage) -> list[Any]:
    """Uploads that were begun and never ended."""
    found = await storage.client.list_multipart_uploads(Bucket=storage.bucket)
    return list(found.get("Uploads", ()))


@pytest.mark.parametrize("size", [0, 10, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 5])
async def test_a_file_is_stored_whole_whatever_its_size(storage: Storage, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    facts = await put(storage, body)

    assert await storage.get("a/b.zip") == body
    found = await storage.head("a/b.zip")
    assert (found.byte_count, found.sha256, found.etag) == (size, facts.sha256, facts.etag)
    assert found.media_type == "application/zip"
    assert await under_way(storage) == []


async def test_a_piece_that_fails_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = storage.client.upload_part, 0

    async def flaky(**named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise EndpointConnectionError(endpoint_url="http://away")
        return await whole(**named)

    monkeypatch.setattr(storage.client, "upload_part", flaky)
    with pytest.raises(StorageUnavailable):
        await put(storage, bytes(2 * PIECE_BYTES))

    assert [facts.key async for facts in storage.listing()] == []
    assert await under_way(storage) == []


async def test_who_stops_waiting_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(**_: Any) -> Any:
        scope.cancel()
        await anyio.sleep(60)

    monkeypatch.setattr(storage.client, "upload_part", hang)
    with anyio.CancelScope() as scope:
        await put(storage, bytes(2 * PIECE_BYTES))

    assert scope.cancelled_caught
    assert await under_way(storage) == []


async def test_few_pieces_are_in_memory_however_many_files_are_stored(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty uploads at once must not take fifty pieces of memory, and none waits for ever."""
    may_go_on = anyio.Event()
    held = 0

    async def slowly(_: Storage, key: str, body: bytes, *, media_type: str) -> ObjectFacts:
        nonlocal held
        held += 1
        await may_go_on.wait()
        return ObjectFacts(
            bucket="b", key=key, byte_count=len(body), etag="", media_type=media_type, sha256=b""
        )

    monkeypatch.setattr(Storage, "put", slowly)
    monkeypatch.setattr(storage_upload, "TURN_S", 0.2)
    async with anyio.create_task_group() as group:
        for _ in range(PIECES_AT_ONCE):
            group.start_soon(put, storage, b"x")
        await until(lambda: held == PIECES_AT_ONCE, what="the first pieces")
        with pytest.raises(StorageUnavailable):
            await put(storage, b"x")
        assert held == PIECES_AT_ONCE
        may_go_on.set()
    assert (await put(storage, b"x")).byte_count == 1
