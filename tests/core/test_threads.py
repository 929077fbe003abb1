"""Calls in threads: what becomes of them when nobody waits any more."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import anyio
import pytest

from makeready import threads
from makeready.threads import in_thread


async def test_a_call_returns_and_raises() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


@pytest.mark.parametrize("by", ["scope", "task"])
async def test_who_is_cancelled_leaves_when_the_call_has_ended(by: str) -> None:
    begun, go_on = threading.Event(), threading.Event()
    untaken: list[str] = []

    def call() -> str:
        begun.set()
        assert go_on.wait(30)
        return "file"

    async def wait() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await in_thread(call, untaken=untaken.append)

    scopes: list[anyio.CancelScope] = []
    waiting = asyncio.create_task(wait())
    await asyncio.to_thread(begun.wait, 30)
    if by == "scope":
        scopes[0].cancel()
    else:
        waiting.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    with suppress(asyncio.CancelledError):
        await waiting

    assert untaken == ["file"]


async def test_what_was_returned_is_given_back_to_who_was_cancelled_twice() -> None:
    begun, go_on, given = threading.Event(), threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        assert go_on.wait(30)
        return "file"

    def untaken(_: str) -> None:
        given.set()

    waiting = asyncio.create_task(in_thread(call, untaken=untaken))
    await asyncio.to_thread(begun.wait, 30)
    for _ in range(2):
        waiting.cancel()
        await asyncio.sleep(0.01)
    assert waiting.cancelled()
    go_on.set()

    assert await asyncio.to_thread(given.wait, 10)


async def test_a_call_that_has_not_begun_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ThreadPoolExecutor(1)
    monkeypatch.setattr(threads, "_threads", one)
    go_on = threading.Event()
    made: list[str] = []
    first = asyncio.create_task(in_thread(go_on.wait, 30))
    await asyncio.sleep(0)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await in_thread(made.append, "second")
    go_on.set()
    await first
    await in_thread(made.append, "third")
    one.shutdown()

    assert made == ["third"]
