"""Where what blocks is run: short calls of the file system, hashing, the reading of a header.

A hop through these threads costs the event loop a quarter of one through `anyio.to_thread`, and
a photo makes half a dozen while a booth waits. What may take seconds belongs elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio

AT_ONCE = 32  # where a disk hangs it may hold all of them: photos wait then, other routes do not

T = TypeVar("T")

_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="files")


async def in_thread(
    call: Callable[..., T], *arguments: object, untaken: Callable[[T], object] | None = None
) -> T:
    """What the call returns or raises.

    Who is cancelled meanwhile leaves when the call has ended, so that nothing is closed or deleted
    under it; one that has not begun is not made at all. `untaken` gets what it returned then, in
    the thread: a file, say, that somebody has to close.
    """
    work = _threads.submit(call, *arguments)
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        if not work.cancel():
            if untaken is not None:
                work.add_done_callback(partial(_give, untaken))
            with anyio.CancelScope(shield=True), suppress(Exception):
                await asyncio.wrap_future(work)
        raise


def _give(untaken: Callable[[T], object], ended: Future[T]) -> None:
    """Also when the wait for the call was cut short: a process that ends cancels again."""
    if ended.exception() is None:
        untaken(ended.result())
