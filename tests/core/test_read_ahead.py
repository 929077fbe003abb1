"""Streams of stored objects: in order, bounded, side by side, and never silently short.

Proves PSM-032.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makeready import read_ahead
from makeready.archive import Piece, Span
from makeready.read_ahead import deliver
from makeready.storage_errors import ObjectMissing, StorageError, StorageUnavailable
from tests.support.waiting import until

Break = Callable[[Span, int], None]
"""Called with a read and the bytes it has sent; raises to break it off."""


class Store:
    """Objects in memory; says how much is being read."""

    def __init__(self, objects: Mapping[str, bytes], chunk: int = 4) -> None:
        self.objects, self.chunk = objects, chunk
        self.asked: list[Span] = []
        self.open = self.most_open = 0
        self.gate: asyncio.Event | None = None
        self.breaking: Break = lambda _span, _sent: None

    async def read(self, span: Span) -> AsyncGenerator[bytes, None]:
        self.asked.append(span)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self.gate is not None:
                await self.gate.wait()
            for at in range(span.first, span.last + 1, self.chunk):
                self.breaking(span, at - span.first)
                yield self.objects[span.key][at : min(at + self.chunk, span.last + 1)]
            self.breaking(span, span.byte_count)
        finally:
            self.open -= 1


class Taker:
    """Keeps what it is given; stands still while its gate is shut."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, some: bytes) -> None:
        await self.gate.wait()
        self.taken += some


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "READ_BYTES", 10)
    monkeypatch.setattr(read_ahead, "WINDOW_BYTES", 50)
    monkeypatch.setattr(read_ahead, "READS_AT_ONCE", 4)
    monkeypatch.setattr(read_ahead, "BATCH_BYTES", 3)
    monkeypatch.setattr(read_ahead, "PAUSE_S", 0)


def spans(store: Store) -> list[Piece]:
    return [
        Span(key=key, first=0, last=len(body) - 1) for key, body in store.objects.items() if body
    ]


@given(
    bodies=st.lists(st.binary(max_size=35), max_size=8),
    words=st.binary(max_size=9),
    chunk=st.integers(min_value=1, max_value=40),
)
@settings(max_examples=50)
def test_all_bytes_come_in_order_psm_032(bodies: list[bytes], words: bytes, chunk: int) -> None:
    store = Store({str(place): body for place, body in enumerate(bodies)}, chunk)
    pieces = [words, *spans(store), b"end"]
    taker_of: list[Taker] = []

    async def scenario() -> None:
        taker_of.append(Taker())
        await deliver(pieces, store.read, taker_of[0])

    asyncio.run(scenario())
    assert bytes(taker_of[0].taken) == words + b"".join(bodies) + b"end"
    assert all(span.byte_count <= 10 for span in store.asked)
    assert store.open == 0


async def test_reads_run_side_by_side_up_to_their_number() -> None:
    store = Store({str(place): b"x" for place in range(9)})
    store.gate = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(deliver(spans(store), store.read, Taker()))
        await until(lambda: store.open == 4)
        for _ in range(10):
            await asyncio.sleep(0)
        assert store.open == 4
        store.gate.set()
        await task
    assert store.most_open == 4
    assert len(store.asked) == 9


async def test_no_more_than_the_window_is_read_ahead_of_a_taker_that_stands_still() -> None:
    store = Store({str(place): b"12345678" for place in range(30)})
    taker = Taker()
    taker.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(deliver(spans(store), store.read, taker))
        await until(lambda: len(store.asked) >= 6 and store.open == 0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(store.asked) == 6  # 48 bytes of 50, though they are all there
        taker.gate.set()
        await task
    assert len(taker.taken) == 240


async def test_many_streams_share_the_window_and_each_goes_on() -> None:
    stores = [Store({str(place): bytes(10) for place in range(8)}) for _ in range(10)]
    takers = [Taker() for _ in stores]
    for taker in takers:
        taker.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(deliver(spans(store), store.read, taker))
            for store, taker in zip(stores, takers, strict=True)
        ]
        await until(lambda: all(store.asked for store in stores))
        for _ in range(20):
            await asyncio.sleep(0)
        assert sum(len(store.asked) for store in stores[1:]) == 9  # the first came alone
        for taker in takers:
            taker.gate.set()
        for task in running:
            await task
    assert all(len(taker.taken) == 80 for taker in takers)


