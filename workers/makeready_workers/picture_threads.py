"""Where pictures are worked on: a few threads of their own, so that the event loop never waits.

Libraries let the interpreter's lock go while they decode. Two at a time use both processors of a
small machine; thumbnails, which nobody waits for, have one thread more and never stand before a
photo. Whoever is cancelled leaves: a piece of work that has begun is finished for nobody.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

AT_ONCE = 2

NICENESS = 10

T = TypeVar("T")


def _give_way() -> None:
    """On Linux a thread may be nicer than its process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_awaited = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="picture")
_unhurried = ThreadPoolExecutor(1, thread_name_prefix="thumbnail", initializer=_give_way)


async def in_thread(call: Callable[[], T]) -> T:
    """The result of work on a picture that somebody waits for."""
    return await asyncio.get_running_loop().run_in_executor(_awaited, call)


async def in_quiet_thread(call: Callable[[], T]) -> T:
    """The same for what nobody waits for."""
    return await asyncio.get_running_loop().run_in_executor(_unhurried, call)
