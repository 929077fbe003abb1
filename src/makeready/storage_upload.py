"""Stores a file that is too large for memory: piece by piece, all or nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

from makeready.storage import SLOWEST_BYTES_PER_S, ObjectFacts, Storage, upload_logged
from makeready.storage_errors import CALL_TIMEOUT_S, StorageError, answered

PIECE_BYTES = 8 << 20  # S3 takes pieces of 5 MiB at least
PIECES_AT_ONCE = 6  # of all files of a process: each is in memory, and again on its way out
TURN_S = 60.0  # to wait for one of them while storage takes the others

_turns: RunVar[anyio.Semaphore] = RunVar("makeready_upload_turns")


async def put_file(
    storage: Storage, key: str, file: IO[bytes], *, size: int, sha256: bytes, media_type: str
) -> ObjectFacts:
    """Stores `size` bytes from the beginning of the file; raises StorageError, and leaves nothing.

    A key belongs to its caller: what lies there is replaced.
    """
    await to_thread.run_sync(file.seek, 0)
    if size <= PIECE_BYTES:
        async with _turn(key):
            body = await to_thread.run_sync(file.read, size)
            return await storage.put(key, body, media_type=media_type)
    with upload_logged(storage.bucket, key, size):
        etag = await _put_pieces(
            storage, key, file, size=size, sha256=sha256, media_type=media_type
        )
    return ObjectFacts(
        bucket=storage.bucket,
        key=key,
        byte_count=size,
        etag=etag,
        media_type=media_type,
        sha256=sha256,
    )


async def _put_pieces(
    storage: Storage, key: str, file: IO[bytes], *, size: int, sha256: bytes, media_type: str
) -> str:
    place: dict[str, Any] = {"Bucket": storage.bucket, "Key": key}
    async with answered("put", key):
        begun = await storage.client.create_multipart_upload(
            **place, ContentType=media_type, Metadata={"sha256": sha256.hex()}
        )
    upload = {**place, "UploadId": begun["UploadId"]}
    try:
        pieces: list[Any] = []
        for number in range(1, math.ceil(size / PIECE_BYTES) + 1):
            made = await _put_piece(storage, upload, number, file)
            pieces.append({"ETag": made["ETag"], "PartNumber": number})
        async with answered("put", key):
            whole = await storage.client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": pieces}
            )
    except BaseException:  # cancelled as well: pieces without an end are paid for, and not listed
        with anyio.CancelScope(shield=True), contextlib.suppress(StorageError):
            async with answered("abort", key):
                await storage.client.abort_multipart_upload(**upload)
        raise
    return whole["ETag"].strip('"')


async def _put_piece(
    storage: Storage, upload: Mapping[str, Any], number: int, file: IO[bytes]
) -> Any:
    key = upload["Key"]
    async with _turn(key):
        body = await to_thread.run_sync(file.read, PIECE_BYTES)
        allowed_s = CALL_TIMEOUT_S + len(body) / SLOWEST_BYTES_PER_S
        async with answered("put", key, timeout_s=allowed_s):
            return await storage.client.upload_part(**upload, PartNumber=number, Body=body)


@asynccontextmanager
async def _turn(key: str) -> AsyncIterator[None]:
    """One of the few pieces in memory; raises StorageUnavailable when none comes free."""
    try:
        turns = _turns.get()
    except LookupError:
        turns = anyio.Semaphore(PIECES_AT_ONCE)
        _turns.set(turns)
    async with answered("put", key, timeout_s=TURN_S):
        await turns.acquire()
    try:
        yield
    finally:
        turns.release()