async def test_a_read_that_breaks_off_goes_on_where_it_was() -> None:
    store = Store({"a": b"0123456789", "b": b"ok"})
    broken: list[int] = []

    def once_each(span: Span, sent: int) -> None:
        if span.key == "a" and sent >= 4 and len(broken) < 2:
            broken.append(sent)
            raise StorageUnavailable("get a: no answer")

    store.breaking = once_each
    taker = Taker()
    await deliver(spans(store), store.read, taker)

    assert bytes(taker.taken) == b"0123456789ok"
    assert [(span.first, span.last) for span in store.asked if span.key == "a"] == [
        (0, 9), (4, 9), (8, 9),
    ]  # fmt: skip


async def test_an_answer_that_breaks_off_after_its_last_byte_is_whole() -> None:
    store = Store({"a": b"01234567"})

    def at_the_end(span: Span, sent: int) -> None:
        if sent == span.byte_count:
            raise StorageUnavailable("get a: no answer")

    store.breaking = at_the_end
    taker = Taker()
    await deliver(spans(store), store.read, taker)
    assert bytes(taker.taken) == b"01234567"
    assert len(store.asked) == 1


async def test_an_object_that_stays_short_ends_the_stream_after_what_there_was() -> None:
    """Never padded, never passed over."""
    store = Store({"a": b"whole", "b": b"0123456789", "c": b"after"})
    pieces = spans(store)
    store.objects = {**store.objects, "b": b"0123"}
    taker = Taker()

    with pytest.raises(StorageUnavailable, match="b: it ends before byte 9"):
        await deliver(pieces, store.read, taker)
    assert bytes(taker.taken) == b"whole0123"
    assert len([span for span in store.asked if span.key == "b"]) == read_ahead.TRIES
    assert store.open == 0


@pytest.mark.parametrize("error", [ObjectMissing("get b: gone"), StorageError("get b: odd")])
async def test_what_no_second_try_can_mend_ends_it_at_once(error: StorageError) -> None:
    store = Store({"a": b"whole", "b": b"0123456789"})

    def gone(span: Span, _sent: int) -> None:
        if span.key == "b":
            raise error

    store.breaking = gone
    with pytest.raises(type(error), match="get b"):
        await deliver(spans(store), store.read, Taker())
    assert len([span for span in store.asked if span.key == "b"]) == 1


async def test_a_store_that_takes_no_notice_of_the_range_is_found_out() -> None:
    async def whole(span: Span) -> AsyncGenerator[bytes, None]:
        assert span.first == 3
        yield b"0123456789"

    with pytest.raises(StorageError, match="more bytes than were asked for"):
        await deliver([Span(key="a", first=3, last=5)], whole, Taker())


async def test_an_object_of_other_bytes_is_not_handed_on_to_its_end_psm_032() -> None:
    store, taker = Store({"a": b"as it was stored", "b": b"and here it is not"}), Taker()
    stored = {"a": b"as it was stored", "b": b"and here it is too"}
    pieces: list[Piece] = [
        Span(key=key, first=0, last=len(body) - 1, crc32=zlib.crc32(body))
        for key, body in stored.items()
    ]
    with pytest.raises(StorageError, match="get b: these are other bytes than were stored"):
        await deliver([*pieces, b"end"], store.read, taker)
    assert bytes(taker.taken).startswith(stored["a"])
    assert len(taker.taken) < len(stored["a"]) + len(stored["b"])


async def test_a_taker_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "TAKE_TIMEOUT_S", 0.01)
    store, taker = Store({"a": b"12345678"}), Taker()
    taker.gate.clear()

    with pytest.raises(TimeoutError):
        await deliver(spans(store), store.read, taker)
    assert store.open == 0


async def test_a_taker_that_fails_or_goes_away_stops_all_reads() -> None:
    store = Store({str(place): bytes(10) for place in range(9)})
    store.gate = asyncio.Event()

    async def gone(_some: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await deliver([b"PK\3\4", *spans(store)], store.read, gone)
    assert store.open == 0

    task = asyncio.ensure_future(deliver(spans(store), store.read, Taker()))
    await until(lambda: store.open == 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.open == 0


async def test_the_helper_of_these_tests_reads_what_it_should() -> None:
    store = Store({"a": b"0123456789"})
    async with aclosing(store.read(Span(key="a", first=2, last=8))) as body:
        assert b"".join([chunk async for chunk in body]) == b"2345678"
