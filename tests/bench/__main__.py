"""`make bench`: what Makeready's queues cost, beside their peers, on this machine, in this run.

Prints a table and writes JSON. Figures of two runs are not to be compared: a busy neighbour or
another processor moves all of them. What counts are the ratios inside one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.bench import Bench, Row
from tests.bench.cluster import Cluster
from tests.bench.device import DISK, Device, is_memory, slow_device
from tests.bench.peers.install import install_peers
from tests.bench.report import Figure, Line, print_lines, print_summary, say, write_json
from tests.bench.rows import (
    cards,
    claims,
    crowd,
    enqueue,
    faults,
    idle,
    latency,
    photos,
    render,
    snapshot,
    uploads,
)

VAR = Path(__file__).resolve().parents[2] / "var" / "bench"
ROWS: tuple[Row, ...] = (
    *claims.ROWS,
    *enqueue.ROWS,
    *latency.ROWS,
    *crowd.ROWS,
    *snapshot.ROWS,
    *faults.ROWS,
    *idle.ROWS,
    *render.ROWS,
    *cards.ROWS,
    *photos.ROWS,
    *uploads.ROWS,
)
ROUNDS = 3
BUSY_SHARE = 0.5  # of the cores, before the run has begun


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round: a smoke test"
    )
    parser.add_argument("--rows", metavar="NAME,…", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--devices", default="disk,slow", help="disk, slow or both (default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: var/bench/TIME.json")
    parser.add_argument("--rounds", type=int, help=f"turns of each contender (default {ROUNDS})")
    parser.add_argument("--no-peers", action="store_true", help="measure Makeready alone")
    parser.add_argument("--keep", action="store_true", help="keep the servers' data afterwards")
    return parser.parse_args(words)


def chosen_rows(names: str | None) -> list[Row]:
    """The rows asked for, in their own order."""
    if not names:
        return list(ROWS)
    wanted = set(names.split(","))
    unknown = wanted - {row.name for row in ROWS}
    if unknown:
        known = ", ".join(row.name for row in ROWS)
        raise SystemExit(f"there is no row {', '.join(sorted(unknown))}; there are {known}")
    return [row for row in ROWS if row.name in wanted]


def chosen_devices(names: str) -> list[Device]:
    """The devices asked for; the slow one may not be had."""
    devices = [DISK] if "disk" in names.split(",") else []
    if "slow" in names.split(","):
        slow = slow_device()
        if isinstance(slow, str):
            say(f"not measured: {slow}")
        else:
            devices.append(slow)
    return devices


async def main(asked: argparse.Namespace) -> int:
    """Runs the rows on each device; 1 when one of them could not be measured."""
    folder = VAR / "servers"
    if is_memory(folder):
        say(f"{folder} lies in memory: a flush there is worth nothing. Use a real disk.")
        return 2
    drivers, missing = ({}, {}) if asked.no_peers else await install_peers(VAR / "peers")
    for name, why in missing.items():
        say(f"not measured: {name}: {why}")
    load = os.getloadavg()[0]
    if load > BUSY_SHARE * (os.cpu_count() or 1):
        say(
            f"this machine is busy (load average {load:.1f}): do not quote the figures of this run"
        )
    lines: list[Line] = []
    failures: list[str] = []
    facts: dict[str, Any] = {
        "quick": asked.quick,
        "peers": {name: driver.version for name, driver in drivers.items()},
        "missing": missing,
        "failures": failures,
    }
    for device in chosen_devices(asked.devices):
        with Cluster(folder / "main", device) as cluster:
            bench = Bench(
                cluster=cluster,
                peers=drivers,
                folder=folder,
                is_quick=asked.quick,
                is_alone=asked.no_peers,
                rounds=asked.rounds or (1 if asked.quick else ROUNDS),
            )
            lines += await _introduce(bench)
            for row in chosen_rows(asked.rows):
                lines += await _measure(bench, row, failures)
    print_summary(lines)
    path = asked.json or VAR / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    write_json(path, lines, facts)
    say(f"\nwritten to {path}")
    if not asked.keep:
        for server in folder.iterdir():  # a link where the server's user cannot reach this folder
            shutil.rmtree(server.resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


async def _introduce(bench: Bench) -> list[Line]:
    commit_ms = await bench.cluster.commit_ms()
    version = await bench.cluster.version()
    say(f"\n== PostgreSQL {version} · {bench.device} · one commit {commit_ms:.2f} ms")
    if bench.cluster.device.flush_ms > commit_ms:
        raise SystemExit("the slow flush did not take: the server could not load its library")
    return [bench.figure("device", f"PostgreSQL {version}: one commit", commit_ms, "ms")]


async def _measure(bench: Bench, row: Row, failures: list[str]) -> list[Line]:
    say(f"\n{row.name}: {row.about}")
    began = time.perf_counter()
    try:
        lines = list(await row.measure(bench))
    except Exception as error:  # noqa: BLE001 -- a row that breaks must not cost the others
        text = f"{row.name} on {bench.device}: {type(error).__name__}: {error}"
        failures.append(text)
        say(f"  FAILED: {text}")
        return []
    print_lines(lines)
    seconds = time.perf_counter() - began
    return [*lines, Figure(
        row=row.name, device=bench.device, what="time for the row", value=seconds, unit="s"
    )]  # fmt: skip


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(options())))
