"""Pieces of many stored objects become one stream, read ahead of whoever takes it.

Reads run side by side, so that the store's first byte, 20 ms away, is waited for once and not a
thousand times. What has been asked for and not been taken is bounded in bytes, not in objects,
which may be of any size. All streams of a process share the window: many slow takers must not
fill the memory, yet each goes on with one read at least.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar

from makeready.archive import Piece, Span
from makeready.storage_errors import StorageError, StorageUnavailable

WINDOW_BYTES = 20 << 20
READS_AT_ONCE = 16
READS_AT_LEAST = 2  # of each stream, however many there are
READ_BYTES = 2 << 20  # more of one object is read in parts, side by side
BATCH_BYTES = 64 << 10  # what is less is put together before it is handed on
AHEAD = 1000  # pieces; their bytes are bounded by the window
TRIES = 3  # of one read; each goes on where the last one broke off
PAUSE_S = 0.2  # between them
TAKE_TIMEOUT_S = 60.0  # a taker that stands still holds memory

Read: TypeAlias = Callable[[Span], AsyncGenerator[bytes, None]]
"""The bytes of a span of an object; raises StorageError, also in the middle."""
Take: TypeAlias = Callable[[bytes], Awaitable[None]]
T = TypeVar("T")


async def deliver(pieces: Iterable[Piece], read: Read, take: Take) -> None:
    """Hands all bytes of the pieces to `take`, in order.

    Raises StorageError where an object is not, or not whole, to be had: all before it was taken.
    So it does before the end of one whose bytes are not those of its CRC-32.
    TimeoutError when `take` does not return for a minute. Whatever is still being read then ends.
    """
    streams = _streams_of_process()
    failure: Exception | None = None
    streams.count += 1
    try:
        async with anyio.create_task_group() as tasks:
            try:
                await _Delivery(read, take, streams).run(pieces, tasks)
            except Exception as error:  # noqa: BLE001 -- raised below, as it is and not as a group
                failure = error
            tasks.cancel_scope.cancel()
    finally:
        streams.count -= 1
    if failure is not None:
        raise failure


@dataclass(slots=True)
class _Streams:
    """How many a process delivers."""

    count: int = 0


class _Window:
    """What one stream has asked for and not handed on yet."""

    def __init__(self, streams: _Streams) -> None:
        self._streams = streams
        self._changed = asyncio.Event()
        self._byte_count = self._reads = 0

    async def begin_read(self, byte_count: int) -> None:
        """Waits until so many bytes may be asked for; only one task waits."""
        while not self._has_room(byte_count):
            self._changed.clear()
            await self._changed.wait()
        self._byte_count += byte_count
        self._reads += 1

    def end_read(self) -> None:
        """The store owes nothing more of one read."""
        self._reads -= 1
        self._changed.set()

    def taken(self, byte_count: int) -> None:
        """So many bytes were handed on."""
        self._byte_count -= byte_count
        self._changed.set()

    def _has_room(self, byte_count: int) -> bool:
        streams = self._streams.count
        return self._byte_count == 0 or (
            self._byte_count + byte_count <= max(WINDOW_BYTES // streams, READ_BYTES)
            and self._reads < max(READS_AT_ONCE // streams, READS_AT_LEAST)
        )


_Chunks: TypeAlias = "asyncio.Queue[bytes | StorageError | None]"
"""What one read brings; None at its end."""


@dataclass(slots=True)
class _Sum:
    """What the bytes of one span add up to."""

    span: Span
    found: int = 0
    byte_count: int = 0

    def add(self, chunk: bytes) -> None:
        """Raises StorageError when the last of them is here, and they are others than stored."""
        self.found = zlib.crc32(chunk, self.found)
        self.byte_count += len(chunk)
        is_whole = self.byte_count == self.span.byte_count
        if is_whole and self.span.crc32 not in {None, self.found}:
            raise StorageError(f"get {self.span.key}: these are other bytes than were stored")


class _Delivery:
    """One stream."""

    def __init__(self, read: Read, take: Take, streams: _Streams) -> None:
        self._read, self._take = read, take
        self._window = _Window(streams)
        self._line: asyncio.Queue[bytes | tuple[_Chunks, _Sum] | None] = asyncio.Queue(AHEAD)
        self._batch: list[bytes] = []
        self._batched = self._owed = 0

    async def run(self, pieces: Iterable[Piece], tasks: TaskGroup) -> None:
        """Asks and hands on, until the last piece was taken."""
        tasks.start_soon(self._ask, pieces, tasks)
        try:
            while (item := await self._next(self._line)) is not None:
                if isinstance(item, bytes):
                    await self._hand_on(item)
                else:
                    await self._hand_on_all(*item)
        except StorageError:
            await self._flush()  # whoever takes it may go on from here later
            raise
        await self._flush()

    async def _ask(self, pieces: Iterable[Piece], tasks: TaskGroup) -> None:
        """Begins reads as the window allows."""
        for piece in pieces:
            if isinstance(piece, bytes):
                await self._line.put(piece)
                continue
            total = _Sum(piece)
            for part in _in_parts(piece):
                await self._window.begin_read(part.byte_count)
                chunks: _Chunks = asyncio.Queue()
                tasks.start_soon(self._fetch, part, chunks)
                await self._line.put((chunks, total))
        await self._line.put(None)

    async def _fetch(self, span: Span, chunks: _Chunks) -> None:
        """Reads one span, in several tries if need be."""
        try:
            for tries_left in reversed(range(TRIES)):
                span = await self._try(span, chunks, is_last=not tries_left)
                if not span.byte_count:
                    break
                await anyio.sleep(PAUSE_S)
            chunks.put_nowait(None)
        except StorageError as error:
            chunks.put_nowait(error)
        finally:
            self._window.end_read()

    async def _try(self, span: Span, chunks: _Chunks, *, is_last: bool) -> Span:
        """What is left of the span after one read; raises StorageError, on the last for that."""
        failure = StorageUnavailable(f"get {span.key}: it ends before byte {span.last}")
        try:
            async with aclosing(self._read(span)) as body:
                async for chunk in body:
                    span = _after(span, chunk)
                    chunks.put_nowait(chunk)
        except StorageUnavailable as error:
            failure = error
        if is_last and span.byte_count:
            raise failure
        return span

    async def _hand_on_all(self, chunks: _Chunks, total: _Sum) -> None:
        while (chunk := await self._next(chunks)) is not None:
            if isinstance(chunk, StorageError):
                raise chunk
            total.add(chunk)
            self._owed += len(chunk)
            await self._hand_on(chunk)

    async def _next(self, queue: asyncio.Queue[T]) -> T:
        """Does not wait while the batch holds bytes: the window may have no room without them."""
        if queue.empty():
            await self._flush()
        return await queue.get()

    async def _hand_on(self, some: bytes) -> None:
        self._batch.append(some)
        self._batched += len(some)
        if self._batched >= BATCH_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        whole = self._batch[0] if len(self._batch) == 1 else b"".join(self._batch)
        self._batch, self._batched = [], 0
        if whole:
            with anyio.fail_after(TAKE_TIMEOUT_S):
                await self._take(whole)
        self._window.taken(self._owed)
        self._owed = 0


def _in_parts(span: Span) -> Iterator[Span]:
    """The same bytes with no span longer than one read."""
    for first in range(span.first, span.last + 1, READ_BYTES):
        yield Span(key=span.key, first=first, last=min(first + READ_BYTES - 1, span.last))


def _after(span: Span, chunk: bytes) -> Span:
    """What is left of a span; a store that sends more than that took no notice of the range."""
    if len(chunk) > span.byte_count:
        raise StorageError(f"get {span.key}: more bytes than were asked for")
    return Span(key=span.key, first=span.first + len(chunk), last=span.last)


_found: RunVar[_Streams] = RunVar("makeready_streams_read_ahead")


def _streams_of_process() -> _Streams:
    try:
        return _found.get()
    except LookupError:
        streams = _Streams()
        _found.set(streams)
        return streams
