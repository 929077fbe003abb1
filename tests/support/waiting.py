"""Waiting for another process: poll with a deadline, never a bare sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
POLL_S = 0.01


@overload
async def until(
    condition: Callable[[], Awaitable[T]], *, timeout_s: float = ..., what: str = ...
) -> T: ...
@overload
async def until(condition: Callable[[], T], *, timeout_s: float = ..., what: str = ...) -> T: ...
async def until(condition: Callable[[], Any], *, timeout_s: float = 10.0, what: str = "") -> Any:
    """The first truthy answer of the condition; AssertionError when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        answer = await found if inspect.isawaitable(found) else found
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what or condition}")
        await asyncio.sleep(POLL_S)


def until_sync(condition: Callable[[], T], *, timeout_s: float = 10.0, what: str = "") -> T:
    """As `until`, for a test that is not async."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what or condition}")
        time.sleep(POLL_S)
