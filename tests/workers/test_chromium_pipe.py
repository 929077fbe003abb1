"""The pipe to the browser: calls, refusals, size caps and a browser that dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import makeready_workers.chromium
from makeready.embedded.chromium import find_chromium
from makeready_workers.chromium import pipe as pipe_module
from makeready_workers.chromium.jail import Home, kill, ladder, launch
from makeready_workers.chromium.link import (
    BrowserGone,
    CallRefused,
    MessageTooLarge,
    SessionGone,
)
from makeready_workers.chromium.page import Page
from makeready_workers.chromium.pipe import Pipe
from tests.support.chromium import SETTINGS, group
from tests.support.waiting import until

UNKNOWN = -32601  # what JSON-RPC says for a method that is not there


@asynccontextmanager
async def browser() -> AsyncIterator[Pipe]:
    jail = ladder(no_sandbox=False)[0]
    home = Home(jail.uid)
    pipe = await launch(find_chromium(SETTINGS), jail, home, Pipe)
    try:
        yield pipe
    finally:
        await kill(pipe)
        home.remove()


async def attached(pipe: Pipe) -> str:
    made = await pipe.call("Target.createTarget", {"url": "about:blank"})
    made = await pipe.call(
        "Target.attachToTarget", {"targetId": made["targetId"], "flatten": True}
    )
    session = made["sessionId"]
    assert isinstance(session, str)
    return session


async def refusal(pipe: Pipe, method: str, session: str | None) -> int:
    """The code with which a call without parameters is refused; 0 when it is not, or hangs."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await pipe.call(method, session=session)
    except CallRefused as refused:
        return refused.code
    return 0


async def test_an_unknown_method_is_refused_with_its_name_and_code() -> None:
    async with browser() as pipe:
        with pytest.raises(CallRefused, match=r"Nothing\.here") as caught:
            await pipe.call("Nothing.here")
    assert caught.value.code == UNKNOWN


async def test_every_pending_call_fails_at_once_when_the_browser_is_killed() -> None:
    async with browser() as pipe:
        session = await attached(pipe)
        slow = "new Promise(done => setTimeout(done, 60000))"
        calls = [
            asyncio.create_task(
                pipe.call(
                    "Runtime.evaluate",
                    {"expression": slow, "awaitPromise": True},
                    session=session,
                )
            )
            for _ in range(5)
        ]
        await pipe.call("Browser.getVersion")
        began = time.monotonic()
        os.killpg(pipe.pid, signal.SIGKILL)
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - began < 10  # they would have taken a minute
        assert all(isinstance(error, BrowserGone) for error in done)
        assert not pipe.is_open
        with pytest.raises(BrowserGone):
            await pipe.call("Browser.getVersion")


async def test_a_browser_whose_pipe_is_closed_exits_with_all_its_children() -> None:
    async with browser() as pipe:
        await attached(pipe)
        leader = pipe.pid
        pipe.close()
        await until(lambda: not group(leader), timeout_s=5, what="the browser's exit")


async def test_too_large_a_command_never_reaches_the_browser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipe_module, "SEND_LIMIT_BYTES", 1000)
    async with browser() as pipe:
        with pytest.raises(MessageTooLarge):
            await pipe.call("Browser.getVersion", {"padding": "ы" * 600})
        assert await pipe.call("Browser.getVersion")


async def test_too_large_an_answer_fails_its_own_call_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with browser() as pipe:
        session = await attached(pipe)
        monkeypatch.setattr(pipe, "_receive_limit", 100_000)
        large = pipe.call("Runtime.evaluate", {"expression": "'x'.repeat(2e6)"}, session=session)
        small = pipe.call("Runtime.evaluate", {"expression": "'x'.repeat(10)"}, session=session)
        answers = await asyncio.gather(large, small, return_exceptions=True)
    assert isinstance(answers[0], MessageTooLarge)
    assert isinstance(answers[1], dict)
    assert answers[1]["result"]["value"] == "x" * 10


async def test_a_dropped_session_fails_its_own_calls_and_no_other() -> None:
    async with browser() as pipe:
        session = await attached(pipe)
        waiting = asyncio.create_task(
            pipe.call(
                "Runtime.evaluate",
                {"expression": "new Promise(() => {})", "awaitPromise": True},
                session=session,
            )
        )
        await asyncio.sleep(0)
        pipe.drop_session(session, "crashed")
        with pytest.raises(SessionGone, match="crashed"):
            await waiting
        assert await pipe.call("Browser.getVersion")


async def test_a_cancelled_call_is_forgotten() -> None:
    async with browser() as pipe:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await pipe.call("Browser.getVersion")
        assert await pipe.call("Browser.getVersion")
        assert not pipe._calls


async def test_the_browser_knows_every_method_that_we_use() -> None:
    folder = Path(makeready_workers.chromium.__file__).parent
    words = r'call\(\s*"([A-Z]\w+\.\w+)"|notify\(\s*"([A-Z]\w+\.\w+)"|return "([A-Z]\w+\.\w+)",'
    methods = {
        next(filter(None, found.groups()))
        for path in folder.glob("*.py")
        for found in re.finditer(words, path.read_text("utf-8"))
    }
    assert {"Page.printToPDF", "Fetch.fulfillRequest", "IO.read", "Fetch.failRequest"} <= methods
    async with browser() as pipe:
        page = await Page.open(pipe, scripts=False, still=True)
        for method in sorted(methods - {"Browser.close"}):
            session = None if method.startswith(("Browser.", "Target.")) else page._session
            assert await refusal(pipe, method, session) != UNKNOWN, method
