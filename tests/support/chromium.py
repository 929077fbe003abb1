"""What the tests of the engine share: an engine that outlives a test, and its processes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from makeready.config import Settings
from makeready.documents.typesetting import Asset
from makeready.embedded.chromium import ChromiumBinary
from makeready.print_options import PrintOptions
from makeready_workers.chromium import (
    ChromiumEngine,
    EngineLimits,
    Fault,
    RenderError,
    RenderResult,
    open_engine,
)

SETTINGS = Settings()
LOOSE = PrintOptions(strict_assets=False)
SCRIPTS = replace(LOOSE, scripts=True)
BOTH = ("chromium", "pyppeteer")
"""The engines; a fixture with these parameters makes a test a part of their contract."""
ENDLESS = "<p>never<script>while (true) {}</script>"


@asynccontextmanager
async def running_engine(**options: Any) -> AsyncIterator[ChromiumEngine]:
    """An engine in a task of its own, so that a fixture may be left from another task."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[ChromiumEngine] = loop.create_future()
    leave = asyncio.Event()

    async def live() -> None:
        async with open_engine(SETTINGS, **options) as engine:
            ready.set_result(engine)
            await leave.wait()

    task = loop.create_task(live())
    task.add_done_callback(lambda ended: None if ready.done() else _fail(ready, ended))
    try:
        yield await ready
    finally:
        leave.set()
        await task


def _fail(ready: asyncio.Future[ChromiumEngine], task: asyncio.Task[None]) -> None:
    if task.cancelled():
        ready.cancel()
    else:
        ready.set_exception(task.exception() or RuntimeError("the engine was never open"))


async def show(
    engine: ChromiumEngine,
    html: str,
    *,
    assets: Mapping[str, Asset] | None = None,
    options: PrintOptions = LOOSE,
    timeout_s: float = 15.0,
    pack: str | None = None,
) -> RenderResult:
    """Prints some HTML with options that forgive a missing picture."""
    return await engine.render(html, assets or {}, options, timeout_s=timeout_s, pack=pack)


async def fault_of(engine: ChromiumEngine, html: str, **options: Any) -> Fault:
    """Why a document could not be printed."""
    try:
        await show(engine, html, **options)
    except RenderError as error:
        return error.code
    raise AssertionError("the document was printed")


def without_fonts(binary: ChromiumBinary) -> ChromiumBinary:
    """The same browser on a machine without a font."""
    folder = Path(tempfile.gettempdir()) / "makeready-no-fonts"
    folder.mkdir(mode=0o755, exist_ok=True)
    config = folder / "fonts.conf"
    config.write_text(f"<fontconfig><cachedir>{folder}/none</cachedir></fontconfig>")
    config.chmod(0o644)
    return replace(binary, env={**binary.env, "FONTCONFIG_FILE": str(config)})


def tight(**bounds: Any) -> EngineLimits:
    """The usual limits but for a few."""
    return EngineLimits(**bounds)


def pid_of(engine: ChromiumEngine) -> int:
    """The browser of the moment."""
    pid = engine.statistics().browser_pid
    assert pid is not None
    return pid


def group(leader: int) -> dict[int, str]:
    """The processes of a browser that are alive, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found[int(folder.name)] = words
    return found


def renderers(leader: int) -> list[int]:
    """The renderers of a browser."""
    return [pid for pid, words in group(leader).items() if "--type=renderer" in words]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_files() -> int:
    """Descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
