"""A helper process: questions one at a time, crashes, cancellation, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest

from makeready.aside import Helper, HelperLost
from tests.support.waiting import until

PROGRAM = """
import os, time
from makeready.aside import serve

def answer(question):
    if question == b"pid":
        return str(os.getpid()).encode()
    if question == b"die":
        os._exit(3)
    if question == b"noise":
        print("noise")
        os.write(1, b"noise of a library")
    if question == b"hang":
        time.sleep(60)
    if question == b"blink":
        time.sleep(0.2)
    if question == b"nap":
        time.sleep(0.5)
    if question == b"environment":
        return repr(sorted(os.environ)).encode()
    return question[::-1]

serve(answer)
"""
OWNER = f"""
import asyncio
from makeready.aside import Helper

async def main():
    helper = Helper({PROGRAM!r})
    print((await helper.ask(b"pid", timeout_s=10)).decode(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper(PROGRAM)
    yield made
    made.stop()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_questions_of_any_size_are_answered_by_one_process(helper: Helper) -> None:
    pid = await helper.ask(b"pid", timeout_s=10)
    assert await helper.ask(b"", timeout_s=10) == b""
    large = os.urandom(5_000_000)
    assert await helper.ask(large, timeout_s=10) == large[::-1]
    assert await helper.ask(b"noise", timeout_s=10) == b"esion"
    assert await helper.ask(b"pid", timeout_s=10) == pid


async def test_many_askers_each_get_their_own_answer(helper: Helper) -> None:
    words = [str(number).encode() for number in range(20)]
    answers = await asyncio.gather(*(helper.ask(word, timeout_s=10) for word in words))
    assert answers == [word[::-1] for word in words]


async def test_a_helper_that_dies_is_an_error_once_and_then_replaced(helper: Helper) -> None:
    with pytest.raises(HelperLost):
        await helper.ask(b"die", timeout_s=10)
    assert await helper.ask(b"ab", timeout_s=10) == b"ba"


async def test_too_long_an_answer_ends_the_helper(helper: Helper) -> None:
    pid = int(await helper.ask(b"pid", timeout_s=10))
    with pytest.raises(TimeoutError):
        await helper.ask(b"hang", timeout_s=0.2)
    assert not is_alive(pid)
    assert await helper.ask(b"ab", timeout_s=10) == b"ba"


async def test_an_asker_that_leaves_before_its_turn_disturbs_nobody(helper: Helper) -> None:
    pid = await helper.ask(b"pid", timeout_s=10)
    large = os.urandom(20_000_000)
    first = asyncio.create_task(helper.ask(large, timeout_s=10))
    second = asyncio.create_task(helper.ask(b"never", timeout_s=10))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == large[::-1]
    assert await helper.ask(b"pid", timeout_s=10) == pid


class Hesitant(Helper):
    """On the event loop, takes its time between looking whose question it is and acting."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name == "_current" and threading.current_thread() is threading.main_thread():
            time.sleep(0.4)
        return found


async def test_an_asker_that_leaves_while_its_answer_comes_spoils_no_other_question() -> None:
    helper = Hesitant(PROGRAM)
    try:
        await helper.ask(b"pid", timeout_s=10)
        first = asyncio.create_task(helper.ask(b"blink", timeout_s=10))
        await until(lambda: vars(helper)["_current"] is not None, what="the first question")
        second = asyncio.create_task(helper.ask(b"nap", timeout_s=10))
        await asyncio.sleep(0.02)  # its thread waits for the turn
        first.cancel()
        assert await second == b"pan"
    finally:
        await asyncio.to_thread(helper.stop)


async def test_the_turns_of_others_do_not_count_as_ones_own_time(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: list[bool] = []

    class Alarm(threading.Timer):
        def start(self) -> None:
            at_work.append(helper._current is not None)
            super().start()

    await helper.ask(b"pid", timeout_s=10)
    monkeypatch.setattr(threading, "Timer", Alarm)
    nap = asyncio.create_task(helper.ask(b"nap", timeout_s=10))
    await until(lambda: helper._current is not None, what="the turn of another")
    assert await helper.ask(b"ab", timeout_s=10) == b"ba"
    assert await nap == b"pan"
    assert at_work == [False, False], "the time of a question begins with its turn"


async def test_those_who_wait_take_no_thread_from_others(helper: Helper) -> None:
    await helper.ask(b"pid", timeout_s=10)
    nap = asyncio.create_task(helper.ask(b"nap", timeout_s=10))
    await until(lambda: helper._current is not None, what="the turn of another")
    most = int(anyio.to_thread.current_default_thread_limiter().total_tokens)
    crowd = [asyncio.create_task(helper.ask(b"ab", timeout_s=10)) for _ in range(most)]
    while helper._askers.statistics().tasks_waiting < most:
        await anyio.lowlevel.checkpoint()
    await anyio.to_thread.run_sync(lambda: None)
    assert not nap.done(), "work that needs no helper waits for none"
    assert set(await asyncio.gather(*crowd)) == {b"ba"}


async def test_the_event_loop_does_not_wait_for_the_end_of_a_helper(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = int(await helper.ask(b"pid", timeout_s=10))
    wait, go_on = subprocess.Popen.wait, threading.Event()

    def slow(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        assert go_on.wait(10)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", slow)
    task = asyncio.create_task(helper.ask(b"hang", timeout_s=10))
    await until(lambda: helper._current is not None, what="the question")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await until(lambda: not is_alive(pid), what="the end of the helper")
    assert await helper.ask(b"ab", timeout_s=10) == b"ba"


async def test_the_helper_sees_nothing_of_our_environment(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    names = await helper.ask(b"environment", timeout_s=10)
    assert b"DATABASE_URL" not in names


async def test_the_helper_dies_with_its_owner() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    try:
        await until(lambda: not is_alive(pid))
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
